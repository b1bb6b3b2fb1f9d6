"""From a measurement to a posterior: the same samples in any batch, the right units, counted calls, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from law import Problem, condition, field_problem, preset_law, relative, vector_problem
from torch import Tensor, nn

import recon
from operators import OPERATORS, Dense, Gaussian
from recon.networks import UNet
from recon.noise import CounterNoise
from recon.presets import WHOLE, default_levels
from recon.prior import ScorePrior, Units
from recon.steps import ancestral


def network_prior() -> ScorePrior:
    """A small random network, float32, whose estimates are close to those of a white prior."""
    torch.manual_seed(0)
    network = UNet(1, widths=(8,), attention=(0,), unshuffle=2)
    nn.init.normal_(network.head.weight, std=0.05)
    return (
        ScorePrior(network, (1, 8, 8), recon.VP(), 0.5, Units(0.5, 0.5, "[0,1]"), header={"spread": 2.0})
        .eval()
        .requires_grad_(False)
    )


def measured(items: int = 3, sigma: float = 0.05) -> recon.Measurement:
    operator = OPERATORS["inpaint"](shape=(8, 8), keep=0.5)
    y = operator(torch.rand(items, 1, 8, 8, generator=torch.Generator().manual_seed(4)))
    return recon.Measurement(operator, y, Gaussian(sigma))


@pytest.mark.parametrize("method", ["spectral", "moment", "diffpir"])
def test_samples_do_not_depend_on_the_batch(method):
    """Sample s of item b is the same alone, in any chunk, beside any others, but for rounding, here of a network.

    Every method is tried on an exact prior in `test_independence`.
    """
    prior, measurement = network_prior(), measured()
    whole = recon.reconstruct(measurement, prior, method, steps=6, samples=3, seed=5).samples
    assert whole.dtype == torch.float32
    size = float(whole.abs().mean())
    for batch_size in (1, 4):
        parts = recon.reconstruct(measurement, prior, method, steps=6, samples=3, seed=5, batch_size=batch_size).samples
        assert float((parts - whole).abs().max()) < 1e-5 * max(1.0, size), batch_size
    count = 3 if method in WHOLE else 2
    fewer = recon.reconstruct(measurement.rows([0, 1]), prior, method, steps=6, samples=count, seed=5).samples
    assert float((fewer - whole[:count, :2]).abs().max()) < 1e-5 * max(1.0, size)
    other = recon.reconstruct(measurement, prior, method, steps=6, samples=3, seed=6).samples
    assert float((other - whole).abs().max()) > 1e-2
    assert float((whole[0] - whole[1]).abs().max()) > 1e-2  # samples differ


@pytest.mark.parametrize("steps", [1, 10, 50])
@pytest.mark.parametrize("method", recon.METHODS)
def test_number_of_network_calls(method, steps):
    problem = vector_problem() if method != "repaint" else field_problem("inpaint", (2, 2))
    calls = []

    class Counted(recon.GaussianPrior):
        def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
            calls.append(1)
            return super().denoise(x, sigma)

    prior = Counted(problem.prior.mean, problem.C)
    post = recon.reconstruct(problem.measurement, prior, method, steps, samples=2)
    assert post.nfe == len(calls)
    assert 0.8 * steps <= post.nfe <= max(steps, 4)


@pytest.mark.parametrize(
    "method, each", [("spectral", 1), ("pigdm", 1), ("dps", 1), ("moment", 4), ("diffpir", 0), ("spectral_draw", 0)]
)
def test_number_of_backpropagations(method, each):
    """One a step for guidance through the prior; three iterations of moment matching cost one each, and its shift one.

    So small a tolerance keeps the iterations from ending early.
    """
    problem = field_problem("inpaint", (4, 4))
    options = {"iterations": 3, "tolerance": 1e-18} if method == "moment" else {}
    post = recon.reconstruct(problem.measurement, problem.prior, method, steps=6, samples=3, options=options)
    assert (post.nfe, post.backpropagations) == (6, 6 * each)


CALLS = {"heun": 9, "churn": 9}  # of 10; where the error is controlled, at least 7


@pytest.mark.parametrize("step", recon.STEPS)
@pytest.mark.parametrize("method", ["spectral", "pigdm", "moment"])
def test_guided_methods_take_any_step(method, step):
    """The step named is the one of the loop, made for the prior's process; Heun has half the levels."""
    problem = field_problem("inpaint", (4, 4))
    post = recon.reconstruct(problem.measurement, problem.prior, method, 10, samples=2, seed=1, options={"step": step})
    assert post.nfe >= 7 if step == "rk45" else post.nfe == CALLS.get(step, 10)
    noise = CounterNoise(1, [0, 0], [0, 1])
    normalised = problem.measurement.in_units_of(problem.prior).rows([0, 0])
    levels = default_levels(problem.prior, recon.STEPS[step].levels(10))
    plan = recon.METHODS[method](normalised, problem.prior, 10, noise, step=step)
    start = problem.prior.start(noise(torch.empty(2, 1, 4, 4, dtype=torch.float64)), levels[0])
    x = recon.sample(plan.denoise, start, levels, recon.STEPS[step].make(problem.prior.sde), (), noise)
    assert relative(post.samples[:, 0], problem.prior.to_value(x)) < 1e-12
    unguided = recon.sample_prior(problem.prior, 2, steps=10, seed=1, step=step)
    assert unguided.shape == (2, 1, 4, 4) and relative(unguided, post.samples[:, 0]) > 1e-3


