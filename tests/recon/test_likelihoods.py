"""Any likelihood: gradients against autograd, the Gaussian case of the general path, and posteriors by quadrature."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from law import field_problem, relative

import recon
from operators import (
    OPERATORS,
    CorrelatedGaussian,
    Gaussian,
    Identity,
    Laplace,
    Poisson,
    Rician,
    TransmissionCT,
    operator_norm,
)
from recon import general, guidance

SHAPE = (4, 6)
NOISES = {
    "gaussian": Gaussian(0.1),
    "laplace": Laplace(0.1),
    "poisson": Poisson(gain=20.0, background=1.0),
    "transmission": TransmissionCT(I0=100.0, electronic=2.0),
    "rician": Rician(0.1),
}
OPERATORS_USED = {
    "blur": {"std": 0.8},
    "clip": {"gain": 2.0},
    "quantise": {"bits": 3},
    "phase_retrieval": {"oversampling": 1.5, "patterns": 2},
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def measured(operator: str, noise: str, items: int = 2, **more) -> recon.Measurement:
    """Images of values about 0.2 .. 0.8, measured."""
    A, model = OPERATORS[operator](shape=SHAPE, **(more or OPERATORS_USED[operator])), NOISES[noise]
    clean = A(0.5 + 0.1 * normal(items, 1, *SHAPE))
    y = model.sample(clean, *(normal(*clean.shape, seed=k + 1) for k in range(model.draws)))
    return recon.Measurement(A, y, model)


def gaussian_prior(shape: tuple[int, ...] = (1, *SHAPE), std: float = 0.1, mean: float = 0.5) -> recon.GaussianPrior:
    center = torch.full(shape, mean, dtype=torch.float64)
    return recon.GaussianPrior(center, torch.full(shape, std**2, dtype=torch.float64))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("operator", OPERATORS_USED)
def test_the_gradient_is_that_of_autograd_in_the_units_of_the_prior_too(operator, noise):
    prior = gaussian_prior()
    prior.units = recon.Units(2.0, 0.3)
    m = measured(operator, noise)
    x = 0.5 + 0.1 * normal(2, 1, *SHAPE, seed=9)
    for measurement, images in ((m, x), (m.in_units_of(prior), (x - 0.3) / 2.0)):
        leaf = images.clone().requires_grad_()
        (expected,) = torch.autograd.grad(measurement.log_likelihood(leaf).sum(), leaf)
        assert relative(measurement.gradient(images), expected) < 1e-10
        assert measurement.chi_square(images).shape == (2,)


@pytest.mark.parametrize("task", ["inpaint", "blur", "ct"])
def test_for_gaussian_noise_the_general_path_is_the_gaussian_one(task):
    problem = field_problem(task, (4, 6))
    m, sigma = problem.measurement.rows([0, 0]), 0.7
    x0 = normal(2, 1, 4, 6)
    C = problem.prior.error_filter(torch.eye(24, dtype=torch.float64).reshape(24, 1, 4, 6), sigma, 1.0).flatten(1)

    def vjp(v, last=False):
        return (v.flatten(1) @ C).reshape(v.shape) / sigma**2

    makes = {
        "white": lambda m: guidance.white(m, lambda s: 0.3),
        "spectral": lambda m: guidance.spectral(m, problem.prior, 1e-14),
        "moment": lambda m: guidance.moment(m, 1000, 1e-14),
    }
    for name, make in makes.items():
        one, two = make(m)(x0, vjp, sigma), general.relinearised(m, problem.prior, make)(x0, vjp, sigma)
        assert relative(two, one) < 1e-10, name
    expected = m.operator.adjoint(m.residual(x0)) / problem.sigma_y**2
    assert relative(m.gradient(x0), expected) < 1e-12
    assert relative(m.linearised(x0).gradient(x0), expected) < 1e-12


def test_the_step_of_dps_is_the_published_one_for_operators_of_norm_one():
    m = field_problem("inpaint", (4, 6)).measurement.rows([0, 0])
    x0 = normal(2, 1, 4, 6)
    one = guidance.residual_norm(m, lambda s: 0.7)(x0, lambda v, last=False: 2 * v, 1.0)
    two = general.likelihood_norm(m, lambda s: 0.7)(x0, lambda v, last=False: 2 * v, 1.0)
    assert relative(two, one) < 1e-10


@pytest.mark.parametrize("operator", ["clip", "phase_retrieval"])
def test_linearised_nonlinear_operators_have_matched_derivatives(operator):
    m = measured(operator, "poisson")
    x = 0.3 + 0.05 * normal(2, 1, *SHAPE, seed=5)
    A = m.linearised(x).operator
    v, u = normal(2, 1, *SHAPE, seed=6), normal(*m.y.shape, seed=7)
    assert float((A(v) * u).sum()) == pytest.approx(float((v * A.adjoint(u)).sum()), rel=1e-10)
    change = (m.operator(x + 1e-6 * v) - m.operator(x - 1e-6 * v)) / 2e-6
    root, _ = m.noise.local(m.y, m.operator(x))
    assert relative(A(v), root * change) < 1e-7
    assert relative(m.linearised(x).gradient(x), m.gradient(x)) < 1e-10


@pytest.mark.parametrize("operator", ["clip", "quantise"])
def test_where_values_are_cut_off_the_way_back_to_the_data_is_known(operator):
    """An estimate beyond the range of data within: the gradient is zero, the linearised measurement leads back."""
    A = OPERATORS[operator](shape=(1, 3), **OPERATORS_USED[operator])
    y, x = torch.tensor([[[[0.6, 1.0, 0.6]]]]).double(), torch.tensor([[[[1.4, 1.4, 0.2]]]]).double()
    m = recon.Measurement(A, y, Gaussian(0.01))
    found = m.linearised(x)
    assert m.gradient(x)[0, 0, 0, 0] == 0.0 and found.gradient(x)[0, 0, 0, 0] < 0
    assert found.gradient(x)[0, 0, 0, 1] == 0.0 and not found.operator(torch.ones_like(x))[0, 0, 0, 1]
    torch.testing.assert_close(found.gradient(x)[..., 2], m.gradient(x)[..., 2], rtol=1e-10, atol=0)


def test_items_do_not_depend_on_their_mates():
    m, prior = measured("phase_retrieval", "poisson", items=3), gaussian_prior()
    x = 0.4 + 0.1 * normal(3, 1, *SHAPE, seed=5)

    def shifts(m: recon.Measurement, x: torch.Tensor) -> list[torch.Tensor]:
        guides = [
            general.likelihood_norm(m, lambda s: 1.0),
            general.relinearised(m, prior, lambda m: guidance.spectral(m, prior, 1e-2)),
        ]
        return [guide(x, lambda v, last=False: v, 0.5) for guide in guides]

    for alone, together in zip(shifts(m.rows([1]), x[1:2]), shifts(m, x), strict=True):
        assert relative(alone, together[1:2]) < 1e-10


CASES = [("blur", "poisson", method) for method in general.GENERAL] + [
    (operator, noise, method) for operator, noise in (
        ("blur", "laplace"), ("blur", "transmission"), ("blur", "rician"), ("clip", "gaussian"),
        ("quantise", "gaussian"), ("phase_retrieval", "rician"),
    ) for method in ("spectral", "dps")
]  # fmt: skip


@pytest.mark.parametrize(("operator", "noise", "method"), CASES)
def test_general_methods_take_every_likelihood(operator, noise, method):
    m = measured(operator, noise)
    found = recon.reconstruct(m, gaussian_prior(), method, steps=5, samples=1)
    assert found.samples.shape == (1, 2, 1, *SHAPE) and bool(found.samples.isfinite().all())
    assert found.chi_square.shape == (2,)
    one = recon.reconstruct(m, gaussian_prior(), method, steps=5, samples=1, batch_size=1)
    assert relative(one.samples, found.samples) < 1e-5


@pytest.mark.parametrize("method", ["ddnm", "diffpir", "song2022", "spectral_draw"])
def test_methods_of_gaussian_noise_say_which_take_others(method):
    for m in (measured("blur", "poisson"), measured("clip", "gaussian")):
        with pytest.raises(ValueError, match="got method .*expected Gaussian noise.*use spectral, pigdm, moment, dps"):
            recon.reconstruct(m, gaussian_prior(), method, steps=4, samples=1)
    with pytest.raises(ValueError, match="linear"):
        recon.CLASSICAL["pinv"](measured("clip", "gaussian"))
    with pytest.raises(ValueError, match="Gaussian noise"):
        recon.CLASSICAL["tv"](measured("blur", "poisson"))


@pytest.mark.parametrize("noise", ["poisson", "transmission", "rician"])
def test_the_posterior_of_one_unknown_is_that_of_quadrature(noise):
    """Of many independent pixels with the same datum: their mean and spread are those of one pixel's posterior."""
    prior, model, pixels = gaussian_prior((1, 20, 20)), NOISES[noise], 400
    one = torch.ones(1, 1, dtype=torch.float64)
    datum = model.sample(0.6 * one, *[0.5 * one] * model.draws)
    m = recon.Measurement(Identity((20, 20)), datum.expand(1, pixels).reshape(1, 1, 20, 20).clone(), model)
    x = torch.linspace(0.0, 1.1, 4001, dtype=torch.float64)[:, None]
    logs = model.log_likelihood(datum.expand(len(x), 1), x) - 0.5 * ((x[:, 0] - 0.5) / 0.1) ** 2
    weights = (logs - logs.max()).exp() / (logs - logs.max()).exp().sum()
    mean = float((weights * x[:, 0]).sum())
    std = math.sqrt(float((weights * (x[:, 0] - mean) ** 2).sum()))
    found = recon.reconstruct(m, prior, "spectral", steps=60, samples=4, options={"tolerance": 0.01}).samples
    assert abs(float(found.mean()) - mean) < 0.12 * std
    assert float(found.std()) == pytest.approx(std, rel=0.1)


