"""What data say of Gaussian images, as precisely as weights of particles want it: to a thousandth of a nat a level.

With S = A C A^H + N and residuals r, <r, S^-1 r> / 2 is what a particle's log weight takes. Whichever iterations find
u = S^-1 r, this is of second order in their error: <r - S u, S^-1 (r - S u)> / 2 is left, at most |r - S u|^2 / (2 N).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from operators import Compose, Diagonal
from recon.jacobian import Weighted
from recon.krylov import Goal, dot
from recon.likelihood import Measurement
from recon.prior import Prior
from recon.spaces import (
    ErrorCovariance,
    Solved,
    Way,
    data_space,
    image_space,
    weighted_space,
)
from recon.stationary import symbol
from recon.wiener import drawn, objective

ITERATIONS = 50  # at most so many
NATS = 1e-3  # that a log-likelihood may be off; of the same sign at every level, so that a run's are added

Space = Callable[[Measurement, ErrorCovariance], Way]


class Narrowed:
    """The error covariance C'' = C v / (C + v): that of x0 once it is seen in noise of variance v as well.

    Args:
        prior: whose error covariance C is.
        variance: level -> v.
    """

    def __init__(self, prior: Prior, variance: Mapping[float, float]) -> None:
        self.prior, self.variance, self.data_std = prior, variance, prior.data_std

    def error_filter(self, v: Tensor, sigma: float, power: float) -> Tensor:
        """C''^power v."""
        seen = self.variance.get(sigma, sigma**2)
        return self.prior.error_function(v, sigma, lambda c: (c * seen / (c + seen)) ** power)


def form(found: Solved) -> Tensor:
    """<r, S^-1 r> of each row, (B,) float64."""
    return (found.misfit + dot(found.v, found.shift)).double()


def space_of(measurement: Measurement, prior: Prior, nats: float = NATS) -> Space:
    """By which iterations log-likelihoods are within `nats` soonest, as far as one residual at one level tells; see
    `recon.wiener`.
    """

    def goal(sigma: float) -> Goal:
        return Goal(2 * nats)

    def image(m: Measurement, p: ErrorCovariance) -> Way:
        return image_space(m, p)(ITERATIONS, goal)

    def weighted(m: Measurement, p: ErrorCovariance) -> Way:
        return weighted_space(m, p)(ITERATIONS, goal)

    def data(m: Measurement, p: ErrorCovariance) -> Way:
        return data_space(m, p)(ITERATIONS, goal)

    operator, like = measurement.operator, measurement.y.new_zeros(measurement.image_shape)[:1]
    if isinstance(operator, Weighted):
        return weighted
    if measurement.y[0].numel() <= ITERATIONS:  # which end there
        return lambda m, p: data_space(m, p)(ITERATIONS, lambda sigma: Goal(0.0))
    if symbol(operator.normal, like)[1] and symbol(lambda x: prior.error_filter(x, prior.data_std, 1.0), like)[1]:
        return image  # without iterations
    whitened = isinstance(operator, Compose) and isinstance(operator.outer, Diagonal)
    spaces = (image, data, weighted) if whitened else (image, data)
    level, residual = prior.data_std, drawn(measurement, prior, prior.data_std)
    found = [space(measurement, prior).solve(residual, level) for space in spaces]
    return spaces[min(range(len(spaces)), key=lambda i: objective(found[i], residual, measurement))]
