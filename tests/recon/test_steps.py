"""Solvers: their coefficients, their order on the exact ODE and their law on the exact SDE."""

from __future__ import annotations

import math

import pytest
import torch
from law import Impulses, law, relative
from torch import Tensor

import recon
from recon.moves import langevin, on_state
from recon.schedule import geometric, karras
from recon.steps import DPMSolver2M, FirstOrder, ancestral, ddim, euler, euler_maruyama, heun, predictor, renoise


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


VARIANCES = torch.tensor([4.0, 1.0, 0.2, 0.03], dtype=torch.float64)
GAUSS = recon.GaussianPrior(torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64), torch.diag(VARIANCES))
MIXTURE = recon.MixturePrior(2 * draw(3, 4), torch.diag(VARIANCES))


def no_noise(like: Tensor) -> Tensor:
    raise AssertionError("this step must not draw noise")


def flow(x: Tensor, high: float, low: float) -> Tensor:
    """The probability-flow ODE of a Gaussian: every mode shrinks by the root of (v + low^2) / (v + high^2)."""
    return GAUSS.mean + ((VARIANCES + low**2) / (VARIANCES + high**2)).sqrt() * (x - GAUSS.mean)


@pytest.mark.parametrize(
    "make, order", [(lambda: euler(), 1), (lambda: heun, 2), (lambda: DPMSolver2M(), 2)], ids=["euler", "heun", "2m"]
)
def test_order_on_a_gaussian(make, order):
    x, high, low = 20 * draw(5, 4), 20.0, 0.02
    errors = []
    for steps in (40, 80, 160):
        end = recon.sample(GAUSS.denoise, x, karras(steps + 1, high, low)[:-1], make(), (), no_noise)
        errors.append(relative(end, flow(x, high, low)))
    assert abs(math.log2(errors[1] / errors[2]) - order) < 0.15, errors
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.3, errors


@pytest.mark.parametrize(
    "make, order", [(lambda: euler(), 1), (lambda: heun, 2), (lambda: DPMSolver2M(), 2)], ids=["euler", "heun", "2m"]
)
def test_order_on_a_mixture(make, order):
    """Against 1024 steps of Heun's method."""
    x, high, low = 10 * draw(4, 4, seed=1), 10.0, 0.05
    exact = recon.sample(MIXTURE.denoise, x, geometric(1025, high, low)[:-1], heun, (), no_noise)
    errors = [
        relative(recon.sample(MIXTURE.denoise, x, geometric(n + 1, high, low)[:-1], make(), (), no_noise), exact)
        for n in (32, 64, 128)
    ]
    assert abs(math.log2(errors[1] / errors[2]) - order) < 0.15, errors


@pytest.mark.parametrize(
    "step",
    [
        ancestral(),
        ddim(0.5),
        ddim(1.0),
        renoise(0.5),
        renoise(1.0),
        euler_maruyama(recon.VP()),
        euler_maruyama(recon.VE(0.001, 200.0)),
        euler_maruyama(recon.SubVP()),
        predictor(recon.VP()),
        predictor(recon.VE(0.001, 200.0)),
        predictor(recon.SubVP()),
    ],
    ids=[
        "ancestral",
        "ddim .5",
        "ddim 1",
        "renoise .5",
        "renoise 1",
        "em vp",
        "em ve",
        "em subvp",
        "predictor vp",
        "predictor ve",
        "predictor subvp",
    ],
)
def test_stochastic_steps_reach_the_prior_at_first_order(step):
    """The law of the end converges to N(mean, C + low^2), unless a constant share of the noise is fresh."""
    high, low, errors = 20.0, 0.5, []
    for steps in (50, 100, 200):
        levels = geometric(steps + 1, high, low)[:-1]
        root = (torch.diag(VARIANCES) + high**2 * torch.eye(4, dtype=torch.float64)).sqrt()
        mean, covariance = law(lambda noise, rows: recon.Method(GAUSS.denoise, levels, step), GAUSS.mean, root)  # noqa: B023
        errors.append((relative(mean, GAUSS.mean), relative(covariance, torch.diag(VARIANCES + low**2))))
    means, covariances = zip(*errors, strict=True)
    assert max(means) < 1e-12 or abs(math.log2(means[1] / means[2]) - 1) < 0.15, means
    if isinstance(step, FirstOrder) and step.coefficients(2.0, 2.0)[1] > 0:
        assert covariances[2] > 0.05  # fresh noise that does not vanish with the step solves no SDE
    else:
        assert abs(math.log2(covariances[1] / covariances[2]) - 1) < 0.15, covariances


