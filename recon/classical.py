"""The classical reconstructions that need no learned prior: the bar for those that have one.

    fbp    filtered backprojection, the discretised inverse of the Radon transform
    pinv   A^+ y, the least-squares image of least norm; amplifies noise where A is ill-conditioned
    tv     total variation, solved to convergence

Each takes a measurement and gives the images (B, C, H, W) in value units, each item for itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Annotated

import torch
from torch import Tensor

from operators import Gaussian, LinearOperator, operator_norm
from operators import fbp as filtered_backprojection
from operators.checks import level_for
from operators.filters import WINDOWS
from recon.dataterm import Quadratic, Within
from recon.likelihood import Measurement
from recon.ranges import Count, Positive, Words
from recon.tv import Map, least_variation

NORM_MARGIN = 1.05  # power iterations come from below


def fbp(measurement: Measurement, window: Annotated[str, Words(tuple(WINDOWS))] = "ramp") -> Tensor:
    """Filtered backprojection of CT data.

    Args:
        measurement: made with an operator of OPERATORS["ct"] or OPERATORS["ct_fan"].
        window: on the ramp filter: "ramp" (none), "shepp-logan", "cosine" or "hann".

    Returns:
        (B, C, H, W), value units.

    Raises:
        ValueError: the operator is another one.

    Reference: Kak, Slaney, "Principles of Computerized Tomographic Imaging", 1988, sections 3.3 and 3.4.
    """
    _linear(measurement)
    try:
        return filtered_backprojection(measurement.operator, measurement.y, window)
    except ValueError as error:
        raise ValueError(f"{error}; the methods 'tv' and 'pinv' take any linear operator") from error


def pinv(measurement: Measurement) -> Tensor:
    """A^+ y, the image of least norm among those that fit the data best; unseen parts of the image are zero.

    Args:
        measurement: with any linear operator; the noise level has no influence.

    Returns:
        (B, C, H, W), value units.
    """
    return _linear(measurement).pinv(measurement.y)


def tv(
    measurement: Measurement,
    weight: Positive | Tensor | None = None,
    lowest: float | None = None,
    tolerance: Positive = 1e-3,
    max_iterations: Count = 5000,
) -> Tensor:
    """The image of least total variation that fits the data, solved to convergence.

        weight given    argmin  |(A x - y) / sigma|^2 / 2 + weight TV(x)
        weight None     argmin  TV(x)  where  |(A x - y) / sigma|^2 <= number of measured elements

    The second is Morozov's discrepancy principle for each item, in one solve: data are fitted as closely
    as their noise is large and no closer. It needs a true noise level, and smooths a little more than the
    weight of least error does. With sigma = 0 both give the least TV(x) with A x = y.

    Args:
        measurement: with any linear operator and one noise level, or one for each element of y.
        weight: above zero, one number or (B,), in 1 / value units: typical images of range 1 want about 1
            to 10.
        lowest: least value that a pixel may take, 0 for images that cannot be negative; default: no bound.
        tolerance: relative duality gap at which an item stops.
        max_iterations: bound; a warning says so if it is reached.

    Returns:
        (B, C, H, W), value units.

    Raises:
        ValueError: weight is not positive, or the images have no height and width.

    Reference: Rudin, Osher, Fatemi, 1992; Chambolle, Pock, 2011 (see recon.tv); Morozov, "On the solution
    of functional equations by the method of regularization", 1966.
    """
    shape = measurement.image_shape
    if len(shape) != 4:
        raise ValueError(
            f"got images of shape {shape}; expected (B, C, H, W): variation needs height and width; use pinv"
        )
    within = weight is None or measurement.noiseless
    one, level = (measurement.whitened(), 1.0) if within else half_whitened(measurement)
    A, y, items = _linear(one), one.y, shape[0]
    norm = NORM_MARGIN * operator_norm(A)
    strength = _weights(1.0 if weight is None else weight, items).to(y.device)
    if within:
        radius = torch.full((items,), one.sigma / norm * sqrt(one.count), dtype=torch.float64, device=y.device)
        data, strength = Within(y / norm, radius), torch.ones_like(strength)
    else:
        data = Quadratic(y / norm, level_for("sigma", level, y).expand(y.shape) / norm)
    bound = -float("inf") if lowest is None else float(lowest)

    def maps(chosen: Tensor) -> tuple[Map, Map]:
        own = _linear(one.rows(chosen.tolist()))
        return (lambda x: own(x) / norm), (lambda q: own.adjoint(q) / norm)

    with torch.no_grad():
        solved = least_variation(maps, data, strength, bound, tolerance, max_iterations)
    late = solved.gap > tolerance
    if bool(late.any()):
        warnings.warn(
            f"total variation: got a relative duality gap of up to {float(solved.gap.max()):.1e} in "
            f"{int(late.sum())} of {items} items after {solved.iterations} iterations; expected "
            f"{tolerance:.1e}; raise the option max_iterations, or, if the data cannot be fitted to their noise level, "
            "give a weight or a larger sigma",
            RuntimeWarning,
            stacklevel=2,
        )
    return solved.x


def half_whitened(measurement: Measurement) -> tuple[Measurement, float | Tensor]:
    """The measurement with rows and data divided by sigma^(1/2) where sigma differs, and the noise levels that remain.

    One step size serves all rows of a primal-dual method. On whitened rows it is set by those of least noise, and the
    others hardly move; on rows as they are, those of least noise are all but constraints. Between the two the gap
    closes soonest.
    """
    if not isinstance(measurement.noise, Gaussian):
        return measurement.whitened(), 1.0
    sigma = torch.as_tensor(measurement.noise.sigma, dtype=torch.float64)
    if sigma.numel() == 1:
        return measurement, sigma
    return replace(measurement, noise=Gaussian(sigma.sqrt())).whitened(), sigma.sqrt()


CLASSICAL: dict[str, Callable[..., Tensor]] = {"fbp": fbp, "tv": tv, "pinv": pinv}


def _linear(measurement: Measurement) -> LinearOperator:
    operator = measurement.operator
    if not isinstance(operator, LinearOperator):
        raise ValueError(
            f"got operator {type(operator).__name__}; expected a linear operator, classical methods need its "
            "adjoint; use a sampler that needs only the forward map"
        )
    if not measurement.gaussian:
        raise ValueError(
            f"got {type(measurement.noise).__name__} noise; expected Gaussian noise, whose data are A x on average; "
            "use a sampler that takes any likelihood, or TransmissionCT.logarithmic"
        )
    return operator


def _weights(weight: float | Tensor, items: int) -> Tensor:
    weights = torch.as_tensor(weight, dtype=torch.float64).flatten()
    if weights.numel() not in (1, items) or not bool((weights.isfinite() & (weights > 0)).all()):
        raise ValueError(
            f"got weight={weight}; expected a positive number, or one for each of {items} items; "
            "leave it out to let the noise level decide"
        )
    return weights.expand(items).clone()
