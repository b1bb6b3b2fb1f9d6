"""What is drawn and what is likely are one law, for every noise model: against scipy, sums and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import ndtri

from operators import CorrelatedGaussian, Gaussian, Laplace, Poisson, Rician, TransmissionCT
from operators.counts import poisson_log_likelihood, poisson_quantile

RNG = np.random.default_rng(11)
FACTOR = np.tril(RNG.standard_normal((4, 4))) + 3 * np.eye(4)
SHAPE = (2, 3, 4)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def evenly(count):
    """Unit normal values at the middles of `count` equal shares: what is drawn from them has no sampling error."""
    return torch.from_numpy(ndtri((np.arange(count) + 0.5) / count))


MODELS = {
    "gaussian": Gaussian(0.7),
    "gaussian by element": Gaussian(torch.from_numpy(RNG.random((3, 4)) + 0.2)),
    "correlated": CorrelatedGaussian(FACTOR),
    "laplace": Laplace(0.4),
    "laplace by element": Laplace(torch.from_numpy(RNG.random(4) + 0.2)),
    "poisson": Poisson(gain=30.0, background=2.0),
    "transmission": TransmissionCT(I0=200.0),
    "transmission with read-out noise": TransmissionCT(I0=torch.full((4,), 50.0), electronic=3.0),
    "rician": Rician(0.5),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def drawn(model, clean, seed=1):
    return model.sample(clean, *(normal(*clean.shape, seed=seed + k).to(clean) for k in range(model.draws)))


def test_the_gradient_is_that_of_finite_differences(model):
    clean = normal(*SHAPE).abs() + 0.1
    y = drawn(model, clean)
    start = (clean + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: model.log_likelihood(y, c), start, eps=1e-6, atol=1e-6, rtol=1e-6)


def test_items_are_independent_and_draws_are_of_the_data(model):
    clean = normal(*SHAPE).abs()
    y = drawn(model, clean)
    assert y.shape == clean.shape and y.dtype == torch.float64
    assert drawn(model, clean.float()).dtype == torch.float32
    both = model.log_likelihood(y, clean)
    assert both.shape == (2,)
    torch.testing.assert_close(model.log_likelihood(y[1:], clean[1:]), both[1:], atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="randn_like"):
        model.sample(clean)
    with pytest.raises(ValueError, match="randn_like"):
        model.sample(clean, *[clean[0]] * model.draws)
    with pytest.raises(ValueError, match="batch axis"):
        model.log_likelihood(y[0, 0], clean[0, 0])


def test_the_truth_is_likelier_than_its_neighbours_on_average(model):
    """The likelihood has its mean gradient zero at the truth: what is drawn is what it expects."""
    clean = torch.full((4000, 3, 4), 0.8, dtype=torch.float64).requires_grad_()
    y = drawn(model, clean.detach())
    (gradient,) = torch.autograd.grad(model.log_likelihood(y, clean).sum(), clean)
    standard_error = gradient.std(dim=0) / 4000**0.5
    assert (gradient.mean(dim=0).abs() < 4.5 * standard_error).all()


def test_per_element_sigma_is_whitened():
    from operators import OPERATORS

    sigma = torch.rand(1, 1, 5, 6, dtype=torch.float64) + 0.1
    A = OPERATORS["inpaint"](shape=(5, 6), keep=0.6)
    x = normal(2, 1, 5, 6)
    y = Gaussian(sigma).sample(A(x), normal(2, 1, 5, 6, seed=1)) * A.measured
    white, z = Gaussian(sigma).whitened(A, y)
    torch.testing.assert_close(z - white(x), (y - A(x)) / sigma)
    assert torch.equal(white.measured, A.measured)
    same, w = Gaussian(0.5).whitened(A, y)
    torch.testing.assert_close(w - same(x), (y - A(x)) / 0.5)
    for sigma, message in ((0.0, "above zero"), (torch.tensor([0.1, 0.0]), "sigma"),
                           (torch.rand(2, 1, 5, 6) + 0.1, "one by one")):
        with pytest.raises(ValueError, match=message):
            Gaussian(sigma).whitened(A, y)


@pytest.mark.parametrize("axes, shape", [((-1,), (2, 3, 4)), ((-3, -2), (5, 2, 2, 3)), ((-2, -3), (5, 2, 2, 3))])
def test_correlated_noise_is_that_of_scipy(axes, shape):
    model, covariance = CorrelatedGaussian(FACTOR, axes), FACTOR @ FACTOR.T
    y, clean = normal(*shape), normal(*shape, seed=1)
    rows = np.moveaxis((y - clean).numpy(), axes, range(-len(axes), 0)).reshape(shape[0], -1, 4)
    expected = scipy.stats.multivariate_normal(cov=covariance).logpdf(rows).reshape(shape[0], -1).sum(axis=1)
    np.testing.assert_allclose(model.log_likelihood(y, clean).numpy(), expected, rtol=1e-12)
    noise = normal(40000, *shape[1:])
    drawn = np.moveaxis(model.sample(torch.zeros_like(noise), noise).numpy(), axes, range(-len(axes), 0)).reshape(-1, 4)
    assert np.abs(np.cov(drawn.T) - covariance).max() < 0.03 * np.abs(covariance).max()
    np.testing.assert_allclose(CorrelatedGaussian.of_covariance(covariance, axes).factor, FACTOR, atol=1e-12)


def test_correlated_noise_is_whitened():
    from operators import OPERATORS, mri

    A = OPERATORS["ct"](shape=(6, 6), angles=3, detectors=4)
    x, noise = normal(2, 1, 6, 6), normal(2, 1, 3, 4, seed=1)
    model = CorrelatedGaussian(FACTOR)
    white, z = model.whitened(A, model.sample(A(x), noise))
    torch.testing.assert_close(z - white(x), noise, atol=1e-10, rtol=0)
    columns = mri(shape=(3, 4), mask=[1, 0, 1, 1], image="real")
    with pytest.raises(ValueError, match="not measured.*leave the others out"):
        model.whitened(columns, torch.zeros(2, 1, 2, 3, 4))
    with pytest.raises(ValueError, match="axes of out_shape"):
        CorrelatedGaussian(np.eye(2), (-3,)).whitened(A, torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match="factor: got 4 rows for axes"):
        model.log_likelihood(torch.zeros(2, 3), torch.zeros(2, 3))


def test_noise_of_coils():
    from operators import mri

    mixing = RNG.standard_normal((3, 3)) + 1j * RNG.standard_normal((3, 3))
    covariance = mixing @ mixing.conj().T
    model = CorrelatedGaussian.of_coils(covariance)
    n = model.sample(torch.zeros(50000, 3, 2, 1, 1).double(), normal(50000, 3, 2, 1, 1))[..., 0, 0].numpy()
    n = n[:, :, 0] + 1j * n[:, :, 1]
    scale = np.abs(covariance).max()
    assert np.abs(n.T @ n.conj() / len(n) - covariance).max() < 0.03 * scale
    assert np.abs(n.T @ n / len(n)).max() < 0.03 * scale, "circular"
    white = CorrelatedGaussian.of_coils(2 * 0.3**2 * np.eye(3))
    np.testing.assert_allclose(white.factor, 0.3 * np.eye(6), atol=1e-15)
    maps = RNG.standard_normal((3, 4, 5)) + 1j * RNG.standard_normal((3, 4, 5))
    A = mri(shape=(4, 5), coils=maps, acceleration=2)
    x, noise = normal(2, 2, 4, 5), normal(2, 3, 2, 4, 5, seed=1)
    whitened, z = model.whitened(A, A.measured * model.sample(A(x), noise))
    torch.testing.assert_close(z - whitened(x), noise * A.measured, atol=1e-10, rtol=0)
    assert torch.equal(whitened.measured, A.measured)


@pytest.mark.parametrize("make, message", [
    (lambda: CorrelatedGaussian(np.ones((3, 3))), "lower triangular.*of_covariance"),
    (lambda: CorrelatedGaussian(-np.eye(3)), "diagonal above zero"),
    (lambda: CorrelatedGaussian(np.eye(3), (1,)), "axes: got .*negative"),
    (lambda: CorrelatedGaussian(np.eye(3), (-1, -1)), "distinct"),
    (lambda: CorrelatedGaussian.of_covariance(np.diag([1.0, -1.0])), "least eigenvalue of -1; expected a positive"),
    (lambda: CorrelatedGaussian.of_covariance(np.array([[1.0, 0.5], [0.2, 1.0]])), "symmetric"),
    (lambda: Laplace(0.0), "scale: got 0.0; expected finite and above zero"),
    (lambda: Rician(-1.0), "sigma: got -1.0"),
    (lambda: Poisson(gain=0.0), "gain: got 0.0"),
    (lambda: Poisson(background=-1.0), "background: got -1.0"),
    (lambda: TransmissionCT(I0=float("inf")), "I0: got inf"),
    (lambda: TransmissionCT(I0=1.0, electronic=-2.0), "electronic: got -2.0"),
])
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_laplace_is_that_of_scipy():
    y, clean = normal(*SHAPE), normal(*SHAPE, seed=1)
    expected = scipy.stats.laplace.logpdf(y.numpy(), clean.numpy(), 0.4).sum(axis=(1, 2))
    np.testing.assert_allclose(Laplace(0.4).log_likelihood(y, clean).numpy(), expected, rtol=1e-13)
    values = Laplace(0.4).sample(torch.zeros(1, 1001).double(), evenly(1001)[None])[0].numpy()
    expected = scipy.stats.laplace.ppf((np.arange(1001) + 0.5) / 1001, scale=0.4)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    far = Laplace(1.0).sample(torch.zeros(1, 1), torch.full((1, 1), -6.0)).item()
    assert far == pytest.approx(math.log(2 * scipy.stats.norm.sf(6.0)), rel=1e-6), "the tails keep their digits"


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.7, 4.0, 60.0, 1e4, 1e6])
def test_counts_have_the_quantiles_of_scipy(rate):
    shares = (np.arange(2001) + 0.5) / 2001
    found = poisson_quantile(torch.from_numpy(ndtri(shares)), torch.full((2001,), rate, dtype=torch.float64)).numpy()
    np.testing.assert_array_equal(found, scipy.stats.poisson.ppf(shares, rate))


def test_counts_are_those_of_their_law():
    model = Poisson(gain=3.0, background=0.5)
    clean = torch.full((1, 200001), 0.9, dtype=torch.float64)
    counts = model.sample(clean, evenly(200001)[None])[0].numpy()
    k = np.arange(12)
    np.testing.assert_allclose((counts[:, None] == k).mean(axis=0), scipy.stats.poisson.pmf(k, 3.2), atol=1e-5)
    clean = torch.full((60, 1), 0.9, dtype=torch.float64)
    probabilities = model.log_likelihood(torch.arange(60.0).double()[:, None], clean).exp()
    np.testing.assert_allclose(probabilities.numpy(), scipy.stats.poisson.pmf(np.arange(60), 3.2), rtol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-8), (torch.float32, 2e-3)])
def test_the_likelihood_of_large_counts_keeps_its_digits(dtype, tolerance):
    counts = torch.tensor([0.0, 1.0, 9.0, 1e3, 1e5, 1e5, 4e6], dtype=dtype)
    rates = torch.tensor([2.0, 0.002, 11.0, 1.1e3, 1.003e5, 1e5, 4e6], dtype=dtype)
    expected = scipy.stats.poisson.logpmf(counts.double().numpy(), rates.double().numpy())
    np.testing.assert_allclose(poisson_log_likelihood(counts, rates).double().numpy(), expected, rtol=tolerance)
    far = poisson_log_likelihood(torch.tensor([1e5], dtype=dtype), torch.tensor([0.002], dtype=dtype))
    assert far.isfinite().all()


def test_zero_counts_are_finite_with_a_finite_gradient():
    clean = torch.tensor([[0.0, 0.0, 1e-9, 2.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.0, 3.0, 0.0, 0.0]], dtype=torch.float64)
    value = Poisson(gain=5.0).log_likelihood(y, clean)
    (gradient,) = torch.autograd.grad(value.sum(), clean)
    assert value.isfinite().all() and gradient.isfinite().all()
    nothing = Poisson(gain=5.0).log_likelihood(torch.zeros(1, 4).double(), clean)
    assert nothing.item() == pytest.approx(-5.0 * clean.sum().item(), rel=1e-12), "exp(-rate) down to rate zero"


def test_negative_rates_are_pushed_back_smoothly():
    """Below the law's end the continuation is concave, with a matching value and slope."""
    for counts in (0.0, 1.0, 40.0):
        edge = 0.001 if counts else 0.0
        rate = (edge + torch.linspace(-0.01, 0.01, 2001, dtype=torch.float64)).requires_grad_()
        value = poisson_log_likelihood(torch.full((2001,), counts).double(), rate)
        (slope,) = torch.autograd.grad(value.sum(), rate)
        steps = slope.diff()
        assert (steps <= 1e-9 * slope.abs().max()).all(), "concave"
        assert steps.abs().max() < 0.02 * (slope.max() - slope.min()) + 1e-9, "no jump of the slope"
        assert slope[0] > 0, "towards the law"
    with pytest.raises(ValueError, match="rate: got values from -1"):
        Poisson().sample(torch.tensor([[-1.0]]), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="y: got values from -1"):
        Poisson().log_likelihood(torch.tensor([[-1.0]]), torch.ones(1, 1))


