"""Low-dose CT in Hounsfield units: photon counts of few views, from body CT whose prior was trained on other scans.

    python -m tests.benchmarks.lowdose --data ct_body_hu_256.h5 -o lowdose.jsonl [--pictures FOLDER]
    python -m tests.benchmarks.lowdose --table lowdose.jsonl

60 parallel views over a half turn, bins as wide as a pixel (each slice has its own spacing, 1.1 to 1.4 mm), counts
Poisson(I0 exp(-line integral)) + normal read-out noise of 3 counts, water of 0.0193 per mm (70 keV, NIST). Filtered
backprojection and total variation work on log(I0 / counts), the latter weighted by each bin's own noise; window and
weight are those of highest PSNR on a training slice; total variation stops after 400 iterations. PSNR is over
-1000 .. 1000 HU (range 2000), values beyond set to its ends; chi-square is that of the counts.

The prior `ct-chest-256` holds pictures of 0 .. 1, not HU. The modes of their grey values, 38, 42, 196 and 220 of 255,
are those of the body CT's, -1024, -1000, -105 and 45 HU, in a window of -1250 .. 250 HU: HU = 1500 value - 1250 within
15 HU. Above 250 HU (bone, contrast) it has seen only its largest value; `psnr_lung` is over that window (range 1500).
`coverage_known` and `spread_over_error_known` are of the pixels that are not within `NEAR` pixels of values beyond it;
`error_unknown` is the share of the squared error that the others have, `pixels_unknown` their share of the image.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import h5py
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

import operators
import recon
from recon.classical import CLASSICAL
from recon.metrics import psnr
from tests.benchmarks.table import append_row, read_rows

VIEWS, ELECTRONIC = 60, 3.0
NEAR = 2  # pixels around values that the prior does not know, whose error leaks there
WATER = 0.0193  # 1/mm
LOW, WIDTH = -1250.0, 1500.0  # HU of the prior's 0, and from its 0 to its 1
WINDOWS = {"psnr": (-1000.0, 1000.0), "psnr_lung": (LOW, LOW + WIDTH)}
GRIDS = {
    "fbp": [{"window": w} for w in ("ramp", "shepp-logan", "cosine", "hann")],
    "tv": [{"weight": w / WATER} for w in (1.5, 3.0, 6.0, 12.0)],
}


def attenuation(hu: Tensor) -> Tensor:
    """1/mm, from HU; air is not below zero."""
    return (WATER * (1 + hu / 1000)).clamp(min=0.0)


def hounsfield(mu: Tensor) -> Tensor:
    return 1000 * (mu / WATER - 1)


def slices(path: str, subset: int, count: int) -> tuple[Tensor, list[float]]:
    """`count` slices (count, 1, 256, 256) in HU, evenly spread over a subset, and their spacings in mm."""
    with h5py.File(path) as file:
        kept = torch.from_numpy(file["subset"][:] == subset).nonzero()[:, 0]
        chosen = kept[torch.linspace(0, len(kept) - 1, count).round().long()].tolist()
        hu = torch.stack([torch.from_numpy(file["images"][i].astype("float32")) for i in chosen]) - 1024
        return hu[:, None], [float(file["pixel_spacing_mm"][i]) for i in chosen]


def measure(hu: Tensor, spacing_mm: float, I0: float, seed: int) -> recon.Measurement:
    """Counts of one slice (1, 1, H, W)."""
    A = operators.OPERATORS["ct"](shape=hu.shape[-2:], angles=VIEWS, spacing_mm=spacing_mm)
    noise, clean = operators.TransmissionCT(I0, ELECTRONIC), A(attenuation(hu))
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randn(clean.shape, generator=generator) for _ in range(noise.draws)]
    return recon.Measurement(A, noise.sample(clean, *draws), noise)


def scores(hu: Tensor, truth: Tensor) -> dict[str, float]:
    """PSNR in each window, of values cut off at its ends."""
    return {name: float(psnr(hu.clamp(low, high), truth.clamp(low, high), high - low).mean())
            for name, (low, high) in WINDOWS.items()}


def classical(m: recon.Measurement, method: str, options: dict) -> Tensor:
    """HU of a baseline."""
    line_integrals, noise = m.noise.logarithmic(m.y)
    more = {"lowest": 0.0, "tolerance": 3e-3, "max_iterations": 400} if method == "tv" else {}
    gaussian = recon.Measurement(m.operator, line_integrals, noise)
    return hounsfield(CLASSICAL[method](gaussian, **options, **more))


def tuned(path: str, method: str, I0: float) -> dict:
    """The options of a baseline with the highest PSNR on the middle training slice."""
    hu, spacings = slices(path, 0, 3)
    m = measure(hu[1:2], spacings[1], I0, seed=1)
    return max(GRIDS[method], key=lambda options: scores(classical(m, method, options), hu[1:2])["psnr"])


def in_attenuation(prior: recon.Prior) -> recon.Prior:
    """The prior with values in 1/mm."""
    scale, shift = prior.units.scale * WIDTH, prior.units.shift * WIDTH + LOW  # HU
    prior.units = recon.Units(WATER * scale / 1000, WATER * (1 + shift / 1000), "1/mm")
    return prior


def row_of(method: str, m: recon.Measurement, hu: Tensor, prior: recon.Prior, arguments: argparse.Namespace,
           options: dict) -> tuple[dict, Tensor]:
    """Scores of one method on one slice, and its picture in HU."""
    started = time.monotonic()
    if method in CLASSICAL:
        estimate, more = classical(m, method, options), {}
    else:
        post = recon.reconstruct(m, prior, method, steps=arguments.steps, samples=arguments.samples, seed=0,
                                 options={"tolerance": arguments.tolerance} if arguments.tolerance else None)
        estimate, more = hounsfield(post.mean), {
            "calls": post.nfe, "samples": arguments.samples,
            "psnr_one": scores(hounsfield(post.samples[0]), hu)["psnr"],
            "coverage": float(post.coverage(attenuation(hu)).mean()),
            "spread_over_error": float(post.spread_over_error(attenuation(hu)).mean()),
            **apart(post, hu),
        }
    chi_square = float(m.chi_square(WATER * (1 + estimate / 1000)).mean())  # air of any estimate as it is
    return {**scores(estimate, hu), **more, "chi_square": chi_square,
            "seconds": time.monotonic() - started}, estimate


def known(hu: Tensor) -> Tensor:
    """Where neither a value nor one nearby is beyond the prior's window, of the shape of hu (B, C, H, W)."""
    beyond = (hu < LOW) | (hu > LOW + WIDTH)
    return max_pool2d(beyond.float(), 2 * NEAR + 1, 1, NEAR) == 0


