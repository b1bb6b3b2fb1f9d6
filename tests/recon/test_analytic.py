"""Exact priors against dense formulas and against automatic differentiation of their log density."""

from __future__ import annotations

import math

import pytest
import torch
from law import dense_stationary, relative, spectrum
from torch import Tensor
from torch.distributions import MultivariateNormal

import recon
from recon.covariance import as_covariance
from recon.prior import per_item


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


ROOT = draw(6, 6, seed=1)
DENSE = ROOT @ ROOT.T / 6
LINE = torch.tensor([3.0, 1.0, 0.4, 0.1, 0.4, 1.0], dtype=torch.float64)  # a spectrum on a circle of 6
CIRCLE = torch.stack([torch.roll(torch.fft.ifft(LINE).real, k) for k in range(6)])  # its covariance, circulant
GRID = spectrum(3, 4)

# name: (event, covariance as given, dense covariance of the flattened event)
GAUSSIANS = {
    "dense vector": ((6,), DENSE, DENSE),
    "stationary vector": ((6,), LINE, CIRCLE),
    "dense image": ((1, 2, 3), DENSE, DENSE),
    "stationary image": ((1, 3, 4), GRID, dense_stationary(GRID)),
    "stationary channels": ((2, 3, 4), GRID, torch.block_diag(dense_stationary(GRID), dense_stationary(GRID))),
    "a spectrum each channel": (
        (2, 3, 4),
        torch.stack([GRID, 2 * GRID]),
        torch.block_diag(dense_stationary(GRID), 2 * dense_stationary(GRID)),
    ),
    "white": ((1, 3, 4), torch.tensor(0.3, dtype=torch.float64), 0.3 * eye(12)),
    "plain matrix of an image": ((3, 4), GRID, dense_stationary(GRID)),
}


@pytest.fixture(params=GAUSSIANS)
def gaussian(request) -> tuple[recon.GaussianPrior, Tensor, Tensor]:
    """The prior, its mean (n,), its dense covariance (n, n)."""
    event, given, dense = GAUSSIANS[request.param]
    mean = draw(*event, seed=2)
    return recon.GaussianPrior(mean, given), mean.flatten(), dense


@pytest.mark.parametrize("sigma", [0.05, 1.0, 7.0])
def test_gaussian_denoiser(gaussian, sigma):
    """mean + C (C + sigma^2)^-1 (x - mean)."""
    prior, mean, C = gaussian
    x = 3 * draw(4, *prior.shape)
    expected = mean + (x.flatten(1) - mean) @ torch.linalg.solve(C + sigma**2 * eye(len(C)), C)
    assert relative(prior.denoise(x, sigma).flatten(1), expected) < 1e-12
    score = -torch.linalg.solve(C + sigma**2 * eye(len(C)), (x.flatten(1) - mean).T).T
    assert relative(prior.score(x, sigma).flatten(1), score) < 1e-10


def test_gaussian_takes_one_level_an_item(gaussian):
    prior, _, _ = gaussian
    x, sigmas = draw(3, *prior.shape), torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    expected = torch.cat([prior.denoise(x[i : i + 1], float(s)) for i, s in enumerate(sigmas)])
    assert relative(prior.denoise(x, sigmas), expected) < 1e-14
    expected = torch.stack([prior.log_density(x[i : i + 1], float(s))[0] for i, s in enumerate(sigmas)])
    assert torch.allclose(prior.log_density(x, sigmas), expected, rtol=1e-13)


def test_gaussian_density_samples_and_spread(gaussian):
    prior, mean, C = gaussian
    x = draw(5, *prior.shape)
    for sigma in (0.0, 0.4):
        expected = MultivariateNormal(mean, C + sigma**2 * eye(len(C))).log_prob(x.flatten(1))
        assert torch.allclose(prior.log_density(x, sigma), expected, rtol=1e-11)
    root = (prior.sample(eye(len(C)).reshape(-1, *prior.shape)) - prior.mean).flatten(1)
    assert relative(root.T @ root, C) < 1e-12
    assert prior.spread == pytest.approx(math.sqrt(float(torch.linalg.eigvalsh(C)[-1])), rel=1e-6)
    assert prior.data_std == pytest.approx(math.sqrt(float(C.trace()) / len(C)), rel=1e-6)


@pytest.mark.parametrize("power", [0.5, 1.0, -1.0])
def test_gaussian_error_covariance(gaussian, power):
    """cov(x0 | x) = (C^-1 + sigma^-2)^-1, and its powers."""
    prior, _, C = gaussian
    sigma, n = 0.6, len(C)
    values, vectors = torch.linalg.eigh(torch.linalg.inv(torch.linalg.inv(C) + eye(n) / sigma**2))
    expected = vectors @ torch.diag(values**power) @ vectors.T
    assert relative(prior.error_filter(eye(n).reshape(n, *prior.shape), sigma, power).flatten(1), expected) < 1e-10