def test_photons_follow_the_law_of_beer():
    model = TransmissionCT(I0=1000.0)
    clean = torch.full((1, 20001), 2.0, dtype=torch.float64)
    counts = model.sample(clean, evenly(20001)[None], torch.zeros(1, 20001).double())[0]
    rate = 1000 * math.exp(-2.0)
    assert float(counts.mean()) == pytest.approx(rate, rel=1e-4)
    assert float(counts.var()) == pytest.approx(rate, rel=1e-3)
    found = model.log_likelihood(torch.tensor([[130.0]], dtype=torch.float64), clean[:, :1])
    assert float(found) == pytest.approx(scipy.stats.poisson.logpmf(130, rate), rel=1e-12)


@pytest.mark.parametrize("clean", [0.5, 2.0])
def test_read_out_noise_is_near_the_exact_convolution(clean):
    """The likelihood of y as a function of the image, against the sum over the photons that may have been behind it."""
    model = TransmissionCT(I0=300.0, electronic=4.0)
    truth = 300 * math.exp(-clean)
    photons = np.arange(900)
    images = np.linspace(clean - 3 / truth**0.5, clean + 3 / truth**0.5, 31)
    for y in (truth, truth - 1.5 * truth**0.5, truth + 1.5 * truth**0.5):
        weights = scipy.stats.norm.logpdf(y, photons, 4.0) + scipy.stats.poisson.logpmf(
            photons, 300 * np.exp(-images)[:, None])
        exact = scipy.special.logsumexp(weights, axis=1)
        data = torch.full((31, 1), y, dtype=torch.float64)
        found = model.log_likelihood(data, torch.from_numpy(images)[:, None]).numpy()
        found, exact = found - found.max(), exact - exact.max()
        assert (np.abs(found - exact) < 0.02 - 0.05 * exact).all(), "nats, over three standard deviations"
        assert abs(images[found.argmax()] - images[exact.argmax()]) <= images[1] - images[0]
    assert model.log_likelihood(torch.tensor([[-20.0]]), torch.tensor([[5.0]])).isfinite().all(), "read-out below zero"