def test_dps_does_not_overshoot_where_the_operator_is_large():
    """Data in other units, y -> 100 y with A -> 100 A and sigma -> 100 sigma, are the same data."""
    torch.manual_seed(0)
    problem = vector_problem()
    M = problem.M / torch.linalg.matrix_norm(problem.M, 2)
    found = [
        recon.reconstruct(
            recon.Measurement(Dense(c * M, (4,), (len(M),)), c * problem.y[None], Gaussian(0.1 * c)),
            problem.prior, "dps", steps=20, samples=2,
        ).samples
        for c in (1.0, 100.0)
    ]
    assert relative(found[1], found[0]) < 1e-3


def test_posterior_of_an_image_and_of_a_vector():
    post = recon.reconstruct(measured(2), network_prior(), steps=3, samples=4, seed=9)
    assert post.samples.shape == (4, 2, 1, 8, 8) and post.mean.shape == post.std.shape == (2, 1, 8, 8)
    assert post.chi_square.shape == (2,) and post.seed == 9 and post.seconds > 0
    problem = vector_problem()
    post = recon.reconstruct(problem.measurement, problem.prior, steps=3, samples=5)
    assert post.samples.shape == (5, 1, 4) and post.samples.dtype == torch.float64 and post.mean.shape == (1, 4)
    colour = recon.GaussianPrior(torch.zeros(3, 4, 4, dtype=torch.float64), torch.ones(4, 4))
    y = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    post = recon.reconstruct(
        recon.Measurement(OPERATORS["downsample"](shape=(4, 4), factor=2), y, Gaussian(0.1)), colour, steps=3, samples=2
    )
    assert post.samples.shape == (2, 2, 3, 4, 4)


def test_chi_square_is_that_of_the_mean_over_measured_elements():
    measurement = measured(2, sigma=0.3)
    post = recon.reconstruct(measurement, network_prior(), steps=3, samples=2)
    mask = measurement.operator.measured
    expected = ((measurement.y - post.mean)[:, :, mask] / 0.3).square().mean((1, 2))
    assert torch.allclose(post.chi_square, expected, rtol=1e-5)
    assert measurement.count == 32
    truth = torch.zeros(2, 1, 8, 8)
    assert torch.allclose(measurement.chi_square(truth), measurement.y.square().sum((1, 2, 3)) / 0.09 / 32, rtol=1e-5)


def test_units_fold_into_the_measurement():
    """With value = 2 x - 1 the posterior of the value is that of the prior N(2 mu - 1, 4 C)."""
    for task in ("inpaint", "blur", "ct"):
        problem = field_problem(task, (4, 6))
        prior = recon.GaussianPrior(problem.prior.mean, problem.C, units=Units(scale=2.0, shift=-1.0))
        normalised = problem.measurement.in_units_of(prior)
        m, P = condition(problem.mu, problem.C, problem.M, normalised.y.flatten(), normalised.sigma**2)
        mean, covariance = condition(2 * problem.mu - 1, 4 * problem.C, problem.M, problem.y, problem.sigma_y**2)
        assert relative(prior.to_value(m), mean) < 1e-11
        assert relative(4 * P, covariance) < 1e-11
        assert torch.allclose(prior.from_value(prior.to_value(m)), m)


@pytest.mark.parametrize("method", ["spectral", "spectral_draw", "pigdm", "moment", "daps", "repaint", "song2022"])
def test_a_prior_with_units_gives_the_samples_of_the_prior_of_the_values(method):
    """The whole way: scale and shift may not enter anywhere else. (Methods on the grid of VP are not scale free.)"""
    problem = field_problem("inpaint", (4, 4))
    with_units = recon.GaussianPrior(problem.prior.mean, problem.C, units=Units(scale=2.0, shift=-1.0))
    of_values = recon.GaussianPrior(2 * problem.prior.mean - 1, 4 * problem.C)
    one, two = (
        recon.reconstruct(problem.measurement, prior, method, steps=8, samples=3) for prior in (with_units, of_values)
    )
    assert relative(one.samples, two.samples) < 1e-6
    assert torch.allclose(one.chi_square, two.chi_square, rtol=1e-5)


