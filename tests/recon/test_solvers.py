"""Solvers of higher order: as published, at their order without and with guidance, and rows that go their own way."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from law import law, relative, vector_problem
from test_published import PRIOR, START, VP_LEVELS, N, alpha_bar, assert_same_path, eps_of, path, score
from test_steps import GAUSS, MIXTURE, VARIANCES, draw, flow, no_noise
from torch import Tensor

import recon
from recon.condition import guided
from recon.error_control import RungeKutta45
from recon.exponential import DPMSolver3M, UniPC, moments
from recon.guidance import moment
from recon.schedule import geometric, karras
from recon.steps import STEPS, Step, churn

SCALES = [math.sqrt(alpha_bar(t)) for t in torch.linspace(0.9, 0.05, N, dtype=torch.float64).tolist()]
LOGS = [-math.log(sigma) for sigma in VP_LEVELS]  # lambda = log(alpha / sigma)


def data_prediction(x: Tensor, i: int) -> Tensor:
    """E[x0 | x] for a state in VP coordinates at level i."""
    a = SCALES[i] ** 2
    return (x - math.sqrt(1 - a) * eps_of(x, a)) / math.sqrt(a)


def std(i: int) -> float:
    return math.sqrt(1 - SCALES[i] ** 2)


def third_update(x: Tensor, m: list[Tensor], i: int, second: float) -> Tensor:
    """3M of the authors' code from level i to i + 1, m the last three estimates, newest first."""
    h, h_0, h_1 = (LOGS[j + 1] - LOGS[j] for j in (i, i - 1, i - 2))
    r0, r1 = h_0 / h, h_1 / h
    D1_0, D1_1 = (m[0] - m[1]) / r0, (m[1] - m[2]) / r1
    D1 = D1_0 + r0 / (r0 + r1) * (D1_0 - D1_1)
    D2 = second * (D1_0 - D1_1) / (r0 + r1)
    phi_1 = math.expm1(-h)
    phi_2 = phi_1 / h + 1
    phi_3 = phi_2 / h - 0.5
    alpha = SCALES[i + 1]
    return std(i + 1) / std(i) * x - alpha * phi_1 * m[0] + alpha * phi_2 * D1 - alpha * phi_3 * D2


def test_dpm_solver_3m():
    """Lu et al., 2022: 2S with r = 1/2, then 2M with exact weights ("taylor"), then 3M with the whole D2."""
    x, states, data = START, [], [data_prediction(START, 0)]
    h = LOGS[1] - LOGS[0]
    middle = 0.5 * (LOGS[0] + LOGS[1])
    alpha, sigma = (1 / math.sqrt(1 + math.exp(s * middle)) for s in (-2, 2))
    u = sigma / std(0) * x - alpha * math.expm1(-0.5 * h) * data[0]
    D = (u + sigma**2 * score(u, alpha, sigma)) / alpha
    x = std(1) / std(0) * x - SCALES[1] * math.expm1(-h) * D
    states.append(x)
    for i in range(1, N - 1):
        data.insert(0, data_prediction(x, i))
        if i == 1:
            h, before = LOGS[2] - LOGS[1], LOGS[1] - LOGS[0]
            slope = (data[0] - data[1]) / (before / h)
            phi = math.expm1(-h)
            x = std(2) / std(1) * x - SCALES[2] * phi * data[0] + SCALES[2] * (phi / h + 1) * slope
        else:
            x = third_update(x, data, i, 2.0)
        states.append(x)
    assert_same_path(path(DPMSolver3M(), VP_LEVELS, START / SCALES[0]), states, SCALES[1:])


def test_unipc():
    """Zhao et al., 2023, algorithms 5 and 6, data prediction, bh2: UniC-1 after the first step, then UniC-2.

    The estimate of the corrector is at the predicted state; the corrected one is not evaluated again.
    """
    x, states, data = START, [], []
    start = START
    for i in range(N - 1):
        model = data_prediction(x, i)
        if i:  # UniC from level i - 1
            h = LOGS[i] - LOGS[i - 1]
            base = std(i) / std(i - 1) * start - SCALES[i] * math.expm1(-h) * data[0]
            if i == 1:
                x = base - SCALES[i] * math.expm1(-h) * 0.5 * (model - data[0])
            else:
                r = (LOGS[i - 2] - LOGS[i - 1]) / h
                phi_2 = math.expm1(-h) / -h - 1
                phi_3 = phi_2 / -h - 0.5
                R = torch.tensor([[1.0, 1.0], [r, 1.0]], dtype=torch.float64)
                b = torch.tensor([phi_2, 2 * phi_3], dtype=torch.float64) / math.expm1(-h)
                rho = torch.linalg.solve(R, b).tolist()
                x = base - SCALES[i] * math.expm1(-h) * (rho[0] * (data[1] - data[0]) / r + rho[1] * (model - data[0]))
        data.insert(0, model)
        start = x
        h = LOGS[i + 1] - LOGS[i]
        x = std(i + 1) / std(i) * x - SCALES[i + 1] * math.expm1(-h) * data[0]
        if i:  # UniP-2
            slope = (data[1] - data[0]) / ((LOGS[i - 1] - LOGS[i]) / h)
            x = x - SCALES[i + 1] * math.expm1(-h) * 0.5 * slope
        states.append(x)
    assert_same_path(path(UniPC(), VP_LEVELS, START / SCALES[0]), states, SCALES[1:])