def test_the_logarithm_of_counts_is_nearly_normal_with_the_stated_level():
    model = TransmissionCT(I0=2e4, electronic=10.0)
    clean = torch.full((1, 100000), 3.0, dtype=torch.float64)
    y = model.sample(clean, normal(1, 100000), normal(1, 100000, seed=1))
    lines, noise = model.logarithmic(y)
    assert float(lines.mean()) == pytest.approx(3.0, abs=1e-3)
    assert float(lines.std()) == pytest.approx(float(noise.sigma.mean()), rel=0.02)
    z = (lines - clean) / noise.sigma
    assert float(z.std()) == pytest.approx(1.0, abs=0.02)
    none, level = TransmissionCT(I0=100.0).logarithmic(torch.zeros(1, 1))
    assert none.isfinite().all() and float(level.sigma) > 1.0


@pytest.mark.parametrize("clean", [0.0, 0.6, 5.0])
def test_rician_is_that_of_scipy(clean):
    y = np.linspace(0.01, 9.0, 50)
    expected = scipy.stats.rice.logpdf(y, clean / 0.5, scale=0.5)
    for sign in (1.0, -1.0):
        signed = torch.full((50, 1), sign * clean, dtype=torch.float64)
        found = Rician(0.5).log_likelihood(torch.from_numpy(y)[:, None], signed)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11, atol=1e-11)
    flat = torch.full((1, 40000), clean, dtype=torch.float64)
    drawn = Rician(0.5).sample(flat, normal(1, 40000), normal(1, 40000, seed=1))
    assert scipy.stats.kstest(drawn[0].numpy(), scipy.stats.rice(clean / 0.5, scale=0.5).cdf).pvalue > 1e-3


