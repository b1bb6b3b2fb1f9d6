"""The board of the Gaussian mixture: how far the samples of each method are from an exactly known posterior.

    python -m tests.benchmarks.mixture --n 300 --seeds 3 --dims 8,80 -o mixture.jsonl     # again: goes on
    python -m tests.benchmarks.mixture -o mixture.jsonl --table                           # Markdown

Set-up of Cardoso et al., Monte Carlo guided diffusion for Bayesian linear inverse problems, 2023, arXiv:2308.07983,
section 4: 25 components of unit covariance with means (8 i, 8 j), i and j from -2 to 2, repeated to dx numbers, weights
chi-square; operators with random singular vectors and singular values sorted from U(0, 1), noise U(0, 1) times the
largest. The posterior is a mixture. The distance is the mean over random directions of the W1 distance between the
projections of n samples and of n exact ones; `floor` is that of two exact sets. Every method gets the same number of
network calls a sample, particles counted; `population` is the kernel of `smc` as published, one filter whose n
particles are the n samples, and `population_twisted` one with that of `tds`. `energy` has no posterior here, and is
left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

import recon
from operators import Dense, Gaussian
from recon.population import mcgdiff, population, twisted
from tests.benchmarks.table import append_row, read_rows

POPULATIONS = {"population": (mcgdiff, 1.0), "population_twisted": (twisted, 0.5)}  # kernel, threshold


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


def distance(a: Tensor, b: Tensor, directions: int, seed: int = 0) -> float:
    """Mean over random directions of the W1 distance between the projections of a and b (n, dx)."""
    generator, sums = torch.Generator().manual_seed(seed), []
    for first in range(0, directions, 500):
        u = torch.randn(a.shape[1], min(500, directions - first), generator=generator, dtype=a.dtype)
        u = u / u.norm(dim=0)
        sums.append(((a @ u).sort(0).values - (b @ u).sort(0).values).abs().mean(0))
    return float(torch.cat(sums).mean())


def measure(dx: int, dy: int, seed: int, method: str, options: argparse.Namespace) -> dict:
    """One row of the board."""
    prior, measurement = problem(dx, dy, seed)
    row = {"dx": dx, "dy": dy, "seed": seed, "method": method, "n": options.n, "calls": options.calls}
    started = time.monotonic()
    try:
        with torch.no_grad():
            if method == "floor":
                x = exact(prior, measurement, options.n, seed + 10**6)
            elif method in POPULATIONS:
                kernel, threshold = POPULATIONS[method]
                post = population(measurement, prior, options.n, options.calls, seed, kernel, threshold=threshold)
                x = post.samples[:, 0]
            else:
                post = recon.reconstruct(measurement, prior, method, options.calls, options.n, seed)
                x, row["nfe"], row["backpropagations"] = post.samples[:, 0], post.nfe, post.backpropagations
        row["seconds"] = round(time.monotonic() - started, 2)
        row["w1"] = distance(x, exact(prior, measurement, options.n, seed), options.directions)
    except (ValueError, FloatingPointError) as error:
        row["failed"] = type(error).__name__
    return row


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
    parser.add_argument("--methods", default=",".join(["floor", *POPULATIONS, *others]))
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
    done = {(row["dx"], row["dy"], row["seed"], row["method"], row["n"], row["calls"]) for row in rows}
    for seed in range(options.seeds):
        for dx in map(int, options.dims.split(",")):
            for dy in map(int, options.data.split(",")):
                for method in options.methods.split(","):
                    if (dx, dy, seed, method, options.n, options.calls) not in done:
                        row = measure(dx, dy, seed, method, options)
                        append_row(options.output, row)
                        print(row, flush=True)


if __name__ == "__main__":
    main()
