"""One battery over every operator: odd, even and non-square shapes, both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import operators
from operators import OPERATORS, Dense, Diagonal, Stack, dense_matrix, dot_test

FACTORIES = OPERATORS
NONLINEAR = {"clip", "quantise", "phase_retrieval"}  # see test_nonlinear

RNG = np.random.default_rng(7)
KERNEL = RNG.standard_normal((4, 3))
MASKS = RNG.random((3, 8, 7)) < 0.5
MATRIX = torch.from_numpy(RNG.standard_normal((6, 4)) @ RNG.standard_normal((4, 12)))  # rank 4
COILS = RNG.standard_normal((3, 6, 5)) + 1j * RNG.standard_normal((3, 6, 5))
POINTS = RNG.uniform(-0.5, 0.5, (3, 8, 2))
UNEVEN = np.array([0.1, 0.3, 0.35, 1.9, -0.4])


def blurred_inpainting():
    return OPERATORS["inpaint"](shape=(7, 8), keep=0.6) @ OPERATORS["blur"](shape=(7, 8), std=0.8)


def stacked():
    shape = (8, 6)
    return Stack([OPERATORS["downsample"](shape=shape, factor=2), OPERATORS["blur"](shape=shape, std=0.6)])


FACTORY_CASES = {
    "identity": ("identity", dict(shape=(5, 8))),
    "inpaint keep": ("inpaint", dict(shape=(9, 8), keep=0.4, seed=3)),
    "inpaint mask": ("inpaint", dict(shape=(8, 7), mask=MASKS[0])),
    "inpaint mask per channel": ("inpaint", dict(shape=(8, 7), mask=MASKS)),
    "inpaint box": ("inpaint", dict(shape=(8, 9), box=(2, 1, 3, 5))),
    "blur std even": ("blur", dict(shape=(8, 6), std=0.9)),
    "blur std odd": ("blur", dict(shape=(7, 9), std=0.9)),
    "blur kernel": ("blur", dict(shape=(8, 7), kernel=KERNEL)),
    "blur kernel larger than the image": ("blur", dict(shape=(3, 2), kernel=KERNEL)),
    "blur motion": ("blur", dict(shape=(7, 8), motion=(4, 30))),
    "blur std zero": ("blur", dict(shape=(8, 9), std=0.9, boundary="zero")),
    "blur kernel zero": ("blur", dict(shape=(7, 8), kernel=KERNEL, boundary="zero")),
    "blur kernel larger than the image zero": ("blur", dict(shape=(2, 2), kernel=KERNEL, boundary="zero")),
    "downsample average": ("downsample", dict(shape=(8, 12), factor=4)),
    "downsample average odd": ("downsample", dict(shape=(9, 6), factor=3)),
    "downsample by one": ("downsample", dict(shape=(5, 4), factor=1)),
    "downsample bicubic": ("downsample", dict(shape=(8, 12), factor=4, kernel="bicubic")),
    "downsample bicubic odd": ("downsample", dict(shape=(9, 15), factor=3, kernel="bicubic")),
    "blur defocus": ("blur", dict(shape=(8, 7), defocus=1.7)),
    "mosaic": ("mosaic", dict(shape=(5, 4), pattern="GRBG")),
    "grey": ("grey", dict(shape=(4, 5))),
    "hadamard": ("hadamard", dict(shape=(4, 8), ratio=0.5)),
    "hadamard filled up": ("hadamard", dict(shape=(5, 7), ratio=0.4)),
    "random projection": ("random_projection", dict(shape=(5, 6), ratio=0.4)),
    "ct even": ("ct", dict(shape=(8, 8), angles=5)),
    "ct odd": ("ct", dict(shape=(7, 9), angles=4)),
    "ct wide": ("ct", dict(shape=(6, 11), angles=6, spacing_mm=0.7)),
    "ct one view": ("ct", dict(shape=(6, 5), angles=1)),
    "ct uneven angles": ("ct", dict(shape=(9, 8), angles=UNEVEN)),
    "ct few wide bins": ("ct", dict(shape=(8, 8), angles=9, detectors=5, detector_spacing_mm=2.5)),
    "ct many narrow bins": ("ct", dict(shape=(6, 6), angles=4, spacing_mm=2.0, detector_spacing_mm=0.6)),
    "ct off centre": ("ct", dict(shape=(8, 8), angles=5, detectors=9, centre=(4, 3), detector_centre=3.5)),
    # Few bins: opposite rays measure almost the same, which no single precision tells apart.
    "fan even": ("ct_fan", dict(shape=(8, 8), angles=5, source_mm=20.0, detector_mm=35.0, detectors=8)),
    "fan curved wide": ("ct_fan", dict(shape=(5, 8), angles=[0.1, 1.3, 2.9, 4.0], source_mm=9.0, detector_mm=9.0,
                                       detector="curved", detectors=7, spacing_mm=0.7)),
    "fan off centre": ("ct_fan", dict(shape=(9, 7), angles=4, source_mm=30.0, detector_mm=50.0, detectors=6,
                                      detector_spacing_mm=2.5, centre=(4, 2.5), detector_centre=2.3)),
    "mri one coil": ("mri", dict(shape=(6, 7), acceleration=2, center_fraction=0.2)),
    "mri points": ("mri", dict(shape=(7, 6), acceleration=1.5, kind="poisson")),
    "mri real": ("mri", dict(shape=(6, 7), acceleration=2, image="real", seed=1)),
    "mri coils": ("mri", dict(shape=(6, 5), acceleration=1.3, coils=COILS)),
    "mri radial": ("mri", dict(shape=(4, 5), trajectory="radial", acceleration=2)),
    "mri points real": ("mri", dict(shape=(6, 5), trajectory=POINTS, image="real")),
    "mri coils points": ("mri", dict(shape=(6, 5), trajectory=POINTS, coils=COILS)),
    "mri coils real": ("mri", dict(shape=(6, 5), acceleration=2, coils=COILS, image="real", kind="gaussian")),
}
OTHER_CASES = {
    "diagonal": lambda: Diagonal(torch.tensor([[0.5, 0.0, -3.0], [1.0, 2.0, 0.1]])),
    "dense": lambda: Dense(MATRIX, (3, 4), (6,)),
    "dense tall": lambda: Dense(MATRIX.T, (6,), (2, 6)),
    "composed": blurred_inpainting,
    "scaled": lambda: -2.5 * OPERATORS["downsample"](shape=(6, 8), factor=2),
    "sum": lambda: OPERATORS["blur"](shape=(6, 5), std=0.7) + 0.5 * OPERATORS["identity"](shape=(6, 5)),
    "stack": stacked,
    "adjoint": lambda: OPERATORS["downsample"](shape=(6, 8), factor=2).H,
}
CASES = list(FACTORY_CASES) + list(OTHER_CASES)
NO_SVD = ["zero", "hadamard", "mri coils", "mri radial", "mri points real"]
SVD_CASES = [name for name in FACTORY_CASES if not any(part in name for part in NO_SVD)]
SVD_CASES += ["dense", "dense tall", "scaled", "adjoint"]
PRECISIONS = [(torch.float32, 1e-6), (torch.float64, 1e-12)]


def build(case: str):
    if case in OTHER_CASES:
        return OTHER_CASES[case]()
    name, parameters = FACTORY_CASES[case]
    return FACTORIES[name](**parameters)


@pytest.fixture(params=CASES)
def A(request):
    return build(request.param)


@pytest.fixture(params=PRECISIONS, ids=["float32", "float64"])
def precision(request):
    return request.param


def image(A, dtype, seed=0):
    """A batch of two, with three channels where the operator leaves them alone."""
    batch = (2, 3) if len(A.in_shape) == 2 else (2,)
    return torch.randn(*batch, *A.in_shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def data(A, dtype, seed=1):
    batch = (2, 3) if len(A.in_shape) == 2 else (2,)
    return torch.randn(*batch, *A.out_shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(found, expected, tolerance, scale=None):
    error = (found - expected).norm() / (expected.norm() if scale is None else scale)
    assert error <= tolerance, f"relative error {error:.2e}, allowed {tolerance:.0e}"


def test_adjoint_matches(A, precision):
    dtype, tolerance = precision
    for seed in range(3):
        gap = dot_test(A, dtype, seed)
        assert gap <= tolerance, f"<A x, y> and <x, A^H y> differ by {gap:.2e} |A x| |y|"


def test_normal(A, precision):
    dtype, tolerance = precision
    x = image(A, dtype).requires_grad_()
    found, expected = A.normal(x), A.adjoint(A(x.detach()))
    close(found, expected, tolerance)
    (gradient,) = torch.autograd.grad(0.5 * (x * found).sum(), x)  # A^H A is its own adjoint
    close(gradient, expected, 3 * tolerance)


def test_linear(A, precision):
    dtype, tolerance = precision
    x, z = image(A, dtype), image(A, dtype, 2)
    close(A(2.0 * x - 3.0 * z), 2.0 * A(x) - 3.0 * A(z), 3 * tolerance)


def test_shapes_and_dtype_follow_the_argument(A, precision):
    dtype, _ = precision
    x, y = image(A, dtype), data(A, dtype)
    assert A(x).shape == y.shape and A(x).dtype == dtype
    assert A.adjoint(y).shape == x.shape and A.adjoint(y).dtype == dtype
    assert A(x[0]).shape == y[0].shape, "any batch axes"
    assert A(torch.zeros(A.in_shape, dtype=dtype)).shape == A.out_shape, "no batch axis"
    assert A.gram_solve(y, 0.5).dtype == dtype


def test_adjoint_of_the_adjoint_is_the_operator(A):
    assert A.H.H is A or isinstance(A, operators.Adjoint)
    assert A.H.in_shape == A.out_shape
    x, y = image(A, torch.float64), data(A, torch.float64)
    assert torch.equal(A.H(y), A.adjoint(y))
    assert torch.equal(A.H.adjoint(x), A(x))


def test_gradient_of_the_misfit(A, precision):
    dtype, tolerance = precision
    x, y = image(A, dtype).requires_grad_(), data(A, dtype)
    misfit = 0.5 * (A(x) - y).square().sum()
    (gradient,) = torch.autograd.grad(misfit, x)
    expected = A.adjoint(A(x.detach()) - y)
    close(gradient, expected, 3 * tolerance)


def test_first_use_in_inference_mode_leaves_autograd_working(A):
    with torch.inference_mode():
        A.gram_solve(A(image(A, torch.float32)), 0.5)
    x = image(A, torch.float32).requires_grad_()
    A.gram_solve(A(x), 0.5).square().sum().backward()
    assert x.grad.isfinite().all()


def test_gradient_through_the_adjoint(A):
    y, x = data(A, torch.float64).requires_grad_(), image(A, torch.float64)
    (gradient,) = torch.autograd.grad((A.adjoint(y) * x).sum(), y)
    close(gradient, A(x), 1e-12)


def test_a_batch_of_two_is_two_of_one(A, precision):
    dtype, tolerance = precision
    x, y = image(A, dtype), data(A, dtype)
    for call, argument in ((A, x), (A.adjoint, y), (lambda v: A.gram_solve(v, 0.3), y), (A.pinv, A(x))):
        single = torch.cat([call(argument[:1]), call(argument[1:])])
        close(call(argument), single, 100 * tolerance)


@pytest.mark.parametrize("rho", [0.3, torch.tensor([0.05, 20.0])], ids=["number", "one per sample"])
def test_gram_solve(A, precision, rho):
    dtype, tolerance = precision
    u = data(A, dtype)
    z = A.gram_solve(u, rho)
    M = dense_matrix(A)
    rhos = torch.as_tensor(rho, dtype=torch.float64).expand(2)
    for i in range(2):
        flat = u[i].double().reshape(-1, M.shape[0])
        damped = M @ M.T + rhos[i] * torch.eye(M.shape[0], dtype=torch.float64)
        expected = torch.linalg.solve(damped, flat.T).T
        condition = 1.0 + torch.linalg.matrix_norm(M, 2) ** 2 / rhos[i]
        close(z[i].double().reshape(-1, M.shape[0]), expected, 2 * tolerance * condition)


@pytest.mark.parametrize("rho", [0.3, torch.tensor([0.05, 20.0])], ids=["number", "one per sample"])
def test_damped_pseudo_inverse(A, precision, rho):
    dtype, tolerance = precision
    y = data(A, dtype)
    x = A.damped_pinv(y, rho)
    M = dense_matrix(A)
    rhos = torch.as_tensor(rho, dtype=torch.float64).expand(2)
    for i in range(2):
        flat = y[i].double().reshape(-1, M.shape[0])
        damped = M.T @ M + rhos[i] * torch.eye(M.shape[1], dtype=torch.float64)
        expected = torch.linalg.solve(damped, M.T @ flat.T).T
        # Iterations stop at a gradient of tolerance |M| |y|, which the damping amplifies by 1 / rho at most.
        scale = expected.norm() + torch.linalg.matrix_norm(M, 2) * flat.norm() / rhos[i]
        close(x[i].double().reshape(expected.shape), expected, 2 * tolerance, scale)


def test_a_damped_pseudo_inverse_without_samples(A):
    y = data(A, torch.float64)
    one = y[(0,) * (y.ndim - len(A.out_shape))]
    alone, together = A.damped_pinv(one, 0.3), A.damped_pinv(one[None], torch.tensor([0.3], dtype=torch.float64))
    close(alone, together[0], 1e-9)


def test_gram_solve_of_zero_is_zero(A):
    zero = torch.zeros(2, *A.out_shape)
    for rho in (0.0, 1.0):
        assert torch.equal(A.gram_solve(zero, rho), zero)


def test_gram_solve_on_the_range(A, precision):
    dtype, tolerance = precision
    u = A(image(A, dtype))
    z = A.gram_solve(u, 0.0)
    close(A(A.adjoint(z)), u, 100 * tolerance)


def test_pseudo_inverse(A, precision):
    dtype, tolerance = precision
    x, y = image(A, dtype), data(A, dtype)
    close(A(A.pinv(A(x))), A(x), 100 * tolerance)
    M = dense_matrix(A)
    expected = (torch.linalg.pinv(M, rtol=1e-6) @ y.double().reshape(-1, M.shape[0]).T).T
    values = torch.linalg.svdvals(M)
    smallest = values[values > 1e-6 * values.max()].min()
    condition = values.max() / smallest
    close(A.pinv(y).double().reshape(expected.shape), expected, 10 * tolerance * condition**2)


def test_rho_of_one_sample_does_not_touch_another(A):
    u = data(A, torch.float64)
    both = A.gram_solve(u, torch.tensor([0.0, 0.7], dtype=torch.float64))
    close(both[1], A.gram_solve(u, 0.7)[1], 1e-10)
    close(A.adjoint(both[0]), A.adjoint(A.gram_solve(u, 0.0)[0]), 1e-8)


@pytest.mark.parametrize("case", SVD_CASES)
def test_svd(case):
    A = build(case)
    U, s, Vh = A.svd()
    assert s.dtype == torch.float64 and (s >= 0).all()
    u, v, M = dense_matrix(U), dense_matrix(Vh), dense_matrix(A)
    eye = torch.eye(s.numel(), dtype=torch.float64)
    clear = s > 1e-5 * s.max()  # below, singular vectors taken from A A^H are known to few digits
    torch.testing.assert_close(u.T @ u, eye, atol=1e-12, rtol=0)
    torch.testing.assert_close((v @ v.T)[clear][:, clear], eye[clear][:, clear], atol=1e-7, rtol=0)
    torch.testing.assert_close((u * s) @ v, M, atol=1e-12, rtol=0)
    x = image(A, torch.float32)
    close(U(s.to(x) * Vh(x)), A(x), 1e-5)


@pytest.mark.parametrize("case", ["blur std zero", "composed", "sum", "stack"])
def test_svd_is_refused_where_it_is_not_cheap(case):
    with pytest.raises(ValueError, match="use gram_solve"):
        build(case).svd()


@pytest.mark.parametrize("case", FACTORY_CASES)
def test_spec_builds_the_same_operator_again(case):
    A = build(case)
    again = FACTORIES[A.spec["name"]](**A.spec["parameters"])
    assert (again.in_shape, again.out_shape) == (A.in_shape, A.out_shape)
    x = image(A, torch.float64)
    assert torch.equal(again(x), A(x))
    assert again.spec.keys() == A.spec.keys()
    for key, value in A.spec["parameters"].items():
        assert isinstance(value, (np.ndarray, list, str, int, float))
        np.testing.assert_array_equal(again.spec["parameters"][key], value)


@pytest.mark.parametrize("case", FACTORY_CASES)
def test_iterative_solves_agree_with_the_closed_form(case):
    A = build(case)
    u = A(image(A, torch.float64)) + 0.1 * data(A, torch.float64)
    rho = torch.tensor([0.2, 3.0], dtype=torch.float64).reshape((2,) + (1,) * (u.ndim - 1))
    iterative = operators.LinearOperator._gram_solve(A, u, rho)
    close(iterative, A.gram_solve(u, rho.flatten()), 1e-9)


def test_moving_to_float64_changes_nothing(A):
    x = image(A, torch.float64)
    expected = A(x)
    assert torch.equal(A.to(torch.float64)(x), expected)


def test_the_large_ct_solver_is_the_small_one(monkeypatch):
    u = data(build("ct wide"), torch.float64)
    exact = build("ct wide").gram_solve(u, 0.1)
    monkeypatch.setitem(operators.ct.__globals__, "EXACT_GRAM_SIZE", 0)
    A = build("ct wide")
    close(A.gram_solve(u, 0.1), exact, 1e-6)  # its weights are float32
    with pytest.raises(ValueError, match="use gram_solve"):
        A.svd()


def test_every_factory_is_in_the_battery():
    assert {name for name, _ in FACTORY_CASES.values()} == set(FACTORIES) - NONLINEAR
