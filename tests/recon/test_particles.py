"""Particles: weights and resampling exactly; the samples against posteriors known in closed form; batches."""

from __future__ import annotations

import math

import pytest
import torch
from law import Problem, field_problem, relative, vector_problem
from torch import Tensor

import recon
from operators import Dense, Gaussian
from operators.linear import Operator
from recon.guidance import weighed, white
from recon.kernels import KERNELS as POPULATIONS
from recon.krylov import Goal
from recon.noise import CounterNoise
from recon.particles import (
    Kernel,
    MCGDiff,
    Particle,
    ParticleFilter,
    Twisted,
    effective,
    gaussian_twist,
    systematic,
    uniform,
)
from recon.population import Population
from recon.presets import default_levels, white_variance
from recon.stochastic import Ancestral2M
from recon.wiener import solver


def test_systematic_resampling_keeps_each_particle_as_often_as_it_weighs():
    """Averaged over the shift, P w_k times, exactly; never a whole one away from it."""
    log_weights = torch.tensor([[0.05, 0.6, 0.25, 0.1], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64).log()
    shifts = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    counts = torch.zeros(2, 4, dtype=torch.float64)
    for u in shifts:
        kept = systematic(log_weights + 3.0, u.expand(2, 1), 4)
        times = torch.stack([(kept == k).sum(1) for k in range(4)], 1)
        assert bool(((times - 4 * log_weights.exp()).abs() < 1).all())
        counts += times
    assert torch.allclose(counts / len(shifts), 4 * log_weights.exp(), atol=2e-3)


def test_effective_number_and_degenerate_weights():
    log_weights = torch.tensor([[0.0, 0.0, 0.0], [0.0, -1e5, -1e5], [5.0, 5.0, -1e9]])
    assert torch.allclose(effective(log_weights), torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64))
    assert systematic(log_weights, torch.full((3, 1), 0.5), 3).tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 1]]


def test_uniform_numbers_are_uniform_and_of_their_row():
    u = uniform(CounterNoise(1, range(4000), [0] * 4000), torch.empty(4000, 2))[:, 0]
    assert abs(float(u.mean()) - 0.5) < 4 / math.sqrt(12 * 4000)
    assert abs(float(u.var()) - 1 / 12) < 4 * math.sqrt(1 / 180 / 4000)
    assert torch.equal(uniform(CounterNoise(1, [7], [0]), torch.empty(1, 2))[0, 0], u[7])


def samples(
    prior: recon.Prior, kernel: Kernel, levels: list[float], rows: int, particles: int, seed: int = 0
) -> tuple[Tensor, ParticleFilter]:
    """Rows of one run with plain noise, (rows, d), and the filter after it."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    run = ParticleFilter(kernel, prior, particles)
    with torch.no_grad():
        start = prior.start(noise(torch.empty(rows, *prior.shape, dtype=torch.float64)), levels[0])
        return recon.sample(prior.denoise, start, levels, run, (), noise), run


def mcgdiff(prior: recon.Prior, measurement: recon.Measurement, levels: list[float]) -> MCGDiff:
    return MCGDiff(measurement, prior, levels[-2])


def twisted(prior: recon.Prior, measurement: recon.Measurement, levels: list[float]) -> Twisted:
    return Twisted(gaussian_twist(measurement, white_variance(prior)))


def drawn(prior: recon.Prior, measurement: recon.Measurement, levels: list[float]) -> Kernel:
    return POPULATIONS["drawn"](measurement, prior, levels)


KERNELS = {"mcgdiff": mcgdiff, "twisted": twisted}
MEANS = torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, -2.5]], dtype=torch.float64)
MIXTURE = recon.MixturePrior(MEANS, 0.3 * torch.eye(2, dtype=torch.float64), torch.tensor([0.6, 0.3, 0.1]))
MATRIX, DATA, SIGMA = torch.tensor([[0.5, 0.8]], dtype=torch.float64), 0.3, 0.6


def expected_mixture() -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, d) and the shared covariance of the mixture that is the posterior."""
    total = 0.3 * MATRIX @ MATRIX.T + SIGMA**2
    gain = 0.3 * MATRIX.T / total
    logs = MIXTURE.weights.log() - 0.5 * (DATA - MEANS @ MATRIX.T)[:, 0].square() / total[0, 0]
    covariance = 0.3 * (torch.eye(2, dtype=torch.float64) - gain @ MATRIX)
    return logs.softmax(0), MEANS + (DATA - MEANS @ MATRIX.T) @ gain.T, covariance


