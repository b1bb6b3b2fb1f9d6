"""Forward models of deepinv: by a stand-in of the same protocol, and by deepinv itself where it is installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from operators import (
    OPERATORS,
    Gaussian,
    Laplace,
    LinearOperator,
    Poisson,
    Rician,
    TransmissionCT,
    check,
    dense_matrix,
    from_deepinv,
    noise_from_deepinv,
    to_deepinv,
)

BLUR = OPERATORS["blur"](shape=(6, 7), std=1.0)
SAMPLED = OPERATORS["downsample"](shape=(6, 8), factor=2)


class Linear:
    """What deepinv's LinearPhysics promises, on one batch axis only."""

    def __init__(self, A, A_adjoint, img_size, noise_model):
        self.forward, self.back, self.img_size, self.noise_model = A, A_adjoint, img_size, noise_model

    def A(self, x, **kwargs):
        assert x.ndim == 4
        return self.forward(x, **kwargs)

    def A_adjoint(self, y, **kwargs):
        assert y.ndim == 4
        return self.back(y, **kwargs)


class Nonlinear:
    def __init__(self, A, noise_model=None):
        self.A, self.noise_model = A, noise_model


def noise(name, **levels):
    return type(name, (SimpleNamespace,), {})(**levels)


@pytest.fixture
def stand_in(monkeypatch):
    """A module deepinv.physics that keeps what it is given."""
    module = ModuleType("deepinv.physics")
    module.LinearPhysics, module.Physics = Linear, Nonlinear
    for name in ("ZeroNoise", "GaussianNoise", "LaplaceNoise", "RicianNoise", "PoissonNoise"):
        setattr(module, name, lambda name=name, **levels: noise(name, **levels))
    monkeypatch.setitem(sys.modules, "deepinv", ModuleType("deepinv"))
    monkeypatch.setitem(sys.modules, "deepinv.physics", module)


def theirs(A=SAMPLED, scale=1.0):
    return Linear(A, lambda y: scale * A.adjoint(y), (3, *A.in_shape), None)


