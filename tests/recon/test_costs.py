"""The table of methods says what they need, cost and err by: all of it is measured here."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from law import field_problem, preset_law, relative, start, vector_problem
from torch import Tensor

import recon
from cli.method_table import FACTS
from operators import LinearOperator
from recon.noise import CounterNoise
from recon.reconstruct import CallCounter

CONVERGED = {name: {"tolerance": 1e-8} for name in ("spectral", "spectral_draw", "predictor_corrector")}
CONVERGED["moment"] = {"iterations": 100, "tolerance": 1e-8}
OPTIONS = {"moment": {"tolerance": 1e-18}}  # so that no iteration ends early
STEPS = 50


class Watched(LinearOperator):
    """An operator that notes which of its abilities are used: H, G, S, M of the table."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.in_shape, operator.out_shape)
        self.operator, self.used = operator, set()

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        self.used.add("H")
        return self.operator.adjoint(y)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        self.used.add("G")
        return self.operator._gram_solve(u, rho)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        self.used.add("S")
        return self.operator.svd()

    @property
    def measured(self) -> Tensor | None:
        return self.operator.measured


@functools.cache
def measured(name: str) -> tuple[int, float, set[str]]:
    """Network calls of the dearest level, backpropagations a call, and the abilities of the operator that were used."""
    problem = field_problem("inpaint", (4, 4))
    operator = Watched(problem.measurement.operator)
    measurement = replace(problem.measurement, operator=operator)
    operator.used.clear()
    prior, noise, counts = CallCounter(problem.prior), CounterNoise(0, [0], [0]), [0]
    with torch.no_grad():
        plan = recon.METHODS[name](measurement, prior, STEPS, noise, **OPTIONS.get(name, {}))
        x = start(problem.prior, plan.sigmas[0])[0][None]
        recon.sample(
            plan.denoise, x, plan.sigmas, plan.step, plan.moves, noise, lambda i, state: counts.append(prior.calls)
        )
    particles = getattr(plan.step, "particles", 1)
    dearest = max(after - before for before, after in zip(counts, counts[1:], strict=False))
    return dearest // particles, prior.backpropagations / prior.calls, operator.used


def test_every_method_has_its_row():
    assert set(FACTS) == set(recon.METHODS)


@pytest.mark.parametrize("name", recon.METHODS)
def test_costs(name):
    calls, backpropagations, _ = measured(name)
    assert calls == FACTS[name].calls
    assert FACTS[name].backpropagations - 0.5 < backpropagations <= FACTS[name].backpropagations


@pytest.mark.parametrize("name", recon.METHODS)
def test_needs(name):
    needs = set(FACTS[name].needs.split())
    used = measured(name)[2]
    if "S" in needs:  # with singular vectors the adjoint is known as well
        assert "S" in used and "G" not in used
    else:
        assert used == needs - {"M"}
    takes_any = vector_problem().measurement
    if "M" in needs:
        with pytest.raises(ValueError, match="no mask"):
            recon.reconstruct(takes_any, vector_problem().prior, name, steps=2, samples=1)


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.error is not None])
def test_errors(name):
    """To half of a percent: the table rounds to one."""
    problem = vector_problem()
    _, covariance = preset_law(name, problem, STEPS, **CONVERGED.get(name, {}))
    assert relative(covariance, problem.posterior()[1]) == pytest.approx(FACTS[name].error, abs=6e-3)


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.exact and facts.error is not None])
def test_errors_of_exact_methods_vanish(name):
    """From 25 to 50 calls they halve at least, or are below a percent."""
    problem = vector_problem()
    coarse = relative(preset_law(name, problem, STEPS // 2, **CONVERGED.get(name, {}))[1], problem.posterior()[1])
    assert FACTS[name].error < max(0.55 * coarse, 0.01)
