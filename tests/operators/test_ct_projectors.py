"""The projectors of parallel-beam tomography beside each other, and the symmetries that speed them up."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from ellipses import SHEPP_LOGAN, image, relative_error, sinogram

from operators import OPERATORS, dense_matrix, dot_test, fbp
from operators.geometry import parallel_beam
from operators.rays import ray_rows
from operators.sparse import stacked
from operators.splitting import splitting
from operators.strips import strip_rows
from operators.symmetry import HALF_TURN, MIRROR, QUARTER_TURN, folding

ct = OPERATORS["ct"]
SCANS = {
    "even": dict(shape=(8, 8), angles=8),
    "odd": dict(shape=(7, 9), angles=5),
    "off centre": dict(shape=(8, 8), angles=5, detectors=9, centre=(4, 3), detector_centre=3.3),
    "uneven angles": dict(shape=(9, 8), angles=[0.1, 0.3, 0.35, 1.9, -0.4]),
    "full turn": dict(shape=(6, 6), angles=np.arange(12) * np.pi / 6, detector_centre=3.9),
    "limited": dict(shape=(8, 8), angles=np.linspace(0, 2, 7)),
    "wide bins": dict(shape=(8, 7), angles=4, detectors=5, detector_spacing_mm=2.5),
    "narrow bins": dict(shape=(6, 6), angles=4, spacing_mm=2.0, detector_spacing_mm=0.6),
    "a row": dict(shape=(1, 6), angles=2),
}
PROJECTORS = ["ray", "strip", "fourier-ray", "fourier", "cubic"]
ROWS = {"ray": ray_rows, "strip": strip_rows}


@pytest.fixture(params=SCANS)
def scan(request):
    return SCANS[request.param]


def smooth(shape, dtype=torch.float64):
    """A batch of two blobs."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    blobs = [np.exp(-(((y - shape[0] * a) ** 2 + (x - shape[1] * b) ** 2) / (0.04 * shape[0] * shape[1])))
             for a, b in ((0.55, 0.4), (0.3, 0.6))]
    return torch.from_numpy(np.stack(blobs))[:, None].to(dtype)


@pytest.mark.parametrize("projector", PROJECTORS)
def test_battery(scan, projector):
    A = ct(**scan, projector=projector)
    generator = torch.Generator().manual_seed(0)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        assert max(dot_test(A, dtype, seed) for seed in range(3)) <= tolerance
        x = torch.randn(3, 2, *A.in_shape, dtype=dtype, generator=generator).requires_grad_()
        y = torch.randn(3, 2, *A.out_shape, dtype=dtype, generator=generator)
        assert A(x).dtype == dtype and A.adjoint(y).shape == x.shape
        (gradient,) = torch.autograd.grad(0.5 * (A(x) - y).square().sum(), x)
        expected = A.adjoint(A(x.detach()) - y)
        assert (gradient - expected).norm() <= 3 * tolerance * expected.norm()
        both = A.adjoint(A(x.detach()))
        assert (A.normal(x) - both).norm() <= 3 * tolerance * both.norm()
        single = torch.cat([A(x[i : i + 1]) for i in range(3)])
        assert (A(x) - single).norm() <= 3 * tolerance * single.norm()
        many = A(x.detach().repeat(30, 1, 1, 1))  # more than one product takes at once
        assert (many[-3:] - single).norm() <= 3 * tolerance * single.norm()
    again = ct(**A.spec["parameters"])
    assert type(again) is type(A) and torch.equal(again(x), A(x))


