"""Guidance that is not linear, against its paper's update on a mixture: MCG's projected gradient, LGD's averaged
likelihood.
"""

from __future__ import annotations

import math

import pytest
import torch
from law import relative
from test_published import (
    COVARIANCES,
    MEANS,
    START,
    WEIGHTS,
    B,
    D,
    N,
    alpha_bar,
    assert_same_path,
    replay,
)
from test_steps import draw
from torch import Tensor
from torch.distributions import MultivariateNormal

import recon
from operators import Dense, Gaussian
from recon.condition import guided
from recon.loss import mean_likelihood

PRIOR = recon.MixturePrior(MEANS, COVARIANCES, WEIGHTS, sde=recon.VP())
MATRIX = draw(3, D, seed=11)
MATRIX /= torch.linalg.matrix_norm(MATRIX, 2)
Y = draw(B, 3, seed=12)
MEASUREMENT = recon.Measurement(Dense(MATRIX, (D,), (3,)), Y, Gaussian(0.1))


def estimate(leaf: Tensor, a: float) -> Tensor:
    """E[x0 | x] by the score of the mixture, differentiable, for x = sqrt(a) x0 + sqrt(1 - a) eps."""
    spread = a * COVARIANCES + (1 - a) * torch.eye(D, dtype=torch.float64)
    logs = MultivariateNormal(math.sqrt(a) * MEANS, spread).log_prob(leaf[:, None]) + WEIGHTS.log()
    s = torch.autograd.grad(torch.logsumexp(logs, 1).sum(), leaf, create_graph=True)[0]
    return (leaf + (1 - a) * s) / math.sqrt(a)


def test_mcg():
    """Chung et al., 2022, algorithm 1: an ancestral step, - alpha grad |y - A x0|^2, then (I - A^+ A) x + A^+ y_i.

    alpha = zeta / (2 |y - A x0|); y_i = sqrt(b) y + sqrt(1 - b) A n, the data at the level reached.
    """
    zeta = 0.7
    plan = recon.METHODS["mcg"](MEASUREMENT, PRIOR, N, None, zeta=zeta, damping=0.0)
    levels = [alpha_bar(t) for t in torch.linspace(1.0, 1e-3, N, dtype=torch.float64).tolist()] + [1.0]
    inverse, noise = torch.linalg.pinv(MATRIX), replay()
    x, states = START, []
    for a, b in zip(levels, levels[1:], strict=False):
        leaf = x.detach().requires_grad_(True)
        x0 = estimate(leaf, a)
        square = (Y - x0 @ MATRIX.T).square().sum(1)
        alpha = zeta / (2 * square.detach().sqrt())
        gradient = alpha[:, None] * torch.autograd.grad(square.sum(), leaf)[0]
        beta = 1 - a / b
        x = math.sqrt(a / b) * (1 - b) / (1 - a) * x + math.sqrt(b) * beta / (1 - a) * x0.detach() - gradient
        data = math.sqrt(b) * Y
        if b < 1:
            x = x + math.sqrt((1 - b) / (1 - a) * beta) * noise(x)
            data = data + math.sqrt(1 - b) * noise(x) @ MATRIX.T
        x = x - (x @ MATRIX.T - data) @ inverse.T
        states.append(x)
    found, first = [], START / math.sqrt(levels[0])
    with torch.no_grad():
        recon.sample(
            plan.denoise, first, plan.sigmas, plan.step, plan.moves, replay(), lambda i, s: found.append(s)
        )
    assert_same_path(found, states, [math.sqrt(b) for b in levels[1:]])


@pytest.mark.parametrize("temper", [0.0, 1.0])
@pytest.mark.parametrize("draws", [1, 5, 6])
def test_lgd(draws, temper):
    """Song et al., 2023: grad_x log (1/n) sum_i exp(-l(x_i)), x_i = x0(x) +- r n_i, by automatic differentiation."""
    sigma, r2 = 0.8, 0.3
    guide = mean_likelihood(MEASUREMENT, lambda s: r2, lambda s: temper * r2, draws, replay())
    x = draw(B, D, seed=13)
    with torch.no_grad():
        found = guided(PRIOR.denoise, guide)(x, sigma) - PRIOR.denoise(x, sigma)
    noise, leaf = replay(), x.clone().requires_grad_(True)
    x0 = estimate(leaf / math.sqrt(1 + sigma**2), 1 / (1 + sigma**2))
    drawn = [noise(x) for _ in range((draws + 1) // 2)]
    losses = torch.stack(
        [
            (Y - (x0 + math.sqrt(r2) * n) @ MATRIX.T).square().sum(1) / (2 * (0.1**2 + temper * r2))
            for n in [*drawn, *(-n for n in drawn)][:draws]
        ]
    )
    gradient = torch.autograd.grad((torch.logsumexp(-losses, 0) - math.log(draws)).sum(), leaf)[0]
    assert relative(found, sigma**2 * gradient) < 1e-10
