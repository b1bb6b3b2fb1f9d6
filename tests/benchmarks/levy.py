"""The board of random walks: gap to the least squared error, and coverage, where the posterior is known by Gibbs.

    python -m tests.benchmarks.levy --laws gauss,laplace --signals 8 --samples 32 -o levy.jsonl
    python -m tests.benchmarks.levy -o levy.jsonl --table

Set-up of Zach et al., 2025, arXiv:2509.12821: signals of 64 values whose increments are independent; identity, a blur
of 13 taps, a mask of every other value in random places, random Fourier coefficients; noise at 25 dB. Increments are
Gaussian with a random variance v (fixed; exponential for Laplace; inverse gamma for Student), so a Gibbs sampler that
draws all increments given v, and v given the increments, has the exact posterior in its limit. It is the reference, and
with A = 1 it is the denoiser that the methods are given: no network errs here but the methods. Laws with a point mass
(Bernoulli-Laplace) need another sampler and are not here.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

import recon
from operators import Dense, Gaussian
from recon.prior import Prior
from recon.sde import VE
from tests.benchmarks.table import append_row, read_rows

SIZE = 64


class Law:
    """Increments u with u | v ~ N(0, v): `variances` draws v given u, `increments` draws u, (B, d)."""

    def __init__(self, name: str, parameter: float) -> None:
        self.name, self.parameter = name, parameter

    def variances(self, u: Tensor, generator: torch.Generator) -> Tensor:
        """v given u."""
        p = self.parameter
        if self.name == "gauss":
            return torch.full_like(u, p)
        if self.name == "laplace":  # 1 / v is inverse Gaussian with mean 1 / (p |u|) and shape 1 / p^2
            mean, shape = 1 / (p * u.abs().clamp(min=1e-8)), 1 / p**2
            n = torch.randn(u.shape, generator=generator, dtype=u.dtype).square()
            root = mean + mean.square() * n / (2 * shape)
            root = mean.square() / (root + (root.square() - mean.square()).clamp(min=0).sqrt())
            # (the smaller root of Michael, Schucany and Haas, 1976, without its cancellation)
            chance = torch.rand(u.shape, generator=generator, dtype=u.dtype)
            return 1 / torch.where(chance <= mean / (mean + root), root, mean.square() / root)
        gamma = torch._standard_gamma(torch.full_like(u, (p + 1) / 2), generator=generator)
        return (p + u.square()) / 2 / gamma

    def increments(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Independent draws of u."""
        n = torch.randn(shape, generator=generator, dtype=torch.float64)
        if self.name == "gauss":
            return math.sqrt(self.parameter) * n
        if self.name == "laplace":
            exponential = -torch.rand(shape, generator=generator, dtype=torch.float64).clamp(min=1e-300).log()
            return self.parameter * (2 * exponential).sqrt() * n
        half = torch.full(shape, self.parameter / 2, dtype=torch.float64)
        return n * (half / torch._standard_gamma(half, generator=generator)).sqrt()


LAWS = {"gauss": Law("gauss", 0.25), "laplace": Law("laplace", 1.0),
        **{f"student{nu}": Law("student", float(nu)) for nu in (1, 2, 3)}}