def test_churn():
    """Karras et al., 2022, algorithm 2 with S_noise = 1 on a grid of constant ratio, gamma = S_churn / N."""
    levels, S_churn = geometric(N, 5.0, 0.1)[:-1], 4.0
    noise = iter(path_noise := [draw(*START.shape, seed=i) for i in range(N)])
    x, states = START, []
    for t, t_next, n in zip(levels, levels[1:], path_noise, strict=False):
        gamma = min(S_churn / (N - 1), math.sqrt(2) - 1)
        raised = t + gamma * t
        x = x + math.sqrt(raised**2 - t**2) * n
        d = -raised * score(x, 1.0, raised)
        moved = x + (t_next - raised) * d
        x = x + (t_next - raised) * (0.5 * d + 0.5 * (-t_next * score(moved, 1.0, t_next)))
        states.append(x)
    step, found = churn(recon.VE(1e-3, 1e3), S_churn / math.log(50)), []
    with torch.no_grad():
        recon.sample(PRIOR.denoise, START, levels, step, (), lambda like: next(noise), lambda i, s: found.append(s))
    assert_same_path(found, states, [1.0] * (N - 1))


SOLVERS = {
    "dpm3m": (DPMSolver3M, STEPS["dpm3m"].order),
    "unipc": (UniPC, STEPS["unipc"].order),
    "rk45": (lambda: RungeKutta45(math.inf), STEPS["rk45"].order),
}
GRIDS = {3: (64, 128), 5: (32, 64)}


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_gaussian(name):
    make, order = SOLVERS[name]
    x, high, low = 5 * draw(5, 4), 5.0, 0.05
    exact = flow(x, high, low)
    errors = [
        relative(recon.sample(GAUSS.denoise, x, geometric(n + 1, high, low)[:-1], make(), (), no_noise), exact)
        for n in (32, 64)
    ]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.2, errors


def on_mixture(make: Callable[[], Step], steps: int) -> Tensor:
    levels = geometric(steps + 1, 5.0, 0.2)[:-1]
    return recon.sample(MIXTURE.denoise, 5 * draw(4, 4, seed=2), levels, make(), (), no_noise)


@pytest.fixture(scope="module")
def mixture_end() -> Tensor:
    return on_mixture(SOLVERS["rk45"][0], 160)


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_mixture(name, mixture_end):
    make, order = SOLVERS[name]
    errors = [relative(on_mixture(make, n), mixture_end) for n in GRIDS[order]]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.2, errors


@pytest.mark.parametrize("name", SOLVERS)
def test_order_with_exact_guidance(name):
    """Moment matching on a Gaussian prior, against the flow of its posterior; solvers with a memory run in one go."""
    make, order = SOLVERS[name]
    problem, high, low = vector_problem(), 5.0, 0.05
    x = problem.mu + high * draw(3, 4)
    denoise = guided(problem.prior.denoise, moment(problem.measurement.rows([0, 0, 0]), 10, 1e-13))

    def end(steps: int) -> Tensor:
        with torch.no_grad():
            return recon.sample(denoise, x, geometric(steps + 1, high, low)[:-1], make(), (), no_noise)

    m, P = problem.posterior()
    values, vectors = torch.linalg.eigh(P)
    exact = m + (x - m) @ vectors @ torch.diag(((values + low**2) / (values + high**2)).sqrt()) @ vectors.T
    errors = [relative(end(n), exact) for n in GRIDS[order]]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.2, errors


