"""How close a result is to the truth, per item and in total."""

from __future__ import annotations

from typing import Any

import numpy as np

from cli.errors import INPUT, refusing

LEVEL = 0.9  # of every interval that the command shows
PERCENT = f"{100 * LEVEL:.0f}"
COVERAGE = f"coverage{PERCENT}"  # key of the share of the truth inside it
SCATTER = "one image's share scatters, its pixels err together"
PROTOCOL = "PSNR and SSIM as in scikit-image, of the posterior mean where samples were drawn"


def scores(
    estimate: np.ndarray,
    truth: np.ndarray,
    data_range: float,
    samples: np.ndarray | None,
    chi_square: np.ndarray | None,
) -> dict[str, Any]:
    """PSNR (dB), SSIM, coverage of the interval of `LEVEL` and residual chi-square.

    Args:
        estimate, truth: (B, C, H, W) in the same units.
        data_range: the peak of PSNR and SSIM, in the same units.
        samples: (S, B, C, H, W) or None.
        chi_square: (B,) or None.

    Returns:
        {"items": [one dict each], "mean": {name: mean over items}, "data_range", "protocol", "samples"}.
    """
    import torch

    import recon
    from recon import metrics

    x, reference = torch.from_numpy(estimate).double(), torch.from_numpy(truth).double()
    with refusing("E-SHAPE", "result and truth cannot be compared", "--truth", INPUT):
        table = {
            "psnr": metrics.psnr(x, reference, data_range),
            "ssim": metrics.ssim(x, reference, data_range),
        }
        if samples is not None and len(samples) > 1:
            table[COVERAGE] = recon.Posterior(torch.from_numpy(samples).double()).coverage(reference, LEVEL)
    if chi_square is not None:
        table["chi_square"] = torch.from_numpy(np.asarray(chi_square))
    items = [{name: round(float(values[k]), 4) for name, values in table.items()} for k in range(len(x))]
    mean = {name: round(float(values.double().mean()), 4) for name, values in table.items()}
    return {
        "items": items,
        "mean": mean,
        "data_range": data_range,
        "samples": 0 if samples is None else len(samples),
        "protocol": PROTOCOL,
    }


def table(found: dict[str, Any]) -> str:
    """The scores as aligned text, one line per item and one for the mean."""
    names = list(found["mean"])
    lines = ["item".rjust(6) + "".join(name.rjust(12) for name in names)]
    rows = [(str(k), row) for k, row in enumerate(found["items"])] + [("mean", found["mean"])]
    lines += [label.rjust(6) + "".join(f"{row[name]:12.4f}" for name in names) for label, row in rows]
    lines.append(f"data range {found['data_range']:g}, {found['samples']} samples; {found['protocol']}")
    if COVERAGE in names:
        lines.append(f"{COVERAGE}: {SCATTER}; judge by the mean over many")
    return "\n".join(lines)
