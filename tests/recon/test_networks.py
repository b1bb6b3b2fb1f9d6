"""The U-Net: any size that its multiple divides, one noise level an item, no item seen by another."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import recon
from recon.networks import NETWORKS, UNet
from recon.prior import ScorePrior


def unet(channels: int = 1, **options: object) -> UNet:
    """A small network whose zero-initialised layers are filled, so that everything takes part."""
    torch.manual_seed(0)
    network = (
        UNet(channels, **{"widths": (8, 12), "attention": (1,), "unshuffle": 2, "embedding": 16, **options})
        .double()
        .eval()
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if not bool(parameter.any()):
                nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (12, 4), (8, 20)])
def test_any_size_that_the_multiple_divides(size, channels):
    network = unet(channels)
    assert network.multiple == 4
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    assert network(x, torch.zeros(2, dtype=torch.float64)).shape == x.shape


@pytest.mark.parametrize("size", [(6, 8), (8, 6), (7, 7)])
def test_other_sizes_are_refused(size):
    with pytest.raises(
        ValueError, match=rf"got an image of {size[0]}x{size[1]}; expected .*multiples of 4; pad or crop"
    ):
        unet()(torch.zeros(1, 1, *size, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (8,), "attention": ()},
        {"widths": (8, 12, 8), "attention": (0, 2), "unshuffle": 1},
        {"blocks": 2, "unshuffle": 4},
        {"dropout": 0.3},
    ],
)
def test_shapes_of_every_make(options):
    network = unet(**options)
    n = network.multiple
    x = torch.randn(2, 1, n, 2 * n, dtype=torch.float64)
    assert network(x, torch.zeros(2, dtype=torch.float64)).shape == x.shape


def test_items_do_not_see_each_other():
    network, x, c = unet(), torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.linspace(-2, 2, 5, dtype=torch.float64)
    together = network(x, c)
    alone = torch.cat([network(x[i : i + 1], c[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-12)
    assert torch.allclose(network(x.flip(0), c.flip(0)).flip(0), together, rtol=1e-10, atol=1e-12)


def test_every_item_has_its_own_noise_level():
    network, x = unet(), torch.randn(1, 1, 8, 8, dtype=torch.float64).expand(3, 1, 8, 8)
    one, two, three = network(x, torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64))
    assert torch.equal(one, three)
    assert float(((one - two).norm() / one.norm()).detach()) > 1e-3


def test_every_parameter_and_every_pixel_takes_part():
    network = unet()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    network(x, torch.tensor([0.1, -0.7], dtype=torch.float64)).square().sum().backward()
    assert bool((x.grad != 0).all())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name


def test_a_fresh_network_predicts_nothing():
    """Its last layer starts at zero, so the prior starts as the best linear denoiser of white images."""
    network = UNet(1, widths=(8,), attention=(), unshuffle=2)
    assert not bool(network(torch.randn(2, 1, 8, 8), torch.zeros(2)).any())
    prior = ScorePrior(network, (1, 8, 8), recon.VP(), data_std=0.5)
    x = torch.randn(2, 1, 8, 8)
    assert torch.allclose(prior.denoise(x, 2.0), 0.25 / 4.25 * x)


def test_preconditioning_is_equation_7():
    """c_skip x + c_out F(c_in x, log(sigma) / 4), one sigma an item; Karras et al., 2022, table 1."""
    network, s = unet(), 0.4
    prior = ScorePrior(network, (1, 8, 8), recon.VP(), data_std=s).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    sigmas = [0.05, 1.0, 20.0]
    found = prior.denoise(x, torch.tensor(sigmas, dtype=torch.float64))
    for i, sigma in enumerate(sigmas):
        noise = torch.tensor([sigma], dtype=torch.float64).log() / 4
        inner = network(x[i : i + 1] / (sigma**2 + s**2) ** 0.5, noise)
        expected = s**2 / (sigma**2 + s**2) * x[i : i + 1] + sigma * s / (sigma**2 + s**2) ** 0.5 * inner
        assert torch.allclose(found[i : i + 1], expected, rtol=1e-9, atol=1e-12)
        assert torch.allclose(prior.denoise(x[i : i + 1], sigma), expected, rtol=1e-9, atol=1e-12)


def test_wrong_images_and_levels_are_refused():
    prior = ScorePrior(unet(), (1, 8, 8), recon.VP(), data_std=0.5)
    for shape in ((2, 3, 8, 8), (2, 8, 8)):
        with pytest.raises(ValueError, match=r"expected \(B, 1, H, W\)"):
            prior.denoise(torch.zeros(shape, dtype=torch.float64), 1.0)
    with pytest.raises(ValueError, match=r"attention levels \(3,\); expected levels of widths \(8, 12\)"):
        unet(attention=(3,))
    assert NETWORKS["unet"] is UNet


def test_the_start_is_around_what_the_prior_makes_of_nothing():
    """mean_image is the estimate where noise hides all; a white start has the variance data_std^2 + sigma^2."""
    prior = ScorePrior(unet(), (1, 8, 8), recon.VP(), data_std=0.5).double()
    middle = prior.denoise(torch.zeros(1, 1, 8, 12, dtype=torch.float64), prior.sde.sigma_max)
    assert torch.equal(prior.mean_image((1, 8, 12)), middle)
    noise = torch.randn(3, 1, 8, 12, dtype=torch.float64)
    assert torch.allclose(prior.start(noise, 2.0), middle + (0.25 + 4.0) ** 0.5 * noise, rtol=1e-12)
