"""The board of the Gaussian mixture: how far the samples of each method are from an exactly known posterior.

    python -m tests.benchmarks.mixture --dims 8,80 --seeds 3 -o mixture.jsonl     # again: goes on
    python -m tests.benchmarks.mixture -o mixture.jsonl --table                   # Markdown

Set-up of Cardoso et al., Monte Carlo guided diffusion for Bayesian linear inverse problems, 2023, arXiv:2308.07983,
section 4: 25 components of unit covariance with means (8 i, 8 j), i and j from -2 to 2, repeated to dx numbers, weights
chi-square; operators with random singular vectors and singular values sorted from U(0, 1), noise U(0, 1) times the
largest. The posterior is a mixture. The distance is the mean over random directions of the W1 distance between the
projections of n samples and of n exact ones; `floor` is that of two exact sets. Every method gets the same number of
network calls a sample, particles counted. `smc, n particles` is MCGDiff as published: one filter whose n particles are
the n samples, resampled at every level; `population` is ours of that kind, also by other kernels; `smc` and `tds` draw
each sample by particles of its own. `energy` has no posterior here, and is left out. All methods of a seed are given
the same exact samples, directions and noise.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import recon
from operators import Dense, Gaussian
from recon.noise import CounterNoise
from tests.benchmarks.table import append_row, read_rows

VARIANTS = {  # row -> method, options
    "smc, n particles": ("population", {"kernel": "mcgdiff", "threshold": 1.0}),
    "smc, drawn": ("smc", {"kernel": "drawn"}),
    "population, guided": ("population", {"kernel": "spectral"}),
    "population, twisted": ("population", {"kernel": "twisted"}),
    "population, mcgdiff": ("population", {"kernel": "mcgdiff"}),
}
DIRECTIONS = 500  # at a time


class CommonNoise(CounterNoise):
    """The same numbers, those of earlier methods looked up: making them takes longer than the methods."""

    kept: dict[tuple, Tensor] = {}  # noqa: RUF012

    def __call__(self, like: Tensor) -> Tensor:
        key = (self.seed, self.rows[0], len(self.rows), self.draw, tuple(like.shape[1:]))
        if key in self.kept:
            self.draw += 1
        else:
            self.kept[key] = super().__call__(torch.empty_like(like, dtype=torch.float32))
        return self.kept[key].to(like)


def problem(dx: int, dy: int, seed: int) -> tuple[recon.MixturePrior, recon.Measurement]:
    """One draw of the weights, the operator, the noise level and the data."""
    generator = torch.Generator().manual_seed(seed * 10007 + dx * 101 + dy)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def share(count: int) -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64)

    steps = [(8.0 * i, 8.0 * j) for i in range(-2, 3) for j in range(-2, 3)]
    means = torch.tensor(steps, dtype=torch.float64).repeat(1, dx // 2)
    weights = draw(len(means)).square()
    prior = recon.MixturePrior(means, torch.eye(dx, dtype=torch.float64), weights / weights.sum())
    left, right = torch.linalg.qr(draw(dy, dy)).Q, torch.linalg.qr(draw(dx, dy)).Q
    values = share(dy).sort(descending=True).values
    matrix = left @ torch.diag(values) @ right.T
    sigma = float(share(1) * values[0])
    x = means[int(torch.multinomial(prior.weights, 1, generator=generator))] + draw(dx)
    y = matrix @ x + sigma * draw(dy)
    return prior, recon.Measurement(Dense(matrix, (dx,), (dy,)), y[None], Gaussian(sigma))


def exact(prior: recon.MixturePrior, measurement: recon.Measurement, n: int, seed: int) -> Tensor:
    """n draws from the posterior, (n, dx): component k with weight w_k N(y; A m_k, A A^T + s^2), then its Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    matrix, y, s = measurement.operator.matrix, measurement.y[0], measurement.sigma
    total = matrix @ matrix.T + s**2 * torch.eye(len(matrix), dtype=matrix.dtype)
    logs = torch.distributions.MultivariateNormal(prior.means @ matrix.T, total).log_prob(y)
    chosen = torch.multinomial((prior.weights.log() + logs).softmax(0), n, replacement=True, generator=generator)
    x = prior.means[chosen] + torch.randn(n, len(prior.mean), generator=generator, dtype=matrix.dtype)
    data = x @ matrix.T + s * torch.randn(n, len(y), generator=generator, dtype=matrix.dtype)
    return x + torch.linalg.solve(total, (y - data).T).T @ matrix  # Matheron's rule