@pytest.mark.parametrize("projector", ["fourier", "cubic"])
def test_solves_of_the_fourier_slice_projectors(scan, projector):
    A = ct(**scan, projector=projector)
    u = torch.randn(2, *A.out_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    M = dense_matrix(A)
    rho = torch.tensor([0.05, 2.0], dtype=torch.float64)
    found = A.gram_solve(u, rho)
    for i in range(2):
        expected = torch.linalg.solve(M @ M.T + rho[i] * torch.eye(len(M), dtype=torch.float64), u[i].flatten())
        torch.testing.assert_close(found[i].flatten(), expected, atol=1e-10 * float(expected.norm()), rtol=0)
    U, s, Vh = A.svd()
    # Singular values below the root of rounding are lost in A A^H.
    torch.testing.assert_close((dense_matrix(U) * s) @ dense_matrix(Vh), M, atol=3e-7 * float(s.max()), rtol=0)


def plain_matrix(geometry, projector):
    """Of all views, without symmetries."""
    return torch.from_numpy(stacked(list(ROWS[projector](geometry, np.float64))).toarray())


@pytest.mark.parametrize("name, scan", [
    ("ct", dict(shape=(16, 16), angles=9)),
    ("ct_fan", dict(shape=(12, 12), angles=7, source_mm=40.0, detector_mm=60.0)),
])
@pytest.mark.parametrize("budget, chosen", [(None, "ray"), (0, {"ct": "fourier-ray", "ct_fan": "ray"})])
def test_the_automatic_choice_is_stated_and_stored(monkeypatch, name, scan, budget, chosen):
    """By the geometry alone: what is rebuilt of the stored parameters is what was chosen, whatever the budget then."""
    chosen = chosen if isinstance(chosen, str) else chosen[name]
    with monkeypatch.context() as patched:
        if budget is not None:
            patched.setattr("operators.folded.BUDGET", budget)
        A = OPERATORS[name](**scan)
    assert A.spec["parameters"]["projector"] == chosen and f", {chosen}, " in repr(A)
    again = OPERATORS[name](**A.spec["parameters"])
    x = torch.rand(2, *A.in_shape, dtype=torch.float64)
    assert again.spec["parameters"]["projector"] == chosen
    torch.testing.assert_close(again(x), A(x), rtol=1e-4, atol=1e-4)


def test_an_unknown_projector_is_refused():
    with pytest.raises(ValueError, match="projector: got 'joseph'; expected 'auto' or 'ray' or 'strip' or 'fourier-r"):
        ct(shape=(8, 8), angles=5, projector="joseph")
    with pytest.raises(ValueError, match="projector: got 'fourier'; expected 'auto' or 'ray' or 'strip'; choose"):
        OPERATORS["ct_fan"](shape=(8, 8), angles=5, source_mm=20.0, detector_mm=30.0, projector="fourier")


@pytest.mark.parametrize("projector", ROWS)
def test_symmetries_change_nothing(scan, projector):
    """The matrix of all views, entry by entry."""
    A = ct(**scan, projector=projector)
    torch.testing.assert_close(dense_matrix(A), plain_matrix(A.geometry, projector), atol=1e-9, rtol=0)


@pytest.mark.parametrize("scan, views, images", [
    (dict(shape=(64, 64), angles=180), 46, 4),
    (dict(shape=(64, 64), angles=23), 12, 2),  # mirrored; odd numbers of views have no quarter turn
    (dict(shape=(64, 40), angles=180), 91, 2),
    (dict(shape=(64, 64), angles=180, centre=(32, 32)), 46, 4),  # within 65 x 65
    (dict(shape=(64, 64), angles=180, centre=(31.4, 32)), 180, 1),
    (dict(shape=(64, 64), angles=180, detector_centre=20.3), 46, 4),
    (dict(shape=(64, 64), angles=np.sort(np.random.default_rng(0).uniform(0, np.pi, 60))), 60, 1),
])
def test_how_many_views_the_matrix_holds(scan, views, images):
    fold = folding(parallel_beam(**scan))
    assert (fold.geometry.angles_rad.size, len(fold.symmetries)) == (views, images)
    slots = set(zip(fold.angle.tolist(), fold.symmetry.tolist(), strict=True))
    assert len(slots) == len(fold.angle), "no two views are one"


@pytest.mark.parametrize("projector", ROWS)
@pytest.mark.parametrize("shape, detectors", [((9, 8), 13), ((8, 8), 14), ((7, 9), 5)])
def test_one_half_of_a_centred_detector_tells_of_the_other(shape, detectors, projector):
    """Views without a symmetry between them: the rays from the other side are what halves the matrix."""
    scan = dict(shape=shape, angles=[0.1, 0.3, 0.35, 1.9, 0.1 + np.pi], detectors=detectors, projector=projector)
    A, off = ct(**scan), ct(**scan, detector_centre=detectors / 2 - 0.3)
    assert A.matrix.entries < 0.65 * off.matrix.entries
    torch.testing.assert_close(dense_matrix(A), plain_matrix(A.geometry, projector), atol=1e-9, rtol=0)


@pytest.mark.parametrize("projector", ROWS)
@pytest.mark.parametrize("scan, copies", [
    ("even", [1, 1, 2, 1, 1]), ("odd", [1] * 4), ("off centre", [1]), ("uneven angles", [1, 1]),
    ("full turn", [1, 1, 2, 1, 1]), ("wide bins", [1] * 4),
    ("narrow bins", [1, 1, 2, 1]),  # no data are of the fifth kind
])
def test_images_and_data_split_into_parts_that_the_operator_does_not_mix(scan, copies, projector):
    geometry = parallel_beam(**SCANS[scan])
    parts = splitting(geometry, (MIRROR, HALF_TURN, QUARTER_TURN))
    assert sorted(n for _, _, n in parts.sizes) == sorted(copies)
    Q, S = dense_matrix(parts.data), dense_matrix(parts.image)
    assert Q.shape[0] == Q.shape[1]
    for basis in (Q, S):
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis), dtype=basis.dtype), atol=1e-14, rtol=0)
    M, blocks, rows, columns = plain_matrix(geometry, projector), [], 0, 0
    found = Q @ M @ S.T
    torch.testing.assert_close(found @ S, Q @ M, atol=1e-10, rtol=0)
    for data, pixels, n in parts.sizes:
        block = found[rows : rows + data * n : n, columns : columns + pixels * n : n]
        blocks.append(torch.kron(block, torch.eye(n, dtype=block.dtype)))
        rows, columns = rows + data * n, columns + pixels * n
    torch.testing.assert_close(found, torch.block_diag(*blocks), atol=1e-10, rtol=0)


