"""What a sample is does not depend on what is computed beside it: batch size, chunks, order of rows, other items."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch
from law import spectrum
from torch import Tensor

import recon
from operators import OPERATORS, Gaussian

module = importlib.import_module("recon.reconstruct")  # the name in the package is the function's
ITEMS, SAMPLES, SHAPE = 3, 3, (4, 6)
ALL = [(item, s) for s in range(SAMPLES) for item in range(ITEMS)]
ORDERS = {
    "one by one": [[row] for row in ALL],
    "backwards": [ALL[::-1]],
    "mixed": [[ALL[i] for i in chunk] for chunk in ([7, 0, 4], [2, 8, 1, 3], [6, 5])],
}


def problem(task: str = "inpaint", uneven: bool = False) -> tuple[recon.Measurement, recon.Prior]:
    """Items of very different sizes, so that a norm over the batch would show, with an exact prior in float64."""
    prior = recon.GaussianPrior(torch.full((1, *SHAPE), 0.3, dtype=torch.float64), spectrum(*SHAPE))
    A = OPERATORS[task](shape=SHAPE, **{"inpaint": {"keep": 0.5, "seed": 1}, "ct": {"angles": 5}}[task])
    sizes = torch.tensor([0.1, 1.0, 8.0], dtype=torch.float64).reshape(-1, *(1,) * (1 + len(A.out_shape)))
    generator = torch.Generator().manual_seed(2)
    y = sizes * torch.randn(ITEMS, 1, *A.out_shape, generator=generator, dtype=torch.float64)
    levels = (0.05 + torch.rand(y.shape, generator=generator, dtype=torch.float64)) if uneven else 0.1
    return recon.Measurement(A, y, Gaussian(levels)), prior


def drawn(method: str, m: recon.Measurement, prior: recon.Prior, samples: int = SAMPLES, **options: object) -> Tensor:
    return recon.reconstruct(m, prior, method, steps=6, samples=samples, seed=5, **options).samples


def assert_independent(method: str, m: recon.Measurement, prior: recon.Prior, monkeypatch) -> None:
    whole = drawn(method, m, prior, batch_size=ITEMS * SAMPLES)
    size = whole.abs().flatten(2).amax((0, 2)).reshape(1, -1, 1, 1, 1)
    assert bool(whole.isfinite().all())
    if method not in module.WHOLE:  # particles of one filter may be copies
        assert float((whole[0] - whole[1]).abs().max()) > 1e-3
    for name, chunks in ORDERS.items():
        with monkeypatch.context() as patched:
            patched.setattr(module, "_chunks", lambda *_: chunks)  # noqa: B023
            found = drawn(method, m, prior)
        assert float(((found - whole) / size).abs().max()) < 1e-9, name
    if method not in module.WHOLE:  # fewer particles are another filter
        fewer = drawn(method, m.rows([0, 1]), prior, samples=2)
        assert float(((fewer - whole[:2, :2]) / size[:, :2]).abs().max()) < 1e-9


@pytest.mark.parametrize("method", recon.METHODS)
def test_samples_depend_on_nothing_beside_them(method, monkeypatch):
    assert_independent(method, *problem(), monkeypatch)


@pytest.mark.parametrize("method", ["spectral", "spectral_draw", "moment", "pigdm", "dps", "diffpir"])
def test_nor_with_an_operator_that_is_solved_by_iterations(method, monkeypatch):
    assert_independent(method, *problem("ct"), monkeypatch)


@pytest.mark.parametrize("method", [name for name in recon.METHODS if name not in ("ddrm", "ddnm_plus", "smc")])
def test_nor_where_the_noise_differs_from_item_to_item(method, monkeypatch):
    assert_independent(method, *problem(uneven=True), monkeypatch)


@pytest.mark.parametrize("step", recon.STEPS)
def test_nor_with_any_solver(step, monkeypatch):
    m, prior = problem()
    whole = drawn("spectral", m, prior, options={"step": step})
    parts = drawn("spectral", m, prior, options={"step": step}, batch_size=2)
    assert float((parts - whole).abs().max()) < 1e-9


def test_a_norm_over_the_batch_would_be_seen(monkeypatch):
    """The test can fail: guidance divided by the norm of all rows together."""
    m, prior = problem()

    sound = recon.METHODS["diffpir"]

    def broken(measurement, prior, steps, noise):
        plan = sound(measurement, prior, steps, noise)
        return replace(plan, denoise=lambda x, sigma: plan.denoise(x, sigma) / (1 + 1e-6 * x.norm()))

    monkeypatch.setitem(recon.METHODS, "diffpir", broken)
    with pytest.raises(AssertionError, match="one by one"):
        assert_independent("diffpir", m, prior, monkeypatch)
