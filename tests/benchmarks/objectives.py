"""The forms of score matching on a two-dimensional mixture whose score is known: what they learn, at what price.

    python -m tests.benchmarks.objectives            # prints Markdown; a minute

A small network is trained from the same start on the same draws by each objective, at continuous noise levels and on
NCSN's ladder. The error is that of the learnt score, |s - s*| / |s*| in the mean square over noisy draws; the variance
is that of the loss's gradient over batches at the common start, relative to denoising; seconds are of the training.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn

import recon
from recon.levels import LEVELS
from recon.objectives import OBJECTIVES, WEIGHTINGS
from recon.prior import ScorePrior

BATCH, LEVEL_RANGE = 256, (0.05, 10.0)


class Network(nn.Module):
    """F(x, c) for points x (B, 2)."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 2),
        )
        self.register_buffer("frequencies", torch.logspace(-1, 1, 8))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        phase = 4 * c[:, None] * self.frequencies
        return self.layers(torch.cat([x, phase.sin(), phase.cos()], 1))


def mixture() -> recon.MixturePrior:
    """Five normal distributions of different shapes."""
    angles = 2 * torch.pi * torch.arange(5) / 5
    means = 2 * torch.stack([angles.cos(), angles.sin()], 1)
    shapes = torch.stack([torch.diag(torch.tensor([0.05 + 0.05 * k, 0.3 - 0.05 * k])) for k in range(5)])
    return recon.MixturePrior(means, shapes, torch.tensor([0.3, 0.1, 0.2, 0.25, 0.15]))


def draws(exact: recon.MixturePrior, count: int, generator: torch.Generator) -> Tensor:
    """Exact draws of the mixture, (count, 2)."""
    choice = torch.multinomial(exact.weights, count, replacement=True, generator=generator)
    return exact.sample(torch.randn(count, 2, generator=generator), choice)


def learner(exact: recon.MixturePrior) -> ScorePrior:
    """The network at its start, always the same."""
    torch.manual_seed(0)
    return ScorePrior(Network(), (2,), recon.VE(*LEVEL_RANGE), exact.data_std)


def batch(exact: recon.MixturePrior, prior: ScorePrior, levels: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points, noise levels and noise of batch number `seed`."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    config = recon.TrainConfig(log_sigma_mean=-0.5, log_sigma_std=1.2)
    x0 = draws(exact, BATCH, generator)
    sigma = LEVELS[levels](config, prior.sde, BATCH, generator)
    return x0, sigma, torch.randn(x0.shape, generator=generator)


def loss(prior: ScorePrior, objective: str, data: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The weighted loss of a batch."""
    weight = WEIGHTINGS["edm"](data[1], prior.data_std, prior.sde)
    return (weight * OBJECTIVES[objective](prior, *data)).mean()


def score_error(exact: recon.MixturePrior, prior: ScorePrior) -> float:
    """Relative error of sigma times the score over noisy draws of all levels."""
    x0, sigma, noise = batch(exact, prior, "lognormal", 10**6)
    x, s = x0 + sigma[:, None] * noise, sigma[:, None]
    with torch.no_grad():
        learnt, true = s * prior.score(x, sigma), s * exact.score(x, sigma)
    return float((learnt - true).norm() / true.norm())


def gradient_variance(exact: recon.MixturePrior, objective: str, count: int = 40) -> float:
    """Total variance of the gradient over batches, at the start."""
    prior, found = learner(exact), []
    for seed in range(count):
        gradients = torch.autograd.grad(loss(prior, objective, batch(exact, prior, "lognormal", seed)),
                                        list(prior.parameters()))
        found.append(torch.cat([g.flatten() for g in gradients]))
    return float(torch.stack(found).var(0).sum())


def trained(exact: recon.MixturePrior, objective: str, levels: str, steps: int) -> tuple[float, float]:
    """(score error, seconds) after some steps."""
    prior = learner(exact)
    optimiser = torch.optim.Adam(prior.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    started = time.monotonic()
    for step in range(steps):
        optimiser.zero_grad()
        loss(prior, objective, batch(exact, prior, levels, step)).backward()
        optimiser.step()
        schedule.step()
    return score_error(exact, prior), time.monotonic() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    exact = mixture()
    reference = gradient_variance(exact, "denoising")
    print(f"untrained: error {score_error(exact, learner(exact)):.3f}\n")
    print("| objective | levels | score error | gradient variance | seconds |\n|---|---|---:|---:|---:|")
    for objective in OBJECTIVES:
        variance = gradient_variance(exact, objective) / reference
        for levels in ("lognormal", "discrete"):
            error, seconds = trained(exact, objective, levels, arguments.steps)
            print(f"| {objective} | {levels} | {error:.3f} | {variance:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