def test_rician_is_finite_where_bessel_functions_are_not():
    clean = torch.tensor([[1e4, 0.0, 3.0]], requires_grad=True)
    value = Rician(0.01).log_likelihood(torch.tensor([[1e4, 0.02, 0.0]]), clean)
    (gradient,) = torch.autograd.grad(value.sum(), clean)
    assert value.isfinite().all() and gradient.isfinite().all() and gradient[0, 1] == 0
    with pytest.raises(ValueError, match="use Gaussian for signed data"):
        Rician(1.0).log_likelihood(torch.tensor([[-1.0]]), torch.ones(1, 1))


def test_the_slope_is_the_gradient_of_the_log_likelihood(model):
    clean = normal(*SHAPE).abs() + 0.1
    y = drawn(model, clean)
    start = (clean + 0.05).requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_likelihood(y, start).sum(), start)
    torch.testing.assert_close(model.slope(y, start.detach()), gradient, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("clean", [-0.3, -1e-4, 0.0, 1e-5, 2e-3])
def test_the_slope_of_counts_is_continued_as_the_likelihood_is(clean):
    y = torch.tensor([[0.0, 1.0, 7.0]], dtype=torch.float64)
    start = torch.full_like(y, clean).requires_grad_()
    (gradient,) = torch.autograd.grad(Poisson().log_likelihood(y, start).sum(), start)
    torch.testing.assert_close(Poisson().slope(y, start.detach()), gradient, atol=1e-10, rtol=1e-10)


def test_deviations_of_true_images_have_variance_one(model):
    clean = torch.full((4000, 3, 4), 0.8, dtype=torch.float64)
    found = model.deviation(drawn(model, clean), clean)
    assert abs(float(found.mean())) < 5 / found.numel() ** 0.5
    assert float(found.var()) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "correlated"])
