"""Methods for any likelihood: other noise than Gaussian, and nonlinear operators.

At each step the measurement is replaced by the linear one with Gaussian noise that has its gradient and its curvature
at the estimate (`Measurement.linearised`), and the guidance of the preset of the same name works on that. For Gaussian
noise and a linear operator that is the measurement itself, so these methods and `recon.presets` agree there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recon import guidance
from recon.condition import Guidance, Vjp, guided
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.presets import Preset, solve, vp_levels, white_variance
from recon.prior import Prior
from recon.sampling import Method
from recon.steps import ancestral

HALVINGS = 10
POWER_STEPS = 8  # of the norm of a linearised operator; its gradient is already close to the leading vector


def relinearised(measurement: Measurement, make: Callable[[Measurement], Guidance]) -> Guidance:
    """The guidance of the measurement linearised at each estimate, shortened where it would lead away from the data."""

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        return no_less_likely(measurement, x0, make(measurement.linearised(x0))(x0, vjp, sigma))

    return shift


def no_less_likely(measurement: Measurement, x0: Tensor, shift: Tensor) -> Tensor:
    """The shift, halved item by item until the data are no less likely at x0 + shift than at x0.

    Far from the estimate a linear measurement says little about a nonlinear one, and whole steps need not converge;
    this is the usual line search of the Gauss-Newton method.
    """
    least, axes = measurement.log_likelihood(x0), (1,) * (x0.ndim - 1)
    for _ in range(HALVINGS):
        worse = measurement.log_likelihood(x0 + shift) < least
        if not bool(worse.any()):
            break
        shift = torch.where(worse.reshape(-1, *axes), shift / 2, shift)
    return shift


def likelihood_norm(measurement: Measurement, weight: Callable[[float], float]) -> Guidance:
    """weight(sigma) times J_x^T g / (|r| |A|): A and r the linearised operator and its residual, g = A^H r.

    g is the gradient of log p(y | x0); for Gaussian noise of one level and a linear operator this is the gradient of
    -|y - A x0| for A scaled to norm 1, the step of `guidance.residual_norm`. Norms are per sample.
    """

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        local = measurement.linearised(x0)
        operator, residual = local.operator, local.residual(x0)
        gradient = operator.adjoint(residual)
        least = torch.finfo(x0.dtype).tiny
        v = gradient / length(gradient, x0).clamp(min=least)
        for _ in range(POWER_STEPS):
            image = operator.adjoint(operator(v))
            v = image / length(image, x0).clamp(min=least)
        norm = length(operator(v), x0)
        return weight(sigma) * vjp(gradient / (length(residual, x0) * norm).clamp(min=least))

    return shift


def length(values: Tensor, like: Tensor) -> Tensor:
    """The Euclidean norm of each row, (B, 1, ...) with the axes of `like`."""
    return values.flatten(1).norm(dim=1).reshape(-1, *(1,) * (like.ndim - 1))


def spectral(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    iterations: int = 8,
    tolerance: float = 1e-2,
    step: str = "ancestral",
) -> Method:
    """`presets.spectral` on the measurement linearised at each estimate."""
    guide = relinearised(measurement, lambda m: guidance.spectral(m, prior, iterations, tolerance))
    return solve(guided(prior.denoise, guide), prior, steps, step)


def pigdm(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, step: str = "ancestral") -> Method:
    """`presets.pigdm` on the measurement linearised at each estimate."""
    guide = relinearised(measurement, lambda m: guidance.white(m, white_variance(prior)))
    return solve(guided(prior.denoise, guide), prior, steps, step)


def moment(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    iterations: int = 4,
    tolerance: float = 1e-3,
    step: str = "ancestral",
) -> Method:
    """`presets.moment` on the measurement linearised at each estimate."""
    guide = relinearised(measurement, lambda m: guidance.moment(m, iterations, tolerance))
    return solve(guided(prior.denoise, guide), prior, steps, step)


def dps(measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, zeta: float = 1.0) -> Method:
    """Diffusion posterior sampling with the gradient of any log-likelihood, in steps as long as the paper's.

    Reference: Chung et al., Diffusion posterior sampling, 2023, sections 3.3 (Poisson noise) and 4 (nonlinear
    operators), arXiv:2209.14687; there the weights of Poisson noise are those of the data, here those of the estimate.
    """
    levels, step = vp_levels(prior, steps), ancestral()
    following = dict(zip(levels, levels[1:], strict=False))
    guide = likelihood_norm(
        measurement, lambda sigma: zeta * ((1 + sigma**2) * (1 + following[sigma] ** 2)) ** 0.5
    )
    return Method(guided(prior.denoise, guide, step.gain_on(levels)), levels, step)


GENERAL: dict[str, Preset] = {"spectral": spectral, "pigdm": pigdm, "moment": moment, "dps": dps}


def preset(method: str, methods: dict[str, Preset], measurement: Measurement) -> Preset:
    """The preset of that name for this likelihood.

    Raises:
        ValueError: the method needs Gaussian noise and a linear operator, and the measurement has another.
    """
    if measurement.gaussian:
        return methods[method]
    if method not in GENERAL:
        name = type(measurement.noise).__name__
        raise ValueError(
            f"got method {method!r} for {name} noise and operator {type(measurement.operator).__name__}; expected "
            f"Gaussian noise and a linear operator; use {', '.join(GENERAL)}, which take any likelihood"
        )
    return GENERAL[method]