def projected(x: Tensor, directions: int, seed: int = 0) -> np.ndarray:
    """The projections of samples x (n, dx) on random directions, each sorted, (directions, n) float32."""
    generator, x = torch.Generator().manual_seed(seed), x.float()
    found = np.empty((directions, len(x)), dtype=np.float32)
    for first in range(0, directions, DIRECTIONS):
        u = torch.randn((min(DIRECTIONS, directions - first), x.shape[1]), generator=generator)
        found[first : first + DIRECTIONS] = np.sort((u / u.norm(dim=1, keepdim=True)) @ x.T, axis=1)
    return found


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the directions of the W1 distance between two sets of sorted projections."""
    return float(np.mean([np.abs(u - v).mean(dtype=np.float64) for u, v in zip(a, b, strict=True)]))


def measure(cell: tuple[int, int, int], methods: list[str], options: argparse.Namespace) -> Iterator[dict]:
    """The rows of the board for (dx, dy, seed)."""
    dx, dy, seed = cell
    prior, measurement = problem(dx, dy, seed)
    reference = projected(exact(prior, measurement, options.n, seed), options.directions)
    for name in methods:
        row = {"dx": dx, "dy": dy, "seed": seed, "method": name, "n": options.n, "calls": options.calls}
        started = time.monotonic()
        try:
            if name == "floor":
                x = exact(prior, measurement, options.n, seed + 10**6)
            else:
                method, settings = VARIANTS.get(name, (name, {}))
                post = recon.reconstruct(
                    measurement, prior, method, options.calls, options.n, seed, options=settings
                )
                x, row["nfe"], row["backpropagations"] = post.samples[:, 0], post.nfe, post.backpropagations
            row["seconds"] = round(time.monotonic() - started, 2)
            row["w1"] = distance(projected(x, options.directions), reference)
        except (ValueError, FloatingPointError) as error:
            row["failed"] = type(error).__name__
        yield row


def table(rows: list[dict]) -> str:
    """Markdown: a line a method, a column (dx, dy): the mean over seeds +- its standard error."""
    cells = sorted({(row["dx"], row["dy"]) for row in rows})
    found: dict[str, dict[tuple, list[float]]] = {}
    for row in rows:
        of_cell = found.setdefault(row["method"], {}).setdefault((row["dx"], row["dy"]), [])
        of_cell += [row["w1"]] if "w1" in row else []

    def text(values: list[float]) -> str:
        if not values:
            return "fails"
        w1 = torch.tensor(values, dtype=torch.float64)
        return f"{w1.mean():.2f}" + (f" ± {w1.std() / len(w1) ** 0.5:.2f}" if len(w1) > 1 else "")

    def rank(item: tuple[str, dict]) -> float:
        every = [sum(v) / len(v) if v else 1e9 for v in item[1].values()]
        return sum(every) / len(every)

    lines = ["| method | " + " | ".join(f"dx {a}, dy {b}" for a, b in cells) + " |", "|---|" + "---:|" * len(cells)]
    for method, of_method in sorted(found.items(), key=rank):
        shown = [text(of_method[cell]) if cell in of_method else "" for cell in cells]
        lines.append(f"| `{method}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    others = [name for name in recon.METHODS if name not in ("repaint", "energy")]
    parser.add_argument("-o", "--output", type=Path, default=Path("mixture.jsonl"))
    parser.add_argument("--methods", default=";".join(["floor", *VARIANTS, *others]), help="rows, parted by ;")
    parser.add_argument("--n", type=int, default=2000, help="samples of each set")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--dims", default="8,80,800", help="dx")
    parser.add_argument("--data", default="1,2,4", help="dy")
    parser.add_argument("--calls", type=int, default=100, help="network calls a sample")
    parser.add_argument("--directions", type=int, default=10_000)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = read_rows(options.output)
    if options.table:
        print(table(rows))
        return
    importlib.import_module("recon.reconstruct").CounterNoise = CommonNoise
    done = {(row["dx"], row["dy"], row["seed"], row["method"], row["n"], row["calls"]) for row in rows}
    for seed, dx in product(range(options.seeds), map(int, options.dims.split(","))):
        CommonNoise.kept.clear()
        for dy in map(int, options.data.split(",")):
            cell = (dx, dy, seed)
            missing = [m for m in options.methods.split(";") if (*cell, m, options.n, options.calls) not in done]
            for row in measure(cell, missing, options) if missing else ():
                append_row(options.output, row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
