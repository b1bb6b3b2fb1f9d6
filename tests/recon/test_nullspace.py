"""The split into what the data fix and what the prior supplied, against dense algebra and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators import OPERATORS, Gaussian, Poisson, dense_matrix
from recon import Measurement, null_space
from recon.nullspace import split

SHAPE = (12, 10)
TASKS = {
    "identity": {},
    "inpaint": {"keep": 0.4},
    "blur": {"std": 1.5},
    "blur zero": {"std": 1.0, "boundary": "zero"},
    "downsample": {"factor": 2},
    "ct": {"angles": 5},
}


def images(*lead, seed=0):
    return torch.randn(*lead, 1, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(name, sigma, items=2):
    A = OPERATORS[name.split()[0]](shape=SHAPE, **TASKS[name])
    return Measurement(A, A(images(items, seed=9)), Gaussian(sigma))


@pytest.mark.parametrize("name", TASKS)
def test_p_is_the_matrix_of_the_definition(name):
    m, x = measured(name, 0.3), images(2)
    A = dense_matrix(m.operator)
    for k, s in enumerate(x.flatten(1).std(1, correction=0)):
        P = A.T @ torch.linalg.solve(A @ A.T + (0.3 / s) ** 2 * torch.eye(len(A), dtype=A.dtype), A)
        expected = x[k].flatten() - P @ x[k].flatten()
        tolerance = 1e-9 if m.operator.closed_form and name != "ct" else 1e-2
        assert (null_space(m, x)[k].flatten() - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("name", ["inpaint", "blur", "downsample", "ct"])
def test_without_noise_p_is_a_projection_that_the_operator_cannot_tell_from_one(name):
    m, x = measured(name, 0.0), images(2)
    null = null_space(m, x)
    assert (null_space(m, null) - null).norm() < 1e-8 * x.norm()
    assert null_space(m, x - null).norm() < 1e-8 * x.norm()
    assert m.operator(null).norm() < 1e-8 * m.operator(x).norm()


def test_inpainting_leaves_the_hidden_pixels_to_the_prior_and_of_the_kept_ones_what_the_noise_hides():
    samples = 2 + 0.5 * images(6, 2)
    for sigma in (1e-6, 0.1, 1.0):
        m = measured("inpaint", sigma)
        kept = m.operator.mask
        found = split(m, samples)
        s2 = found.images.transpose(0, 1).flatten(1).square().mean(1)
        left = sigma**2 / (sigma**2 + s2)  # 1 - P on kept pixels
        std = samples.std(0)
        torch.testing.assert_close(found.std[..., ~kept], std[..., ~kept], rtol=1e-9, atol=0)
        expected = left.view(-1, 1, 1, 1) * std
        torch.testing.assert_close(found.std[..., kept], expected[..., kept], rtol=1e-9, atol=1e-14)
        power = (samples - samples.mean((0, 2, 3, 4), keepdim=True)).square().mean((0, 2))
        share = (power[:, ~kept].sum(1) + left * power[:, kept].sum(1)) / power.sum((1, 2))
        torch.testing.assert_close(found.image_share, share, rtol=1e-9, atol=0)


def test_blur_leaves_the_high_frequencies_to_the_prior():
    m, x = measured("blur", 1e-3), images(2)
    power, null = (torch.fft.rfft2(v).abs().square().mean((0, 1)) for v in (x, null_space(m, x)))
    impulse = torch.eye(SHAPE[0] * SHAPE[1], dtype=x.dtype)[:1].view(1, 1, *SHAPE)
    response = torch.fft.rfft2(m.operator(impulse)).abs()[0, 0]
    rho = 1e-6 / x.flatten(1).var(1, correction=0)
    for k in range(2):
        gain = rho[k] / (response**2 + rho[k])
        found = torch.fft.rfft2(null_space(m, x)[k, 0]).abs()
        torch.testing.assert_close(found, gain * torch.fft.rfft2(x[k, 0]).abs(), rtol=1e-6, atol=1e-9)
    assert null[0, 0] < 1e-6 * power[0, 0] and null[6, 5] > 0.5 * power[6, 5]


def test_shares_of_white_samples_are_the_mean_of_i_less_p():
    """Of white deviations the share is trace(I - P) / n; here of blind pixels only: 60 % of them."""
    found = split(measured("inpaint", 1e-9), images(400, 1))
    assert found.spread_share.item() == pytest.approx(0.6, abs=0.01)
    assert found.image_share.item() == pytest.approx(0.6, abs=0.01)


def test_where_the_unit_has_its_zero_and_its_scale_changes_nothing():
    for shift, scale in ((1000.0, 1.0), (0.0, 50.0)):
        A = OPERATORS["blur"](shape=SHAPE, std=1.5)
        one = split(Measurement(A, A(images(1)), Gaussian(0.2)), images(4, 1))
        other = split(Measurement(A, A(images(1)), Gaussian(0.2 * scale)), shift + scale * images(4, 1))
        torch.testing.assert_close(other.std, scale * one.std, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(other.image_share, one.image_share, rtol=1e-8, atol=0)


def test_an_item_does_not_depend_on_its_batch_mates():
    samples = images(3, 2)
    m = measured("ct", 0.3)
    both = split(m, samples)
    alone = split(m.rows([1]), samples[:, 1:])
    torch.testing.assert_close(both.null[:, 1:], alone.null, rtol=1e-6, atol=1e-8)


def test_noise_that_differs_by_element_is_whitened_and_counts_take_their_fisher_information():
    x = images(3, 1).abs() + 1
    A = OPERATORS["identity"](shape=SHAPE)
    level = torch.linspace(0.1, 2.0, SHAPE[0] * SHAPE[1], dtype=torch.float64).view(SHAPE)
    found = split(Measurement(A, x[0], Gaussian(level)), x)
    left = level**2 / (level**2 + found.images.square().mean())
    torch.testing.assert_close(found.null, left * found.images, rtol=1e-2, atol=1e-2)
    counted = split(Measurement(A, x[0].round(), Poisson(gain=5.0)), x)
    level = (x.mean(0) / 5).sqrt()  # variance of y / gain is x / gain
    left = level**2 / (level**2 + counted.images.square().mean())
    torch.testing.assert_close(counted.null, left * counted.images, rtol=1e-2, atol=1e-2)


def test_what_cannot_be_split_is_refused():
    phase = OPERATORS["phase_retrieval"](shape=SHAPE)
    y = phase(images(1).float())
    with pytest.raises(ValueError, match="expected a linear one"):
        null_space(Measurement(phase, y, Gaussian(0.1)), images(1))
    with pytest.raises(ValueError, match=r"spread=\[0\.0.*positive"):
        null_space(measured("blur", 0.1, 1), torch.zeros(1, 1, *SHAPE, dtype=torch.float64))
    assert split(measured("blur", 0.1, 1), images(1, 1)).std is None
    assert np.isfinite(split(measured("blur", 0.1, 1), images(1, 1)).image_share.item())
