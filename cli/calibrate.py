"""`recon evaluate --calibration`: ranks, coverage, spread over error and reliability as numbers and as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cli.errors import usage
from cli.run_record import document

if TYPE_CHECKING:
    from recon.calibration import Calibration, Estimate

WRITTEN = FIGURE, NUMBERS = "calibration.png", "calibration.json"
SURE = 0.01  # p-value from which on ranks are called not uniform


def calibrated(pairs: list[tuple[np.ndarray | None, np.ndarray]], where: Path) -> Calibration:
    """The calibration of samples and truths, over all items of all results.

    Args:
        pairs: samples (S, B, C, H, W) or None, and truth (B, C, H, W).
        where: the result, for messages.
    """
    import torch

    from recon.calibration import calibration

    usable = [(torch.from_numpy(s), torch.from_numpy(x)) for s, x in pairs if s is not None and len(s) > 1]
    if len(usable) < len(pairs):
        found = f"{len(pairs) - len(usable)} of {len(pairs)} results with fewer than two samples"
        fix = "reconstruct with --samples 4 or more, by a method that draws samples"
        raise usage("calibration needs samples", str(where), found, "two or more samples in each", fix)
    return calibration(usable)


def record(found: Calibration) -> dict[str, Any]:
    """The calibration as numbers, ready for JSON: NaN, of too few items, is null."""
    from recon.calibration import LEVELS

    def plain(value: Estimate) -> dict[str, float | None]:
        return {key: number(v) for key, v in zip(("mean", "low", "high", "p"), vars(value).values(), strict=True)}

    return {
        "items": len(found.ranks),
        "samples": found.samples,
        "rank_histogram": [plain(share) for share in found.bins],
        "rank_slope": plain(found.slope),
        "rank_curvature": plain(found.curvature),
        "rank_p": number(found.p),
        "coverage": {f"{level:g}": plain(share) for level, share in zip(LEVELS, found.covered, strict=True)},
        "spread_over_error": {
            "total": number(found.total_spread_over_error), "items": [number(v) for v in found.spread_over_error]},
        "crps": number(found.crps.mean()),
        "mae_of_mean": number(found.mae.mean()),
        "reliability": [
            {"predicted_rmse": number(spread), "rmse": number(error), "ratio_of_squares": plain(ratio)}
            for spread, error, ratio in found.groups],
        "protocol": "means over items with their 95 % interval and the p-value of the ideal, by Student's t over items",
    }  # fmt: skip


def number(value: float) -> float | None:
    """Six digits, None for what is not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def words(found: Calibration) -> list[str]:
    """The calibration in lines."""
    from recon.calibration import FEWEST, LEVELS

    count = len(found.ranks)
    lines = [f"calibration over {counted(found)}"]
    shares = " ".join(f"{100 * share.value:.1f}" for share in found.bins)
    lines.append(f"  ranks of the truth, % of the pixels in each of {found.samples + 1} places: {shares}"
                 f" (ideal {100 / (found.samples + 1):.1f})")  # fmt: skip
    if count < FEWEST:
        lines.append(f"  no test of the ranks: it takes {FEWEST} items or more, the pixels of one err together")
    else:
        wrong = []
        if found.slope.p <= SURE / 2:
            wrong.append("samples too low" if found.slope.value > 0 else "samples too high")
        if found.curvature.p <= SURE / 2:
            wrong.append("samples too alike" if found.curvature.value > 0 else "samples too different")
        contrasts = f"slope {found.slope.value:+.3f}, curvature {found.curvature.value:+.3f}, p {found.p:.2g}"
        lines.append(f"  {contrasts}: {', '.join(wrong) or 'no sign against uniform ranks'}")
    covered = zip(LEVELS, found.covered, strict=True)
    said = ", ".join(f"{100 * level:g} %: {share.value:.3f}" for level, share in covered)
    lines.append(f"  truth inside the interval of {said}")
    lines.append(f"  spread over error {found.total_spread_over_error:.3f} (1 if right, less if too sure)")
    crps, mae = found.crps.mean(), found.mae.mean()
    lines.append(f"  CRPS {crps:.5g}; mean absolute error of the mean {mae:.5g}, that of one image without a spread")
    if found.groups:
        sure, least = (f"{spread:.4g} / {error:.4g}" for spread, error, _ in (found.groups[0], found.groups[-1]))
        lines.append(f"  predicted / actual error of the surest tenth of the pixels {sure}, of the least sure {least}")
    return lines