def test_a_linear_physics_becomes_ours():
    A = from_deepinv(theirs(), (3, 6, 8))
    assert isinstance(A, LinearOperator) and A.in_shape == (3, 6, 8) and A.out_shape == (3, 3, 4)
    assert check(A).ok, check(A)
    x = torch.randn(2, 5, 3, 6, 8, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 5, 3, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(A(x), SAMPLED(x), atol=0, rtol=0)
    (gradient,) = torch.autograd.grad((A(x) * y).sum(), x)
    torch.testing.assert_close(gradient, SAMPLED.adjoint(y), atol=1e-14, rtol=0)
    torch.testing.assert_close(A.pinv(SAMPLED(x.detach())), SAMPLED.pinv(SAMPLED(x.detach())), atol=1e-8, rtol=0)


def test_a_wrong_adjoint_is_named_by_the_check():
    assert "the adjoint is 2 times what it should be" in str(check(from_deepinv(theirs(scale=2.0), (3, 6, 8))))
    shifted = Linear(BLUR, lambda y: BLUR.adjoint(y).roll(1, -1), (1, 6, 7), None)
    assert "a shift by 1 along axis -1" in str(check(from_deepinv(shifted, (1, 6, 7))))


def test_what_takes_single_precision_only():
    kernel = torch.full((1, 1, 3, 3), 1 / 9)
    single = Linear(lambda x: torch.nn.functional.conv2d(x, kernel),
                    lambda y: torch.nn.functional.conv_transpose2d(y, kernel), 0, 0)
    A = from_deepinv(single, (1, 6, 7))
    assert A(torch.rand(1, 6, 7).double()).dtype == torch.float64 and A.out_shape == (1, 4, 5)
    found = check(A)
    assert found.problems and all(problem.endswith("keep constants in float64") for problem in found.problems), found
    nonlinear = from_deepinv(Nonlinear(lambda x: single.forward(x).square()), (1, 6, 7))
    assert nonlinear(torch.rand(2, 1, 6, 7).double()).dtype == torch.float64


def test_what_is_not_additive_is_nonlinear():
    square = Linear(torch.square, lambda y: y, (1, 4, 5), None)
    for physics in (square, Nonlinear(torch.square)):
        A = from_deepinv(physics, (1, 4, 5))
        assert not isinstance(A, LinearOperator) and check(A).ok, check(A)


NOISES = [
    (noise("GaussianNoise", sigma=torch.tensor([0.1])), Gaussian(0.1)),
    (noise("LaplaceNoise", b=0.2), Laplace(0.2)),
    (noise("RicianNoise", sigma=0.3), Rician(0.3)),
    (noise("PoissonNoise", gain=torch.tensor(0.25), normalize=torch.tensor(False)), Poisson(gain=4.0)),
    (noise("ZeroNoise"), Gaussian(0.0)),
]


@pytest.mark.parametrize(("foreign", "ours"), NOISES, ids=[type(foreign).__name__ for foreign, _ in NOISES])
def test_noise_models(foreign, ours):
    found = noise_from_deepinv(foreign)
    assert type(found) is type(ours) and vars(found) == pytest.approx(vars(ours))


def test_ours_to_theirs_and_back(stand_in):
    physics = to_deepinv(BLUR, Laplace(0.2))
    assert physics.img_size == (1, 6, 7) and vars(physics.noise_model) == {"b": 0.2}
    again = from_deepinv(physics, (2, 6, 7))
    x = torch.randn(3, 2, 6, 7)
    assert torch.equal(again(x), BLUR(x)) and torch.equal(physics.A_adjoint(x, mask=None), BLUR.adjoint(x))
    assert vars(to_deepinv(BLUR, Poisson(gain=4.0)).noise_model) == {"gain": 0.25, "normalize": False}
    assert type(to_deepinv(BLUR).noise_model).__name__ == "ZeroNoise"
    mosaic = OPERATORS["mosaic"](shape=(4, 4))
    assert to_deepinv(mosaic).img_size == (3, 4, 4)
    clip = OPERATORS["clip"](shape=(4, 5))
    image = torch.randn(2, 1, 4, 5)
    assert isinstance(to_deepinv(clip), Nonlinear) and torch.equal(to_deepinv(clip).A(image), clip(image))


def test_refusals(stand_in, monkeypatch):
    with pytest.raises(TypeError, match=r"got float without A\(x\)"):
        from_deepinv(1.0, (1, 4, 5))
    with pytest.raises(ValueError, match="in_shape: got .*expected 3 positive ints"):
        from_deepinv(theirs(), (6, 8))
    with pytest.raises(ValueError, match="got torch.complex64 data; expected one real tensor"):
        from_deepinv(Nonlinear(lambda x: torch.complex(x, x)), (1, 4, 5))
    with pytest.raises(ValueError, match="got list; expected one real tensor"):
        from_deepinv(Nonlinear(lambda x: [x, x]), (1, 4, 5))
    with pytest.raises(ValueError, match=r"divide y by its gain.*operators.Poisson\(gain=1 / gain\)"):
        noise_from_deepinv(noise("PoissonNoise", gain=0.1, normalize=True))
    with pytest.raises(ValueError, match="TransmissionCT"):
        noise_from_deepinv(noise("LogPoissonNoise", N0=1e4, mu=0.02))
    with pytest.raises(ValueError, match=r"sigma: got shape \(2,\); expected one level"):
        noise_from_deepinv(noise("GaussianNoise", sigma=torch.ones(2)))
    for model in (TransmissionCT(1e4), Poisson(gain=1.0, background=2.0)):
        with pytest.raises(ValueError, match="leave the noise out"):
            to_deepinv(BLUR, model)
    monkeypatch.setitem(sys.modules, "deepinv.physics", None)
    with pytest.raises(ImportError, match="pip install deepinv"):
        to_deepinv(BLUR)


def installed():
    """deepinv.physics, if it is there and can be imported."""
    try:
        return pytest.importorskip("deepinv.physics", reason="deepinv is optional")
    except RuntimeError as problem:  # a torchvision that does not fit torch
        pytest.skip(str(problem))


def test_deepinv_itself():
    physics = installed()
    x = torch.rand(2, 1, 16, 16)
    mask = (torch.arange(256).reshape(1, 16, 16) % 3 > 0).float()
    for model in (physics.Inpainting((1, 16, 16), mask=mask),
                  physics.Downsampling(img_size=(1, 16, 16), factor=2, filter=None),
                  physics.BlurFFT((1, 16, 16), filter=torch.ones(1, 1, 3, 3) / 9),
                  physics.Blur(filter=torch.ones(1, 1, 3, 3) / 9, padding="circular")):
        A = from_deepinv(model, (1, 16, 16))
        torch.testing.assert_close(A(x), model.A(x), atol=0, rtol=0)
        y = torch.rand(2, *A.out_shape)
        torch.testing.assert_close((A(x) * y).sum(), (x * A.adjoint(y)).sum(), rtol=1e-5, atol=0)
    ours = OPERATORS["ct"](shape=(16, 16), angles=7)
    outside = to_deepinv(ours, Gaussian(0.1))
    assert outside.adjointness_test(x[:1]).abs() < 1e-3
    assert noise_from_deepinv(outside.noise_model).sigma == pytest.approx(0.1)
    torch.testing.assert_close(dense_matrix(from_deepinv(outside, (1, 16, 16))), dense_matrix(ours), atol=1e-9, rtol=0)
