"""`check` passes what is right and names what is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from operators import OPERATORS, Dense, FromFunctions, Operator, check, mri
from operators.kspace import CentredFourier

ARGUMENTS = {
    "inpaint": dict(keep=0.5), "blur": dict(std=1.0), "ct": dict(angles=3), "downsample": dict(factor=2),
    "ct_fan": dict(angles=3, source_mm=20.0, detector_mm=35.0),
}  # fmt: skip
BLUR = OPERATORS["blur"](shape=(6, 8), kernel=np.arange(12.0).reshape(3, 4))
SCAN = OPERATORS["ct"](shape=(6, 6), angles=3, centre=(2, 2))
KSPACE = mri(shape=(6, 5), mask=np.arange(30).reshape(6, 5) % 3 > 0)
FOURIER = CentredFourier((6, 5))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_right(name):
    factory = OPERATORS[name]
    found = check(factory(shape=(6, 8), **ARGUMENTS.get(name, {})))
    if name == "quantise":  # whose derivative autograd is not told
        assert [problem.partition(":")[0] for problem in found.problems] == ["derivatives"]
    else:
        assert found.ok, found


def with_adjoint(A, adjoint):
    return FromFunctions(A.in_shape, A.out_shape, A, adjoint)


def conjugate(v):
    return torch.stack([v[..., 0, :, :], -v[..., 1, :, :]], dim=-3)


SQUARE = torch.randn(5, 5, dtype=torch.float64)
ADJOINTS = {
    "scaled": (with_adjoint(BLUR, lambda y: 2.5 * BLUR.adjoint(y)), "is 2.5 times what .*: multiply it by 0.4"),
    "sign": (with_adjoint(BLUR, lambda y: -BLUR.adjoint(y)), "is -1 times"),
    "shifted": (with_adjoint(BLUR, lambda y: BLUR.adjoint(y).roll(1, -1)), "a shift by 1 along axis -1 of its result"),
    "shifted back": (with_adjoint(BLUR, lambda y: BLUR.adjoint(y).roll(-2, -2)), "a shift by -2 along axis -2"),
    "shifted both ways": (with_adjoint(BLUR, lambda y: BLUR.adjoint(y).roll((1, 1), (-2, -1))),
                          r"a shift by \(1, 1\) along the last two axes"),
    "forward again": (with_adjoint(BLUR, lambda y: BLUR(y).flip((-2, -1))), "wrong"),
    "mirrored argument": (with_adjoint(SCAN, lambda y: SCAN.adjoint(y.flip(-1))), "a reversed axis -1 of its argument"),
    "no conjugate": (with_adjoint(KSPACE, lambda y: conjugate(KSPACE.adjoint(conjugate(y)))), "a missing conjugation"),
    "conjugated": (with_adjoint(FOURIER, lambda y: conjugate(FOURIER.adjoint(y))), "conjugation .* of its result"),
    "not normalised": (with_adjoint(FOURIER, lambda y: 30 * FOURIER.adjoint(y)), "is 30 times"),
    "inverse": (with_adjoint(Dense(SQUARE, (5,), (5,)), lambda y: y @ torch.linalg.inv(SQUARE).T.to(y)),
                "undoes A: it is an inverse"),
    "zero": (with_adjoint(BLUR, torch.zeros_like), "gives only zeros"),
    "weighted": (with_adjoint(BLUR, lambda y: BLUR.adjoint(y) * torch.arange(8).to(y)), "no simple cause fits.*weight"),
    "single": (with_adjoint(BLUR, lambda y: BLUR.adjoint(y.float()).to(y)), "single precision"),
}


@pytest.mark.parametrize("name", ADJOINTS)
def test_a_wrong_adjoint_is_named(name):
    A, message = ADJOINTS[name]
    found = check(A)
    assert not found.ok
    text = str(found)
    assert "wrong: adjoint: got <A x, y>" in text
    assert re.search(message, text), text


def linear(forward, adjoint=lambda y: y):
    return FromFunctions((4, 5), (4, 5), forward, adjoint)


FAULTS = {
    "affine": (linear(lambda x: x + 1.0), "linear: got A.x. = .* for zeros; .*subtract the constant part"),
    "square": (linear(lambda x: x**2), "linear: got A.x. of a sum.*operators.Operator"),
    "absolute": (linear(torch.abs), "linear: got A.x. of a sum"),
    "float64 constants": (linear(lambda x: x * torch.ones(5).double()), "got torch.float64 from A.x. of torch.float32"),
    "numpy": (linear(lambda x: x.detach().numpy()), "got ndarray from A.x.; expected a tensor"),
    "batch eaten": (linear(lambda x: x.reshape(-1, 4, 5)[:1]), r"got shape \(1, 4, 5\) from A.x. on a batch of 2"),
    "one axis only": (linear(lambda x: x.reshape(-1, 4, 5)), r"batches: got shape \(6, 4, 5\)"),
    "batch mates": (linear(lambda x: x / x.norm()), "batches: .*each image by itself"),
    "in place": (linear(lambda x: x.mul_(2.0)), "repeatable: got an argument changed"),
    "random": (linear(lambda x: x + torch.randn_like(x)), "repeatable: got another result"),
    "detached": (linear(lambda x: x.detach().clone()), "derivatives: .*autograd knows nothing.*from_functions"),
    "infinite": (linear(lambda x: x / 0.0), "NaN or infinite"),
    "raises": (linear(lambda x: x @ torch.ones(3, 3)), "got RuntimeError: .*; expected a result"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name):
    A, message = FAULTS[name]
    found = check(A)
    assert any(re.search(message, problem, re.DOTALL) for problem in found.problems), found


def test_padding_that_is_not_zero_is_named():
    class Inverted(type(OPERATORS["inpaint"](shape=(4, 5), keep=0.5))):
        @property
        def measured(self):
            return ~self.mask

    assert "padding: got values of A(x) where `measured` is False" in str(check(Inverted(torch.eye(4, 5) > 0)))


class Nonlinear(Operator):
    def __init__(self, function):
        super().__init__((4, 5), (4, 5))
        self.function = function

    def _forward(self, x):
        return self.function(x)


def test_nonlinear_operators_are_asked_less():
    assert check(Nonlinear(torch.sin)).ok
    wrong = check(Nonlinear(lambda x: torch.sin(x.detach()) + 0 * x))
    assert not wrong.ok and "derivatives: got a directional derivative of 0" in str(wrong)
