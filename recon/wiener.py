"""Bayes' rule for Gaussian images of the prior's error covariance C and linear data, by few products with A.

For a residual r = y - A x0 the data have the covariance S = A C A^H + N, N = sigma_y^2. With u = S^-1 r the slope of
their log-likelihood is v = A^H u, and the mean moves by C v. v solves

    v + G C v = A^H N^-1 r,   G = A^H N^-1 A,

which is symmetric in the inner product <a, C b>. Powers of images span many decades, so plain conjugate gradients, here
or on S u = r, want tens of iterations. They are preconditioned by (1 + K C)^-1, K being the stationary operator nearest
to G, at two FFTs. For stationary A^H A and C (blur, Cartesian MRI of one coil) that is the solution; for CT, masks and
data of differing noise eight iterations leave an error well below the posterior's own spread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from recon.krylov import dot, weighted_cg
from recon.likelihood import Measurement
from recon.prior import Prior
from recon.stationary import back, symbol, transform


class Solved(NamedTuple):
    """What a residual r says: v = A^H S^-1 r, the shift C v, what it leaves r - A C v = N u, and <u, N u>, (B,)."""

    v: Tensor
    shift: Tensor
    left: Tensor
    misfit: Tensor


Solve = Callable[[Tensor, float], Solved]


def solver(measurement: Measurement, prior: Prior, iterations: int, tolerance: float) -> Solve:
    """(r, sigma) -> what r says where C is the prior's error covariance at level sigma; each row by itself.

    Data without noise are given as much of it as rounding makes.

    Args:
        measurement: linear, with noise of one level.
        prior: of the images.
        iterations: at most so many.
        tolerance: a row stops at this estimate of its error, in standard deviations of the posterior.
    """
    operator, like = measurement.operator, measurement.y.new_zeros(measurement.image_shape)
    response = symbol(lambda x: operator.adjoint(operator(x)), like)[0]
    elements = like[0].numel() / measurement.y[0].numel()

    def solve(residual: Tensor, sigma: float) -> Solved:
        def spread(x: Tensor) -> Tensor:
            return prior.error_filter(x, sigma, 1.0)

        power, stationary = symbol(spread, like[:1])
        signal = elements * (response * power).flatten(1).mean(1)
        noise = (10 * torch.finfo(like.dtype).eps * signal).clamp(min=measurement.sigma**2)
        level = noise.reshape(-1, *(1,) * (like.ndim - 1))
        gains = 1 / (1 + response * power / level)

        def information(x: Tensor) -> Tensor:
            return operator.adjoint(operator(x)) / level

        def precondition(x: Tensor) -> Tensor:
            return back(transform(x) * gains, x) if stationary else x

        b = operator.adjoint(residual) / level
        v, shift = weighted_cg(information, spread, precondition, b, iterations, tolerance)
        left = residual - operator(shift)
        return Solved(v, shift, left, dot(left, left) / noise)

    return solve
