"""Published samplers, typed again in the coordinates of their papers, take the same path as the package's steps.

The score comes from automatic differentiation of the log density of the process at hand, not from the package; the
prior is a mixture, so nothing here is linear. Levels end above zero unless said otherwise; the noise is the same on
both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from scipy.integrate import RK45
from torch import Tensor
from torch.distributions import MultivariateNormal

import recon
from operators import Dense, Gaussian
from recon.error_control import RungeKutta45
from recon.moves import langevin
from recon.steps import DPMSolver2M, Step, ancestral, ddim, euler, euler_maruyama, heun, predictor

D, K, B, N = 5, 3, 4, 12
generator = torch.Generator().manual_seed(5)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


MEANS, ROOTS, WEIGHTS = 2 * draw(K, D), 0.5 * draw(K, D, D), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
COVARIANCES = ROOTS @ ROOTS.mT + 0.05 * torch.eye(D, dtype=torch.float64)
PRIOR = recon.MixturePrior(MEANS, COVARIANCES, WEIGHTS)
TIMES = torch.linspace(0.9, 0.05, N, dtype=torch.float64).tolist()
NOISE = [draw(B, D) for _ in range(3 * N)]


def score(x: Tensor, scale: float, std: float) -> Tensor:
    """grad log p(x) of x = scale x0 + std n."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        spread = scale**2 * COVARIANCES + std**2 * torch.eye(D, dtype=torch.float64)
        logs = MultivariateNormal(scale * MEANS, spread).log_prob(x[:, None])
        return torch.autograd.grad(torch.logsumexp(logs + WEIGHTS.log(), 1).sum(), x)[0]


def replay() -> Callable[[Tensor], Tensor]:
    """The same noise, from the beginning."""
    stored: Iterator[Tensor] = iter(NOISE)
    return lambda like: next(stored)


def path(step: Step, sigmas: list[float], start: Tensor, moves: tuple = ()) -> list[Tensor]:
    """All states of the package's loop, in its own coordinates x0 + sigma n."""
    states = []
    with torch.no_grad():
        recon.sample(PRIOR.denoise, start, sigmas, step, moves, replay(), lambda i, x: states.append(x))
    return states


def alpha_bar(t: float) -> float:
    """DDPM's cumulative product in continuous time, exp(-int_0^t beta), beta from 0.1 to 20."""
    return math.exp(-(0.1 * t + 0.5 * 19.9 * t**2))


VP_LEVELS = [math.sqrt((1 - alpha_bar(t)) / alpha_bar(t)) for t in TIMES]


def assert_same_path(found: list[Tensor], expected: list[Tensor], scales: list[float]) -> None:
    assert len(found) == len(expected)
    for ours, theirs, scale in zip(found, expected, scales, strict=True):
        assert float((scale * ours - theirs).norm() / theirs.norm()) < 1e-10


def vp_path(update: Callable[[Tensor, float, float, Tensor], Tensor], start: Tensor) -> list[Tensor]:
    """States of an update (x, a, b, z) on alpha-bar levels, in VP coordinates."""
    levels, x, states = [alpha_bar(t) for t in TIMES], start, []
    for a, b, z in zip(levels, levels[1:], NOISE, strict=False):
        x = update(x, a, b, z)
        states.append(x)
    return states


START = 3.0 * draw(B, D)  # in VP coordinates
OURS = START / math.sqrt(alpha_bar(TIMES[0]))
SCALES = [math.sqrt(alpha_bar(t)) for t in TIMES[1:]]


def eps_of(x: Tensor, a: float) -> Tensor:
    """What a noise-predicting network gives: -sqrt(1 - a) score."""
    return -math.sqrt(1 - a) * score(x, math.sqrt(a), math.sqrt(1 - a))


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(eta):
    """Song, Meng, Ermon, 2021, equations 12 and 16."""

    def update(x: Tensor, a: float, b: float, z: Tensor) -> Tensor:
        eps = eps_of(x, a)
        sigma = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
        return (
            math.sqrt(b) * (x - math.sqrt(1 - a) * eps) / math.sqrt(a) + math.sqrt(1 - b - sigma**2) * eps + sigma * z
        )

    assert_same_path(path(ddim(eta), VP_LEVELS, OURS), vp_path(update, START), SCALES)


def test_ddpm():
    """Ho, Jain, Abbeel, 2020, algorithm 2 with sigma_t^2 = beta-tilde_t."""

    def update(x: Tensor, a: float, b: float, z: Tensor) -> Tensor:
        alpha, beta = a / b, 1 - a / b
        middle = (x - beta / math.sqrt(1 - a) * eps_of(x, a)) / math.sqrt(alpha)
        return middle + math.sqrt((1 - b) / (1 - a) * beta) * z

    assert_same_path(path(ancestral(), VP_LEVELS, OURS), vp_path(update, START), SCALES)


