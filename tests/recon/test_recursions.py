"""Methods that approximate the posterior have the law of their papers' updates, typed in the papers' coordinates.

The updates work on dense matrices, and on x_t = sqrt(a) x0 + sqrt(1 - a) eps where the paper does; a and b stand for
the cumulative products alpha-bar at the level left and at the level reached, b = 1 at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from affine import Affine, fresh, state
from law import Impulses, Problem, field_problem, preset_law, relative, vector_problem
from torch import Tensor

import recon
from recon.presets import default_levels

STEPS = 12


def eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def scaled_levels(problem: Problem, name: str, **options: object) -> list[float]:
    """alpha-bar at every level of a preset, 1 at the end: a = 1 / (1 + sigma^2)."""
    plan = recon.METHODS[name](problem.measurement, problem.prior, STEPS, Impulses(0), **options)
    return [1 / (1 + sigma**2) for sigma in plan.sigmas]


def tweedie(problem: Problem, x: Affine, a: float) -> tuple[Affine, Tensor]:
    """E[x0 | x_t] for x_t = sqrt(a) x0 + sqrt(1 - a) eps, and its Jacobian."""
    n = len(problem.mu)
    J = math.sqrt(a) * torch.linalg.solve(a * problem.C + (1 - a) * eye(n), problem.C).T
    return (x - math.sqrt(a) * problem.mu).under(J) + problem.mu, J


def predicted_noise(x: Affine, x0: Affine, a: float) -> Affine:
    """eps with x = sqrt(a) x0 + sqrt(1 - a) eps."""
    return (x - math.sqrt(a) * x0) / math.sqrt(1 - a)


def run_vp(
    problem: Problem, levels: list[float], update: Callable[[Affine, float, float], Affine]
) -> tuple[Tensor, Tensor]:
    """The law after all updates, from the law of x_t itself, N(sqrt(a) mu, a C + (1 - a) I)."""
    n, a = len(problem.mu), levels[0]
    mean, covariance = math.sqrt(a) * problem.mu, a * problem.C + (1 - a) * eye(n)
    for a, b in zip(levels, levels[1:], strict=False):
        mean, covariance = update(state(n), a, b).law(mean, covariance)
    return mean, covariance


def ddim_noise(a: float, b: float, eta: float) -> float:
    """The sigma_t of DDIM, equation 16, which for eta = 1 is the root of DDPM's beta-tilde."""
    return eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)


def inverse_of(problem: Problem, damped: bool) -> Tensor:
    """The pseudo-inverse, or A^H (A A^H + sigma_y^2 / s^2)^-1, s the standard deviation of a value."""
    if not damped:
        return torch.linalg.pinv(problem.M)
    damping = problem.sigma_y**2 / float(problem.C.diagonal().mean())
    return problem.M.T @ torch.linalg.inv(problem.M @ problem.M.T + damping * eye(len(problem.y)))


def assert_same_law(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], tolerance: float = 1e-9) -> None:
    assert relative(found[0], expected[0]) < tolerance
    # where A has an inverse, some methods end at A^-1 y without any spread
    assert float((found[1] - expected[1]).norm()) < tolerance * max(float(expected[1].norm()), 1e-6)


def problem_of(task: str) -> Problem:
    return vector_problem() if task == "vector" else field_problem(task, (4, 6), sde=recon.VP())


