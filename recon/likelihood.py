"""A measurement: the operator, the data and the noise, and what they say about an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from operators import Diagonal, Gaussian, LinearOperator
from recon.prior import Prior


@dataclass(frozen=True, eq=False)
class Measurement:
    """y = A x + noise for B items.

    Args:
        operator: A, with trailing axes in_shape -> out_shape.
        y: data (B, ..., *out_shape), real floating point, finite.
        noise: the noise model; `operators.Gaussian(sigma)` with sigma in the units of y.

    Raises:
        ValueError: y does not fit the operator or is not finite; the message says what would fit.
    """

    operator: LinearOperator
    y: Tensor
    noise: Gaussian

    def __post_init__(self) -> None:
        out = self.operator.out_shape
        if not self.y.is_floating_point():
            raise ValueError(f"got y of type {self.y.dtype}; expected real floating point; use y.float()")
        if self.y.ndim <= len(out) or tuple(self.y.shape[-len(out) :]) != tuple(out):
            raise ValueError(
                f"got y of shape {tuple(self.y.shape)}; expected (B, ..., {', '.join(map(str, out))}), "
                "what the operator gives, with a batch axis first"
            )
        measured = self.operator.measured
        if measured is not None:
            object.__setattr__(self, "y", torch.where(measured.to(self.y.device), self.y, 0.0))
        bad = ~self.y.isfinite()
        if bool(bad.any()):
            raise ValueError(
                f"got y with {int(bad.sum())} values that are not finite, the first at {bad.nonzero()[0].tolist()}; "
                "expected finite data; leave them out with a mask"
            )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(B, ..., *in_shape) of the images that were measured."""
        return (*self.y.shape[: self.y.ndim - len(self.operator.out_shape)], *self.operator.in_shape)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise; one number (see `whitened` where it differs by element)."""
        sigma = torch.as_tensor(self.noise.sigma, dtype=torch.float64)
        if sigma.numel() != 1:
            raise ValueError(
                f"got a noise level of shape {tuple(sigma.shape)}; expected one number; use whitened() first"
            )
        return float(sigma)

    @property
    def noiseless(self) -> bool:
        """Whether the noise level is zero anywhere: such data have no likelihood and no chi-square."""
        return bool((torch.as_tensor(self.noise.sigma) == 0).any())

    @property
    def count(self) -> int:
        """How many data one item has; elements of y that are only padding are left out."""
        measured = self.operator.measured
        kept = 1.0 if measured is None else float(measured.to(torch.float64).mean())
        return round(kept * self.y[0].numel())

    def residual(self, x: Tensor) -> Tensor:
        """y - A x, shape of y, for images x (B, ..., *in_shape)."""
        return self.y - self.operator(x)

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(y | x) in nats, shape (B,); padding elements count as fitted exactly."""
        return self.noise.log_likelihood(self.y, self.operator(x))

    def chi_square(self, x: Tensor) -> Tensor:
        """mean of ((y - A x) / sigma)^2 over the measured elements, shape (B,): about 1 for a true image."""
        sigma = torch.as_tensor(self.noise.sigma, dtype=x.dtype, device=x.device)
        if self.noiseless:
            raise ValueError(
                "got noiseless data; expected a noise level above zero; compare residual(x) with zero instead"
            )
        return (self.residual(x) / sigma).square().flatten(1).sum(1) / self.count

    def whitened(self) -> Measurement:
        """The same measurement with unit noise, where sigma differs by element: A and y divided by it, once."""
        sigma = torch.as_tensor(self.noise.sigma, dtype=torch.float64)
        if sigma.numel() == 1:
            return self
        if self.noiseless:
            raise ValueError(
                f"got a noise level of 0 for {int((sigma == 0).sum())} of {sigma.numel()} data beside others that are "
                "not 0; expected levels above 0; give exact data a level far below the others"
            )
        lead = sigma.shape[: max(0, sigma.ndim - len(self.operator.out_shape))]
        if any(n != 1 for n in lead):
            raise ValueError(
                f"got noise levels of shape {tuple(sigma.shape)}, which differ between items or channels; expected "
                f"them to differ over {self.operator.out_shape} only; reconstruct such items one by one"
            )
        weight = (1 / sigma).reshape(sigma.shape[len(lead) :]).expand(self.operator.out_shape)
        if self.operator.measured is not None:
            weight = weight * self.operator.measured.to(weight)
        return Measurement(Diagonal(weight) @ self.operator, self.y * weight.to(self.y), Gaussian(1.0))

    def in_units_of(self, prior: Prior) -> Measurement:
        """The measurement of the prior's normalised image: with value = scale x + shift, y -> (y - A shift) / scale.

        The only place where units change. The operator stays as it is, and so do its closed forms.
        """
        values = torch.full(self.image_shape, float(prior.shift), dtype=self.y.dtype, device=self.y.device)
        sigma = torch.as_tensor(self.noise.sigma, dtype=torch.float64) / prior.scale
        return Measurement(
            self.operator,
            (self.y - self.operator(values)) / prior.scale,
            Gaussian(float(sigma) if sigma.numel() == 1 else sigma),
        )

    def rows(self, items: list[int]) -> Measurement:
        """The measurement with the items given, in that order; an item may come more than once."""
        return replace(self, y=self.y[items])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Measurement:
        """The measurement with its data on a device and in a floating-point type."""
        return replace(self, y=self.y.to(device=device, dtype=dtype))
