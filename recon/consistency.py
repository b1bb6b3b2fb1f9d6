"""Consistency: maps (v, sigma) -> v that pull an image to the data without a gradient of the prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recon.condition import Consistency
from recon.jacobian import norms
from recon.krylov import squared, truncated_cg
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.prior import Prior
from recon.spaces import Way
from recon.wiener import goal_of, solver


def pinv(measurement: Measurement, relaxation: float = 1.0, damping: float = 0.0) -> Consistency:
    """v + lambda A^H (A A^H + damping)^-1 (y - A v): the data replace lambda of what the operator sees of v.

    damping = 0 is the pseudo-inverse of the papers. On noisy data of an ill-conditioned operator (CT, blur) it
    multiplies the noise without bound; damping = sigma_y^2 / s^2 leaves alone what the noise hides in images of
    standard deviation s.

    Reference: Wang et al., DDNM, 2023, equation 13, arXiv:2212.00490; with lambda < 1 Song et al., 2022,
    equation 13, arXiv:2111.08005.
    """
    operator = measurement.operator

    def pull(v: Tensor, sigma: float) -> Tensor:
        return v + relaxation * operator.damped_pinv(measurement.residual(v), damping)

    return pull


def landweber(measurement: Measurement, relaxation: float = 1.0) -> Consistency:
    """v + lambda A^H (y - A v) / |A|^2: one gradient step on the data, with the adjoint in place of the inverse.

    |A|^2 is 1 in the paper, whose operators are masked unitary transforms.

    Reference: Chung and Ye, Score-based diffusion models for accelerated MRI, 2022, algorithm 1, arXiv:2110.05243.
    """
    operator = measurement.operator
    size = relaxation / norms(operator, measurement.y.new_empty(measurement.image_shape)) ** 2

    def pull(v: Tensor, sigma: float) -> Tensor:
        return v + size * operator.adjoint(measurement.residual(v))

    return pull


def _proximal(measurement: Measurement, v: Tensor, residual: Tensor, variance: float) -> Tensor:
    return v + measurement.operator.damped_pinv(residual, measurement.sigma**2 / variance)


def prox(measurement: Measurement, variance: Callable[[float], float]) -> Consistency:
    """argmin_u |y - A u|^2 / (2 sigma_y^2) + |u - v|^2 / (2 r^2) with r^2 = variance(sigma).

    It is the mean of N(v, r^2) times the likelihood: v + A^H (A A^H + sigma_y^2 / r^2)^-1 (y - A v).

    Reference: Zhu et al., DiffPIR, 2023, equation 12, arXiv:2305.08995.
    """

    def pull(v: Tensor, sigma: float) -> Tensor:
        return _proximal(measurement, v, measurement.residual(v), variance(sigma))

    return pull


def posterior_draw(measurement: Measurement, variance: Callable[[float], float], noise: Noise) -> Consistency:
    """An exact draw from N(v, r^2) times the likelihood: the proximal map of (v + r n, y + sigma_y n').

    Reference: Papandreou and Yuille, Gaussian sampling by local perturbations, 2010; the step of DAPS
    (arXiv:2407.01521) and PnP-DM (arXiv:2405.18782) for linear operators, there by Langevin dynamics or in closed form.
    """

    def pull(v: Tensor, sigma: float) -> Tensor:
        r2 = variance(sigma)
        moved = v + r2**0.5 * noise(v)
        residual = measurement.residual(moved)
        drawn = residual + measurement.sigma * noise(residual)
        measured = measurement.operator.measured
        return _proximal(measurement, moved, drawn if measured is None else drawn * measured.to(drawn), r2)

    return pull


def data_cg(measurement: Measurement, iterations: int, weight: float) -> Consistency:
    """`iterations` conjugate-gradient steps on (A^H A + weight) u = A^H y + weight v, started at v.

    Reference: Chung et al., Decomposed diffusion sampler, 2024, section 3, arXiv:2303.05754.
    """
    operator = measurement.operator

    def apply(u: Tensor) -> Tensor:
        return operator.normal(u) + weight * u

    def energy(u: Tensor) -> Tensor:
        return (squared(operator(u)) + weight * squared(u)).reshape(-1, *(1,) * (u.ndim - 1))

    def pull(v: Tensor, sigma: float) -> Tensor:
        rounding = 10 * torch.finfo(v.dtype).eps
        start = operator.adjoint(measurement.residual(v))
        return v + truncated_cg(apply, start, iterations, rounding, energy=energy)

    return pull


def spectral_draw(
    measurement: Measurement, prior: Prior, noise: Noise, tolerance: float = 0.05, levels: Sequence[float] = ()
) -> Consistency:
    """An exact draw from N(v, C) times the likelihood, C the prior's own error covariance at level sigma.

    v' + C A^H (A C A^H + sigma_y^2)^-1 (y + sigma_y n' - A v') with v' = v + C^(1/2) n. Where p(x0 | x) is N(v, C),
    this is a draw from p(x0 | x, y); a stationary C costs FFTs only, no backpropagation. The solve is that of the
    default, see `recon.wiener`.

    Reference: the identity is Matheron's rule (Wilson et al., 2020, arXiv:2002.09309, equation 8).
    """
    return drawn_by(measurement, prior, noise, solver(measurement, prior, goal_of(measurement, tolerance, levels)))


def drawn_by(measurement: Measurement, prior: Prior, noise: Noise, way: Way) -> Consistency:
    """`spectral_draw` by a solver that is there."""
    operator = measurement.operator

    def pull(v: Tensor, sigma: float) -> Tensor:
        moved = v + prior.error_filter(noise(v), sigma, 0.5)
        residual = measurement.residual(moved)
        residual = residual + measurement.sigma * noise(residual)
        if operator.measured is not None:
            residual = residual * operator.measured.to(residual)
        return moved + way.shift(residual, sigma)

    return pull