def test_more_data_than_one_decomposition_takes_are_still_solved_exactly():
    A = ct(shape=(20, 20), angles=114)
    assert A.out_shape[0] * A.out_shape[1] > 3000 and A.closed_form
    u = torch.randn(1, *A.out_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    z = A.gram_solve(u, 0.3)
    torch.testing.assert_close(A(A.adjoint(z)) + 0.3 * z, u, atol=1e-10, rtol=0)
    assert not ct(shape=(20, 20), angles=114, detector_centre=12.3, projector="fourier").closed_form


@pytest.mark.parametrize("projector", ["fourier-ray", "fourier", "cubic"])
def test_the_fourier_slice_against_its_sums(scan, projector):
    A, x = ct(**scan, projector=projector), smooth(scan["shape"])[0, 0].numpy()
    g, period = A.geometry, A.period * A.geometry.detector_spacing_mm
    k = np.arange(-A.period + 1, A.period) / period
    xs, ys = np.meshgrid(g.x_mm, g.y_mm)
    position = np.linspace(-2, 2, 4001)[:, None]
    away = np.abs(position)
    inner, outer = 1.5 * away**3 - 2.5 * away**2 + 1, -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    kernel = np.where(away < 1, inner, outer)

    def pixel(f):
        return np.sinc(f) if projector == "fourier" else np.trapezoid(
            kernel * np.cos(2 * np.pi * f * position), dx=0.001, axis=0)

    def seen(c, s):
        if projector != "fourier-ray":
            return pixel(k * c * g.spacing_mm) * pixel(k * s * g.spacing_mm) * np.sinc(k * g.detector_spacing_mm)
        short, long = sorted(np.abs([c, s]) * g.spacing_mm)
        spread = max(g.detector_spacing_mm**2 - 0.61 * short * long, short**2)
        width = np.sqrt(min(spread + max(g.detector_spacing_mm**2 - spread, 0.0) / 3, 2 * spread))
        tent = 2 - 2 * spread / width**2
        return np.sinc(k * long) * ((1 - tent) * np.sinc(k * width) + tent * np.sinc(k * width / 2) ** 2)

    for a, theta in enumerate(g.angles_rad):
        c, s = np.cos(theta), np.sin(theta)
        spectrum = np.exp(-2j * np.pi * k[:, None] * (xs * c + ys * s).ravel()) @ x.ravel() * g.spacing_mm**2
        expected = (np.exp(2j * np.pi * np.outer(g.offsets_mm, k)) @ (spectrum * seen(c, s))).real / period
        found = A(torch.from_numpy(x))[a].numpy()
        assert relative_error(found, expected) < 3e-4


@pytest.mark.parametrize("model, sliced, apart", [
    ("strip", "fourier", (1e-4, 5e-3, 1e-3)), ("ray", "fourier-ray", (2e-3, 2e-2, 2e-2)),
])
def test_the_fourier_slice_is_the_model_but_for_the_highest_frequencies(model, sliced, apart):
    scan = dict(shape=(64, 60), angles=20, centre=(30.2, 29.0), detector_centre=44.9, spacing_mm=0.7)
    matrix, fourier = (ct(**scan, projector=projector) for projector in (model, sliced))
    x = smooth((64, 60), torch.float32)
    assert relative_error(fourier(x).numpy(), matrix(x).numpy()) < apart[0]
    edges = torch.from_numpy(image(SHEPP_LOGAN, 64, 4)[:, 2:62]).float()
    y = matrix(edges)
    assert relative_error(fourier(edges).numpy(), y.numpy()) < apart[1]
    assert fourier(edges).min() > -apart[2] * y.max() and y.min() >= 0


@pytest.mark.parametrize("subpixels", [1, 8])
def test_error_on_ellipses(subpixels):
    """Cubic pixels are closer to the ellipses than strips, whether pixels are points or means; slices as matrices."""
    errors = {}
    for projector in PROJECTORS:
        A = ct(shape=(128, 128), angles=60, detectors=128, projector=projector)
        y = A(torch.from_numpy(image(SHEPP_LOGAN, 128, subpixels)).float()).numpy()
        offsets, angles = A.geometry.offsets_mm, A.geometry.angles_rad
        fractions = (np.arange(16) + 0.5) / 16 - 0.5
        lines = sinogram(SHEPP_LOGAN, 128, angles, offsets)
        bins = np.mean([sinogram(SHEPP_LOGAN, 128, angles, offsets + f) for f in fractions], axis=0)
        errors[projector] = np.array([relative_error(y, truth) for truth in (lines, bins)])
    assert (errors["cubic"] < 0.985 * errors["strip"]).all(), errors
    assert (errors["fourier"] < 1.005 * errors["strip"]).all(), errors
    assert (errors["fourier-ray"] < 1.005 * errors["ray"]).all(), errors


def test_filtered_backprojection_is_of_the_geometry():
    scan, y = dict(shape=(20, 22), angles=15), torch.rand(3, 15, 30, generator=torch.Generator().manual_seed(0))
    found = [fbp(ct(**scan, detectors=30, projector=projector), y) for projector in PROJECTORS]
    assert all(torch.equal(image, found[0]) for image in found)


SPENT = """
import resource, sys
import numpy as np, torch
from operators import OPERATORS
name, projector, spread = sys.argv[1:]
turn = np.pi if name == "ct" else 2 * np.pi
angles = np.random.default_rng(0).uniform(0, turn, 720) if spread == "uneven" else 720
far = dict(source_mm=1200.0, detector_mm=2000.0) if name == "ct_fan" else {}
A = OPERATORS[name](shape=(512, 512), angles=angles, projector=projector, **far)
x = torch.rand(1, 1, 512, 512)
A.adjoint(A(x))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, projector, spread, most", [
    ("ct", "auto", "uneven", 1.0), ("ct", "ray", "uneven", 2.3), ("ct", "strip", "even", 2.3),
    ("ct_fan", "auto", "uneven", 2.3), ("ct_fan", "auto", "even", 2.3),
    ("ct_fan", "strip", "uneven", 2.5),  # the worst: most entries, and none that symmetries spare
])
def test_memory_of_a_large_scan(name, projector, spread, most):
    """Of the whole process: set-up, forward and adjoint."""
    words = [sys.executable, "-c", SPENT, name, projector, spread]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert float(run.stdout) < most, "GiB"
