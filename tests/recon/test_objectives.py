"""Predictions as one another, and the three forms of score matching against each other and against closed forms."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from law import relative, spectrum

import recon
from recon.objectives import OBJECTIVES, WEIGHTINGS
from recon.parametrisation import PREDICTS, convert, estimate, prediction


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def known(x0: torch.Tensor, n: torch.Tensor, sigma: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each kind of network should say of x0 + sigma n where the estimate is x0, by its definition."""
    a, b = (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5
    s = 0.7
    edm = (x0 - s**2 / (sigma**2 + s**2) * (x0 + sigma * n)) * (sigma**2 + s**2) ** 0.5 / (sigma * s)
    return {"x0": x0, "eps": n, "score": -n / sigma, "v": a * n - b * x0, "edm": edm}


@pytest.mark.parametrize("source, target", list(product(PREDICTS, PREDICTS)))
def test_predictions_are_those_of_their_definition(source, target):
    x0, n, sigma = draw(3, 5), draw(3, 5, seed=1), torch.tensor([[0.05], [1.0], [20.0]], dtype=torch.float64)
    outputs, x = known(x0, n, sigma), x0 + sigma * n
    assert set(outputs) == set(PREDICTS)
    assert relative(estimate(source, outputs[source], x, sigma, 0.7), x0) < 1e-11
    assert relative(prediction(target, x0, x, sigma, 0.7), outputs[target]) < 1e-11
    assert relative(convert(outputs[source], x, sigma, source, target, 0.7), outputs[target]) < 1e-11


def mixture() -> recon.MixturePrior:
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [0.0, -2.0]], dtype=torch.float64)
    return recon.MixturePrior(means, 0.2 * torch.eye(2, dtype=torch.float64), torch.tensor([0.5, 0.3, 0.2]))


class Crooked(recon.MixturePrior):
    """A mixture whose estimate is bent, x -> D + c sin(D): an untrained network of one parameter."""

    bend = torch.tensor(0.3, dtype=torch.float64)

    def denoise(self, x, sigma):
        d = super().denoise(x, sigma)
        return d + self.bend * torch.sin(2 * d)


@pytest.mark.parametrize("sigma", [0.3, 1.5])
def test_objectives_have_one_expectation_and_one_gradient(sigma):
    """Over many draws of the data and noise, within five standard errors; so has the derivative by a parameter."""
    exact = mixture()
    prior = Crooked(exact.means, 0.2 * torch.eye(2, dtype=torch.float64), exact.weights)
    prior.bend = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    count = 20000
    choice = torch.multinomial(exact.weights, count, replacement=True, generator=torch.Generator().manual_seed(4))
    x0 = exact.means[choice] + 0.2**0.5 * draw(count, 2, seed=5)
    level, noise = torch.full((count,), sigma, dtype=torch.float64), draw(count, 2, seed=6)
    torch.manual_seed(0)
    values, slopes = {}, {}
    for name, objective in OBJECTIVES.items():
        losses = objective(prior, x0, level, noise)
        values[name] = losses.detach()
        one = torch.ones(count, dtype=torch.float64, requires_grad=True)  # d/d one_i of the slope is image i's own
        slope = torch.autograd.grad((losses * one).sum(), prior.bend, create_graph=True)[0]
        slopes[name] = torch.autograd.grad(slope, one)[0]
    for found in (values, slopes):
        for name in ("sliced", "implicit"):
            gap = found[name] - found["denoising"]
            assert abs(float(gap.mean())) < 5 * float(gap.std()) / count**0.5, name
            assert float(gap.std()) > 0
        # what one sign vector adds to the exact trace
        assert float(found["sliced"].var()) > float(found["implicit"].var())


def test_implicit_is_the_closed_form_of_a_gaussian():
    """|D - x|^2 / n + 2 sigma^2 tr K / n - sigma^2 with D = K x, by hand."""
    prior = recon.GaussianPrior(torch.zeros(1, 2, 3, dtype=torch.float64), spectrum(2, 3))
    x0, noise, sigma = draw(4, 1, 2, 3), draw(4, 1, 2, 3, seed=1), torch.tensor([0.2, 0.5, 1.0, 4.0]).double()
    found = OBJECTIVES["implicit"](prior, x0, sigma, noise).detach()
    for i, level in enumerate(sigma.tolist()):
        K = prior.denoise(torch.eye(6, dtype=torch.float64).reshape(6, 1, 2, 3), level).reshape(6, 6)
        x = (x0[i] + level * noise[i]).flatten()
        expected = (K.T @ x - x).square().mean() + 2 * level**2 * K.trace() / 6 - level**2
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("sde", [recon.VP(), recon.VE(0.01, 30.0), recon.SubVP()], ids=["vp", "ve", "subvp"])
def test_weights_of_the_noise_levels(sde):
    """`likelihood` is d sigma^2 / dt over sigma^4, by finite differences; the others by their formulas."""
    sigma = torch.tensor([0.1, 0.5, 3.0], dtype=torch.float64)
    t, h = sde.time(sigma), 1e-6
    rate = (sde.sigma(t + h).square() - sde.sigma(t - h).square()) / (2 * h)
    assert torch.allclose(WEIGHTINGS["likelihood"](sigma, 0.5, sde), rate / sigma**4, rtol=1e-6)
    assert torch.allclose(WEIGHTINGS["eps"](sigma, 0.5, sde), 1 / sigma**2)
    assert WEIGHTINGS["min_snr"](sigma, 0.5, sde).tolist() == pytest.approx([5.0, 4.0, 1 / 9])
    assert torch.allclose(WEIGHTINGS["edm"](sigma, 0.5, sde), (sigma**2 + 0.25) / (0.25 * sigma**2))