def test_the_local_form_has_the_slope_and_the_information_of_each_datum(name):
    model, clean = MODELS[name], torch.full((4000, 3, 4), 0.8, dtype=torch.float64)
    y = drawn(model, clean)
    slope, (root, residual) = model.slope(y, clean), model.local(y, clean)
    if "laplace" in name:  # the parabola is held within one scale of its top
        far = (y - clean).abs() >= torch.as_tensor(model.scale)
        torch.testing.assert_close((root * residual)[far], slope[far], atol=1e-10, rtol=1e-10)
        assert bool(((root * residual).abs() <= slope.abs() + 1e-12).all())
        return
    torch.testing.assert_close(root * residual, slope, atol=1e-10, rtol=1e-10)
    share = float((root.square() / slope.square().mean(0)).mean())
    assert share == pytest.approx(1.0, abs=0.2 if name == "rician" else 0.03)


@pytest.mark.parametrize(("clean", "share"), [(0.02, 0.02), (8.0, 0.02)])
def test_the_information_of_magnitudes_is_right_for_weak_and_strong_signals(clean, share):
    model, x = Rician(0.5), torch.full((1, 20000), clean, dtype=torch.float64)
    y = drawn(model, x)
    root, _ = model.local(y, x)
    assert float(root.square().mean() / model.slope(y, x).square().mean()) == pytest.approx(1.0, abs=share + 0.03)


def test_the_mean_and_spread_of_magnitudes_are_those_of_scipy():
    model, clean = Rician(0.5), torch.tensor([[0.0, 0.3, 1.0, 5.0]], dtype=torch.float64)
    law = scipy.stats.rice(clean.numpy() / 0.5, scale=0.5)
    y = torch.from_numpy(law.mean() + 2 * law.std())
    torch.testing.assert_close(model.deviation(y, clean), torch.full_like(y, 2.0), atol=1e-8, rtol=0)


def test_noise_divided_by_a_number_is_that_of_the_data_divided():
    y, clean = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    for model in (Gaussian(0.7), CorrelatedGaussian(FACTOR)):
        torch.testing.assert_close(
            model.divided(4.0).deviation(y / 4, clean / 4), model.deviation(y, clean), atol=1e-12, rtol=0
        )