def test_dpm_solver_2m():
    """Lu et al., 2022, algorithm 2, with lambda = log(alpha / sigma) of the VP process."""
    levels = [(math.sqrt(alpha_bar(t)), math.sqrt(1 - alpha_bar(t))) for t in TIMES]
    logs = [math.log(alpha / sigma) for alpha, sigma in levels]
    x, states, data = START, [], []
    for i in range(1, N):
        (alpha, sigma), (alpha_next, sigma_next) = levels[i - 1], levels[i]
        data.append((x - sigma * eps_of(x, alpha**2)) / alpha)
        h = logs[i] - logs[i - 1]
        if i == 1:
            target = data[0]
        else:
            r = (logs[i - 1] - logs[i - 2]) / h
            target = (1 + 1 / (2 * r)) * data[-1] - 1 / (2 * r) * data[-2]
        x = sigma_next / sigma * x - alpha_next * (math.exp(-h) - 1) * target
        states.append(x)
    assert_same_path(path(DPMSolver2M(), VP_LEVELS, OURS), states, SCALES)


def test_heun():
    """Karras et al., 2022, algorithm 1 with sigma(t) = t and s(t) = 1, to t = 0."""
    times = [5.0, 2.0, 0.7, 0.2, 0.0]
    x, states = OURS, []
    for t, t_next in zip(times, times[1:], strict=False):
        d = -t * score(x, 1.0, t)
        moved = x + (t_next - t) * d
        if t_next:
            d = 0.5 * d + 0.5 * (-t_next * score(moved, 1.0, t_next))
            moved = x + (t_next - t) * d
        x = moved
        states.append(x)
    assert_same_path(path(heun, times, OURS), states, [1.0] * 4)


def beta(t: float) -> float:
    return 0.1 + 19.9 * t


def integral(t: float) -> float:
    return 0.1 * t + 9.95 * t**2


