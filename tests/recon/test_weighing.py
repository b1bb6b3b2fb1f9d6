"""Log-likelihoods to the precision of weights: against dense algebra, for every way of solving."""

from __future__ import annotations

import pytest
import torch
from test_wiener import SHAPE, TASKS, priors, problem
from torch import Tensor

import recon
from recon.krylov import Goal
from recon.spaces import Way, data_space, image_space
from recon.weighing import NATS, Narrowed, form, space_of

LEVEL, SEEN = 0.7, 0.4


def covariance(prior: recon.Prior) -> Tensor:
    units = torch.eye(48, dtype=torch.float64).reshape(48, 1, *SHAPE)
    return prior.error_filter(units, LEVEL, 1.0).flatten(1).T


def narrowed(prior: recon.Prior) -> Narrowed:
    return Narrowed(prior, {LEVEL: SEEN**2})


def residual(m: recon.Measurement, prior: recon.Prior) -> Tensor:
    """What the model draws; of data that were measured."""
    n = torch.randn(3, 1, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    r = m.operator(prior.error_filter(n, LEVEL, 0.5)) + m.sigma * m.y
    return r if m.operator.measured is None else r * m.operator.measured.to(r)


def check(way: Way, m: recon.Measurement, prior: recon.Prior, few: bool) -> None:
    r = residual(m, prior)
    A = m.operator(torch.eye(48, dtype=torch.float64).reshape(48, 1, *SHAPE)).flatten(1).T
    C = covariance(prior)
    S = A @ C @ A.T + m.sigma**2 * torch.eye(len(A), dtype=A.dtype)
    u = torch.linalg.solve(S, r.flatten(1).T)
    found = way.solve(r, LEVEL)
    off = 0.5 * (form(found) - (r.flatten(1) * u.T).sum(1))
    assert float(off.abs().max()) < (4 * NATS if few else 1e-6)
    apart = way.shift(r, LEVEL).flatten(1) - (C @ A.T @ u).T
    posterior = C - C @ A.T @ torch.linalg.solve(S, A @ C)
    square = (apart * torch.linalg.lstsq(posterior, apart.T).solution.T).sum(1)
    assert float(square.abs().max()) < (4 * NATS if few else 1e-6)


@pytest.mark.parametrize("kind", ["stationary", "dense"])
@pytest.mark.parametrize("task", TASKS)
def test_likelihoods_and_means_are_as_exact_as_weights_want_them(task, kind, monkeypatch):
    monkeypatch.setattr("recon.weighing.ITERATIONS", 40)  # fewer than there are data
    m, prior = problem(task, 0.1)[0], priors()[kind]
    space = space_of(m, prior)
    check(space(m, prior), m, prior, True)
    check(space(m, narrowed(prior)), m, narrowed(prior), True)


@pytest.mark.parametrize("task", TASKS)
def test_data_space_stops_by_nats(task):
    """At a share of the residual it would stop too early where the data tell much, too late where they tell little."""
    m, prior = problem(task, 0.05)[0], priors()["stationary"]
    check(data_space(m, prior)(50, lambda sigma: Goal(2 * NATS)), m, prior, True)
    check(data_space(m, prior)(500, lambda sigma: Goal(1e-13)), m, prior, False)


def test_what_is_seen_in_noise_as_well_has_the_covariance_of_bayes():
    prior = priors()["dense"]
    C = covariance(prior)
    expected = C - C @ torch.linalg.solve(C + SEEN**2 * torch.eye(48, dtype=C.dtype), C)
    torch.testing.assert_close(covariance(narrowed(prior)), expected, rtol=0, atol=1e-12)


def test_few_data_are_solved_to_rounding():
    m, prior = problem("downsample", 0.1)[0], priors()["dense"]
    assert m.y[0].numel() == 12
    check(space_of(m, prior)(m, prior), m, prior, False)


def test_stationary_problems_are_solved_without_iterations(monkeypatch):
    monkeypatch.setattr("recon.weighing.ITERATIONS", 1)
    m, prior = problem("blur", 0.1)[0], priors()["stationary"]
    r = residual(m, prior)
    exact = image_space(m, prior)(1000, lambda sigma: Goal(1e-24)).solve(r, LEVEL)
    torch.testing.assert_close(form(space_of(m, prior)(m, prior).solve(r, LEVEL)), form(exact), rtol=1e-9, atol=0)
