"""What the data fix of an image, and what the prior supplied: x = P x + (I - P) x.

With A and y whitened to unit noise and s the standard deviation of the images' values,

    P = A^H (A A^H + rho I)^-1 A,   rho = 1 / s^2   (sigma_y^2 / s^2 for white noise of level sigma_y).

Along a right singular vector of A with singular value a, P is a^2 / (a^2 + rho): 1 where an image of spread s stands
far above the noise, 1/2 where both are alike, 0 where A is blind. It is the share by which the data shrink the
variance of a white Gaussian image of that spread, its averaging kernel. Without noise P projects on the range of A^H.
So (I - P) x holds what A is blind to and what the noise hides.

Reference: Backus and Gilbert, "The resolving power of gross Earth data", 1968 (averaging kernels); Rodgers, "Inverse
methods for atmospheric sounding", 2000, section 2.4 (degrees of freedom for signal, which are trace P).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from operators import LinearOperator
from recon.krylov import truncated_cg
from recon.likelihood import Measurement

TOLERANCE, ITERATIONS = 5e-4, 200  # of the iterative solve: the null part of 60 views to 3 % (5e-3 left it 25 % off)
TOGETHER = 2**22  # values solved for at once


@dataclass(frozen=True, eq=False)
class NullSpace:
    """Samples, and their part that the data do not fix.

    Args:
        images: (S, B, ...) samples less their average value, one number for each item and channel.
        null: (S, B, ...), (I - P) of these.
    """

    images: Tensor
    null: Tensor

    @property
    def std(self) -> Tensor | None:
        """Standard deviation over the samples of (I - P) x, (B, ...); None of a single sample.

        Not bounded by that of x pixel by pixel: P x and (I - P) x may undo each other where the prior knows the value.
        """
        return self.null.std(0, correction=1) if len(self.null) > 1 else None

    @property
    def image_share(self) -> Tensor:
        """sum <x, (I - P) x> / sum <x, x> over the samples, (B,): the share of an image's variance that the prior
        supplied. P's own share is the rest, also where P is no projection.
        """
        return _share(self.images, self.null)

    @property
    def spread_share(self) -> Tensor | None:
        """The same for the samples' deviations from their mean, (B,): how much of the uncertainty more of the same
        data, less noisy, would leave. None of a single sample.
        """
        if len(self.null) < 2:
            return None
        return _share(self.images - self.images.mean(0), self.null - self.null.mean(0))


def null_space(measurement: Measurement, x: Tensor, spread: float | Tensor | None = None) -> Tensor:
    """(I - P) x: what of the images x the data do not fix; x less this is what they do.

    Where A A^H has no cheap closed form the solve is by conjugate gradients to a relative residual of 0.0005.

    Args:
        measurement: with a linear operator. Of noise that is not Gaussian the Fisher information at x is taken.
        x: (B, ..., *in_shape), value units.
        spread: s, one number or (B,), value units; default: the standard deviation of each image's values.

    Returns:
        Shape of x.

    Raises:
        ValueError: the operator is not linear, where nothing is blind to all images; or a spread is not positive.
    """
    if not isinstance(measurement.operator, LinearOperator):
        raise ValueError(
            f"got operator {type(measurement.operator).__name__}; expected a linear one: what nonlinear data fix "
            "differs from image to image; pass measurement.linearised(x) for what they fix near x"
        )
    spreads = values_std(x[None]) if spread is None else torch.as_tensor(spread, dtype=x.dtype, device=x.device)
    if not bool((spreads > 0).all()):
        raise ValueError(f"got spread={spreads.tolist()}; expected positive numbers, one or one an image; give spread=")
    white = measurement.whitened() if measurement.gaussian else measurement.linearised(x)
    operator, rho = white.operator, white.sigma**2 / spreads.square()
    seen = operator(x)
    # eigenvectors that are found first cost more than the iterations, but are exact without noise
    if operator.closed_form and (not hasattr(operator, "_decompose") or bool((rho == 0).any())):
        return x - operator.adjoint(operator.gram_solve(seen, rho))
    damping = rho.reshape(-1, *(1,) * (seen.ndim - 1))
    solved = truncated_cg(lambda u: operator(operator.adjoint(u)) + damping * u, seen, ITERATIONS, TOLERANCE)
    return x - operator.adjoint(solved)


def values_std(samples: Tensor) -> Tensor:
    """Standard deviation of the values of samples (S, B, ...) about their average, (B,)."""
    return samples.movedim(1, 0).flatten(1).std(1, correction=0)


def split(measurement: Measurement, samples: Tensor) -> NullSpace:
    """Samples (S, B, C, H, W) of a posterior, split with the spread of each item's own values.

    One solve for each sample. The average value is taken off before, so the share of the variance does not depend on
    where the unit has its zero.

    Raises:
        ValueError: the operator is not linear, or all samples of an item are one constant.
    """
    images = samples - samples.mean(dim=(0, *range(3, samples.ndim)), keepdim=True)
    spread = values_std(images)
    if measurement.gaussian or not isinstance(measurement.operator, LinearOperator):
        local = measurement
    else:  # one Fisher information for all samples: that at their mean
        local = measurement.linearised(samples.mean(0))
    white = local.whitened()
    together = 1 if white.operator.lead else max(1, TOGETHER // images[0].numel())
    parts = [null_space(white, x.flatten(0, 1), spread.repeat(len(x))) for x in images.split(together)]
    return NullSpace(images, torch.cat(parts).view_as(images))


def _share(x: Tensor, part: Tensor) -> Tensor:
    """sum <x, part> / sum <x, x> over samples (S, B, ...), (B,) float64 in [0, 1]; 0 where x is 0."""
    above, below = ((x.double() * v.double()).transpose(0, 1).flatten(1).sum(1) for v in (part, x))
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), 0.0).clamp(0, 1)
