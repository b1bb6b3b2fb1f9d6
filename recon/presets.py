"""The methods: each published sampler as an instance of the one loop.

A preset takes (measurement, prior, steps, noise), the measurement being in the prior's units already, and returns a
`Method` that makes about `steps` network calls. The constants of a paper are keywords; where a default is not the
paper's, the preset says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from operators import LinearOperator
from recon import consistency, guidance
from recon.annealed import csgm, predictor_corrector, score_mri, song2022
from recon.condition import Denoise, guided, merged, multi_step, on_estimate
from recon.energy import ENERGIES, Energy, EnergyName, energy, total
from recon.general import local, local_norm
from recon.grids import default_levels, noise_damping, vp_levels, white_variance
from recon.jacobian import norms
from recon.kernels import Guided, KernelName, kernel_of
from recon.likelihood import Measurement
from recon.loss import mean_likelihood
from recon.moves import below_noise, on_state
from recon.noise import Noise
from recon.particles import ParticleFilter, Twisted, gaussian_twist
from recon.population import population
from recon.prior import Prior
from recon.ranges import Count, NotNegative, Positive, Share
from recon.sampling import Method, sample
from recon.schedule import karras, time_travel
from recon.singular import ddnm_plus, ddrm
from recon.steps import StepName, ancestral, ddim, jump, renoise, solver
from recon.variational import AdamDescent
from recon.weighing import space_of

Preset = Callable[..., Method]


def solve(denoise: Denoise, prior: Prior, steps: int, step: str) -> Method:
    """A conditioned denoiser on the toolkit's own grid, by the step of that name in about `steps` network calls."""
    chosen = solver(step)
    return Method(denoise, default_levels(prior, chosen.levels(steps)), chosen.make(prior.sde))


def pigdm(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, step: StepName = "ancestral") -> Method:
    """Pseudoinverse-guided: white spread of x0, whitened residual, gradient through the prior.

    The spread is the paper's sigma^2 / (sigma^2 + 1) for data of variance s^2 in place of 1; the grid is our own.
    """
    guide = local(measurement, prior, lambda m: guidance.white(m, white_variance(prior)))
    return solve(guided(prior.denoise, guide), prior, steps, step)


def moment(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    iterations: Count = 4,
    tolerance: Positive = 1e-3,
    step: StepName = "ancestral",
) -> Method:
    """Moment matching: the spread of x0 from the prior's own Jacobian, conjugate gradients on it."""
    guide = local(measurement, prior, lambda m: guidance.moment(m, iterations, tolerance))
    return solve(guided(prior.denoise, guide), prior, steps, step)


def dps(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, zeta: Positive = 1.0) -> Method:
    """Diffusion posterior sampling: the gradient of the residual's norm, added to the next state.

    The paper's state is s x with s = (1 + sigma^2)^(-1/2); zeta is its step size there, for operators of norm 1 at most
    like the paper's: one of a larger norm (a projector in mm) is scaled down to 1, which the paper does not say.
    """
    levels, step = vp_levels(prior, steps), ancestral()
    following = dict(zip(levels, levels[1:], strict=False))
    guide = local_norm(measurement, lambda sigma: zeta * ((1 + sigma**2) * (1 + following[sigma] ** 2)) ** 0.5)
    return Method(guided(prior.denoise, guide, step.gain_on(levels)), levels, step)


def mcg(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    zeta: Positive = 1.0,
    damping: NotNegative | None = None,
) -> Method:
    """Manifold constrained gradient: dps, and what the operator sees of the state replaced by data noised to its level.

    The step size on the squared residual is zeta / (2 |y - A x0|), which is dps's on the norm, as in the released code;
    the inverse is damped as in ddnm.
    """
    damping = noise_damping(measurement, prior) if damping is None else damping
    plan = dps(measurement, prior, steps, noise, zeta=zeta)
    return replace(plan, moves=(on_state(consistency.pinv(measurement, damping=damping)),))


def lgd(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    draws: Count = 10,
    temper: NotNegative = 1.0,
) -> Method:
    """Loss-guided: the likelihood averaged over draws around the estimate, gradient through the prior.

    The likelihood's variance is sigma_y^2 + temper r^2 |A|^2; the paper's temper is 0, which diverges where the draws'
    noise is far above the data's. Draws come in pairs, mirrored at the estimate. Anew at every call they leave nothing
    smooth for solvers of higher order, so the steps are ancestral.
    """
    like = measurement.y.new_empty(measurement.image_shape)
    variance, square = white_variance(prior), norms(measurement.operator, like) ** 2
    guide = mean_likelihood(measurement, variance, lambda sigma: temper * square * variance(sigma), draws, noise)
    return Method(guided(prior.denoise, guide), default_levels(prior, steps), ancestral())