def test_gaussian_start_has_the_law_of_the_noised_images(gaussian):
    prior, mean, C = gaussian
    n, sigma = len(C), 0.8
    middle = prior.start(torch.zeros(1, *prior.shape, dtype=torch.float64), sigma)
    root = (prior.start(eye(n).reshape(n, *prior.shape), sigma) - middle).flatten(1)
    assert relative(middle.flatten(), mean) < 1e-14
    assert relative(root.T @ root, C + sigma**2 * eye(n)) < 1e-12


def test_singular_covariance_keeps_to_its_plane():
    C = torch.zeros(3, 3, dtype=torch.float64)
    C[0, 0] = 2.0
    prior = recon.GaussianPrior(torch.ones(3, dtype=torch.float64), C)
    x = draw(2, 3)
    expected = torch.ones(2, 3, dtype=torch.float64)
    expected[:, 0] = 1 + 2.0 / 2.25 * (x[:, 0] - 1)
    assert relative(prior.denoise(x, 0.5), expected) < 1e-14


def test_float32_mean_gives_a_float32_prior():
    prior = recon.GaussianPrior(torch.zeros(1, 3, 4), GRID)
    assert prior.dtype == torch.float32
    assert prior.denoise(torch.randn(2, 1, 3, 4), 0.5).dtype == torch.float32
    assert recon.GaussianPrior(torch.zeros(3, dtype=torch.int64), torch.eye(3)).dtype == torch.float64


def stacked(*parts: Tensor) -> Tensor:
    return torch.stack(parts)


# name: (event, covariances as given, dense covariance of each of 3 components)
MIXTURES = {
    "own dense": ((6,), stacked(DENSE, 0.1 * eye(6), 2 * CIRCLE), stacked(DENSE, 0.1 * eye(6), 2 * CIRCLE)),
    "shared dense": ((6,), DENSE, stacked(DENSE, DENSE, DENSE)),
    "shared dense of as many values as components": ((3,), DENSE[:3, :3], DENSE[:3, :3].expand(3, 3, 3)),
    "own spectra": (
        (1, 3, 4),
        stacked(GRID, 2 * GRID, 0.2 * GRID)[:, None],
        stacked(*(c * dense_stationary(GRID) for c in (1, 2, 0.2))),
    ),
    "shared spectrum": ((1, 3, 4), GRID[None], dense_stationary(GRID).expand(3, 12, 12)),
    "dense image": ((1, 2, 3), stacked(DENSE, 0.5 * DENSE, eye(6)), stacked(DENSE, 0.5 * DENSE, eye(6))),
}
WEIGHTS = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)


@pytest.fixture(params=MIXTURES)
def mixture(request) -> tuple[recon.MixturePrior, Tensor, Tensor]:
    """The prior, its means (K, n), its dense covariances (K, n, n)."""
    event, given, dense = MIXTURES[request.param]
    means = 1.5 * draw(3, *event, seed=3)
    return recon.MixturePrior(means, given, WEIGHTS), means.flatten(1), dense


def log_density(x: Tensor, means: Tensor, covariances: Tensor, sigma: float) -> Tensor:
    logs = MultivariateNormal(means, covariances + sigma**2 * eye(means.shape[1])).log_prob(x[:, None])
    return torch.logsumexp(logs + (WEIGHTS / WEIGHTS.sum()).log(), 1)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 6.0])
def test_mixture_denoiser_is_the_score_of_its_density(mixture, sigma):
    """Tweedie: x + sigma^2 grad log p_sigma, the gradient by automatic differentiation of an independent density."""
    prior, means, covariances = mixture
    x = 2 * draw(5, *prior.shape)
    leaf = x.flatten(1).requires_grad_(True)
    logs = log_density(leaf, means, covariances, sigma)
    gradient = torch.autograd.grad(logs.sum(), leaf)[0]
    assert torch.allclose(prior.log_density(x, sigma), logs.detach(), rtol=1e-10)
    assert relative(prior.score(x, sigma).flatten(1), gradient) < 1e-9
    assert relative(prior.denoise(x, sigma).flatten(1), leaf.detach() + sigma**2 * gradient) < 1e-11


def test_mixture_takes_one_level_an_item(mixture):
    prior, _, _ = mixture
    x, sigmas = draw(3, *prior.shape), torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    expected = torch.cat([prior.denoise(x[i : i + 1], float(s)) for i, s in enumerate(sigmas)])
    assert relative(prior.denoise(x, sigmas), expected) < 1e-13


