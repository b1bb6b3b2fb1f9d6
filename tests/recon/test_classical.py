"""Total variation against scikit-image, its optimality conditions and its limits; the other two methods."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

import operators
from operators import OPERATORS, Gaussian
from recon import classical
from recon.classical import CLASSICAL, fbp, pinv, tv
from recon.likelihood import Measurement
from recon.tv import differences, differences_adjoint, least_variation, total_variation

SHAPE = (14, 12)
TASKS = {
    "identity": {},
    "inpaint": {"keep": 0.4},
    "blur": {"std": 1.5},
    "downsample": {"factor": 2},
    "ct": {"angles": 9},
}


def phantom(items=2, dtype=torch.float64):
    """Flat pieces, a ramp and a disk, different for each item, in [0, 1]."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    images = []
    for item in range(items):
        x = 0.2 + 0.4 * (rows > 4 + item) * (columns < 8) + 0.03 * columns * (rows < 4)
        images.append(x + 0.3 * ((rows - 9) ** 2 + (columns - 5 - 2 * item) ** 2 < 9))
    return torch.tensor(np.array(images)[:, None], dtype=dtype)


def measured(name, sigma=0.05, items=2, dtype=torch.float64):
    A = OPERATORS[name](shape=SHAPE, **TASKS[name])
    clean = A(phantom(items, dtype))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = sigma * clean.abs().max().item()
    return Measurement(A, clean + sigma * noise.to(dtype), Gaussian(sigma))


def objective(m, x, weight):
    """The function that tv minimises, typed anew."""
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    right[..., :-1] = x[..., 1:] - x[..., :-1]
    fit = ((m.operator(x) - m.y) / m.noise.sigma).square().flatten(1).sum(1) / 2
    return fit + weight * (down.square() + right.square()).sqrt().flatten(1).sum(1)


def smoothed_minimum(m, weight, slack=1e-4):
    """The image and a slack: L-BFGS on TV with sqrt(|.|^2 + e^2) - e, at most TV and less by at most e."""
    x = m.operator.adjoint(m.y).clone().zero_().requires_grad_()

    def value(e):
        d = differences(x).square().sum(1)
        fit = ((m.operator(x) - m.y) / m.noise.sigma).square().sum() / 2
        return fit + weight * ((d + e * e).sqrt() - e).sum()

    for e in (1e-1, 1e-2, 1e-3, slack):
        solver = torch.optim.LBFGS(
            [x],
            max_iter=400,
            history_size=30,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-9,
            tolerance_change=1e-13,
        )

        def closure(e=e, solver=solver):
            solver.zero_grad()
            loss = value(e)
            loss.backward()
            return loss

        solver.step(closure)
    return x.detach(), weight * x.numel() * slack


@pytest.mark.parametrize("weight", [0.02, 0.2])
def test_denoising_equals_scikit_image(weight):
    """There: |x - y|^2 / 2 + weight TV(x). Here the same with sigma = 1."""
    y = measured("identity", 0.1, 1)
    m = Measurement(y.operator, y.y, Gaussian(1.0))
    reference = denoise_tv_chambolle(m.y[0, 0].numpy(), weight=weight, eps=1e-14, max_num_iter=5000)
    x = tv(m, weight, tolerance=1e-6)
    reference = torch.from_numpy(reference)[None, None]
    assert (x - reference).abs().max() < 2e-3
    # scikit-image's backward divergence and fixed step leave it a little above the minimum, never below
    mine, theirs = objective(m, x, weight), objective(m, reference, weight)
    assert -1e-6 < ((theirs - mine) / mine).item() < 1e-3


def test_the_objective_is_within_1e_4_of_its_minimum():
    m = measured("ct", items=1)
    x = tv(m, 3.0, tolerance=1e-4)
    best, slack = smoothed_minimum(m, 3.0)
    mine, other = objective(m, x, 3.0).item(), objective(m, best, 3.0).item()
    assert mine <= other * (1 + 1e-4)
    assert mine >= (other - slack) * (1 - 1e-4)


