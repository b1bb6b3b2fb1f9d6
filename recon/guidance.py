"""Guidance: shifts of the estimate that follow from a Gaussian approximation of p(x0 | x).

With p(x0 | x) = N(x0, C) the data have the marginal N(A x0, A C A^H + sigma_y^2), and Tweedie's formula for the
conditional score gives the shift sigma^2 J^T A^H (A C A^H + sigma_y^2)^-1 (y - A x0), J = dx0/dx. The methods differ
in C.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from operators import cg
from recon.condition import Guidance, Vjp
from recon.likelihood import Measurement
from recon.prior import Prior


def truncated_cg(
    apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float | None = None
) -> Tensor:
    """`cg` with one solve a row of b (B, ...), stopped after a number of iterations on purpose and without a
    warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return cg(apply, b, b.ndim - 1, tolerance=tolerance, max_iterations=iterations)


def white(measurement: Measurement, variance: Callable[[float], float]) -> Guidance:
    """C = r^2 I with r^2 = variance(sigma): sigma^2 J^T A^H (r^2 A A^H + sigma_y^2)^-1 (y - A x0).

    Reference: Song et al., Pseudoinverse-guided diffusion models, 2023, equation 7 (PiGDM).
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        r2 = variance(sigma)
        return vjp(operator.adjoint(operator.gram_solve(measurement.residual(x0), noise / r2))) * (sigma**2 / r2)

    return shift


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, (B,)."""
    return (a * b).flatten(1).sum(1)


def spectral(measurement: Measurement, prior: Prior, iterations: int, tolerance: float) -> Guidance:
    """The shift of `moment` by one backpropagation, with the prior's measured error covariance C as preconditioner.

    With S = A C A^H + sigma_y^2 and B = sigma^2 A J A^H + sigma_y^2, moment matching wants sigma^2 J^T A^H B^-1 r for
    the residual r = y - A x0. One step of conjugate gradients along u = S^-1 r, of length a = <r, u> / <u, B u> and at
    most 1, takes what the Jacobian explains; what is left of the data, r - a B u, is explained by C instead:
    C A^H S^-1 (r - a B u). So data that the denoiser is blind to, where J is about zero, still move the estimate, and
    steps that would overshoot are shortened. Where C = sigma^2 J, for stationary Gaussian images, a is 1 and nothing is
    left: exact. S is inverted by conjugate gradients, which cost FFTs.
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        def spread(u: Tensor) -> Tensor:
            return prior.error_filter(operator.adjoint(u), sigma, 1.0)

        def solve(v: Tensor) -> Tensor:
            return truncated_cg(lambda u: noise * u + operator(spread(u)), v, iterations, tolerance)

        residual = measurement.residual(x0)
        u = solve(residual)
        along = sigma**2 * vjp(operator.adjoint(u))
        image = noise * u + operator(along)
        gain, curvature = _dot(residual, u), _dot(u, image)
        step = gain / torch.maximum(curvature, gain).clamp(min=torch.finfo(gain.dtype).tiny)
        left = residual - step.reshape(-1, *(1,) * (residual.ndim - 1)) * image
        return step.reshape(-1, *(1,) * (x0.ndim - 1)) * along + spread(solve(left))

    return shift


def moment(measurement: Measurement, iterations: int, tolerance: float) -> Guidance:
    """C = sigma^2 J, the covariance of x0 given x by Tweedie's second formula; the solve is by conjugate gradients
    on vjp.

    Exact for a Gaussian prior. Every iteration costs one backpropagation through the prior.

    Reference: Boys et al., Tweedie moment projected diffusions, 2023, arXiv:2310.06721; Rozet et al., 2024,
    section 4 (MMPS), arXiv:2405.13712.
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        def marginal(u: Tensor) -> Tensor:
            return noise * u + sigma**2 * operator(vjp(operator.adjoint(u)))

        solved = truncated_cg(marginal, measurement.residual(x0), iterations, tolerance)
        return sigma**2 * vjp(operator.adjoint(solved))

    return shift


def residual_norm(measurement: Measurement, weight: Callable[[float], float]) -> Guidance:
    """-weight(sigma) times the gradient of |y - A x0| with respect to x, per sample.

    Algorithm 1 with step size zeta / |y - A x0| has the gradient of |y - A x0|^2, twice this; the published code has
    this.

    Reference: Chung et al., Diffusion posterior sampling, 2023, algorithm 1 and section 4, arXiv:2209.14687.
    """
    operator = measurement.operator

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        residual = measurement.residual(x0)
        norm = residual.flatten(1).norm(dim=1).clamp(min=1e-12).reshape(-1, *(1,) * (residual.ndim - 1))
        return weight(sigma) * vjp(operator.adjoint(residual / norm))

    return shift
