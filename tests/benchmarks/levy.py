"""The board of random walks: gap to the least squared error, and coverage, where the posterior is known by Gibbs.

    python -m tests.benchmarks.levy --laws gauss,laplace --signals 8 --samples 32 -o levy.jsonl
    python -m tests.benchmarks.levy -o levy.jsonl --table

Set-up of Zach et al., 2025, arXiv:2509.12821: signals of 64 values whose increments are independent; identity, a blur
of 13 taps, a mask of every other value in random places, random Fourier coefficients; noise at 25 dB. The reference is
a Gibbs sampler, and the denoiser that the methods are given is exact as well (for Student's increments, Gibbs too): no
network errs here but the methods. See `tests.benchmarks.walks`.
"""

from __future__ import annotations

import argparse
import functools
import math
from pathlib import Path

import torch
from torch import Tensor

import recon
from operators import Dense, Gaussian
from recon.prior import Prior
from tests.benchmarks.table import append_row, read_rows
from tests.benchmarks.walks import LAWS, SIZE, Law, WalkPrior, gibbs


@functools.cache
def prior_of(law: Law, sweeps: int) -> Prior:
    """The exact prior: in closed form for Gauss."""
    if law.name != "gauss":
        return WalkPrior(law, sweeps=sweeps)
    walk = torch.ones(SIZE, SIZE, dtype=torch.float64).tril()
    return recon.GaussianPrior(torch.zeros(SIZE, dtype=torch.float64), law.parameter * walk @ walk.T)


def matrices() -> dict[str, Tensor]:
    """The operators, (data, 64)."""
    generator, eye = torch.Generator().manual_seed(3), torch.eye(SIZE, dtype=torch.float64)
    taps = torch.exp(-0.5 * (torch.arange(-6, 7, dtype=torch.float64) / 2).square())
    offsets = zip(taps / taps.sum(), range(-6, 7), strict=True)
    blur = sum(tap * torch.diag(torch.ones(SIZE - abs(k), dtype=torch.float64), k) for tap, k in offsets)
    chosen = torch.randperm(SIZE // 2, generator=generator)[: SIZE // 4] + 1
    chosen = torch.cat([torch.zeros(1, dtype=torch.long), chosen]).unique()
    rows = torch.fft.fft(eye, norm="ortho")[chosen]
    return {
        "identity": eye,
        "blur": blur,
        "mask": eye[torch.randperm(SIZE, generator=generator)[: SIZE // 2].sort().values],
        "fourier": torch.cat([rows.real, rows.imag[1:]]),
    }


def gap(error: Tensor, least: Tensor) -> dict[str, float]:
    """10 log10 of the ratio of two mean squared errors over signals, and its standard error: they share the signals."""
    apart = error / error.mean() - least / least.mean()
    scale = 10 / math.log(10)
    return {"gap": scale * math.log(max(float(error.mean() / least.mean()), 1e-6)),
            "gap_error": scale * float(apart.std()) / math.sqrt(len(apart))}


def measure(law: Law, task: str, methods: list[str], options: argparse.Namespace) -> list[dict]:
    """A row for the reference and for each method: mean squared error, gap in dB, coverage at 0.9."""
    generator, matrix = torch.Generator().manual_seed(5), matrices()[task]
    x = law.increments((options.signals, SIZE), generator).cumsum(1)
    clean = x @ matrix.T
    sigma = float(clean.square().mean().sqrt()) * 10 ** (-25 / 20)
    y = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    mean, _, draws = gibbs(law, y, matrix, sigma, options.sweeps, options.sweeps // 4, 11, keep=options.sweeps)
    least = (mean - x).square().mean(1)  # of each signal
    low, high = draws.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
    name = {"law": law.label, "task": task, "calls": options.calls, "signals": options.signals,
            "samples": options.samples}
    covered = float(((x >= low) & (x <= high)).double().mean())
    rows = [{**name, "method": "gibbs", "mse": float(least.mean()), "gap": 0.0, "coverage": covered}]
    measurement = recon.Measurement(Dense(matrix, (SIZE,), (len(matrix),)), y, Gaussian(sigma))
    for method in methods:
        try:
            prior = prior_of(law, options.denoiser_sweeps)
            base, _, step = method.partition("+")
            settings = {"step": step} if step else {}
            post = recon.reconstruct(measurement, prior, base, options.calls, options.samples, options=settings)
            # The error of an estimate is the least one and its distance from the posterior's mean, in the mean over
            # data. The mean of S draws has 1 / S of their variance for an error of its own, which is taken off.
            apart = (post.mean - mean).square().mean(1) - post.std.square().mean(1) / options.samples
            error = least + apart
            rows.append({**name, "method": method, "mse": float(error.mean()), **gap(error, least),
                         "coverage": float(post.coverage(x).mean()), "nfe": post.nfe})
        except (ValueError, FloatingPointError) as failure:
            rows.append({**name, "method": method, "failed": type(failure).__name__})
    return rows


def _cell(row: dict) -> str:
    error = f" ± {row['gap_error']:.2f}" if "gap_error" in row else ""
    return f"{row['gap']:.2f}{error} dB, {row['coverage']:.2f}"


def table(rows: list[dict]) -> str:
    """Markdown: a line a method, a column a law and task; gap in dB and coverage."""
    cells = list(dict.fromkeys((row["law"], row["task"]) for row in rows))
    lines = ["| method | " + " | ".join(f"{a}, {b}" for a, b in cells) + " |", "|---|" + "---:|" * len(cells)]
    for method in dict.fromkeys(row["method"] for row in rows):
        of = {(row["law"], row["task"]): row for row in rows if row["method"] == method}
        shown = [_cell(of[c]) if "gap" in of.get(c, {}) else "" for c in cells]
        lines.append(f"| `{method}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("levy.jsonl"))
    parser.add_argument("--laws", default="gauss,laplace,bernoulli,student3,student2,student1")
    parser.add_argument("--tasks", default=",".join(matrices()))
    parser.add_argument("--methods", default="spectral,moment,pigdm,dps,diffpir,ddnm,daps",
                        help="NAME or NAME+STEP")
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--sweeps", type=int, default=2000, help="of the reference")
    parser.add_argument("--denoiser-sweeps", type=int, default=30)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    for flag, named, known in (("laws", options.laws, LAWS), ("tasks", options.tasks, matrices())):
        if unknown := set(named.split(",")) - set(known):
            parser.error(f"--{flag}: got {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    rows = read_rows(options.output)
    if options.table:
        print(table(rows))
        return
    for law in options.laws.split(","):
        for task in options.tasks.split(","):
            done = {row["method"] for row in rows if (row["law"], row["task"]) == (LAWS[law].label, task)}
            missing = [method for method in options.methods.split(",") if method not in done]
            if missing:
                for row in measure(LAWS[law], task, missing, options):
                    if row["method"] not in done:
                        append_row(options.output, row)
                        print(row, flush=True)


if __name__ == "__main__":
    main()