# name: (the package's process, scale(t), std(t), drift factor f(t), diffusion g(t)), Song et al., 2021, equations 29
# to 33
VE_LOW, VE_HIGH = 0.01, 40.0
PROCESSES = {
    "vp": (
        recon.VP(),
        lambda t: math.exp(-integral(t) / 2),
        lambda t: math.sqrt(1 - math.exp(-integral(t))),
        lambda t: -beta(t) / 2,
        lambda t: math.sqrt(beta(t)),
    ),
    "ve": (
        recon.VE(VE_LOW, VE_HIGH),
        lambda t: 1.0,
        lambda t: VE_LOW * (VE_HIGH / VE_LOW) ** t,
        lambda t: 0.0,
        lambda t: VE_LOW * (VE_HIGH / VE_LOW) ** t * math.sqrt(2 * math.log(VE_HIGH / VE_LOW)),
    ),
    "subvp": (
        recon.SubVP(),
        lambda t: math.exp(-integral(t) / 2),
        lambda t: 1 - math.exp(-integral(t)),
        lambda t: -beta(t) / 2,
        lambda t: math.sqrt(beta(t) * (1 - math.exp(-2 * integral(t)))),
    ),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_euler_maruyama(name):
    """Song et al., 2021, equation 6: dx = (f x - g^2 score) dt + g dw, backwards in time."""
    sde, scale, std, f, g = PROCESSES[name]
    x, states = START, []
    for t, t_next, z in zip(TIMES, TIMES[1:], NOISE, strict=False):
        dt = t_next - t
        x = x + (f(t) * x - g(t) ** 2 * score(x, scale(t), std(t))) * dt + g(t) * math.sqrt(-dt) * z
        states.append(x)
    levels = [std(t) / scale(t) for t in TIMES]
    assert_same_path(path(euler_maruyama(sde), levels, START / scale(TIMES[0])), states, [scale(t) for t in TIMES[1:]])


@pytest.mark.parametrize("name", PROCESSES)
def test_reverse_diffusion_predictor(name):
    """Song et al., 2021, equation 46, x - f(x) + G G^T score + G z; for VE algorithm 2, for VP algorithm 3."""
    sde, scale, std, _, _ = PROCESSES[name]
    x, states = START, []
    for t, t_next, z in zip(TIMES, TIMES[1:], NOISE, strict=False):
        if name == "ve":
            variance = std(t) ** 2 - std(t_next) ** 2
            x = x + variance * score(x, 1.0, std(t)) + math.sqrt(variance) * z
        elif name == "vp":
            beta_i = 1 - math.exp(integral(t_next) - integral(t))
            x = (2 - math.sqrt(1 - beta_i)) * x + beta_i * score(x, scale(t), std(t)) + math.sqrt(beta_i) * z
        else:  # the forward transition of any linear SDE: its mean, and the variance that is missing
            shrink = scale(t) / scale(t_next)
            variance = std(t) ** 2 - shrink**2 * std(t_next) ** 2
            x = x - (shrink - 1) * x + variance * score(x, scale(t), std(t)) + math.sqrt(variance) * z
        states.append(x)
    levels = [std(t) / scale(t) for t in TIMES]
    assert_same_path(path(predictor(sde), levels, START / scale(TIMES[0])), states, [scale(t) for t in TIMES[1:]])


def test_langevin_corrector():
    """Song et al., 2021, algorithm 4, eps = 2 (r |z| / |score|)^2 with |z| / |score| at its expected value sigma."""
    sigmas, r, x, states = [3.0, 1.0, 0.4], 0.16, START, []
    noise = replay()
    for sigma, lower in zip(sigmas, sigmas[1:], strict=False):
        x = x + (sigma - lower) * sigma * score(x, 1.0, sigma)  # Euler's predictor, without noise
        epsilon = 2 * (r * lower) ** 2
        x = x + epsilon * score(x, 1.0, lower) + math.sqrt(2 * epsilon) * noise(x)
        states.append(x)
    assert_same_path(path(euler(), sigmas, START, (langevin(r),)), states, [1.0, 1.0])


def test_dps():
    """Chung et al., 2023, algorithm 1 with zeta_t = zeta / |y - A x0|, on the norm itself as in the authors' code.

    x_{t-1} = sqrt(alpha) (1 - b) / (1 - a) x + sqrt(b) beta / (1 - a) x0 + sigma z - zeta grad_x |y - A x0(x)|, down
    to b = 1.
    """
    matrix, zeta = draw(3, D), 0.7
    matrix /= torch.linalg.matrix_norm(matrix, 2)  # larger operators are scaled down to a norm of 1
    y = draw(B, 3)
    prior = recon.MixturePrior(MEANS, COVARIANCES, WEIGHTS, sde=recon.VP())
    measurement = recon.Measurement(Dense(matrix, (D,), (3,)), y, Gaussian(0.1))
    plan = recon.METHODS["dps"](measurement, prior, N, None, zeta=zeta)
    times = torch.linspace(1.0, 1e-3, N, dtype=torch.float64).tolist()
    levels = [alpha_bar(t) for t in times] + [1.0]
    assert torch.allclose(torch.tensor(plan.sigmas), torch.tensor([math.sqrt((1 - a) / a) for a in levels]), rtol=1e-9)

    x, states = START, []
    for a, b, z in zip(levels, levels[1:], NOISE, strict=False):
        leaf = x.detach().requires_grad_(True)
        spread = a * COVARIANCES + (1 - a) * torch.eye(D, dtype=torch.float64)
        logs = MultivariateNormal(math.sqrt(a) * MEANS, spread).log_prob(leaf[:, None]) + WEIGHTS.log()
        s = torch.autograd.grad(torch.logsumexp(logs, 1).sum(), leaf, create_graph=True)[0]
        x0 = (leaf + (1 - a) * s) / math.sqrt(a)
        gradient = torch.autograd.grad(torch.linalg.vector_norm(y - x0 @ matrix.T, dim=1).sum(), leaf)[0]
        alpha, beta_t = a / b, 1 - a / b
        noise = math.sqrt((1 - b) / (1 - a) * beta_t) * z
        x = (
            math.sqrt(alpha) * (1 - b) / (1 - a) * x
            + math.sqrt(b) * beta_t / (1 - a) * x0.detach()
            + noise
            - zeta * gradient
        )
        states.append(x)

    found = []
    with torch.no_grad():
        recon.sample(
            plan.denoise,
            START / math.sqrt(levels[0]),
            plan.sigmas,
            plan.step,
            plan.moves,
            replay(),
            lambda i, s: found.append(s),
        )
    assert_same_path(found, states, [math.sqrt(b) for b in levels[1:]])


def test_dormand_prince():
    """One step between two levels of the pair in scipy's tableau, on dx / dlog sigma = -sigma^2 score."""
    A, weights, nodes = (torch.from_numpy(part) for part in (RK45.A, RK45.B, RK45.C))
    sigmas, x, states = [4.0, 2.5, 1.0, 0.5], START, []
    for sigma, lower in zip(sigmas, sigmas[1:], strict=False):
        h, slopes = math.log(lower / sigma), []
        for row, node in zip(A, nodes, strict=True):
            moved = x + h * sum(a * slope for a, slope in zip(row, slopes, strict=False))
            level = sigma * math.exp(float(node) * h)
            slopes.append(-(level**2) * score(moved, 1.0, level))
        x = x + h * sum(b * slope for b, slope in zip(weights, slopes, strict=True))
        states.append(x)
    assert_same_path(path(RungeKutta45(math.inf), sigmas, START), states, [1.0] * 3)