def ddnm(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    eta: Share = 0.85,
    damping: NotNegative | None = None,
) -> Method:
    """Null-space: what the operator sees of the estimate is replaced by A^+ y, damped at the noise level (the paper:
    not).
    """
    levels, step = vp_levels(prior, steps), renoise(eta**2)
    pull = consistency.pinv(measurement, damping=noise_damping(measurement, prior) if damping is None else damping)
    return Method(on_estimate(prior.denoise, pull, step.gain_on(levels)), levels, step)


def dds(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    eta: Share = 0.85,
    iterations: Count = 5,
    weight: NotNegative = 0.0,
) -> Method:
    """Decomposed sampling: a few conjugate-gradient steps on the data, from the estimate."""
    levels, step = vp_levels(prior, steps), ddim(eta)
    pull = consistency.data_cg(measurement, iterations, weight)
    return Method(on_estimate(prior.denoise, pull, step.gain_on(levels)), levels, step)


def diffpir(
    measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, weight: Positive = 7.0, zeta: Share = 0.3
) -> Method:
    """Plug and play: the proximal map with r^2 = sigma^2 / weight on the estimate."""
    pull = consistency.prox(measurement, lambda sigma: sigma**2 / weight)
    return Method(on_estimate(prior.denoise, pull), vp_levels(prior, steps), renoise(zeta))