def apart(post: recon.Posterior, hu: Tensor) -> dict[str, float]:
    """How the posterior's width fits its error where the prior knows the values, and what the rest is of the error."""
    truth, inside = attenuation(hu), known(hu)
    low, high = post.interval(0.9)
    squares, variance = (post.mean - truth).double().square(), post.std.double().square() * (1 + 1 / post.count)
    return {
        "coverage_known": float(((truth >= low) & (truth <= high))[inside].double().mean()),
        "spread_over_error_known": float((variance[inside].mean() / squares[inside].mean()).sqrt()),
        "error_unknown": float(squares[~inside].sum() / squares.sum()),
        "pixels_unknown": float((~inside).double().mean()),
    }


def run(arguments: argparse.Namespace) -> None:
    """Measure what the output does not hold yet: one row a dose and method, mean over the slices."""
    from cli.pictures import image, overview

    prior = in_attenuation(recon.load_prior(arguments.prior))
    hu, spacings = slices(arguments.data, 1, arguments.items)
    finished = {(row["I0"], row["method"], row.get("tolerance")) for row in read_rows(arguments.output)}
    for I0 in map(float, arguments.photons.split(",")):
        shown = [[image("truth", "truth", x.numpy(), (-1000.0, 1000.0))] for x in hu]
        for method in arguments.methods.split(","):
            if (I0, method, None if method in CLASSICAL else arguments.tolerance) in finished:
                continue
            options = tuned(arguments.data, method, I0) if method in CLASSICAL else {}
            rows = []
            for k, spacing in enumerate(spacings):
                found, picture = row_of(method, measure(hu[k: k + 1], spacing, I0, k), hu[k: k + 1], prior, arguments,
                                        options)
                rows.append(found)
                title = f"{method} {found['psnr']:.1f} dB"
                shown[k].append(image(method, title, picture[0].numpy(), (-1000.0, 1000.0)))
            means = {key: round(sum(row[key] for row in rows) / len(rows), 3) for key in rows[0]}
            if method not in CLASSICAL and arguments.tolerance:
                options = {"tolerance": arguments.tolerance}
            row = {"I0": I0, "method": method, "views": VIEWS, "projector": "ray", "items": len(rows),
                   "prior": arguments.prior, **options, **means}
            append_row(arguments.output, row)
            print(row, flush=True)
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            overview(arguments.pictures / f"{I0:g}.png", [f"{s:.2f} mm" for s in spacings], shown)


def table(rows: list[dict]) -> str:
    """Markdown, a row for each dose and method."""
    heads = ("I0", "method", "psnr", "psnr_one", "psnr_lung", "coverage", "spread_over_error",
             "coverage_known", "spread_over_error_known", "error_unknown", "chi_square", "seconds")
    lines = [heads, ["---"] * len(heads), *([str(row.get(head, "")) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, or print the table of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="ct_body_hu_256.h5: images (N, 256, 256) of HU + 1024, pixel_spacing_mm, subset")
    parser.add_argument("--prior", default="ct-chest-256")
    parser.add_argument("--photons", default="1e4,1e5")
    parser.add_argument("--methods", default="fbp,spectral,tv")
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tolerance", type=float, help="of the solves of a posterior method; default: its own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="a folder for overviews of -1000 .. 1000 HU")
    parser.add_argument("-o", "--output", type=Path, default=Path("lowdose.jsonl"))
    parser.add_argument("--table", type=Path, help="print the table of a file and stop")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_rows(arguments.table)))
        return
    torch.set_num_threads(arguments.threads)
    run(arguments)


if __name__ == "__main__":
    main()
