"""Methods of papers on a mixture, where nothing is linear: the path of their updates as printed, with the same noise.

`test_recursions`, `test_singular` and `test_annealed` have the laws of the same updates on Gaussian images, for all
operators; here states are compared, to 1e-10. The prior's part is automatic differentiation of the log density.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from test_published import COVARIANCES, MEANS, START, WEIGHTS, B, D, score
from test_published_guidance import MATRIX, MEASUREMENT, PRIOR, Y
from test_published_guidance import estimate as differentiable
from test_steps import draw
from torch import Tensor

import recon
from operators import OPERATORS, Gaussian, operator_norm

STEPS, SIGMA_Y, SNR = 9, 0.1, 0.16
EYE = torch.eye(D, dtype=torch.float64)
INVERSE = torch.linalg.pinv(MATRIX)
NORM = operator_norm(MEASUREMENT.operator)  # 1 but for the error of the package's power iteration
Draw = Callable[[], Tensor]


def numbers() -> Iterator[Tensor]:
    """Unit noise for states and, by its first columns, for data."""
    return (draw(B, D, seed=100 + i) for i in range(200))


def paths(name: str, measurement: recon.Measurement, prior: recon.Prior, start: Tensor, **options: object):
    """The levels of a preset, and its states from x0 + sigma n = start at the first."""
    stored, states = numbers(), []

    def noise(like: Tensor) -> Tensor:
        return next(stored)[:, : like[0].numel()].reshape(like.shape)

    plan = recon.METHODS[name](measurement, prior, STEPS, noise, **options)
    with torch.no_grad():
        recon.sample(plan.denoise, start, plan.sigmas, plan.step, plan.moves, noise, lambda i, x: states.append(x))
    return plan.sigmas, [state.flatten(1) for state in states]


def compare(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).norm() / expected.norm()) < 1e-10


def tweedie(x: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """x0 and eps of x = sqrt(a) x0 + sqrt(1 - a) eps."""
    eps = -math.sqrt(1 - a) * score(x, math.sqrt(a), math.sqrt(1 - a))
    return (x - math.sqrt(1 - a) * eps) / math.sqrt(a), eps


def ddim(x0: Tensor, eps: Tensor, a: float, b: float, eta: float, z: Draw) -> Tensor:
    """Song, Meng, Ermon, 2021, equation 12."""
    noise = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
    moved = math.sqrt(b) * x0 + math.sqrt(max(0.0, 1 - b - noise**2)) * eps
    return moved + noise * z() if noise else moved


def pigdm(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Song et al., 2023, equation 7 for grad log p(y | x_t), r^2 for data of the prior's variance; DDIM, eta = 1."""
    r2 = (1 - a) * PRIOR.data_std**2 / (a * PRIOR.data_std**2 + 1 - a)
    leaf = x.detach().requires_grad_(True)
    x0 = differentiable(leaf, a)
    total = r2 * MATRIX @ MATRIX.T + SIGMA_Y**2 * torch.eye(3, dtype=torch.float64)
    inner = torch.linalg.solve(total, (Y - x0.detach() @ MATRIX.T).T).T @ MATRIX
    gradient = torch.autograd.grad((x0 * inner).sum(), leaf)[0]
    eps = -math.sqrt(1 - a) * (score(x, math.sqrt(a), math.sqrt(1 - a)) + gradient)
    return ddim((x - math.sqrt(1 - a) * eps) / math.sqrt(a), eps, a, b, 1.0, z)