def daps(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, inner: Count | None = None) -> Method:
    """Decoupled annealing: solve the ODE to its end, draw from N(x0, sigma^2) times the likelihood, noise anew.

    `inner` are the calls of one solution, 5 in the paper; by default a tenth of the calls, at most 5. The draw is exact
    where the paper's is by Langevin dynamics.
    """
    inner = inner or max(1, min(5, steps // 10))
    draw = consistency.posterior_draw(measurement, lambda sigma: sigma**2, noise)
    estimate = on_estimate(multi_step(prior.denoise, inner, prior.sigma_end), draw)
    return Method(estimate, default_levels(prior, max(1, steps // inner)), renoise(1.0))


def stochastic_run(denoise: Denoise, calls: int, sigma_min: float, noise: Noise) -> Denoise:
    """A draw of x0 given (x, sigma), by `calls` of DDPM's steps; one call returns the mean."""

    def drawn(x: Tensor, sigma: float) -> Tensor:
        return sample(denoise, x, karras(calls, sigma, min(sigma_min, 0.5 * sigma)), ancestral(), (), noise)

    return drawn


def pnpdm(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, inner: Count | None = None) -> Method:
    """Split Gibbs: a draw of x0 given the state by a stochastic run from its level, a draw of the next state from
    N(x0, sigma'^2) times the likelihood, on falling levels.

    `inner` are the calls of one run, by default a tenth of the calls and at most 5, with DDPM's steps; the paper takes
    a hundred Euler-Maruyama steps of the same process, and levels down to about a tenth.

    Reference: Wu et al., Principled probabilistic imaging, 2024, algorithm 1, arXiv:2405.18782.
    """
    inner = inner or max(1, min(5, steps // 10))
    draw = below_noise(consistency.posterior_draw(measurement, lambda sigma: sigma**2, noise))
    estimate = stochastic_run(prior.denoise, inner, prior.sigma_end, noise)
    return Method(estimate, default_levels(prior, max(1, steps // inner)), jump, (draw,))


def repaint(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, repeats: Count = 4) -> Method:
    """RePaint: known pixels are noised and pasted into the state, with jumps back in time; for masks only.

    Each stretch, a tenth of the grid, is gone through `repeats` times (the paper: 10 levels of 250, ten times).
    """
    if measurement.operator.measured is None or measurement.operator.in_shape != measurement.operator.out_shape:
        raise ValueError(
            "got method 'repaint' with an operator that is no mask; expected 'inpaint'; "
            "use pigdm, moment, diffpir or ddnm for this operator"
        )
    levels = default_levels(prior, max(1, steps // repeats))
    path = time_travel(levels, max(1, len(levels) // 10), repeats)
    return Method(prior.denoise, path, ancestral(), (on_state(consistency.pinv(measurement)),))


def spectral(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    tolerance: Positive = 0.1,
    step: StepName = "ancestral2m",
    particles: Count | None = None,
) -> Method:
    """The default: moment matching at one backpropagation a call, by the prior's measured error spectrum.

    From a hundred calls on, each sample is drawn by four weighted particles, which choose between modes as more levels
    cannot: for linear operators with Gaussian noise, and its own step. Network calls are levels times particles.
    `tolerance` is what solves leave, in standard deviations of the posterior, or half of it in those of the noise that
    the next level has; with particles, in nats of a weight.
    Data that are the image itself in white noise are merged with the state: exact, and without backpropagation.
    """
    operator = measurement.operator
    if measurement.gaussian and prod(operator.in_shape) == prod(operator.out_shape) and operator.orthonormal_rows:
        seen = operator.adjoint(measurement.y).reshape(measurement.image_shape)
        return solve(merged(prior.denoise, seen, measurement.sigma), prior, steps, step)
    weighable = measurement.gaussian and step == "ancestral2m"
    count = particles or (4 if steps >= 100 and weighable else 1)
    if count > 1 and not weighable:
        raise ValueError(
            f"got particles={count}; expected 1 but for linear operators with Gaussian noise and step='ancestral2m'; "
            "use tds, whose particles take any operator"
        )
    if count > 1:
        levels = default_levels(prior, max(1, steps // count))
        way = space_of(measurement, prior, tolerance)(measurement, prior)
        kernel = Guided(guidance.weighed(measurement, way), levels)
        return Method(prior.denoise, levels, ParticleFilter(kernel, prior, count))
    levels = default_levels(prior, steps) if solver(step).averages else ()
    guide = local(measurement, prior, lambda m: guidance.spectral(m, prior, tolerance, levels))
    return solve(guided(prior.denoise, guide), prior, steps, step)


def spectral_draw(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    tolerance: Positive = 0.05,
) -> Method:
    """Ancestral steps from draws of p(x0 | x, y) under the error spectrum: exact for stationary Gaussian images,
    no backpropagation.
    """
    levels = default_levels(prior, steps)
    draw = consistency.spectral_draw(measurement, prior, noise, tolerance, levels)
    return Method(on_estimate(prior.denoise, draw), levels, ancestral())


def shared_out(steps: int) -> int:
    """Particles a sample for so many network calls: one in ten calls, at most four."""
    return max(1, min(4, steps // 10))


def smc(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    particles: Count | None = None,
    threshold: Share = 0.5,
    kernel: KernelName = "mcgdiff",
) -> Method:
    """MCGDiff: particles drawn to each datum at the level of its own noise; for operators with a cheap decomposition.

    Network calls are levels times particles. `kernel` is one of `recon.kernels.KERNELS`: "drawn" takes any linear
    operator and is exact for Gaussian images at any number of levels.
    """
    count = particles or shared_out(steps)
    levels = default_levels(prior, max(1, steps // count))
    chosen = kernel_of(kernel, measurement, prior, levels)
    return Method(prior.denoise, levels, ParticleFilter(chosen, prior, count, threshold))


def tds(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    particles: Count | None = None,
    threshold: Share = 0.5,
    gain: Positive = 1.0,
) -> Method:
    """Twisted: the guidance of pigdm as proposal, its errors undone by weights; any differentiable operator.

    `gain` is how much an operator that is not linear amplifies. Network calls are levels times particles.
    """
    count = particles or shared_out(steps)
    kernel = Twisted(gaussian_twist(measurement, white_variance(prior), gain))
    levels = default_levels(prior, max(1, steps // count))
    return Method(prior.denoise, levels, ParticleFilter(kernel, prior, count, threshold))


def reddiff(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    weight: NotNegative = 0.25,
    rate: Positive = 0.2,
) -> Method:
    """RED-diff: one Adam step a level towards data and denoiser. A point estimate: its spread is no posterior's.

    `rate` is in standard deviations of a value (the paper: 0.1 for images from -1 to 1). It begins at the mean image
    with the data's part put in, damped at the noise level.
    """
    operator = measurement.operator
    first = prior.start(torch.zeros(measurement.image_shape).to(measurement.y), prior.sigma_start)
    if isinstance(operator, LinearOperator):
        first = consistency.pinv(measurement, damping=noise_damping(measurement, prior))(first, 0.0)
    return Method(
        prior.denoise, vp_levels(prior, steps), AdamDescent(measurement, first, weight, rate * prior.data_std)
    )


def with_energy(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    penalty: EnergyName | Energy = "tv",
    weight: float = 0.1,
    step: StepName = "ancestral",
) -> Method:
    """The guidance of pigdm, and that of a penalty: p(x | y) exp(-weight penalty(x)).

    `penalty` is "squared", "tv", "entropy" or a function of images (B, ...) to (B,), in the prior's normalised units.
    """
    function = ENERGIES[penalty] if isinstance(penalty, str) else penalty
    guide = total(guidance.white(measurement, white_variance(prior)), energy(function, weight))
    return solve(guided(prior.denoise, guide), prior, steps, step)


METHODS: dict[str, Preset] = {
    "spectral": spectral,
    "spectral_draw": spectral_draw,
    "pigdm": pigdm,
    "moment": moment,
    "lgd": lgd,
    "dps": dps,
    "mcg": mcg,
    "ddnm": ddnm,
    "ddnm_plus": ddnm_plus,
    "ddrm": ddrm,
    "dds": dds,
    "diffpir": diffpir,
    "daps": daps,
    "pnpdm": pnpdm,
    "csgm": csgm,
    "song2022": song2022,
    "score_mri": score_mri,
    "predictor_corrector": predictor_corrector,
    "repaint": repaint,
    "smc": smc,
    "tds": tds,
    "population": population,
    "reddiff": reddiff,
    "energy": with_energy,
}
WHOLE = ("population",)  # methods that draw the samples of an item together, whatever the batch size
DEFAULT_METHOD, DEFAULT_STEPS = "spectral", 50