def test_mixture_draws_and_moments(mixture):
    prior, means, covariances = mixture
    n = means.shape[1]
    for k in range(3):
        root = prior.sample(eye(n).reshape(n, *prior.shape), torch.full((n,), k)).flatten(1) - means[k]
        assert relative(root.T @ root, covariances[k]) < 1e-12
    weights = WEIGHTS / WEIGHTS.sum()
    mean = weights @ means
    variance = (weights[:, None] * (covariances.diagonal(dim1=1, dim2=2) + (means - mean).square())).sum(0)
    assert relative(prior.mean_image(prior.shape).flatten(), mean) < 1e-14
    assert prior.data_std == pytest.approx(math.sqrt(float(variance.mean())), rel=1e-10)
    assert prior.spread >= math.sqrt(float(torch.linalg.eigvalsh(covariances)[:, -1].max()))


def test_mixture_of_one_is_gaussian():
    mean, x = draw(1, 6), draw(4, 6)
    one, gauss = recon.MixturePrior(mean, DENSE[None]), recon.GaussianPrior(mean[0], DENSE)
    assert relative(one.denoise(x, 0.7), gauss.denoise(x, 0.7)) < 1e-13
    assert torch.allclose(one.log_density(x), gauss.log_density(x), rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 6.0])
@pytest.mark.parametrize("event", [(5,), (1, 2, 3)])
def test_mean_error_covariance_of_a_mixture(event, sigma):
    """sigma^2 times the denoiser's Jacobian, averaged over draws, which leave an error of some per cent."""
    n, rows = math.prod(event), 4000
    means = 2 * draw(3, *event, seed=3)
    prior = recon.MixturePrior(means, 0.7 * eye(n), WEIGHTS)
    chosen = torch.multinomial(WEIGHTS, rows, replacement=True, generator=torch.Generator().manual_seed(2))
    x = means[chosen] + math.sqrt(0.7 + sigma**2) * draw(rows, *event, seed=4)
    x = x.requires_grad_(True)
    x0 = prior.denoise(x, sigma).flatten(1)
    jacobian = [torch.autograd.grad(x0[:, i].sum(), x, retain_graph=True)[0].flatten(1).mean(0) for i in range(n)]
    units = eye(n).reshape(n, *event)
    found, root = (prior.error_filter(units, sigma, power).flatten(1) for power in (1.0, 0.5))
    assert relative(found, sigma**2 * torch.stack(jacobian)) < 0.06
    assert relative(root @ root, found) < 1e-12


def test_far_from_all_means_nothing_overflows():
    prior = recon.MixturePrior(draw(3, 6), DENSE, WEIGHTS)
    x = 1e6 * draw(2, 6)
    assert bool(prior.denoise(x, 0.01).isfinite().all())


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: recon.GaussianPrior(torch.zeros(3), torch.eye(4)),
            r"got a covariance of shape \(4, 4\) .*expected \(3, 3\)",
        ),
        (lambda: recon.GaussianPrior(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "not symmetric"),
        (
            lambda: recon.GaussianPrior(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            "eigenvalues from -1 to 3",
        ),
        (lambda: recon.GaussianPrior(torch.zeros(2), torch.zeros(2, 2)), "some positive"),
        (lambda: recon.GaussianPrior(torch.zeros(4), torch.tensor([1.0, 2.0, 1.0, 3.0])), r"S\[-k\]"),
        (lambda: recon.GaussianPrior(torch.zeros(2), torch.tensor([[1.0, math.nan], [math.nan, 1.0]])), "not finite"),
        (lambda: recon.MixturePrior(torch.zeros(3, 2), torch.eye(2).expand(2, 2, 2)), "2 covariances for 3 means"),
        (lambda: recon.MixturePrior(torch.zeros(2, 2), torch.eye(2), torch.tensor([1.0, 0.0])), "weights"),
        (lambda: recon.MixturePrior(torch.zeros(2, 2), torch.eye(2), torch.ones(3)), r"shape \(3,\); expected 2"),
        (lambda: recon.Units(scale=0.0), "scale=0.0"),
        (lambda: recon.Units(scale=-1.0), "positive scale"),
        (lambda: recon.Units(shift=math.nan), "finite shift"),
    ],
)
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_level_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\) for a batch of 4"):
        per_item(torch.ones(2), torch.zeros(4, 3))


def test_covariance_knows_its_modes():
    """Squared modes of draws have the eigenvalues as their mean: checked on the root, so exactly."""
    for value, event in ((DENSE, (6,)), (GRID, (1, 3, 4))):
        covariance = as_covariance(value, event)
        n = math.prod(event)
        root = covariance.filter(eye(n).reshape(n, *event), covariance.eigenvalues.sqrt())
        power = covariance.modes(root).square().sum(0)
        assert relative(power.reshape(covariance.eigenvalues.shape), covariance.eigenvalues) < 1e-12
