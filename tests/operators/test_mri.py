"""MRI against sums written out, fastMRI's convention, and the laws of its masks' solves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from operators import Each, Gaussian, RealToComplex, dense_matrix, mri, to_channels, to_complex
from operators.inpaint import Inpaint
from operators.kspace import CentredFourier, CoilMaps

RNG = np.random.default_rng(5)
SHAPES = [(6, 8), (7, 5), (4, 9), (1, 3)]
FULL = dict(acceleration=1, center_fraction=0.0)


def complex_image(*shape, seed=0):
    draw = torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    return draw * 2**0.5  # unit normal parts


def coil_maps(coils, shape):
    return RNG.standard_normal((coils, *shape)) + 1j * RNG.standard_normal((coils, *shape))


def direct(z):
    """The transform as the sum that defines it."""
    height, width = z.shape
    k, m = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    rows = torch.exp(-2j * torch.pi * torch.outer(k, k).double() / height)
    columns = torch.exp(-2j * torch.pi * torch.outer(m, m).double() / width)
    return rows @ z @ columns / (height * width) ** 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_full_sampling_is_the_centred_orthonormal_transform(shape):
    z = complex_image(*shape)
    A = mri(shape=shape, **FULL)
    torch.testing.assert_close(to_complex(A(to_channels(z))), direct(z), atol=1e-13, rtol=0)
    shifted = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(z.numpy()), norm="ortho"))
    np.testing.assert_allclose(to_complex(A(to_channels(z))).numpy(), shifted, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_impulse_at_the_origin_is_a_flat_spectrum_and_back(shape):
    A = mri(shape=shape, **FULL)
    impulse = torch.zeros(2, *shape, dtype=torch.float64)
    impulse[0, shape[0] // 2, shape[1] // 2] = 1.0
    flat = torch.zeros_like(impulse)
    flat[0] = (shape[0] * shape[1]) ** -0.5
    torch.testing.assert_close(A(impulse), flat, atol=1e-15, rtol=0)
    torch.testing.assert_close(A.adjoint(impulse), flat, atol=1e-15, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_transform_is_unitary(shape):
    matrix = dense_matrix(CentredFourier(shape))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64), atol=1e-14, rtol=0)


def test_coils_multiply_and_only_sampled_points_are_kept():
    shape = (6, 7)
    maps, mask, z = coil_maps(3, shape), RNG.random(shape) < 0.5, complex_image(2, *shape)
    A = mri(shape=shape, mask=mask, coils=maps)
    assert (A.in_shape, A.out_shape) == ((2, *shape), (3, 2, *shape))
    y = to_complex(A(to_channels(z)))
    for b, c in np.ndindex(2, 3):
        expected = direct(torch.from_numpy(maps[c]) * z[b]) * torch.from_numpy(mask)
        torch.testing.assert_close(y[b, c], expected, atol=1e-13, rtol=0)
    assert torch.equal(A.measured, torch.from_numpy(mask).expand(3, 2, *shape))


def test_one_coil_map_of_ones_is_no_coil_map_but_for_its_axis():
    x = to_channels(complex_image(2, 5, 6))
    plain, one = mri(shape=(5, 6)), mri(shape=(5, 6), coils=np.ones((1, 5, 6)))
    torch.testing.assert_close(one(x)[:, 0], plain(x), atol=1e-14, rtol=0)


def test_a_real_image_keeps_its_channel_axis():
    shape, mask = (6, 5), RNG.random((6, 5)) < 0.6
    x = torch.randn(4, 1, *shape, dtype=torch.float64)
    A = mri(shape=shape, mask=mask, image="real")
    assert (A.in_shape, A.out_shape) == (shape, (2, *shape))
    y = A(x)
    assert y.shape == (4, 1, 2, *shape)
    embedded = mri(shape=shape, mask=mask)(to_channels(torch.complex(x, torch.zeros_like(x))))
    torch.testing.assert_close(y, embedded, atol=1e-14, rtol=0)
    full = mri(shape=shape, image="real", **FULL)
    torch.testing.assert_close(full.adjoint(full(x)), x, atol=1e-14, rtol=0)


def test_single_coil_solves_are_in_closed_form(monkeypatch):
    A = mri(shape=(8, 6), acceleration=2)
    monkeypatch.setattr("operators.linear.conjugate_residuals", None)
    monkeypatch.setattr("operators.linear.least_squares", None)
    u = torch.randn(3, 2, 8, 6, dtype=torch.float64)
    rho = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)
    kept = A.measured.double()
    expected = torch.where(A.measured, u / (1 + rho.view(3, 1, 1, 1)), u / rho.view(3, 1, 1, 1))
    expected[2] = (u * kept)[2]
    torch.testing.assert_close(A.gram_solve(u, rho), expected)


@pytest.mark.parametrize("shape", [(7, 8), (6, 5), (4, 6)])
def test_real_images_are_solved_in_closed_form(monkeypatch, shape):
    """A A^H has the eigenvalues 0, 1/2 and 1: by dense algebra, also of data that no image explains."""
    A = mri(shape=shape, mask=RNG.random(shape) < 0.6, image="real")
    gram = dense_matrix(A) @ dense_matrix(A).T
    eigenvalues = torch.linalg.eigvalsh(gram)
    nearest = (eigenvalues[:, None] - torch.tensor([0.0, 0.5, 1.0])).abs().amin(dim=1)
    assert nearest.max() < 1e-12 and len(set(eigenvalues.round(decimals=6).tolist())) == 3
    monkeypatch.setattr("operators.linear.conjugate_residuals", None)
    monkeypatch.setattr("operators.linear.least_squares", None)
    u = torch.randn(3, *A.out_shape, dtype=torch.float64)
    for rho in (0.5, 1e-3):
        expected = torch.linalg.solve(gram + rho * torch.eye(len(gram), dtype=torch.float64), u.flatten(1).T).T
        torch.testing.assert_close(A.gram_solve(u, rho).flatten(1), expected)
    torch.testing.assert_close(A.gram_solve(u).flatten(1), u.flatten(1) @ torch.linalg.pinv(gram))


def test_noise_has_its_level_on_the_real_and_on_the_imaginary_part():
    A = mri(shape=(64, 64), **FULL)
    clean = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
    noise = torch.randn(clean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noisy = Gaussian(0.1).sample(clean, noise)
    image = A.adjoint(noisy)
    for part in (0, 1):
        assert noisy[0, part].std().item() == pytest.approx(0.1, rel=0.02)
        assert image[0, part].std().item() == pytest.approx(0.1, rel=0.02), "the transform keeps it"
    assert to_complex(image).abs().square().mean().sqrt().item() == pytest.approx(0.1 * 2**0.5, rel=0.02)


def test_columns_stand_for_a_mask_of_lines():
    columns = np.array([0, 1, 1, 0, 1])
    spec = mri(shape=(3, 5), mask=columns).spec["parameters"]
    np.testing.assert_array_equal(spec["mask"], np.broadcast_to(columns.astype(bool), (3, 5)))


@pytest.mark.parametrize("arguments, message", [
    (dict(mask=np.ones((5, 4))), r"mask: got shape \(5, 4\); expected \(4, 5\).*transpose the mask"),
    (dict(mask=np.ones(4)), r"mask: got shape \(4,\).*\(5,\) for columns"),
    (dict(mask=2 * np.ones((4, 5))), "threshold it"),
    (dict(mask=np.zeros((4, 5))), "no sampled point.*invert"),
    (dict(coils=np.ones((4, 5))), r"coils: got shape \(4, 5\); expected \(coils, 4, 5\), complex"),
    (dict(coils=np.full((1, 4, 5), np.nan + 0j)), "coils: got 20 entries that are NaN"),
    (dict(coils=np.zeros((2, 4, 5))), "coils: got only zeros"),
    (dict(coils="coils.npy"), "coils: got"),
    (dict(image="magnitude"), "image: got 'magnitude'; expected 'complex' or 'real'"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        mri(**{"shape": (4, 5), **arguments})


def test_a_one_channel_image_is_not_taken_for_a_complex_one():
    with pytest.raises(ValueError, match=r"x: got shape \(1, 1, 4, 5\); expected \(..., 2, 4, 5\)"):
        mri(shape=(4, 5))(torch.zeros(1, 1, 4, 5))


def test_channels_and_complex_numbers():
    z = complex_image(3, 4, 5)
    assert torch.equal(to_complex(to_channels(z)), z)
    assert torch.equal(to_channels(z)[:, 0], z.real) and torch.equal(to_channels(z)[:, 1], z.imag)
    with pytest.raises(ValueError, match="third axis from the end"):
        to_complex(torch.zeros(3, 4, 5))
    with pytest.raises(ValueError, match="z: got torch.float64"):
        to_channels(z.real)


def given_mask(kind, shape):
    """Few or most of the columns, rows, or points."""
    size = {"few": (1, shape[1]), "most": (1, shape[1]), "rows": (shape[0], 1), "points": shape}[kind]
    drawn = np.random.default_rng(3).permutation(math.prod(size)).reshape(size) % 4
    return np.broadcast_to(drawn > 0 if kind == "most" else drawn < 1, shape)


@pytest.mark.parametrize("kind", ["few", "most", "rows", "points"])
@pytest.mark.parametrize(("image", "coils"), [("complex", 0), ("complex", 8), ("real", 0), ("real", 8)])
@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (10, 5), (5, 12)])
def test_k_space_in_one_pass_is_the_product(shape, image, coils, kind, monkeypatch):
    """Images and coils a few at a time: two images and a half, or three coils of eight."""
    monkeypatch.setattr("operators.cartesian.TOGETHER", 3 * shape[0] * shape[1])
    mask, maps = given_mask(kind, shape), coil_maps(coils, shape) if coils else None
    A = mri(shape, mask=mask, coils=maps, image=image)
    P = CentredFourier(shape)
    P = Each((coils,), P) @ CoilMaps(maps) if coils else P
    P = Inpaint(torch.from_numpy(mask.copy()).expand(P.out_shape)) @ P
    P = P @ RealToComplex(shape) if image == "real" else P
    x = torch.randn(5, *A.in_shape, dtype=torch.float64).requires_grad_()
    y = torch.randn(5, *A.out_shape, dtype=torch.float64).requires_grad_()
    exact = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(A(x), P(x), **exact)
    torch.testing.assert_close(A.adjoint(y), P.adjoint(y), **exact)
    torch.testing.assert_close(A.normal(x), P.adjoint(P(x)), **exact)
    torch.testing.assert_close(A.adjoint(y[0].expand_as(y)), P.adjoint(y[0]).expand_as(x), **exact)
    (gradient,) = torch.autograd.grad((A(x) - y).square().sum() / 2, x, create_graph=True)
    torch.testing.assert_close(gradient, P.adjoint(P(x) - y), **exact)
    (second,) = torch.autograd.grad(gradient.square().sum() / 2, y)
    torch.testing.assert_close(second, -P(P.adjoint(P(x) - y)), **exact)
    assert torch.equal(A.measured, P.measured)
    single = torch.cat([A(x[:1]), A(x[1:])]), torch.cat([A.adjoint(y[:1]), A.adjoint(y[1:])])
    torch.testing.assert_close(single, (A(x), A.adjoint(y)), **exact)
    rho = torch.tensor([0.1, 0.5, 2.0, 1.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(A.damped_pinv(y, rho), P.damped_pinv(y, rho), rtol=0, atol=1e-6 if coils else 1e-10)


COLUMNS = np.broadcast_to(np.arange(9) % 3 == 1, (8, 9))


@pytest.mark.parametrize("arguments", [{}, {"kind": "equispaced"}, {"kind": "gaussian"}, {"mask": COLUMNS}])
def test_whole_columns_need_no_transform_along_the_height(arguments, monkeypatch):
    A, x = mri((8, 9), **arguments), torch.randn(2, 2, 8, 9)
    transformed = []

    def counted(name):
        fft = getattr(torch.fft, name)
        return lambda z, dim=-1, **how: transformed.append((dim, z.shape[-1])) or fft(z, dim=dim, **how)

    for name in ("fft", "ifft", "fftn", "ifftn"):
        monkeypatch.setattr(torch.fft, name, counted(name))
    monkeypatch.setattr(torch.fft, "fft2", None)
    lines = int(A.measured[0, 0].sum())
    A(x)
    assert transformed == [(-1, 9), (-2, lines)]
    transformed.clear()
    A.normal(x)
    assert transformed == [([-1], 9), ([-1], 9)]
