"""Methods for any likelihood: other noise than Gaussian, and nonlinear operators.

At each step the measurement is replaced by a linear one with Gaussian noise (`Measurement.linearised`), and the
preset's guidance works on that. The operator is linearised at the estimate, the likelihood of each datum at the value
that is most probable given the datum and the estimate's own spread: that is where the data are while the estimate is
far from them, and at the estimate in the end. For Gaussian noise and a linear operator the result is the measurement
itself, so `local` and `local_norm` take it as it is there, closed forms and all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recon import guidance
from recon.condition import Guidance, Vjp
from recon.jacobian import norms
from recon.likelihood import Measurement
from recon.prior import Prior

GENERAL = ("spectral", "pigdm", "moment", "dps")  # the methods whose guidance comes from `local` or `local_norm`
HALVINGS = 10
POWER_STEPS = 8  # of the norm of a linearised operator; its gradient is already close to the leading vector


def local(measurement: Measurement, prior: Prior, make: Callable[[Measurement], Guidance]) -> Guidance:
    """The guidance that `make` builds for a linear measurement with Gaussian noise, for any likelihood."""
    return make(measurement) if measurement.gaussian else relinearised(measurement, prior, make)


def local_norm(measurement: Measurement, weight: Callable[[float], float]) -> Guidance:
    """`guidance.residual_norm` of an operator scaled to norm 1 where it is larger, for any likelihood."""
    if not measurement.gaussian:
        return likelihood_norm(measurement, weight)
    size = 1 / norms(measurement.operator, measurement.y.new_empty(measurement.image_shape)).clamp(min=1.0)
    return guidance.residual_norm(measurement, lambda sigma: size * weight(sigma))


def relinearised(measurement: Measurement, prior: Prior, make: Callable[[Measurement], Guidance]) -> Guidance:
    """The guidance of the measurement linearised at each estimate, shortened where it would lead away from the data."""

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        near = measurement.linearised(x0, clean_spread(measurement, prior, x0, sigma))
        return no_less_likely(measurement, x0, make(near)(x0, vjp, sigma))

    return shift


def clean_spread(measurement: Measurement, prior: Prior, x0: Tensor, sigma: float) -> Tensor:
    """Standard deviation of A(x), (B, 1, ...) over the axes of y, for x of the prior's error covariance about x0.

    One number an item: the root mean square over its data of what one draw changes.
    """
    draw = torch.randn((1, *x0.shape[1:]), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x0)
    change = measurement.operator(x0 + prior.error_filter(draw, sigma, 0.5)) - measurement.operator(x0)
    return length(change, change) / math.sqrt(measurement.count)


def no_less_likely(measurement: Measurement, x0: Tensor, shift: Tensor) -> Tensor:
    """The shift, halved item by item until the data are no less likely at x0 + shift than at x0.

    Far from the estimate a linear measurement says little about a nonlinear one, and whole steps need not converge;
    this is the usual line search of the Gauss-Newton method.
    """
    least, axes = measurement.log_likelihood(x0), (1,) * (x0.ndim - 1)
    for _ in range(HALVINGS):
        worse = ~(measurement.log_likelihood(x0 + shift) >= least)  # also where it overflows
        if not bool(worse.any()):
            break
        shift = torch.where(worse.reshape(-1, *axes), shift / 2, shift)
    return shift


def likelihood_norm(measurement: Measurement, weight: Callable[[float], float]) -> Guidance:
    """weight(sigma) times J_x^T g / (|r| |A|): A and r the linearised operator and its residual, g = A^H r.

    g is the gradient of log p(y | x0); for Gaussian noise of one level and a linear operator this is the gradient of
    -|y - A x0| for A scaled to norm 1, the step of `guidance.residual_norm`. Norms are per sample.

    Reference: Chung et al., Diffusion posterior sampling, 2023, sections 3.3 (Poisson noise) and 4 (nonlinear
    operators), arXiv:2209.14687; there the weights of Poisson noise are those of the data, here those of the estimate.
    """

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        local = measurement.linearised(x0)
        operator, residual = local.operator, local.residual(x0)
        gradient = operator.adjoint(residual)
        least = torch.finfo(x0.dtype).tiny
        v = gradient / length(gradient, x0).clamp(min=least)
        for _ in range(POWER_STEPS):
            image = operator.normal(v)
            v = image / length(image, x0).clamp(min=least)
        norm = length(operator(v), x0)
        return weight(sigma) * vjp(gradient / (length(residual, x0) * norm).clamp(min=least), last=True)

    return shift


def length(values: Tensor, like: Tensor) -> Tensor:
    """The Euclidean norm of each row, (B, 1, ...) with the axes of `like`."""
    return values.flatten(1).norm(dim=1).reshape(-1, *(1,) * (like.ndim - 1))


def refuse_special(method: str, measurement: Measurement) -> None:
    """Raise a ValueError if the method needs Gaussian noise and a linear operator, and the measurement has another."""
    if measurement.gaussian or method in GENERAL:
        return
    raise ValueError(
        f"got method {method!r} for {type(measurement.noise).__name__} noise and operator "
        f"{type(measurement.operator).__name__}; expected Gaussian noise and a linear operator; "
        f"use {', '.join(GENERAL)}, which take any likelihood"
    )
