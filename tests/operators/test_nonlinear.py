"""Clipping, rounding and phase retrieval: values, derivatives, what they cannot tell apart, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators import OPERATORS, Chain, Compose, Magnitude, Pad, check, mri, to_channels
from operators.kspace import CentredFourier

clip, quantise, phase_retrieval = (OPERATORS[name] for name in ("clip", "quantise", "phase_retrieval"))
RNG = np.random.default_rng(8)
MASKS = np.exp(2j * np.pi * RNG.random((3, 4, 5)))
CASES = {
    "clip": ("clip", dict(shape=(4, 5), gain=1.5, low=-0.5)),
    "quantise": ("quantise", dict(shape=(4, 5), bits=3, low=-1.0, high=1.0)),
    "phase real": ("phase_retrieval", dict(shape=(4, 5))),
    "phase complex": ("phase_retrieval", dict(shape=(4, 5), image="complex", oversampling=1.5)),
    "phase coded": ("phase_retrieval", dict(shape=(5, 4), patterns=3, oversampling=1.0)),
    "phase given masks": ("phase_retrieval", dict(shape=(4, 5), patterns=MASKS, image="complex")),
}


def image(A, seed=0):
    return torch.randn(2, *A.in_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", CASES)
def test_spec_builds_the_same_operator_again(case):
    name, arguments = CASES[case]
    A = OPERATORS[name](**arguments)
    again = OPERATORS[A.spec["name"]](**A.spec["parameters"])
    x = image(A)
    assert torch.equal(again(x), A(x)) and again.spec.keys() == A.spec.keys()
    for value in A.spec["parameters"].values():
        assert isinstance(value, (np.ndarray, list, str, int, float))


@pytest.mark.parametrize("case", [case for case in CASES if case != "quantise"])
def test_derivatives_batches_and_dtypes(case):
    name, arguments = CASES[case]
    A = OPERATORS[name](**arguments)
    assert check(A).ok, check(A)
    assert torch.autograd.gradcheck(A, image(A).requires_grad_())


def test_clipping_keeps_what_is_in_range():
    x = torch.tensor([[-1.0, 0.2, 0.5, 0.51, 3.0]])
    A = clip(shape=(1, 5))
    torch.testing.assert_close(A(x), torch.tensor([[0.0, 0.4, 1.0, 1.0, 1.0]]))
    x.requires_grad_()
    A(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 2.0, 2.0, 0.0, 0.0]]


def test_rounding_is_to_the_nearest_level():
    A = quantise(shape=(1, 6), bits=2)
    x = torch.tensor([[-0.3, 0.16, 0.17, 0.5001, 0.9, 2.0]], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(A(x).detach(), torch.tensor([[0, 0, 1 / 3, 2 / 3, 1, 1]], dtype=torch.float64))
    A(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 1.0, 1.0, 0.0]], "that of clipping"
    fine = quantise(shape=(1, 500), bits=8, low=-1.0, high=3.0)
    x = torch.linspace(-1, 3, 500, dtype=torch.float64)[None]
    assert (fine(x) - x).abs().max() <= 2.0 / 255 + 1e-12 and len(fine(x).unique()) == 256


@pytest.mark.parametrize("shape, size", [((4, 5), (8, 10)), ((5, 3), (7, 3)), ((3, 4), (4, 7))])
def test_padding_keeps_the_origin(shape, size):
    A = Pad(shape, size)
    assert check(A).ok, check(A)
    impulse = torch.zeros(shape)
    impulse[shape[0] // 2, shape[1] // 2] = 1.0
    assert A(impulse)[size[0] // 2, size[1] // 2] == 1.0
    flat = CentredFourier(size)(to_channels(A(impulse).to(torch.complex64)))
    torch.testing.assert_close(flat[1], torch.zeros(size), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="size: got"):
        Pad(shape, (1, 1))


def test_magnitudes_are_those_of_the_padded_transform():
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(x.numpy(), s=(12, 10)), axes=(1, 2))) / 120**0.5
    np.testing.assert_allclose(phase_retrieval(shape=(6, 5))(x).numpy(), expected, atol=1e-13)


def test_coded_magnitudes_are_those_of_the_masked_image():
    z = torch.randn(4, 5, dtype=torch.complex128)
    A = phase_retrieval(shape=(4, 5), patterns=MASKS, image="complex", oversampling=1.0)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(MASKS * z.numpy()), axes=(1, 2))) / 20**0.5
    np.testing.assert_allclose(A(to_channels(z)).numpy(), expected, atol=1e-13)
    unit = phase_retrieval(shape=(4, 5), patterns=2).spec["parameters"]["patterns"]
    np.testing.assert_allclose(np.abs(unit), 1.0)


def test_what_magnitudes_cannot_tell_apart_and_masks_can():
    x = torch.zeros(8, 8, dtype=torch.float64)
    x[2:5, 3:5] = torch.rand(3, 2, dtype=torch.float64)
    plain, coded = phase_retrieval(shape=(8, 8)), phase_retrieval(shape=(8, 8), patterns=1)
    for other in (-x, x.roll(1, 0), x.flip((0, 1))):
        torch.testing.assert_close(plain(other), plain(x), atol=1e-14, rtol=0)
    for other in (x.roll(1, 0), x.flip((0, 1))):
        assert (coded(other) - coded(x)).norm() > 0.1 * coded(x).norm()


def test_gradient_at_zero_magnitude_is_finite():
    x = torch.zeros(1, 4, 5, requires_grad=True)
    phase_retrieval(shape=(4, 5))(x).sum().backward()
    assert x.grad.isfinite().all()


def test_chains_of_linear_and_nonlinear_operators():
    blur, cut = OPERATORS["blur"](shape=(4, 5), std=0.8), clip(shape=(4, 5))
    x = torch.rand(2, 4, 5)
    assert torch.equal((cut @ blur)(x), cut(blur(x))) and isinstance(cut @ blur, Chain)
    assert torch.equal((blur @ cut)(x), blur(cut(x))) and isinstance(blur @ cut, Chain)
    assert isinstance(blur @ blur, Compose)
    mask = OPERATORS["inpaint"](shape=(4, 5), keep=0.5)
    assert torch.equal((mask @ cut).measured, mask.mask) and (cut @ mask).measured is None
    with pytest.raises(ValueError, match="A @ B"):
        _ = cut @ mri(shape=(4, 5))
    with pytest.raises(TypeError):
        _ = cut @ 3.0


@pytest.mark.parametrize("call, message", [
    (lambda: clip(shape=(4, 5), gain=0.0), "gain: got 0.0"),
    (lambda: clip(shape=(4, 5), low=1.0), "low and high: got 1 and 1; expected low below high"),
    (lambda: quantise(shape=(4, 5), bits=0), "bits: got 0"),
    (lambda: quantise(shape=(4, 5), bits=17), "bits: got 17; expected at most 16"),
    (lambda: phase_retrieval(shape=(4, 5), oversampling=0.5), "oversampling: got 0.5"),
    (lambda: phase_retrieval(shape=(4, 5), patterns=0), "patterns: got 0"),
    (lambda: phase_retrieval(shape=(4, 5), patterns=np.ones((2, 5, 4))), r"patterns: got shape \(2, 5, 4\)"),
    (lambda: phase_retrieval(shape=(4, 5), image="polar"), "image: got 'polar'"),
    (lambda: Magnitude((3, 4, 5)), "shape: got"),
])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
