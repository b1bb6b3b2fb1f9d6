"""Guidance: shifts of the estimate that follow from a Gaussian approximation of p(x0 | x).

With p(x0 | x) = N(x0, C) the data have the marginal N(A x0, A C A^H + sigma_y^2), and Tweedie's formula for the
conditional score gives the shift sigma^2 J^T A^H (A C A^H + sigma_y^2)^-1 (y - A x0), J = dx0/dx. The methods differ
in C.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

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


def spectral(
    measurement: Measurement, prior: Prior, iterations: int, tolerance: float, inflation: float = 1.0
) -> Guidance:
    """C = `inflation` times the prior's measured error covariance at level sigma; costs FFTs, no backpropagation.

    Exact for stationary Gaussian images, where C = sigma^2 J. The solve is by conjugate gradients on A C A^H +
    sigma_y^2.
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        def marginal(u: Tensor) -> Tensor:
            return noise * u + inflation * operator(prior.error_filter(operator.adjoint(u), sigma, 1.0))

        solved = truncated_cg(marginal, measurement.residual(x0), iterations, tolerance)
        return sigma**2 * vjp(operator.adjoint(solved))

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
