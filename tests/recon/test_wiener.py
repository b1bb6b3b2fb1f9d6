"""The solver of the default method: exact against dense algebra, preconditioned, and each row by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import operators
import recon
from recon.stationary import symbol, transform
from recon.wiener import FAR, data_space, image_space, objective, solver

SHAPE = (8, 6)
TASKS = {
    "ct": {"angles": 5},
    "inpaint": {"keep": 0.5, "seed": 1},
    "blur": {"std": 1.0},
    "downsample": {"factor": 2},
}


def spectrum() -> Tensor:
    """A falling power spectrum over three decades, in the order of torch.fft."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in SHAPE)
    return 1 / (0.01 + rows[:, None] ** 2 + columns**2) ** 1.5 / 100


def priors() -> dict[str, recon.GaussianPrior]:
    root = torch.randn(48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 7
    mean = torch.zeros(1, *SHAPE, dtype=torch.float64)
    return {"stationary": recon.GaussianPrior(mean, spectrum()), "dense": recon.GaussianPrior(mean, root @ root.T)}


def problem(task: str, sigma: float, items: int = 3) -> tuple[recon.Measurement, Tensor]:
    A = operators.OPERATORS[task](shape=SHAPE, **TASKS[task])
    y = torch.randn(items, 1, *A.out_shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    m = recon.Measurement(A, y, operators.Gaussian(sigma))
    return m, m.y


@pytest.mark.parametrize("way", [image_space, data_space])
@pytest.mark.parametrize("kind", ["stationary", "dense"])
@pytest.mark.parametrize("task", TASKS)
def test_both_ways_solve_what_the_matrices_say(task, kind, way):
    m, r = problem(task, 0.1)
    prior, level = priors()[kind], 0.7
    units = torch.eye(48, dtype=torch.float64).reshape(48, 1, *SHAPE)
    A = m.operator(units).flatten(1).T
    C = prior.error_filter(units, level, 1.0).flatten(1).T
    u = torch.linalg.solve(A @ C @ A.T + 0.01 * torch.eye(len(A), dtype=A.dtype), r.flatten(1).T)
    chosen = way(m, prior, 1e-12)(1000)
    found = chosen.solve(r, level)
    torch.testing.assert_close(chosen.shift(r, r, level), found.shift, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.v.flatten(1), (A.T @ u).T, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.shift.flatten(1), (C @ A.T @ u).T, rtol=0, atol=1e-9)
    seen = m.operator.measured if m.operator.measured is not None else torch.ones(m.operator.out_shape)
    kept = seen.broadcast_to(r.shape[1:]).flatten().bool()
    torch.testing.assert_close(found.left.flatten(1)[:, kept], 0.01 * u.T[:, kept], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.misfit, 0.01 * u.square()[kept].sum(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("task", "parameters", "way"),
    [
        ("ct", {"angles": 23}, "image"), ("blur", {"std": 2.0}, "image"),
        ("inpaint", {"box": (16, 16, 32, 32)}, "image"), ("downsample", {"factor": 4}, "data"),
        ("hadamard", {"ratio": 0.25}, "data"),
    ],
)  # fmt: skip
def test_the_way_that_is_nearer_after_a_few_iterations_is_taken(task, parameters, way):
    rows = torch.fft.fftfreq(64, dtype=torch.float64)
    prior = recon.GaussianPrior(torch.zeros(1, 64, 64), 1e-3 / (1e-4 + rows[:, None] ** 2 + rows**2).float() ** 1.5)
    A = operators.OPERATORS[task](shape=(64, 64), **parameters)
    size = float(A(prior.sample(torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)))).std())
    m = recon.Measurement(A, torch.zeros(2, 1, *A.out_shape), operators.Gaussian(0.02 * size))
    assert solver(m, prior, 4, 0.1).name == way


@pytest.mark.parametrize("level", [0.05, 5.0])
def test_one_iteration_solves_what_is_stationary(level):
    m, r = problem("blur", 0.01)
    once, whole = (image_space(m, priors()["stationary"], 1e-12)(n).shift(r, r, level) for n in (1, 500))
    torch.testing.assert_close(once, whole, rtol=0, atol=1e-9 * float(whole.abs().max()))


def test_eight_iterations_are_better_than_the_posterior_is_sharp():
    """CT of 64 x 64 pixels at 1 % noise, an image of three decades: without the preconditioner the error is 5 stds."""
    rows = torch.fft.fftfreq(64, dtype=torch.float64)
    prior = recon.GaussianPrior(
        torch.zeros(1, 64, 64).double(), 1e-3 / (1e-4 + rows[:, None] ** 2 + rows**2) ** 1.5
    )
    A = operators.OPERATORS["ct"](shape=(64, 64), angles=60)
    draw = prior.sample(torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    clean = A(draw)
    sigma = 0.01 * float(clean.abs().max())
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    m = recon.Measurement(A, clean + sigma * noise, operators.Gaussian(sigma))
    few, many = (solver(m, prior, n, 1e-9).shift(m.y, m.y, 10.0) for n in (8, 400))
    error = few - many
    energy = prior.error_filter(error, 10.0, -0.5).square().sum() + (A(error) / sigma).square().sum()
    assert float((energy / error.numel()).sqrt()) < 0.3


def test_more_iterations_are_taken_where_the_detector_does_not_cover_the_image():
    """What four leave undone at high noise levels would be made up for by wild values outside of what is seen."""
    rows = torch.fft.fftfreq(48, dtype=torch.float64)
    prior = recon.GaussianPrior(
        torch.zeros(1, 48, 48).double(), 1e-3 / (1e-4 + rows[:, None] ** 2 + rows**2) ** 1.5
    )
    draw = prior.sample(torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    left = {}
    for detectors in (48, 70):
        A = operators.OPERATORS["ct"](shape=(48, 48), angles=40, detectors=detectors)
        sigma = 0.003 * float(A(draw).abs().max())
        m = recon.Measurement(A, A(draw), operators.Gaussian(sigma))
        level = max(FAR) * prior.data_std
        least = objective(image_space(m, prior, 1e-6)(400), m, prior, level, 0.1)
        plain, chosen = (objective(way, m, prior, level, 0.1) / least
                         for way in (image_space(m, prior, 0.1)(4), solver(m, prior, 4, 0.1)))  # fmt: skip
        left[detectors] = plain
        assert chosen < 1.5, (detectors, plain, chosen)
    assert left[48] > 2, left


def test_data_without_noise_are_met():
    m, r = problem("downsample", 0.0)
    found = solver(m, priors()["stationary"], 500, 1e-9).solve(r, 1.0)
    torch.testing.assert_close(m.operator(found.shift), r, rtol=0, atol=1e-6)
    assert bool(found.misfit.isfinite().all())


def test_rows_are_solved_by_themselves_and_zeros_give_zeros():
    m, r = problem("ct", 0.1)
    r = r * torch.tensor([1.0, 0.0, 1e3]).double().reshape(3, 1, 1, 1)
    prior = priors()["stationary"]
    together = solver(m, prior, 4, 1e-2).shift(r, r, 1.0)
    for k in range(3):
        alone = solver(m.rows([k]), prior, 4, 1e-2).shift(r[k : k + 1], r[k : k + 1], 1.0)
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-9, atol=0)
    assert not together[1].any()


@pytest.mark.parametrize(("task", "exact"), [("blur", True), ("inpaint", False), ("ct", False)])
def test_the_nearest_stationary_operator(task, exact):
    """Its response is that of the operator's diagonal in the Fourier basis; exact, or its mean over rings nearly so."""
    A = operators.OPERATORS[task](shape=(32, 32), **(TASKS[task] | ({"angles": 30} if task == "ct" else {})))
    like = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    found, stationary = symbol(lambda x: A.adjoint(A(x)), like)
    assert stationary == exact
    assert found.shape == transform(like).shape and bool((found >= 0).all())
    waves = torch.randn(200, 1, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    phases = transform(waves)
    true = ((transform(A.adjoint(A(waves))) * phases.conj()).real.mean(0) / phases.abs().square().mean(0))[None]
    size = float(true.square().mean().sqrt())
    assert float((found - true).square().mean().sqrt()) < (0.02 if exact else 0.2) * size