def assert_optimal(m, x, weight):
    """g = A^H (A x - y) / sigma^2 is weight times a divergence of vectors no longer than 1.

    So -<g, x> = weight TV(x), and |<g, v>| <= weight TV(v) for all v. Without a weight there is one for which
    this holds, and the data are fitted to their noise.
    """
    g = m.operator.adjoint((m.operator(x) - m.y) / m.noise.sigma**2)
    product = -(g * x).flatten(1).sum(1)
    if weight is None:
        assert m.chi_square(x).numpy() == pytest.approx(np.ones(len(x)), rel=1e-4)
        weights = product / total_variation(x)
    else:
        weights = torch.full((len(x),), weight, dtype=x.dtype)
        assert torch.allclose(product, weight * total_variation(x), rtol=1e-3)
    assert bool((weights > 0.1).all())
    for v in (torch.ones_like(x), phantom(len(x)), torch.randn(x.shape, dtype=x.dtype), x.roll(3, -1)):
        product = (g * v).flatten(1).sum(1).abs()
        assert bool((product <= weights * total_variation(v) * (1 + 1e-3) + 1e-2).all())


@pytest.mark.parametrize("weight", [3.0, None])
@pytest.mark.parametrize("name", TASKS)
def test_the_image_meets_the_optimality_conditions(name, weight):
    m = measured(name)
    assert_optimal(m, tv(m, weight, tolerance=1e-5), weight)


def test_a_small_weight_leaves_the_data_and_a_large_one_a_flat_image():
    m = measured("identity")
    # each pixel has four neighbours: their pull moves it by 4 weight sigma^2 at most
    assert (tv(m, 1e-3, tolerance=1e-6) - m.y).abs().max() < 4e-3 * m.noise.sigma**2 + 1e-7
    m = measured("blur")  # keeps the mean
    assert torch.allclose(tv(m, 300.0), m.y.mean((-2, -1), keepdim=True).expand_as(m.y), atol=1e-4)


def test_without_noise_the_data_are_met_exactly():
    A = OPERATORS["inpaint"](shape=SHAPE, keep=0.6)
    m = Measurement(A, A(phantom()), Gaussian(0.0))
    x = tv(m, tolerance=1e-5)
    assert (A(x) - m.y).abs().max() < 1e-6
    assert bool((total_variation(x) <= total_variation(phantom()) * (1 + 1e-5)).all())
    assert torch.equal(tv(m, 7.0, tolerance=1e-5), x)


@pytest.mark.parametrize("weight", [3.0, None])
def test_an_item_does_not_depend_on_its_batch_mates(weight):
    m = measured("blur", items=3)
    together = tv(m, weight)
    alone = torch.cat([tv(m.rows([i]), weight) for i in range(3)])
    assert (together - alone).abs().max() < 1e-12
    if weight is not None:
        each = tv(m, torch.tensor([1.0, 3.0, 9.0]))
        assert (each[1] - together[1]).abs().max() < 1e-12
        assert total_variation(each)[0] > total_variation(together)[0]


def test_items_of_noise_levels_of_their_own_do_not_depend_on_their_batch_mates():
    """Three items that are finished after different numbers of iterations, each with its own map of noise levels."""
    m = measured("ct", 0.05, items=3)
    levels = torch.rand(m.y.shape, generator=torch.Generator().manual_seed(1), dtype=m.y.dtype) + 0.5
    levels = m.noise.sigma * levels * torch.tensor([0.5, 1.0, 2.0]).to(levels).reshape(3, 1, 1, 1)
    together = tv(Measurement(m.operator, m.y, Gaussian(levels)), 4.0)
    for k in range(3):
        alone = tv(Measurement(m.operator, m.y[k : k + 1], Gaussian(levels[k : k + 1])), 4.0)
        assert float((together[k] - alone[0]).abs().max()) < 5e-3 * float(alone.abs().max())


def test_channels_are_regularised_one_by_one():
    m = measured("blur", items=2)
    joined = Measurement(m.operator, m.y.transpose(0, 1), m.noise)
    apart = tv(m, 3.0, tolerance=1e-5).transpose(0, 1)
    assert torch.allclose(tv(joined, 3.0, tolerance=1e-5), apart, atol=1e-3)


def test_units_of_data_and_image_do_not_matter():
    """The same scan in other units of y, and the same image in Hounsfield-like units, converge alike."""
    m = measured("ct", items=1)
    x = tv(m, 3.0, tolerance=1e-5)
    scaled = Measurement(1000.0 * m.operator, 1000 * m.y, Gaussian(1000 * m.noise.sigma))
    assert (tv(scaled, 3.0, tolerance=1e-5) - x).abs().max() < 1e-5
    larger = Measurement(m.operator, 1000 * m.y, Gaussian(1000 * m.noise.sigma))
    assert (tv(larger, 0.003, tolerance=1e-5) / 1000 - x).abs().max() < 1e-5