def with_noise(problem: Problem, sigma: Tensor) -> recon.Measurement:
    return replace(problem.measurement, noise=Gaussian(sigma))


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur", "ct"])
def test_noise_that_differs_by_element_is_whitened(task):
    """Against the dense posterior with a diagonal noise covariance.

    The preset is exact but for its start, which is put far above the prior here.
    """
    problem = vector_problem() if task == "vector" else field_problem(task, (3, 4), sde=recon.VE(1e-3, 1e4))
    levels = torch.linspace(0.05, 0.4, problem.measurement.y[0].numel(), dtype=torch.float64)
    measurement = with_noise(problem, levels.reshape(problem.measurement.operator.out_shape)).whitened()
    assert measurement.sigma == 1.0
    problem.prior.coarsest = 1000.0
    found = preset_law("spectral_draw", replace(problem, measurement=measurement), 4, tolerance=1e-13)
    weight = torch.diag(1 / levels)
    expected = condition(problem.mu, problem.C, weight @ problem.M, weight @ problem.y, 1.0)
    assert relative(found[0], expected[0]) < 1e-5
    assert relative(found[1], expected[1]) < 1e-5


def test_reconstruct_takes_noise_that_differs_by_element():
    problem, converged = field_problem("inpaint", (4, 4)), {"tolerance": 1e-12}
    uneven = recon.reconstruct(
        with_noise(problem, torch.full((4, 4), 0.1, dtype=torch.float64)), problem.prior, steps=5, samples=2,
        options=converged,
    )  # fmt: skip
    even = recon.reconstruct(problem.measurement, problem.prior, steps=5, samples=2, options=converged)
    assert relative(uneven.samples, even.samples) < 1e-6
    assert torch.allclose(uneven.chi_square, even.chi_square, rtol=1e-6)
    assert (
        recon.reconstruct(
            with_noise(problem, torch.full((4, 4), 0.1)), problem.prior, "repaint", steps=8, samples=2
        ).nfe
        == 8
    )
    some = torch.full((4, 4), 0.1)
    some[1, 2] = 0.0
    with pytest.raises(ValueError, match="got a noise level of 0 for 1 of 16 data"):
        recon.reconstruct(with_noise(problem, some), problem.prior, steps=5, samples=2)
    with pytest.raises(ValueError, match="broadcastable to y"):
        recon.reconstruct(with_noise(problem, torch.full((2, 1, 4, 4), 0.1)), problem.prior, steps=5, samples=2)


@pytest.mark.parametrize("method", [name for name in recon.METHODS if name not in ("dps", "reddiff")])
def test_noiseless_data_are_fitted(method):
    """sigma = 0 is the limit: what is measured is kept, what is not is drawn; dps and reddiff only come near."""
    problem = field_problem("inpaint", (4, 4), sigma_y=0.0)
    post = recon.reconstruct(problem.measurement, problem.prior, method, steps=20, samples=2)
    assert bool(post.samples.isfinite().all()) and post.chi_square is None
    residual = problem.measurement.residual(post.samples[0])
    assert float(residual.abs().max()) < 1e-2 * float(problem.y.abs().max()), method
    hidden = ~problem.measurement.operator.measured
    assert float((post.samples[0] - post.samples[1])[0, 0][hidden].abs().max()) > 1e-2


def test_what_stands_in_unmeasured_pixels_is_of_no_account():
    problem = field_problem("inpaint", (4, 4))
    mask = problem.measurement.operator.measured
    clean = recon.reconstruct(problem.measurement, problem.prior, steps=4, samples=2).samples
    for filling in (1e6, math.nan):
        y = torch.where(mask, problem.measurement.y, filling)
        measurement = recon.Measurement(problem.measurement.operator, y, Gaussian(0.1))
        assert torch.equal(recon.reconstruct(measurement, problem.prior, steps=4, samples=2).samples, clean)


def test_progress_rises_to_one():
    seen: list[float] = []
    recon.reconstruct(measured(3), network_prior(), steps=3, samples=2, batch_size=4, progress=seen.append)
    assert seen == sorted(seen) and len(seen) == 6 and 0 < seen[0] and seen[-1] == pytest.approx(1.0)