def test_coefficients_split_the_variance():
    """k^2 sigma^2 + c^2 = sigma'^2 whatever the share; the shares are those of the table of methods."""
    for sigma, lower in ((3.0, 1.0), (1.0, 0.9), (0.5, 0.0)):
        ratio = (lower / sigma) ** 2
        for step, zeta in (
            (euler(), 0.0),
            (ancestral(), 1 - ratio),
            (ddim(0.4), 0.16 * (1 - ratio)),
            (renoise(0.3), 0.3),
            (renoise(1.0), 1.0),
        ):
            k, c = step.coefficients(sigma, lower)
            assert k == pytest.approx(math.sqrt(1 - zeta) * lower / sigma, rel=1e-14)
            assert c == pytest.approx(math.sqrt(zeta) * lower, rel=1e-14)
            assert k**2 * sigma**2 + c**2 == pytest.approx(lower**2, rel=1e-14)
        # DDPM: the standard deviation of x_{t-1} given x_t and x0 at these levels
        assert ancestral().coefficients(sigma, lower)[1] == pytest.approx(lower * math.sqrt(1 - ratio), rel=1e-12)


def test_gain_is_what_a_shift_of_the_estimate_becomes():
    levels, shift, noise = [4.0, 1.5, 0.2, 0.0], draw(2, 4, seed=3), draw(2, 4, seed=4)
    for step in (euler(), ancestral(), renoise(0.7)):
        gain = step.gain_on(levels)
        for sigma, lower in zip(levels, levels[1:], strict=False):
            x = draw(2, 4, seed=5)
            plain = step(GAUSS.denoise, x, sigma, lower, lambda like: noise)
            moved = step(lambda x, s: GAUSS.denoise(x, s) + shift / gain(s), x, sigma, lower, lambda like: noise)  # noqa: B023
            assert relative(moved - plain, shift) < 1e-12


def test_time_travel_adds_the_missing_variance():
    x = draw(2, 4)
    noise = Impulses(0)
    for step in (euler(), ancestral()):
        moved = step(None, x, 0.5, 1.3, lambda like: torch.ones_like(like))
        assert relative(moved - x, math.sqrt(1.3**2 - 0.5**2) * torch.ones_like(x)) < 1e-14
    assert noise.drawn == 0


@pytest.mark.parametrize(
    "make",
    [
        euler,
        ancestral,
        lambda: renoise(0.5),
        lambda: heun,
        DPMSolver2M,
        lambda: euler_maruyama(recon.VP()),
        lambda: predictor(recon.VE()),
    ],
)
def test_last_step_returns_the_estimate(make):
    x = draw(2, 4)
    end = make()(MIXTURE.denoise, x, 0.3, 0.0, torch.zeros_like)
    assert relative(end, MIXTURE.denoise(x, 0.3)) < 1e-13


def test_two_runs_of_2m_with_fresh_steps_agree_and_a_used_one_starts_anew_at_another_level():
    x, levels = draw(3, 4), [5.0, 2.0, 1.0, 0.3]
    first = recon.sample(MIXTURE.denoise, 5 * x, levels, DPMSolver2M(), (), no_noise)
    used = DPMSolver2M()
    recon.sample(MIXTURE.denoise, 7 * x, [7.0, 3.0], used, (), no_noise)
    assert torch.equal(recon.sample(MIXTURE.denoise, 5 * x, levels, used, (), no_noise), first)


def test_langevin_keeps_the_law_as_its_step_goes_to_zero():
    """One mode under x + share (D(x) - x) + sqrt(2 share) sigma n leaves the law by the square of the share."""
    sigma = 0.7
    truth = VARIANCES + sigma**2
    for snr in (0.02, 0.05):
        share = 2 * snr**2
        root = torch.diag(truth.sqrt())
        method = recon.Method(GAUSS.denoise, [sigma, sigma], lambda denoise, x, a, b, noise: x, (langevin(snr),))
        _, covariance = law(lambda noise, rows, method=method: method, GAUSS.mean, root)
        shrink = 1 - share * sigma**2 / truth
        assert relative(covariance, torch.diag(shrink**2 * truth + 2 * share * sigma**2)) < 1e-12
        assert relative(covariance, torch.diag(truth)) < share**2  # first order in the share cancels: detailed balance


def test_a_consistency_on_the_state_sees_data_noised_to_its_level():
    """x + A+ (y + sigma A n - A x) for the pseudo-inverse."""
    from operators import Dense, Gaussian

    matrix, x, n = draw(2, 4, seed=6), draw(3, 4), draw(3, 4, seed=7)
    measurement = recon.Measurement(Dense(matrix, (4,), (2,)), draw(3, 2, seed=8), Gaussian(0.1))
    from recon.consistency import pinv

    moved = on_state(pinv(measurement, 0.6))(None, x, 0.9, lambda like: n)
    expected = x + 0.6 * (measurement.y + 0.9 * n @ matrix.T - x @ matrix.T) @ torch.linalg.pinv(matrix).T
    assert relative(moved, expected) < 1e-12


def test_a_state_that_is_not_finite_stops_the_loop():
    def broken(x: Tensor, sigma: float) -> Tensor:
        x0 = MIXTURE.denoise(x, sigma)
        return torch.where(torch.arange(len(x))[:, None] == 2, torch.nan, x0) if sigma < 2 else x0

    with pytest.raises(FloatingPointError, match=r"step 2 of 3 \(sigma 1 to 0.5\), rows \[2\]"):
        recon.sample(broken, draw(4, 4), [5.0, 1.0, 0.5, 0.0], euler(), (), no_noise)
