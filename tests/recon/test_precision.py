"""A network in bfloat16, or compiled: how far its estimates and posteriors lie from those of the plain one."""

from __future__ import annotations

import copy

import pytest
import torch

import recon
from operators import OPERATORS, Gaussian
from recon.networks import UNet
from recon.prior import ScorePrior


@pytest.fixture(scope="module")
def priors() -> tuple[recon.Prior, recon.Prior]:
    return tuple(recon.load_prior("headct-64", precision=name) for name in ("float32", "bfloat16"))


@pytest.mark.parametrize("sigma", [0.02, 0.3, 3.0])
def test_estimates_differ_by_a_small_part_of_their_own_error(priors, sigma):
    """Rounding to eight bits: less than a tenth of the error that the denoiser makes by its own spectrum."""
    x = recon.sample_prior(priors[0], 1, steps=8, seed=1)
    noisy = priors[0].from_value(x) + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    full, half = (prior.denoise(noisy, sigma) for prior in priors)
    assert full.dtype == half.dtype == torch.float32
    own = float(priors[0].error_spectrum.gains(sigma, 64, 64).mean().sqrt())
    difference = float((full - half).square().mean().sqrt())
    assert 0 < difference < 0.1 * own, (difference, own)


def test_posteriors_agree_to_a_tenth_of_their_spread(priors):
    """Guided, so through the backpropagation too; the state, the data and the result stay in float32."""
    A = OPERATORS["inpaint"](shape=(64, 64), keep=0.5, seed=0)
    x = recon.sample_prior(priors[0], 1, steps=8, seed=1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    m = recon.Measurement(A, A(x) + 0.02 * noise, Gaussian(0.02))
    full, half = (recon.reconstruct(m, prior, steps=8, samples=2) for prior in priors)
    assert half.samples.dtype == torch.float32 and half.backpropagations == 8
    spread = float((full.samples - full.mean).square().mean().sqrt())
    assert 0 < float((full.samples - half.samples).square().mean().sqrt()) < 0.1 * spread


@pytest.mark.slow
def test_a_compiled_network_guides_alike():
    """`moment` goes back through one call several times, which compiled code by itself refuses."""
    plain = ScorePrior(UNet(1, widths=(8,), attention=(), unshuffle=2), (1, 8, 8), recon.VP(), data_std=0.5).eval()
    for weights in plain.parameters():
        torch.nn.init.normal_(weights.data, std=0.3, generator=torch.Generator().manual_seed(weights.numel()))
    compiled = copy.deepcopy(plain)
    compiled.compile()
    m = recon.Measurement(OPERATORS["inpaint"](shape=(8, 8), keep=0.5, seed=0), torch.zeros(1, 1, 8, 8), Gaussian(0.1))
    found, expected = (recon.reconstruct(m, prior, "moment", 3, 2).samples for prior in (compiled, plain))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="got precision 'float8'; expected one of float32, bfloat16"):
        recon.load_prior("headct-64", precision="float8")