def test_a_noise_level_for_each_element_is_used():
    m = measured("identity", items=1)
    sigma = m.noise.sigma * torch.where(torch.arange(SHAPE[1]) < 6, 1.0, 3.0).expand(SHAPE).double()
    varying = Measurement(m.operator, m.y, Gaussian(sigma))
    assert_optimal(varying, tv(varying, 3.0, tolerance=1e-5), 3.0)
    assert_optimal(varying, tv(varying, tolerance=1e-5), None)


def test_the_gap_closes_sooner_where_noise_levels_span_two_decades(monkeypatch):
    """Than on whitened rows, where those of much noise hardly move."""
    gaps = []

    def seen(*arguments, **more):
        found = least_variation(*arguments, **more)
        gaps.append(float(found.gap.max()))
        return found

    monkeypatch.setattr(classical, "least_variation", seen)
    A, x = OPERATORS["ct"](shape=SHAPE, **TASKS["ct"]), phantom(1)
    levels = torch.logspace(-2.5, -0.5, 9, dtype=torch.float64)[:, None].expand(A.out_shape)
    noise = torch.randn(A(x).shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    m = Measurement(A, A(x) + levels * noise, Gaussian(levels))
    for scaled in (classical.half_whitened, lambda m: (m.whitened(), 1.0)):
        monkeypatch.setattr(classical, "half_whitened", scaled)
        with pytest.warns(RuntimeWarning, match="duality gap"):
            tv(m, weight=3.0, tolerance=1e-12, max_iterations=200)
    assert gaps[0] < 0.5 * gaps[1]


def test_a_lower_bound_is_kept_and_changes_nothing_where_it_is_slack():
    m = measured("blur", items=1)
    x = tv(m, 3.0, tolerance=1e-5)
    assert (tv(m, 3.0, lowest=-5.0, tolerance=1e-5) - x).abs().max() < 1e-3
    bounded = tv(m, 3.0, lowest=0.3, tolerance=1e-5)
    assert x.min() < 0.3 and bounded.min() >= 0.3
    assert objective(m, x, 3.0) < objective(m, bounded, 3.0) < objective(m, x.clamp(min=0.3), 3.0)


def test_single_precision_serves_and_zero_data_give_zero():
    m = measured("ct", dtype=torch.float32)
    x = tv(m)
    assert x.dtype == torch.float32 and x.shape == (2, 1, *SHAPE)
    assert (x - tv(measured("ct"), tolerance=1e-5)).abs().max() < 0.02
    zero = Measurement(m.operator, torch.zeros_like(m.y), m.noise)
    assert not tv(zero).any() and not tv(zero, 3.0).any()


def test_an_iteration_limit_met_is_said():
    with pytest.warns(RuntimeWarning, match="relative duality gap.*after 50 iterations.*max_iterations"):
        tv(measured("blur"), 3.0, max_iterations=50)


def test_differences_are_matched_with_their_adjoint():
    x, p = torch.randn(2, 3, 5, 7, dtype=torch.float64), torch.randn(2, 2, 3, 5, 7, dtype=torch.float64)
    assert torch.allclose((differences(x) * p).sum(), (x * differences_adjoint(p)).sum(), rtol=1e-12)


def test_fbp_is_the_operators_own_and_refuses_others():
    m = measured("ct")
    assert torch.equal(fbp(m, "hann"), operators.fbp(m.operator, m.y, "hann"))
    with pytest.raises(ValueError, match="'tv' and 'pinv' take any linear operator"):
        fbp(measured("blur"))


@pytest.mark.parametrize("name", TASKS)
def test_pinv_is_the_least_norm_solution(name):
    m = measured(name)
    matrix = operators.dense_matrix(m.operator)
    expected = (torch.linalg.pinv(matrix, rtol=1e-10) @ m.y.flatten(1).T).T.view(2, 1, *SHAPE)
    assert torch.allclose(pinv(m), expected, rtol=0, atol=1e-6 * expected.abs().max().item())


def test_wrong_weights_and_shapes_are_refused():
    m = measured("identity")
    for weight in (0, -1.0, math.nan, math.inf, [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="weight=.*positive"):
            tv(m, torch.tensor(weight) if isinstance(weight, list) else weight)
    vectors = operators.Dense(torch.eye(6).double(), (6,), (6,))
    with pytest.raises(ValueError, match="height and width"):
        tv(Measurement(vectors, torch.ones(2, 6).double(), Gaussian(0.1)))


def test_the_dictionary_names_all_three():
    assert CLASSICAL == {"fbp": fbp, "tv": tv, "pinv": pinv}