HIGH, LOW = 2.0, 0.8
NOISES = torch.tensor([3.0, 1.2, 0.5, 0.1], dtype=torch.float64)  # above both levels, between them, below


def one_step(kernel: Kernel, prior: recon.Prior, x: Tensor, noise) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """worth, x0, the next state and its debt, from HIGH to LOW."""
    with torch.no_grad():
        worth, x0, shift = kernel.look(prior.denoise, x, HIGH, LOW)
        moved, debt = kernel.draw(Particle(x, worth, x0, shift, x0, shift), HIGH, LOW, noise)
    return worth, x0, moved, debt


def skewed_operator() -> tuple[Dense, Tensor, Tensor]:
    """Four data of five unknowns whose coordinates have the noise levels NOISES at sigma_y = 0.3; V and U."""
    generator = torch.Generator().manual_seed(6)
    U = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(5, 4, generator=generator, dtype=torch.float64)).Q
    return Dense(U @ torch.diag(0.3 / NOISES) @ V.T, (5,), (4,)), V, U


def wide_prior() -> recon.MixturePrior:
    means = torch.randn(3, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return recon.MixturePrior(2 * means, 0.5 * torch.eye(5, dtype=torch.float64))


def test_weights_and_draws_of_mcgdiff_are_those_of_the_best_proposal():
    """p(x' | x) g'(x') split into its integral, which weighs, and its normalised rest, which is drawn: Gaussians.

    The law of a draw is read off from unit impulses; the integral is N(b; mean, variance) of each datum given x.
    """
    operator, V, U = skewed_operator()
    prior, rows = wide_prior(), 40
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(2, 5, generator=generator, dtype=torch.float64).repeat_interleave(rows, 0)
    y = torch.randn(1, 4, generator=generator, dtype=torch.float64).expand(2 * rows, 4)
    kernel = MCGDiff(recon.Measurement(operator, y, Gaussian(0.3)), prior, 0.01)
    drawn = [0]

    def impulses(like: Tensor) -> Tensor:
        values = torch.zeros(2, rows, like.shape[1], dtype=torch.float64)
        places = torch.arange(like.shape[1])
        values[:, 1 + drawn[0] + places, places] = 1.0
        drawn[0] += like.shape[1]
        return values.flatten(0, 1)

    worth, x0, moved, debt = one_step(kernel, prior, x, impulses)
    b = (y @ U)[0] * NOISES / 0.3
    full = torch.cat([V, torch.linalg.svd(V.T).Vh[4:].T], 1)  # the last direction is seen by no datum
    for point in range(2):
        ends = moved.reshape(2, rows, 5)[point]
        mean, root = ends[0] @ full, (ends[1:] - ends[0]) @ full
        z, z0 = (v.reshape(2, rows, 5)[point, 0] @ full for v in (x, x0))
        log_weight = 0.0
        share = LOW**2 / HIGH**2
        for i in range(5):
            expected, variance = z0[i] + share * (z[i] - z0[i]), LOW**2 * (1 - share)
            if i < 4 and NOISES[i] < HIGH:
                e = float(NOISES[i])
                if e < LOW:  # b is what noise makes of x'
                    seen, spread, together = expected, variance + LOW**2 - e**2, variance
                else:  # b is what the path passes through
                    seen, spread = z0[i] + e**2 / HIGH**2 * (z[i] - z0[i]), e**2 * (1 - e**2 / HIGH**2)
                    together = LOW**2 / e**2 * spread
                log_weight += -0.5 * (b[i] - seen) ** 2 / spread
                expected = expected + together / spread * (b[i] - seen)
                variance = variance - together**2 / spread
            assert float(mean[i] - expected) == pytest.approx(0, abs=1e-10), i
            assert float((root[:, i] ** 2).sum()) == pytest.approx(variance, rel=1e-10), i
        assert relative(root.T @ root, torch.diag((root.T @ root).diagonal())) < 1e-10
        assert float(worth.reshape(2, rows)[point, 0]) == pytest.approx(float(log_weight), rel=1e-10)
        still = NOISES < LOW
        owed = -0.5 * ((mean[:4] - b)[still].square() / (LOW**2 - NOISES[still].square())).sum()
        assert float(debt.reshape(2, rows)[point, 0]) == pytest.approx(float(owed), rel=1e-10)


@pytest.mark.parametrize("proposed", [None, 2.0])
def test_weights_of_twisted_are_those_of_its_densities(proposed):
    """log p(x' | x) + log g'(x') - log g(x) - log q(x' | x), each from its textbook density, for many draws.

    q is guided by g, or by data seen through another spread, `proposed`.
    """
    operator, _, _ = skewed_operator()
    prior, rows, variance = wide_prior(), 30, 0.7
    generator = torch.Generator().manual_seed(2)
    x, y, n = (torch.randn(rows, d, generator=generator, dtype=torch.float64) for d in (5, 4, 5))
    measurement = recon.Measurement(operator, y, Gaussian(0.3))
    guidance = white(measurement, lambda sigma: proposed) if proposed else None
    kernel = Twisted(gaussian_twist(measurement, lambda sigma: variance), guidance)
    _, x0, moved, debt = one_step(kernel, prior, 2 * x, lambda like: n)
    with torch.no_grad():
        later = kernel.look(prior.denoise, moved, LOW, 0.1)[0]

    def g(v: Tensor, r2: float = variance) -> Tensor:
        spread = r2 * operator.matrix @ operator.matrix.T + 0.09 * torch.eye(4, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(v @ operator.matrix.T, spread).log_prob(y)

    leaf = (2 * x).requires_grad_(True)
    slope = torch.autograd.grad(g(prior.denoise(leaf, HIGH), proposed or variance).sum(), leaf)[0]
    share = LOW**2 / HIGH**2
    std = LOW * math.sqrt(1 - share)
    plain, guided = (v + share * (2 * x - v) for v in (x0, x0 + HIGH**2 * slope))
    p, q = (torch.distributions.Normal(mean, std).log_prob(moved).sum(1) for mean in (plain, guided))
    expected = p + g(prior.denoise(moved, LOW)) - g(x0) - q
    assert relative(moved, guided + std * n) < 1e-12
    assert torch.allclose(later - debt, expected, atol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_samples_of_a_mixture_have_the_exact_posterior(name):
    """Share and mean of each component, within four standard errors of 500 rows and the bias of 60 levels (0.015).
    """
    rows, levels = 500, default_levels(MIXTURE, 60)
    y = torch.full((rows, 1), DATA, dtype=torch.float64)
    measurement = recon.Measurement(Dense(MATRIX, (2,), (1,)), y, Gaussian(SIGMA))
    x, run = samples(MIXTURE, KERNELS[name](MIXTURE, measurement, levels), levels, rows, 24)
    weights, means, covariance = expected_mixture()
    component = torch.distributions.MultivariateNormal(means, covariance)
    logs = component.log_prob(x[:, None]) + weights.log()
    shares = logs.softmax(1)
    error = 4 * (weights * (1 - weights) / rows).sqrt() + 0.015
    assert bool(((shares.mean(0) - weights).abs() < error).all()), (shares.mean(0), weights)
    found = (shares.T @ x) / shares.sum(0)[:, None]
    error = 4 * (covariance.diagonal() / (rows * weights[:, None])).sqrt() + 0.05
    assert bool(((found - means).abs() < error).all()), (found, means)
    assert all(bool((s >= 1 - 1e-9).all() and (s <= 24 + 1e-9).all()) for s in run.sizes)
    assert run.log_weights.shape == (rows, 1) and bool(run.log_weights.isfinite().all())


@pytest.mark.parametrize("make, steps", [(mcgdiff, 60), (twisted, 60), (drawn, 8)])
def test_samples_of_a_gaussian_have_the_exact_posterior(make, steps):
    """By draws under the error covariance at few levels as well."""
    problem, rows = vector_problem(), 600
    mean, covariance = problem.posterior()
    levels = default_levels(problem.prior, steps)
    x, _ = samples(problem.prior, make(problem.prior, problem.measurement.rows([0] * rows), levels), levels, rows, 4)
    error = (x.mean(0) - mean) / covariance.diagonal().sqrt()
    assert float(error.abs().max()) < 4 / math.sqrt(rows) + 0.03
    assert relative(torch.cov(x.T), covariance) < 4 * math.sqrt(2 / rows)


def test_one_particle_of_twisted_is_the_guided_ancestral_sampler():
    """Its proposal is pigdm's step; with a single particle weights are of no account."""
    problem = field_problem("inpaint", (4, 4))
    pigdm = recon.reconstruct(problem.measurement, problem.prior, "pigdm", 12, samples=1, seed=3)
    measurement, noise = problem.measurement.rows([0]), CounterNoise(3, [0], [0])
    levels = default_levels(problem.prior, 12)
    run = ParticleFilter(twisted(problem.prior, measurement, levels), problem.prior, 1)
    x = problem.prior.start(noise(torch.empty(1, 1, 4, 4, dtype=torch.float64)), levels[0])
    for sigma, sigma_next in zip(levels, levels[1:], strict=False):
        held = []

        def once(like: Tensor) -> Tensor:
            """The uniform number of the resampling is drawn aside: pigdm draws none."""
            if like.shape[1:] == (1,):
                return torch.zeros_like(like)
            held.append(noise(like))  # noqa: B023
            return held[-1]  # noqa: B023

        with torch.no_grad():
            x = run(problem.prior.denoise, x, sigma, sigma_next, once)
    assert relative(x, pigdm.samples[0]) < 1e-10


@pytest.mark.parametrize("name", ["smc", "tds"])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_samples_do_not_depend_on_the_batch(name, threshold):
    problem = field_problem("blur", (4, 4))
    options = {"particles": 3, "threshold": threshold}
    whole = recon.reconstruct(problem.measurement, problem.prior, name, 24, 5, 1, options=options)
    parts = recon.reconstruct(problem.measurement, problem.prior, name, 24, 4, 1, batch_size=3, options=options)
    assert relative(parts.samples, whole.samples[:4]) < 1e-9
    assert whole.nfe == parts.nfe == 24
    assert whole.backpropagations == (24 if name == "tds" else 0)


@pytest.mark.parametrize("name", ["smc", "tds"])
def test_noiseless_data_are_met(name):
    problem = field_problem("inpaint", (4, 4), sigma_y=0.0)
    post = recon.reconstruct(problem.measurement, problem.prior, name, 40, 3, options={"particles": 4})
    assert float(problem.measurement.residual(post.samples[0]).abs().max()) < 1e-2 * float(problem.y.abs().max())
    assert float(post.samples.std(0).max()) > 0.05


class Square(Operator):
    """y = (x_0^2 + x_1): not linear."""

    def __init__(self) -> None:
        super().__init__((2,), (1,))

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., :1].square() + x[..., 1:]


def test_twisted_samples_of_a_nonlinear_operator():
    """Mean and variance against the sum over a fine grid; the posterior has two modes, x_0 = +-1.4."""
    rows, sigma, y = 800, 0.4, 2.0
    prior = recon.GaussianPrior(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    measurement = recon.Measurement(Square(), torch.full((rows, 1), y, dtype=torch.float64), Gaussian(sigma))
    kernel = Twisted(gaussian_twist(measurement, white_variance(prior), gain=2.0))
    x, _ = samples(prior, kernel, default_levels(prior, 50), rows, 8)
    line = torch.linspace(-5, 5, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    logs = -0.5 * grid.square().sum(1) - 0.5 * (y - grid[:, 0].square() - grid[:, 1]).square() / sigma**2
    weights = logs.softmax(0)
    for power in (lambda v: v[:, 0].square(), lambda v: v[:, 1], lambda v: v[:, 1].square()):
        mean = weights @ power(grid)
        std = (weights @ (power(grid) - mean).square()).sqrt()
        assert abs(float(power(x).mean() - mean)) < 4 * float(std) / math.sqrt(rows) + 0.05 * float(std)
    assert 0.4 < float((x[:, 0] > 0).double().mean()) < 0.6


def test_wrong_numbers_of_particles_are_refused():
    problem: Problem = vector_problem()
    for particles, threshold in ((0, 0.5), (2, 1.5)):
        with pytest.raises(ValueError, match="expected at least 1, and a threshold from 0 to 1"):
            ParticleFilter(twisted(problem.prior, problem.measurement, []), problem.prior, particles, threshold)
    matrix = torch.eye(4, dtype=torch.float64)
    operator = Dense(matrix[:2], (4,), (2,)) @ Dense(matrix + 0.1, (4,), (4,))
    with pytest.raises(ValueError, match="svd"):
        MCGDiff(recon.Measurement(operator, torch.zeros(1, 2), Gaussian(0.1)), problem.prior, 0.1)


@pytest.mark.parametrize("kernel", POPULATIONS)
def test_population_has_the_exact_posterior_and_does_not_depend_on_the_batch(kernel):
    """Errors of 250 particles that share ancestors are larger than those of independent ones: twice is allowed."""
    y = torch.full((2, 1), DATA, dtype=torch.float64)
    y[1] = -1.0
    measurement, options = recon.Measurement(Dense(MATRIX, (2,), (1,)), y, Gaussian(SIGMA)), {"kernel": kernel}
    post = recon.reconstruct(measurement, MIXTURE, "population", 30, 250, options=options)
    weights, means, covariance = expected_mixture()
    logs = torch.distributions.MultivariateNormal(means, covariance).log_prob(post.samples[:, 0, None])
    shares = (logs + weights.log()).softmax(1).mean(0)
    assert bool(((shares - weights).abs() < 8 * (weights * (1 - weights) / 250).sqrt()).all())
    few = recon.reconstruct(measurement, MIXTURE, "population", 8, 20, 4, options=options)
    alone = recon.reconstruct(measurement.rows([0]), MIXTURE, "population", 8, 20, 4, batch_size=7, options=options)
    assert relative(alone.samples[:, 0], few.samples[:, 0]) < 1e-9
    assert few.samples.shape == (20, 2, 2) and few.nfe == 8 and few.chi_square.shape == (2,)


@pytest.mark.parametrize("name", POPULATIONS)
def test_a_population_that_is_never_resampled_is_so_many_filters_of_one_particle(name):
    """Until its last step, which draws among all; at the threshold 1 it is resampled at every level."""
    problem, rows = vector_problem(), [0, 0, 0]
    levels = default_levels(problem.prior, 10)
    found = []
    for make in (lambda kernel: Population(kernel, problem.prior, 0.0),
                 lambda kernel: ParticleFilter(kernel, problem.prior, 1)):
        noise = CounterNoise(2, rows, [0, 1, 2])
        run = make(POPULATIONS[name](problem.measurement.rows(rows), problem.prior, levels))
        x = problem.prior.start(noise(torch.empty(3, 4, dtype=torch.float64)), levels[0])
        with torch.no_grad():
            found.append(recon.sample(problem.prior.denoise, x, levels[:-1], run, (), noise))
    assert torch.equal(*found)


def test_the_default_weighs_by_the_likelihood_of_the_estimate():
    """log N(y; A x0, A C A^T + s^2) up to a number, on dense matrices."""
    problem = field_problem("blur", (4, 4))
    measurement, sigma = problem.measurement.rows([0] * 3), 0.7
    guide = weighed(measurement, solver(measurement, problem.prior, lambda sigma: Goal(1e-24)))
    x0 = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value, _ = guide(x0, lambda v, last=False: v, sigma)
    eye = torch.eye(16, dtype=torch.float64)
    C = problem.C @ torch.linalg.inv(problem.C + sigma**2 * eye) * sigma**2
    total = problem.M @ C @ problem.M.T + problem.measurement.sigma**2 * torch.eye(len(problem.M), dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(x0.flatten(1) @ problem.M.T, total)
    expected = normal.log_prob(measurement.y.flatten(1))
    assert torch.allclose(value - value[0], expected - expected[0], rtol=1e-8)


@pytest.mark.parametrize("remembered", [False, True])
def test_debts_of_the_default_are_those_of_its_two_chains(remembered):
    """log q(x' | x) - log p(x' | x) of normals of the same variance, whose means are steps of second order with the
    shifts and without them.
    """
    operator, _, _ = skewed_operator()
    prior, rows = wide_prior(), 20
    generator = torch.Generator().manual_seed(2)
    x, n, a, b = (torch.randn(rows, 5, generator=generator, dtype=torch.float64) for _ in range(4))
    y = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    levels = [4.0, HIGH, LOW, 0.0] if remembered else [HIGH, LOW, 0.0]
    kernel = POPULATIONS["spectral"](recon.Measurement(operator, y, Gaussian(0.3)), prior, levels)
    with torch.no_grad():
        worth, x0, shift = kernel.look(prior.denoise, 2 * x, HIGH, LOW)
        moved, debt = kernel.draw(Particle(2 * x, worth, x0, shift, a, b), HIGH, LOW, lambda like: n)
    means, state, std = [], 2 * x, LOW * math.sqrt(1 - LOW**2 / HIGH**2)
    for now, before in ((x0 + shift, a + b), (x0, a)):
        step = Ancestral2M()
        if remembered:
            step.reached, step.estimate, step.fresh = state, before, 1 - HIGH**2 / 4.0**2
        means.append(step(lambda x, sigma: now, state, HIGH, LOW, torch.zeros_like))  # noqa: B023
    assert relative(moved, means[0] + std * n) < 1e-12
    q, p = (torch.distributions.Normal(mean, std).log_prob(moved).sum(1) for mean in means)
    assert torch.allclose(debt - worth, q - p, rtol=1e-9)


def test_one_particle_of_the_default_is_its_chain():
    """To rounding, given the same noise; that of resampling is drawn apart."""
    m = recon.Measurement(Dense(MATRIX, (2,), (1,)), torch.full((3, 1), DATA, dtype=torch.float64), Gaussian(SIGMA))
    drawn = [torch.randn(3, 2, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in range(21)]
    ends = []
    for method, options in (("spectral", {"tolerance": 1e-12}), ("smc", {"kernel": "spectral", "particles": 1})):
        numbers = iter(drawn[1:])

        def noise(like: Tensor) -> Tensor:
            return next(numbers).to(like) if like.shape[1] == 2 else torch.zeros_like(like)  # noqa: B023

        plan = recon.METHODS[method](m, MIXTURE, 20, noise, **options)
        with torch.no_grad():
            ends.append(recon.sample(plan.denoise, 10 * drawn[0], plan.sigmas, plan.step, plan.moves, noise))
    assert relative(*ends) < 1e-12


def test_particles_of_the_default_choose_between_modes():
    """Shares of the modes that one datum cannot tell apart, which single chains misjudge."""
    y = torch.full((2, 1), DATA, dtype=torch.float64)
    m = recon.Measurement(Dense(MATRIX, (2,), (1,)), y, Gaussian(SIGMA))
    weights, means, covariance = expected_mixture()
    errors = []
    for particles in (1, 4, 16):
        post = recon.reconstruct(m, MIXTURE, "spectral", 25 * particles, 1000, options={"particles": particles})
        assert post.nfe == 25 * particles
        logs = torch.distributions.MultivariateNormal(means, covariance).log_prob(post.samples[:, :, None])
        errors.append(float(((logs + weights.log()).softmax(2).mean((0, 1)) - weights).abs().sum()))
    assert errors[0] > max(0.12, 2 * errors[1]) and errors[1] < 0.08 and errors[2] < 0.04, errors


@pytest.mark.parametrize("task", ["vector", "inpaint", "blur"])
def test_draws_under_the_error_covariance_weigh_the_same_for_gaussian_images(task):
    """At any number of levels, here five, and for as many data as there are values."""
    problem = vector_problem() if task == "vector" else field_problem(task, (4, 4))
    rows = [0] * 6
    levels = default_levels(problem.prior, 5)
    noise, weights = CounterNoise(1, rows, range(6)), []
    kernel = POPULATIONS["drawn"](problem.measurement.rows(rows), problem.prior, levels)
    run = Population(kernel, problem.prior, 0.0)
    x = problem.prior.start(noise(torch.empty(6, *problem.prior.shape, dtype=torch.float64)), levels[0])
    first = run.kernel.look(problem.prior.denoise, x, levels[0], levels[1])[0]
    with torch.no_grad():
        for sigma, lower in zip(levels, levels[1:-1], strict=False):
            x = run(problem.prior.denoise, x, sigma, lower, noise)
            weights.append(run.log_weights + run.kernel.look(problem.prior.denoise, x, lower, 0.0)[0])
    assert float(first.std()) > 0.1  # the start does not know of the data
    for found in weights:
        assert float(((found - first) - (found - first).mean()).abs().max()) < 1e-4


def test_wrong_settings_of_a_population_are_refused():
    problem = vector_problem()
    with pytest.raises(ValueError, match="expected one of drawn"):
        recon.reconstruct(problem.measurement, problem.prior, "smc", 2, 2, options={"kernel": "best"})
    for options, words in (({"kernel": "best"}, "expected one of drawn"), ({"threshold": 2.0}, "0 to 1")):
        with pytest.raises(ValueError, match=words):
            recon.reconstruct(problem.measurement, problem.prior, "population", 2, 2, options=options)