def test_log_likelihood_and_residual():
    problem = vector_problem()
    x = torch.randn(1, 4, dtype=torch.float64)
    residual = problem.y - x[0] @ problem.M.T
    assert relative(problem.measurement.residual(x)[0], residual) < 1e-13
    expected = torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), problem.sigma_y).log_prob(residual).sum()
    assert float(problem.measurement.log_likelihood(x)) == pytest.approx(float(expected), rel=1e-12)


def test_unconditional_samples():
    """Ancestral steps on the default grid, in values, whatever the batch."""
    prior = recon.GaussianPrior(
        torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64),
        torch.diag(torch.tensor([1.0, 0.5, 2.0])),
        units=Units(3.0, 1.0),
    )
    found = recon.sample_prior(prior, 5, steps=7, seed=3)
    levels, noise = default_levels(prior, 7), CounterNoise(3, [0] * 5, range(5))
    start = prior.start(noise(torch.empty(5, 3, dtype=torch.float64)), levels[0])
    assert relative(found, prior.to_value(recon.sample(prior.denoise, start, levels, ancestral(), (), noise))) < 1e-12
    assert relative(recon.sample_prior(prior, 5, steps=7, seed=3, batch_size=2), found) < 1e-12
    assert recon.sample_prior(network_prior(), 2, steps=2, shape=(1, 4, 12)).shape == (2, 1, 4, 12)


VECTOR = vector_problem()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"method": "pigmd"}, r"got method 'pigmd'; expected one of .*; did you mean 'pigdm'\?"),
        (
            {"method": "dps", "options": {"zetta": 1.0}},
            r"got option 'zetta' for method 'dps'; expected one of \['zeta'\]; did you mean 'zeta'\?",
        ),
        ({"options": {"step": "huen"}}, "got step='huen'; expected one of ancestral, ancestral2m, euler"),
        ({"steps": 0}, "got steps=0 and samples=8; expected at least 1 of each"),
        ({"samples": 0}, "samples=0"),
        ({"method": "repaint"}, "no mask; expected 'inpaint'; use pigdm"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        recon.reconstruct(VECTOR.measurement, VECTOR.prior, **arguments)


def test_measurements_that_do_not_fit_are_refused():
    operator = Dense(torch.ones(2, 4), (4,), (2,))
    for y, words in (
        (torch.zeros(3), r"got y of shape \(3,\); expected \(B, ..., 2\)"),
        (torch.zeros(1, 3), r"shape \(1, 3\)"),
        (torch.zeros(1, 2, dtype=torch.int64), "int64; expected real floating point; use y.float"),
        (torch.tensor([[1.0, math.nan]]), r"1 values that are not finite, the first at \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=words):
            recon.Measurement(operator, y, Gaussian(0.1))
    with pytest.raises(ValueError, match=r"images \(4,\) for a prior of \(5,\); choose another prior"):
        recon.reconstruct(
            recon.Measurement(operator, torch.zeros(1, 2), Gaussian(0.1)),
            recon.GaussianPrior(torch.zeros(5), torch.eye(5)),
        )
    small = OPERATORS["identity"](shape=(5, 8))
    with pytest.raises(ValueError, match=r"images \(1, 5, 8\) for a prior of \(1, H, W\) with H and W multiples of 2"):
        recon.reconstruct(recon.Measurement(small, torch.zeros(1, 1, 5, 8), Gaussian(0.1)), network_prior())
    with pytest.raises(ValueError, match="images"):
        recon.reconstruct(
            recon.Measurement(OPERATORS["identity"](shape=(8, 8)), torch.zeros(1, 3, 8, 8), Gaussian(0.1)),
            network_prior(),
        )


def test_a_diverging_run_says_where():
    class Broken(recon.GaussianPrior):
        def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
            return torch.full_like(x, torch.nan)

    prior = Broken(VECTOR.prior.mean, VECTOR.C)
    with pytest.raises(
        FloatingPointError, match=r"not finite at step 1 of 4 .*use more steps, or check the noise level"
    ):
        recon.reconstruct(VECTOR.measurement, prior, "diffpir", steps=4, samples=2)


def test_the_default_explains_nearly_noiseless_data_at_few_calls():
    """Uninflated, the shipped prior's spectrum overshoots at 10 calls: chi-square in the hundreds."""
    prior = recon.load_prior("headct-64")
    image = recon.sample_prior(prior, 1, steps=20, seed=5)
    operator = OPERATORS["inpaint"](shape=(64, 64), keep=0.4)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    measurement = recon.Measurement(operator, operator(image) + noise / 255, Gaussian(1 / 255))
    assert float(recon.reconstruct(measurement, prior, steps=10, samples=2).chi_square) < 10