def write(folder: Path, found: Calibration, numbers: dict[str, Any]) -> None:
    """The figure and the numbers."""
    (folder / NUMBERS).write_text(document(numbers) + "\n")
    figure(folder / FIGURE, found)


def figure(path: Path, found: Calibration) -> None:
    """Four panels: ranks, coverage, spread over error, reliability; bars are 95 % intervals over items."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from recon.calibration import FEWEST, LEVELS

    drawn = Figure(figsize=(11, 8.4), layout="constrained")
    FigureCanvasAgg(drawn)
    (ranks, coverage), (ratio, reliable) = drawn.subplots(2, 2)
    ideal = {"color": "0.35", "linestyle": "--", "linewidth": 1, "label": "if right"}

    places = np.arange(found.samples + 1)
    shares = [share.value for share in found.bins]
    ranks.bar(places, shares, yerr=spans(found.bins), color="#7a9cc6", ecolor="#1f3a5f", capsize=3)
    ranks.axhline(1 / (found.samples + 1), **ideal)
    ranks.set(title="Rank of the truth among the samples", xlabel="samples below the truth", ylabel="share of pixels")
    ranks.locator_params(axis="x", integer=True)

    coverage.plot((0.45, 1), (0.45, 1), **ideal)
    shares = [share.value for share in found.covered]
    coverage.errorbar(LEVELS, shares, yerr=spans(found.covered), marker="o", color="#1f3a5f", capsize=3)
    coverage.set(title="Truth inside the interval", xlabel="stated", ylabel="share of pixels")

    values = np.sort(found.spread_over_error)
    ratio.plot(np.arange(1, len(values) + 1), values, marker="o", linestyle="none", color="#1f3a5f")
    ratio.axhline(1, **ideal)
    ratio.set(title=f"Spread over error by item (all: {found.total_spread_over_error:.2f})", xlabel="item, sorted",
              ylabel="spread / error (below 1: too sure)")  # fmt: skip
    ratio.locator_params(axis="x", integer=True)
    ratio.set_ylim(0, 1.1 * max(1.0, values.max()))

    if found.groups:
        spread, error = np.array([group[:2] for group in found.groups]).T
        reliable.plot((0, spread.max()), (0, spread.max()), **ideal)
        reliable.plot(spread, error, marker="o", color="#1f3a5f")
    else:
        reliable.text(0.5, 0.5, "takes four samples or more", ha="center", transform=reliable.transAxes)
    reliable.set(title="Error of pixels grouped by std", xlabel="predicted (rms)", ylabel="actual (rms)")
    for axis in (ranks, coverage, ratio):
        axis.legend(frameon=False)
    about = f"{counted(found)}" + ("; bars: 95 % intervals over items" if len(found.ranks) >= FEWEST else "")
    drawn.suptitle(about, fontsize=10)
    drawn.savefig(path, dpi=120)


def counted(found: Calibration) -> str:
    """How many items and samples there are, in words."""
    count = len(found.ranks)
    return f"{count} item{'s' * (count > 1)}, {found.samples} samples each"


def spans(estimates: list[Estimate]) -> np.ndarray:
    """Half-widths of error bars, (2, N); NaN, which draws none, for too few items."""
    return np.array([(e.value - e.low, e.high - e.value) for e in estimates]).T