def test_the_released_3m_has_order_2():
    """Half of the second difference, as in the released code, in place of all of it, on a smooth D(lambda)."""
    errors = {}
    for second in (1.0, 2.0):
        for n in (64, 128):
            h = 2.0 / n

            def D(u: float) -> float:
                return math.sin(3 * u + 1)

            exact = (math.sin(4 + 3 * h) - 3 * math.cos(4 + 3 * h)) / 10
            exact -= math.exp(-h) * (math.sin(4) - 3 * math.cos(4)) / 10
            D1_0, D1_1 = D(1) - D(1 - h), D(1 - h) - D(1 - 2 * h)
            D1, D2 = D1_0 + 0.5 * (D1_0 - D1_1), second * 0.5 * (D1_0 - D1_1)
            m = moments(h, 3)
            errors[second, n] = abs(m[0] * D(1) + m[1] * D1 + 0.5 * m[2] * D2 - exact)
    local = {second: math.log2(errors[second, 64] / errors[second, 128]) for second in (1.0, 2.0)}
    assert abs(local[1.0] - 3) < 0.2 and abs(local[2.0] - 4) < 0.2  # of one step, one more than of a run


def test_churn_reaches_the_prior_at_second_order():
    """The law of the end converges to N(mean, C + low^2), with as much noise exchanged at any number of steps."""
    high, low, errors = 20.0, 0.5, []
    for steps in (20, 40, 80):
        levels = geometric(steps + 1, high, low)[:-1]
        root = (torch.diag(VARIANCES) + high**2 * torch.eye(4, dtype=torch.float64)).sqrt()
        plan = recon.Method(GAUSS.denoise, levels, churn(recon.VE(1e-3, 1e3)))
        _, covariance = law(lambda noise, rows: plan, GAUSS.mean, root)  # noqa: B023
        errors.append(relative(covariance, torch.diag(VARIANCES + low**2)))
    assert abs(math.log2(errors[1] / errors[2]) - 2) < 0.2, errors


def test_error_control_reaches_its_tolerance_row_by_row():
    """Any rows together give what each gives alone; the network is called as often as the hardest row needs."""
    x, levels = 10 * draw(3, 4), geometric(6, 10.0, 0.05)[:-1]
    calls = []

    def counted(v: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return MIXTURE.denoise(v, sigma)

    def end(rows: Tensor, tolerance: float) -> tuple[Tensor, int]:
        calls.clear()
        return recon.sample(counted, rows, levels, RungeKutta45(tolerance), (), no_noise), len(calls)

    exact, _ = end(x, 1e-8)
    errors = []
    for tolerance in (1e-4, 1e-6):
        together, needed = end(x, tolerance)
        alone = [end(row[None], tolerance) for row in x]
        assert relative(torch.cat([state for state, _ in alone]), together) < 1e-13
        assert needed == max(count for _, count in alone) and (needed - 1) % 6 == 0
        errors.append((float((together - exact).abs().max()), needed))
    assert errors[0][0] < 2e-3 and errors[1][0] < 2e-5 and errors[0][1] < errors[1][1], errors
    with pytest.raises(FloatingPointError, match="in 3 of 3 rows after 4 parts of the step from sigma 10 to"):
        recon.sample(MIXTURE.denoise, x, levels, RungeKutta45(1e-14, most=4), (), no_noise)


def test_solvers_with_a_memory_forget_what_a_move_has_changed():
    """One more state in between: slopes and corrections of the old one may not be used."""
    x, levels = 5 * draw(3, 4), [5.0, 2.0, 1.0, 0.3]

    def moved(denoise, x, sigma, noise):
        return x + 0.1

    for make in (RungeKutta45, UniPC):
        found = recon.sample(MIXTURE.denoise, x, levels, make(), (moved,), no_noise)
        state = x
        for pair in zip(levels, levels[1:], strict=False):
            state = moved(None, recon.sample(MIXTURE.denoise, state, pair, make(), (), no_noise), 0.0, None)
        assert relative(found, state) < 1e-13


@pytest.mark.parametrize("name", STEPS)
def test_solvers_by_name_take_the_calls_they_say(name):
    chosen, calls = STEPS[name], []

    def counted(v: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return GAUSS.denoise(v, sigma)

    levels = karras(chosen.levels(25), 5.0, 0.02)
    step = chosen.make(recon.VE(1e-3, 1e3)) if name != "rk45" else RungeKutta45(math.inf)
    recon.sample(counted, 5 * draw(2, 4), levels, step, (), torch.zeros_like)
    assert len(calls) == chosen.calls * (len(levels) - 2) + 1 + chosen.first
    assert 25 - chosen.calls < len(calls) <= 25