def test_levels_that_differ_between_items_go_with_their_items():
    sigma = torch.tensor([0.1, 0.4], dtype=torch.float64).reshape(2, 1, 1, 1)
    m = replace(measured("blur", "gaussian"), noise=Gaussian(sigma.expand(2, 1, *SHAPE)))
    both = recon.reconstruct(m, gaussian_prior(), steps=5, samples=2)
    for item, level in enumerate((0.1, 0.4)):
        alone = replace(m, y=m.y[[item] * 2], noise=Gaussian(torch.full((1, *SHAPE), level, dtype=torch.float64)))
        found = recon.reconstruct(alone, gaussian_prior(), steps=5, samples=2)
        assert relative(both.samples[:, item], found.samples[:, item]) < 1e-4
        assert float(both.chi_square[item]) == pytest.approx(float(found.chi_square[item]), rel=1e-4)


def test_the_norm_of_an_operator_that_differs_between_items_is_the_largest():
    A = OPERATORS["blur"](shape=SHAPE, std=0.8)
    levels = torch.tensor([0.1, 0.4, 0.2], dtype=torch.float64).reshape(3, 1, 1, 1).expand(3, 1, *SHAPE)
    m = recon.Measurement(A, normal(3, 1, *SHAPE), Gaussian(levels)).whitened()
    assert operator_norm(m.operator) == pytest.approx(operator_norm(A) / 0.1, rel=1e-3)


def test_correlated_noise_is_whitened():
    """Of a diagonal covariance: as noise that differs by element."""
    levels = torch.linspace(0.05, 0.3, 6, dtype=torch.float64)
    m = measured("blur", "gaussian")
    one, two = (
        recon.reconstruct(replace(m, noise=noise), gaussian_prior(), steps=5, samples=2, options={"tolerance": 1e-6})
        for noise in (CorrelatedGaussian(torch.diag(levels)), Gaussian(levels.expand(SHAPE)))
    )
    assert relative(one.samples, two.samples) < 1e-5
    torch.testing.assert_close(one.chi_square, two.chi_square, rtol=1e-5, atol=0)