@pytest.mark.parametrize("name", ["spectral", "moment"])
@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "downsample", "ct"])
def test_moment_matching_and_error_spectrum(task, name):
    """DDPM's ancestral steps, equation 7, from E[x0 | x_t, y], the mean of three Gaussian sources on x0."""
    problem = problem_of(task)
    n, M = len(problem.mu), problem.M

    def update(x: Affine, a: float, b: float) -> Affine:
        prior = torch.linalg.inv(problem.C)
        spread = torch.linalg.inv(prior + a / (1 - a) * eye(n) + M.T @ M / problem.sigma_y**2)
        x0 = (math.sqrt(a) / (1 - a) * x + prior @ problem.mu + M.T @ problem.y / problem.sigma_y**2).under(spread)
        alpha = a / b
        middle = (math.sqrt(b) * (1 - alpha) / (1 - a)) * x0 + (math.sqrt(alpha) * (1 - b) / (1 - a)) * x
        return middle + math.sqrt((1 - b) / (1 - a) * (1 - alpha)) * fresh(n)

    options = {"tolerance": 1e-13, "step": "ancestral"} | ({"iterations": 1000} if name == "moment" else {})
    found = preset_law(name, problem, STEPS, **options)
    assert_same_law(found, run_vp(problem, scaled_levels(problem, name, **options), update), 1e-8)


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "downsample", "ct"])
def test_the_default_steps_to_second_order(task):
    """SDE-DPM-Solver++(2M), Lu et al., 2022, equation 18, from E[x0 | x, y], with D1 divided by 1 + (1 - e^-2h) / 4.

    In its coordinates for alpha = 1: h = log(s / s'), D1 = (D - D_before) / r, r = h_before / h; in the place of
    (1 - e^-2h) / r ours has (1 - e^-2h)^2 / (1 - e^-2h_before), alike to first order.
    """
    problem = problem_of(task)
    n, M = len(problem.mu), problem.M
    options = {"tolerance": 1e-13}
    levels = recon.METHODS["spectral"](problem.measurement, problem.prior, STEPS, Impulses(0), **options).sigmas
    x, D_before, share_before = state(n), None, 1.0
    for s, s_next in zip(levels, levels[1:], strict=False):
        prior = torch.linalg.inv(problem.C)
        spread = torch.linalg.inv(prior + eye(n) / s**2 + M.T @ M / problem.sigma_y**2)
        D = (x / s**2 + prior @ problem.mu + M.T @ problem.y / problem.sigma_y**2).under(spread)
        if s_next == 0:
            x = D
            break
        share = -math.expm1(-2 * math.log(s / s_next))
        after = (1 - share) * x + share * D + s_next * math.sqrt(share) * fresh(n)
        if D_before is not None:
            after = after + share**2 / (2 * share_before * (1 + share / 4)) * (D - D_before)
        x, D_before, share_before = after, D, share
    expected = x.law(problem.mu, problem.C + levels[0] ** 2 * eye(n))
    assert_same_law(preset_law("spectral", problem, STEPS, **options), expected, 1e-8)


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "downsample", "ct"])
def test_pigdm(task):
    """Song et al., 2023: equation 7 for grad log p(y | x_t), Tweedie with the guided score, DDIM with eta = 1."""
    problem = problem_of(task)
    n, spread = len(problem.mu), float(problem.C.diagonal().mean())

    def update(x: Affine, a: float, b: float) -> Affine:
        x0, J = tweedie(problem, x, a)
        r2 = (1 - a) * spread / (a * spread + 1 - a)
        total = r2 * problem.M @ problem.M.T + problem.sigma_y**2 * eye(len(problem.y))
        likelihood = (-(x0.under(problem.M) - problem.y)).under(J.T @ problem.M.T @ torch.linalg.inv(total))
        prior = -(x - math.sqrt(a) * problem.mu).under(torch.linalg.inv(a * problem.C + (1 - a) * eye(n)))
        eps = -math.sqrt(1 - a) * (prior + likelihood)
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        noise = ddim_noise(a, b, 1.0)
        return math.sqrt(b) * x0 + math.sqrt(max(0.0, 1 - b - noise**2)) * eps + noise * fresh(n)

    assert_same_law(preset_law("pigdm", problem, STEPS), run_vp(problem, scaled_levels(problem, "pigdm"), update))


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "downsample", "ct"])
@pytest.mark.parametrize("eta, damped", [(0.85, False), (0.3, False), (0.85, True)])
def test_ddnm(task, eta, damped):
    """Wang et al., 2023: equation 13, then the step of their code: the corrected estimate with the network's noise.

    By default the package damps the inverse where the noise hides the images.
    """
    problem = problem_of(task)
    n, inverse = len(problem.mu), inverse_of(problem, damped)

    def update(x: Affine, a: float, b: float) -> Affine:
        x0, _ = tweedie(problem, x, a)
        eps = predicted_noise(x, x0, a)
        x0 = x0 - x0.under(inverse @ problem.M) + inverse @ problem.y
        return math.sqrt(b) * x0 + math.sqrt(1 - b) * (eta * fresh(n) + math.sqrt(1 - eta**2) * eps)

    assert_same_law(
        preset_law("ddnm", problem, STEPS, eta=eta, damping=None if damped else 0.0),
        run_vp(problem, scaled_levels(problem, "ddnm"), update),
    )


