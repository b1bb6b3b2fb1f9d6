"""The exact law of a sampler that is affine in the noise it draws: no Monte Carlo, only unit impulses.

A linear preset maps (state, fresh noise) to the next state by an affine map. A batch that holds the mean, the mean plus
each column of a root of the covariance, and the mean with each number of the fresh noise set to one in turn, goes
through the package's own loop; the differences to the first row are the columns of the next root.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import recon
from operators import OPERATORS, Gaussian, LinearOperator, dense_matrix
from recon.exponential import DPMSolver2M, DPMSolver3M, UniPC
from recon.noise import Noise
from recon.stochastic import Ancestral2M

MEMORY = (Ancestral2M, DPMSolver2M, DPMSolver3M, UniPC)  # steps that remember the levels before


@dataclass
class Impulses:
    """Noise that is zero, except that the k-th number drawn is one in row `first + k`; all zero for a single row."""

    first: int
    drawn: int = 0

    def __call__(self, like: Tensor) -> Tensor:
        values = torch.zeros(len(like), like[0].numel(), dtype=like.dtype)
        place = torch.arange(values.shape[1])
        if len(like) > 1:
            values[self.first + self.drawn + place, place] = 1.0
        self.drawn += len(place)
        return values.reshape(like.shape)


Build = Callable[[Noise, int], recon.Method]


def law(build: Build, mean: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n,) and covariance (n, n) of the end of a run from N(mean, root^T root).

    Args:
        build: (noise, rows) -> the method for a batch of that many rows; its levels must not depend on either.
        mean: (*event), float64.
        root: (k, *event).
    """
    first = build(Impulses(0), 1)
    sigmas, event = first.sigmas, mean.shape
    if isinstance(first.step, MEMORY):
        return whole_law(build, mean, root)
    for pair in zip(sigmas, sigmas[1:], strict=False):

        def after(state: Tensor) -> tuple[Tensor, int]:
            noise = Impulses(1 + len(root))  # noqa: B023
            plan = build(noise, len(state))
            with torch.no_grad():
                return recon.sample(plan.denoise, state, pair, plan.step, plan.moves, noise), noise.drawn  # noqa: B023

        _, count = after(mean[None])
        state = torch.cat([mean[None], mean + root, mean.expand(count, *event)])
        ends, _ = after(state)
        mean = ends[0]
        root = torch.linalg.qr((ends[1:] - mean).flatten(1), mode="r").R.reshape(-1, *event)
    flat = root.flatten(1)
    return mean.flatten(), flat.T @ flat


def whole_law(build: Build, mean: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """`law` in one run, each row with one number of all that are drawn: for steps that remember the levels before."""
    event, noise = mean.shape, Impulses(0)
    plan = build(noise, 1)
    with torch.no_grad():
        recon.sample(plan.denoise, mean[None], plan.sigmas, plan.step, plan.moves, noise)
        states = torch.cat([mean[None], mean + root, mean.expand(noise.drawn, *event)])
        impulses = Impulses(1 + len(root))
        plan = build(impulses, len(states))
        ends = recon.sample(plan.denoise, states, plan.sigmas, plan.step, plan.moves, impulses).flatten(1)
    apart = ends[1:] - ends[0]
    return ends[0], apart.T @ apart


def start(prior: recon.Prior, sigma: float) -> tuple[Tensor, Tensor]:
    """Mean and root of the states that the package starts from at level sigma."""
    n = math.prod(prior.shape)
    mean = prior.start(torch.zeros(1, *prior.shape, dtype=torch.float64), sigma)
    return mean[0], prior.start(torch.eye(n, dtype=torch.float64).reshape(n, *prior.shape), sigma) - mean


def preset_law(name: str, problem: Problem, steps: int, **options: object) -> tuple[Tensor, Tensor]:
    """The law of a preset from the start that `reconstruct` gives it."""

    def build(noise: Noise, rows: int) -> recon.Method:
        return recon.METHODS[name](problem.measurement.rows([0] * rows), problem.prior, steps, noise, **options)

    return law(build, *start(problem.prior, build(Impulses(0), 1).sigmas[0]))


@dataclass(frozen=True)
class Problem:
    """A Gaussian prior seen through a linear operator, and the matrices: mean mu, covariance C, operator M, data y."""

    prior: recon.GaussianPrior
    measurement: recon.Measurement
    mu: Tensor
    C: Tensor
    M: Tensor
    y: Tensor
    sigma_y: float

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of x given y, by the textbook formula."""
        return condition(self.mu, self.C, self.M, self.y, self.sigma_y**2)


def condition(mean: Tensor, covariance: Tensor, matrix: Tensor, data: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x ~ N(mean, covariance) given data = matrix x + N(0, noise I)."""
    total = matrix @ covariance @ matrix.T + noise * torch.eye(len(matrix), dtype=matrix.dtype)
    gain = torch.linalg.solve(total, matrix @ covariance).T
    return mean + gain @ (data - matrix @ mean), covariance - gain @ matrix @ covariance


def spectrum(height: int, width: int) -> Tensor:
    """A red spectrum of mean 1."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64).square() for n in (height, width))
    values = (0.02 + rows[:, None] + columns) ** -1.5
    return values / values.mean()


def dense_stationary(values: Tensor) -> Tensor:
    """The covariance matrix of a stationary field, from its correlation function c(i - j)."""
    height, width = values.shape
    correlation = torch.fft.ifft2(values).real
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    return correlation[(rows[:, None] - rows) % height, (columns[:, None] - columns) % width]


TASKS: dict[str, dict] = {
    "inpaint": {"keep": 0.5},
    "blur": {"std": 1.0},
    "downsample": {"factor": 2},
    "ct": {"angles": 3},
}


def field_problem(
    task: str, shape: tuple[int, int] = (8, 8), sigma_y: float = 0.1, mean: float = 0.3, sde: recon.SDE | None = None
) -> Problem:
    """One draw of a stationary field of variance 1, seen by an operator of TASKS."""
    C = dense_stationary(spectrum(*shape))
    prior = recon.GaussianPrior(torch.full((1, *shape), mean, dtype=torch.float64), spectrum(*shape), sde)
    return _measured(prior, C, OPERATORS[task](shape=shape, **TASKS[task]), sigma_y)


def vector_problem(unknowns: int = 4, data: int = 2, sigma_y: float = 0.2, sde: recon.SDE | None = None) -> Problem:
    """A plain vector with a dense covariance and a dense operator."""
    from operators import Dense

    generator = torch.Generator().manual_seed(3)
    root, matrix = (torch.randn(n, unknowns, generator=generator, dtype=torch.float64) for n in (unknowns, data))
    C = root.T @ root / unknowns
    prior = recon.GaussianPrior(torch.linspace(-1, 1, unknowns, dtype=torch.float64), C, sde)
    return _measured(prior, C, Dense(matrix, (unknowns,), (data,)), sigma_y)


def _measured(prior: recon.GaussianPrior, C: Tensor, operator: LinearOperator, sigma_y: float) -> Problem:
    generator = torch.Generator().manual_seed(1)
    M, mu = dense_matrix(operator), prior.mean.flatten()
    x = mu + torch.linalg.cholesky(C) @ torch.randn(len(mu), generator=generator, dtype=torch.float64)
    batched = x.reshape(1, *prior.shape)
    clean = operator(batched)
    y = clean + sigma_y * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    measurement = recon.Measurement(operator, y, Gaussian(sigma_y))
    return Problem(prior, measurement, mu, C, M, measurement.y.flatten(), sigma_y)


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float(((a - b).norm() / b.norm()).detach())