def gibbs(
    law: Law, y: Tensor, matrix: Tensor, sigma: float, sweeps: int, burn: int, seed: int, keep: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (B, d) and covariance (B, d, d) of x given y = matrix x + sigma n, and `keep` late draws (keep, B, d).

    The moments are means of those given v, so they vary less than those of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    d = matrix.shape[1]
    walk = torch.ones(d, d, dtype=torch.float64).tril()  # x = walk u
    seen = matrix @ walk
    gram, right = seen.T @ seen / sigma**2, y @ seen / sigma**2
    u = right.new_zeros(len(y), d)
    v = law.variances(torch.ones_like(u), generator)
    total, outer, spread, draws = torch.zeros_like(u), 0, 0, []
    for sweep in range(burn + sweeps):
        root = torch.linalg.cholesky(gram + torch.diag_embed(1 / v))
        mean = torch.cholesky_solve(right[..., None], root)[..., 0]
        n = torch.randn(u.shape, generator=generator, dtype=u.dtype)
        u = mean + torch.linalg.solve_triangular(root.mT, n[..., None], upper=True)[..., 0]
        v = law.variances(u, generator).clamp(1e-12, 1e12)
        if sweep >= burn:
            total, outer = total + mean, outer + mean[..., :, None] * mean[..., None, :]
            spread = spread + torch.cholesky_inverse(root)
            if sweep >= burn + sweeps - keep:
                draws.append(u @ walk.T)
    mean = total / sweeps
    covariance = (outer + spread) / sweeps - mean[..., :, None] * mean[..., None, :]
    return mean @ walk.T, walk @ covariance @ walk.T, torch.stack(draws) if draws else u[:0]


class _Denoised(torch.autograd.Function):
    """Gibbs' mean, whose derivative is its covariance over sigma^2 (Tweedie's second formula)."""

    @staticmethod
    def forward(ctx, x: Tensor, sigma: float, law: Law, sweeps: int) -> Tensor:
        eye = torch.eye(x.shape[1], dtype=x.dtype)
        mean, covariance, _ = gibbs(law, x, eye, sigma, sweeps, max(5, sweeps // 4), 7)
        ctx.save_for_backward(covariance / sigma**2)
        return mean

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        return (ctx.saved_tensors[0] @ gradient[..., None])[..., 0], None, None, None


class WalkPrior(Prior):
    """Walks of a law, denoised by Gibbs."""

    def __init__(self, law: Law, size: int = SIZE, sweeps: int = 30) -> None:
        training = law.increments((4000, size), torch.Generator().manual_seed(1)).cumsum(1)
        super().__init__((size,), VE(1e-3, 1e4), name=law.name)
        self.law, self.sweeps = law, sweeps
        self.data_std = float(training.abs().median(0).values.mean() / 0.6745)  # heavy tails have no variance
        self.spread = self.data_std * math.sqrt(size)
        self.register_buffer("zero", torch.zeros(size, dtype=torch.float64))

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        return _Denoised.apply(x, float(sigma), self.law, self.sweeps)

    def mean_image(self, shape: tuple[int, ...]) -> Tensor:
        return self.zero[None]


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


def measure(law: Law, task: str, methods: list[str], options: argparse.Namespace) -> list[dict]:
    """A row for the reference and for each method: mean squared error, gap in dB, coverage at 0.9."""
    generator, matrix = torch.Generator().manual_seed(5), matrices()[task]
    x = law.increments((options.signals, SIZE), generator).cumsum(1)
    clean = x @ matrix.T
    sigma = float(clean.square().mean().sqrt()) * 10 ** (-25 / 20)
    y = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    mean, _, draws = gibbs(law, y, matrix, sigma, options.sweeps, options.sweeps // 4, 11, keep=options.sweeps)
    best = float((mean - x).square().mean())
    low, high = draws.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
    name = {"law": law.name + (f"({law.parameter:g})"), "task": task, "calls": options.calls}
    covered = float(((x >= low) & (x <= high)).double().mean())
    rows = [{**name, "method": "gibbs", "mse": best, "gap": 0.0, "coverage": covered}]
    measurement = recon.Measurement(Dense(matrix, (SIZE,), (len(matrix),)), y, Gaussian(sigma))
    for method in methods:
        try:
            prior = prior_of(law, options.denoiser_sweeps)
            post = recon.reconstruct(measurement, prior, method, options.calls, options.samples)
            # the mean of S draws has 1 / S of their variance for an error of its own, which is taken off
            error = float((post.mean - x).square().mean() - post.std.square().mean() / options.samples)
            gap, covered = 10 * math.log10(max(error, 1e-12) / best), float(post.coverage(x).mean())
            rows.append({**name, "method": method, "mse": error, "gap": gap, "coverage": covered, "nfe": post.nfe})
        except (ValueError, FloatingPointError) as failure:
            rows.append({**name, "method": method, "failed": type(failure).__name__})
    return rows


def table(rows: list[dict]) -> str:
    """Markdown: a line a method, a column a law and task; gap in dB and coverage."""
    cells = list(dict.fromkeys((row["law"], row["task"]) for row in rows))
    lines = ["| method | " + " | ".join(f"{a}, {b}" for a, b in cells) + " |", "|---|" + "---:|" * len(cells)]
    for method in dict.fromkeys(row["method"] for row in rows):
        of = {(row["law"], row["task"]): row for row in rows if row["method"] == method}
        shown = [f"{of[c]['gap']:.2f} dB, {of[c]['coverage']:.2f}" if "gap" in of.get(c, {}) else "" for c in cells]
        lines.append(f"| `{method}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("levy.jsonl"))
    parser.add_argument("--laws", default="gauss,laplace")
    parser.add_argument("--tasks", default=",".join(matrices()))
    parser.add_argument("--methods", default="spectral,moment,pigdm,dps,diffpir,ddnm,daps")
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--sweeps", type=int, default=2000, help="of the reference")
    parser.add_argument("--denoiser-sweeps", type=int, default=30)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = read_rows(options.output)
    if options.table:
        print(table(rows))
        return
    for law in options.laws.split(","):
        for task in options.tasks.split(","):
            label = f"{LAWS[law].name}({LAWS[law].parameter:g})"
            done = {row["method"] for row in rows if (row["law"], row["task"]) == (label, task)}
            missing = [method for method in options.methods.split(",") if method not in done]
            if missing:
                for row in measure(LAWS[law], task, missing, options):
                    if row["method"] not in done:
                        append_row(options.output, row)
                        print(row, flush=True)


if __name__ == "__main__":
    main()