@pytest.mark.parametrize(
    "task, weight", [("vector", 0.0), ("inpaint", 0.0), ("downsample", 0.0), ("blur", 0.05), ("ct", 0.5)]
)
def test_dds_with_converged_conjugate_gradients(task, weight):
    """Chung et al., 2024, algorithm 1: argmin |y - A x|^2 + w |x - x0|^2, then DDIM(eta).

    At w = 0 it is the solution nearest to x0.
    """
    problem, eta = problem_of(task), 0.85
    n, M = len(problem.mu), problem.M

    def update(x: Affine, a: float, b: float) -> Affine:
        x0, _ = tweedie(problem, x, a)
        eps = predicted_noise(x, x0, a)
        if weight:
            solve = torch.linalg.inv(M.T @ M + weight * eye(n))
            x0 = (weight * x0 + M.T @ problem.y).under(solve)
        else:
            x0 = x0 - (x0.under(M) - problem.y).under(torch.linalg.pinv(M))
        noise = ddim_noise(a, b, eta)
        return math.sqrt(b) * x0 + math.sqrt(max(0.0, 1 - b - noise**2)) * eps + noise * fresh(n)

    found = preset_law("dds", problem, STEPS, eta=eta, iterations=200, weight=weight)
    assert_same_law(found, run_vp(problem, scaled_levels(problem, "dds"), update))


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "downsample", "ct"])
@pytest.mark.parametrize("weight, zeta", [(7.0, 0.3), (1.0, 0.9)])
def test_diffpir(task, weight, zeta):
    """Zhu et al., 2023, algorithm 1: prox with rho = weight sigma_y^2 a / (1 - a), then its noise mixed with fresh."""
    problem = problem_of(task)
    n, M = len(problem.mu), problem.M

    def update(x: Affine, a: float, b: float) -> Affine:
        x0, _ = tweedie(problem, x, a)
        rho = weight * problem.sigma_y**2 * a / (1 - a)
        x0 = (rho * x0 + M.T @ problem.y).under(torch.linalg.inv(M.T @ M + rho * eye(n)))
        eps = predicted_noise(x, x0, a)
        return math.sqrt(b) * x0 + math.sqrt(1 - b) * (math.sqrt(1 - zeta) * eps + math.sqrt(zeta) * fresh(n))

    found = preset_law("diffpir", problem, STEPS, weight=weight, zeta=zeta)
    assert_same_law(found, run_vp(problem, scaled_levels(problem, "diffpir"), update))


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "ct"])
@pytest.mark.parametrize("relaxation, damped", [(1.0, False), (0.4, False), (1.0, True)])
def test_song2022(task, relaxation, damped):
    """Song et al., 2022, algorithm 2, with the VE predictor and corrector of Song et al., 2021, algorithms 2 and 4.

    |z| / |score| of the corrector is its expected value sigma.
    """
    problem, snr = problem_of(task), 0.16
    n, inverse = len(problem.mu), inverse_of(problem, damped)
    levels = recon.METHODS["song2022"](problem.measurement, problem.prior, STEPS, Impulses(0)).sigmas

    def score(x: Affine, sigma: float) -> Affine:
        return -(x - problem.mu).under(torch.linalg.inv(problem.C + sigma**2 * eye(n)))

    def pull(x: Affine, sigma: float) -> Affine:
        noisy = (sigma * fresh(n)).under(problem.M) + problem.y
        return x - (relaxation * (x.under(problem.M) - noisy)).under(inverse)

    mean, covariance = problem.mu, problem.C + levels[0] ** 2 * eye(n)
    for sigma, lower in zip(levels, levels[1:], strict=False):
        x = state(n)
        x = x + (sigma**2 - lower**2) * score(x, sigma)
        if lower:  # the last step returns its mean
            x = x + math.sqrt(sigma**2 - lower**2) * fresh(n)
        x = pull(x, lower)
        if lower:
            epsilon = 2 * (snr * lower) ** 2
            x = x + epsilon * score(x, lower) + math.sqrt(2 * epsilon) * fresh(n)
        x = pull(x, lower)
        mean, covariance = x.law(mean, covariance)
    assert_same_law(
        preset_law("song2022", problem, STEPS, relaxation=relaxation, damping=None if damped else 0.0),
        (mean, covariance),
    )