def moment(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Boys et al., 2023, equation 8: E[x0 | x_t, y] with the covariance (1 - a) / sqrt(a) dx0/dx_t; DDPM's step."""
    leaf = x.detach().requires_grad_(True)
    x0 = differentiable(leaf, a)
    jacobian = torch.stack([torch.autograd.grad(x0[:, i].sum(), leaf, retain_graph=True)[0] for i in range(D)], 1)
    C = (1 - a) / math.sqrt(a) * jacobian
    gain = C @ MATRIX.T @ torch.linalg.inv(MATRIX @ C @ MATRIX.T + SIGMA_Y**2 * torch.eye(3, dtype=torch.float64))
    x0 = x0.detach() + (gain @ (Y - x0.detach() @ MATRIX.T)[..., None])[..., 0]
    alpha = a / b
    moved = math.sqrt(b) * (1 - alpha) / (1 - a) * x0 + math.sqrt(alpha) * (1 - b) / (1 - a) * x
    return moved + math.sqrt((1 - b) / (1 - a) * (1 - alpha)) * z() if b < 1 else moved


def ddnm(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Wang et al., 2023, equation 13, then eta = 0.85 of fresh noise as in the released code."""
    x0, eps = tweedie(x, a)
    x0 = Y @ INVERSE.T + x0 @ (EYE - INVERSE @ MATRIX).T
    if b == 1:
        return x0
    return math.sqrt(b) * x0 + math.sqrt(1 - b) * (0.85 * z() + math.sqrt(1 - 0.85**2) * eps)


def dds(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Chung et al., 2024, algorithm 1 with converged conjugate gradients: argmin |y - A v|^2 + w |v - x0|^2."""
    x0, eps = tweedie(x, a)
    x0 = torch.linalg.solve(MATRIX.T @ MATRIX + 0.2 * EYE, (Y @ MATRIX + 0.2 * x0).T).T
    return ddim(x0, eps, a, b, 0.85, z)


def diffpir(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Zhu et al., 2023, algorithm 1: rho = lambda sigma_y^2 a / (1 - a), zeta = 0.3."""
    rho = 7.0 * SIGMA_Y**2 * a / (1 - a)
    x0 = torch.linalg.solve(MATRIX.T @ MATRIX + rho * EYE, (Y @ MATRIX + rho * tweedie(x, a)[0]).T).T
    if b == 1:
        return x0
    eps = (x - math.sqrt(a) * x0) / math.sqrt(1 - a)
    return math.sqrt(b) * x0 + math.sqrt(1 - b) * (math.sqrt(0.7) * eps + math.sqrt(0.3) * z())


def ddnm_plus(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Wang et al., 2023, equations 17 to 19 and appendix I, with DDPM's a_t, b_t and sigma_t."""
    _, s, Vh = torch.linalg.svd(MATRIX, full_matrices=True)
    alpha = a / b
    a_t, b_t = math.sqrt(b) * (1 - alpha) / (1 - a), math.sqrt(alpha) * (1 - b) / (1 - a)
    sigma_t = math.sqrt((1 - b) / (1 - a) * (1 - alpha))
    scale, std = torch.ones(D, dtype=torch.float64), torch.full((D,), sigma_t, dtype=torch.float64)
    for i, value in enumerate(s):
        std[i] = math.sqrt(max(0.0, sigma_t**2 - (a_t * SIGMA_Y / value) ** 2))
        scale[i] = min(1.0, sigma_t * value / (a_t * SIGMA_Y))
    x0, _ = tweedie(x, a)
    x0 = x0 - (x0 @ MATRIX.T - Y) @ INVERSE.T @ Vh.T @ torch.diag(scale) @ Vh
    return a_t * x0 + b_t * x + (z() @ Vh.T * std) @ Vh


def ddrm(x: Tensor, a: float, b: float, z: Draw) -> Tensor:
    """Kawar et al., 2022, equations 7 and 8 for x / sqrt(a), eta = 0.85 and eta_b = 1."""
    U, s, Vh = torch.linalg.svd(MATRIX, full_matrices=True)
    sigma, lower = math.sqrt((1 - a) / a), math.sqrt((1 - b) / b)
    state, x0, n = x / math.sqrt(a) @ Vh.T, tweedie(x, a)[0] @ Vh.T, z() @ Vh.T
    new = x0 + math.sqrt(1 - 0.85**2) * lower * (state - x0) / sigma + 0.85 * lower * n
    for i, value in enumerate(s):
        data, noise = (Y @ U)[:, i] / value, SIGMA_Y / float(value)
        if lower < noise:
            new[:, i] = x0[:, i] + math.sqrt(1 - 0.85**2) * lower * (data - x0[:, i]) / noise + 0.85 * lower * n[:, i]
        else:
            new[:, i] = data + math.sqrt(lower**2 - noise**2) * n[:, i]
    return math.sqrt(b) * new @ Vh


PATHS = {  # preset: its update (x, a, b, z) of x = sqrt(a) x0 + sqrt(1 - a) eps, and options
    "pigdm": (pigdm, {}),
    "moment": (moment, {"iterations": 20, "tolerance": 1e-14}),
    "ddnm": (ddnm, {"damping": 0.0}),
    "dds": (dds, {"iterations": 20, "weight": 0.2}),
    "diffpir": (diffpir, {}),
    "ddnm_plus": (ddnm_plus, {}),
    "ddrm": (ddrm, {}),
}


@pytest.mark.parametrize("name", PATHS)
def test_update_of_variance_preserving_states(name):
    update, options = PATHS[name]
    sigmas, states = paths(name, MEASUREMENT, PRIOR, 3 * START, **options)
    levels, stored = [1 / (1 + sigma**2) for sigma in sigmas], numbers()
    x = 3 * math.sqrt(levels[0]) * START
    for a, b, found in zip(levels[:-1], levels[1:], states, strict=True):
        x = update(x, a, b, lambda: next(stored))
        compare(math.sqrt(b) * found, x)


@pytest.mark.parametrize("repeats", [1, 3])
def test_repaint(repeats):
    """Lugmayr et al., 2022, algorithm 1; after going up the package pastes known pixels, noised to that level."""
    mask = torch.tensor([True, False, True, False, False])
    operator = OPERATORS["inpaint"](shape=(1, D), mask=mask[None])
    prior = recon.MixturePrior(MEANS[:, None, None], COVARIANCES, WEIGHTS, sde=recon.VP())
    y = draw(B, D, seed=14) * mask
    measurement = recon.Measurement(operator, y[:, None, None], Gaussian(SIGMA_Y))
    sigmas, states = paths("repaint", measurement, prior, 3 * START[:, None, None], repeats=repeats)
    assert any(b > a for a, b in zip(sigmas, sigmas[1:], strict=False)) == (repeats > 1)
    levels, stored = [1 / (1 + sigma**2) for sigma in sigmas], numbers()
    x = 3 * math.sqrt(levels[0]) * START
    for a, b, found in zip(levels[:-1], levels[1:], states, strict=True):
        if b < a:
            x = math.sqrt(b / a) * x + math.sqrt(1 - b / a) * next(stored)
        else:
            x0, _ = tweedie(x, a)
            alpha = a / b
            x = math.sqrt(b) * (1 - alpha) / (1 - a) * x0 + math.sqrt(alpha) * (1 - b) / (1 - a) * x
            x = x + math.sqrt((1 - b) / (1 - a) * (1 - alpha)) * next(stored) if b < 1 else x
        known = math.sqrt(b) * y + (math.sqrt(1 - b) * next(stored) if b < 1 else 0.0)
        x = torch.where(mask, known, x)
        compare(math.sqrt(b) * found, x)


def inverse_pull(x: Tensor, sigma: float, stored: Iterator[Tensor]) -> Tensor:
    """Song et al., 2022, equation 13 with lambda = 1: the data, noised to the level, replace what A sees."""
    noisy = Y + (sigma * next(stored) @ MATRIX.T if sigma else 0.0)
    return x - (x @ MATRIX.T - noisy) @ INVERSE.T


def adjoint_pull(x: Tensor, sigma: float, stored: Iterator[Tensor]) -> Tensor:
    """Chung and Ye, 2022, algorithm 1 with lambda = 1; |A| = 1 there."""
    return x + (Y - x @ MATRIX.T) @ MATRIX / NORM**2


@pytest.mark.parametrize("name, pull, options", [
    ("song2022", inverse_pull, {"damping": 0.0}),
    ("score_mri", adjoint_pull, {}),
])
def test_predictor_pull_corrector_pull(name, pull, options):
    """With the VE predictor and corrector of Song et al., 2021, algorithms 2 and 4, |z| / |score| being sigma."""
    sigmas, states = paths(name, MEASUREMENT, PRIOR, 3 * START, **options)
    stored, x = numbers(), 3 * START
    for sigma, lower, found in zip(sigmas[:-1], sigmas[1:], states, strict=True):
        x = x + (sigma**2 - lower**2) * score(x, 1.0, sigma)
        x = x + math.sqrt(sigma**2 - lower**2) * next(stored) if lower else x
        x = pull(x, lower, stored)
        if lower:
            epsilon = 2 * (SNR * lower) ** 2
            x = x + epsilon * score(x, 1.0, lower) + math.sqrt(2 * epsilon) * next(stored)
        x = pull(x, lower, stored)
        compare(found, x)


def test_csgm():
    """Jalal et al., 2021, equation 4 with gamma_t = |A| sigma, |A| = 1 there; the last estimate is returned."""
    sigmas, states = paths("csgm", MEASUREMENT, PRIOR, 3 * START, share=0.2, repeats=2)

    def drift(x: Tensor, sigma: float) -> Tensor:
        return score(x, 1.0, sigma) + (Y - x @ MATRIX.T) @ MATRIX / (SIGMA_Y**2 + (NORM * sigma) ** 2)

    stored, x = numbers(), 3 * START
    for sigma, found in zip(sigmas[1:-1], states, strict=False):
        for _ in range(2):
            x = x + 0.2 * sigma**2 * drift(x, sigma) + math.sqrt(0.4) * sigma * next(stored)
        compare(found, x)
    compare(states[-1], x + sigmas[-2] ** 2 * drift(x, sigmas[-2]))


def split_draw(v: Tensor, sigma: float, stored: Iterator[Tensor]) -> Tensor:
    """A draw of N(v, sigma^2) times the likelihood: information of state and data, each with its own noise."""
    information = EYE / sigma**2 + MATRIX.T @ MATRIX / SIGMA_Y**2
    state, data = v + sigma * next(stored), Y + SIGMA_Y * next(stored)[:, :3]
    return torch.linalg.solve(information, (state / sigma**2 + data @ MATRIX / SIGMA_Y**2).T).T


def fine(sigma: float, inner: int) -> list[float]:
    """Karras et al., 2022, equation 5 with rho = 7, from sigma to the prior's last level, then 0."""
    ends = [level ** (1 / 7) for level in (sigma, min(PRIOR.sigma_end, sigma / 2))]
    return [(ends[0] + i / (inner - 1) * (ends[1] - ends[0])) ** 7 for i in range(inner)] + [0.0]


def test_daps():
    """Zhang et al., 2024, algorithm 1: ODE, a draw given x0 and y (exact, in the paper by Langevin), noise anew."""
    sigmas, states = paths("daps", MEASUREMENT, PRIOR, 3 * START, inner=3)
    stored, x = numbers(), 3 * START
    for sigma, lower, found in zip(sigmas[:-1], sigmas[1:], states, strict=True):
        levels = fine(sigma, 3)
        for t, t_next in zip(levels, levels[1:], strict=False):
            x = x - (t_next - t) * t * score(x, 1.0, t)
        x = split_draw(x, sigma, stored)
        x = x + lower * next(stored) if lower else x
        compare(found, x)


def test_pnpdm():
    """Wu et al., 2024, algorithm 1: x0 given the state by a stochastic run, the state given x0 and y."""
    sigmas, states = paths("pnpdm", MEASUREMENT, PRIOR, 3 * START, inner=3)
    stored, x = numbers(), 3 * START
    for sigma, lower, found in zip(sigmas[:-1], sigmas[1:], states, strict=True):
        levels = fine(sigma, 3)
        for t, t_next in zip(levels, levels[1:], strict=False):
            x = x + (t**2 - t_next**2) * score(x, 1.0, t)
            x = x + t_next * math.sqrt(t**2 - t_next**2) / t * next(stored) if t_next else x
        x = split_draw(x, lower, stored) if lower else x
        compare(found, x)