@pytest.mark.parametrize("repeats", [1, 3])
def test_repaint(repeats):
    """Lugmayr et al., 2022, algorithm 1: x_{t-1} = m known + (1 - m) unknown; back in time by the forward chain.

    The package pastes known pixels after going up as well; they are noised anew there, which leaves the law as it is.
    """
    problem = problem_of("inpaint")
    n, M = len(problem.mu), problem.M  # M is the diagonal matrix of the mask
    hidden = eye(n) - M

    def update(x: Affine, a: float, b: float) -> Affine:
        if b < a:  # back in time: x_t = sqrt(alpha) x_{t-1} + sqrt(beta) n
            return math.sqrt(b / a) * x + math.sqrt(1 - b / a) * fresh(n)
        x0, _ = tweedie(problem, x, a)
        alpha = a / b
        unknown = (
            (math.sqrt(b) * (1 - alpha) / (1 - a)) * x0
            + (math.sqrt(alpha) * (1 - b) / (1 - a)) * x
            + math.sqrt((1 - b) / (1 - a) * (1 - alpha)) * fresh(n)
        )
        known = math.sqrt(1 - b) * fresh(n) + math.sqrt(b) * problem.y
        return known.under(M) + unknown.under(hidden)

    levels = scaled_levels(problem, "repaint", repeats=repeats)
    assert any(b < a for a, b in zip(levels, levels[1:], strict=False)) == (repeats > 1)
    assert_same_law(preset_law("repaint", problem, STEPS, repeats=repeats), run_vp(problem, levels, update))


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "ct"])
@pytest.mark.parametrize("inner", [1, 3])
def test_daps(task, inner):
    """Zhang et al., 2024, algorithm 1, x_t = x0 + sigma n: ODE, a draw of N(x0, sigma^2) times likelihood, noise."""
    problem = problem_of(task)
    n, M = len(problem.mu), problem.M
    levels = default_levels(problem.prior, STEPS // inner)

    def denoised(x: Affine, sigma: float) -> Affine:
        return (x - problem.mu).under(problem.C @ torch.linalg.inv(problem.C + sigma**2 * eye(n))) + problem.mu

    mean, covariance = problem.mu, problem.C + levels[0] ** 2 * eye(n)
    for sigma, lower in zip(levels, levels[1:], strict=False):
        x, end = state(n), min(problem.prior.sigma_end, sigma / 2)
        fine = [
            (sigma ** (1 / 7) + i / max(1, inner - 1) * (end ** (1 / 7) - sigma ** (1 / 7))) ** 7 for i in range(inner)
        ] + [0.0]
        for t, t_next in zip(fine, fine[1:], strict=False):
            x = x + (t_next - t) * ((x - denoised(x, t)) / t)
        precision = eye(n) / sigma**2 + M.T @ M / problem.sigma_y**2
        spread = torch.linalg.inv(precision)
        middle = (x / sigma**2 + M.T @ problem.y / problem.sigma_y**2).under(spread)
        draw = middle + fresh(n).under(torch.linalg.cholesky(spread))
        mean, covariance = (draw + lower * fresh(n)).law(mean, covariance)
    assert_same_law(preset_law("daps", problem, STEPS, inner=inner), (mean, covariance))
