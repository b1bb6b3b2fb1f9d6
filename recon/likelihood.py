"""A measurement: the operator, the data and the noise, and what they say about an image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from operators import (
    CorrelatedGaussian,
    Diagonal,
    Gaussian,
    Laplace,
    LinearOperator,
    Operator,
    Poisson,
    Rician,
    TransmissionCT,
)
from operators.checks import level_for
from recon.jacobian import InUnits, Weighted, derivative, secant
from recon.likeliest import most_probable
from recon.prior import Prior

Noise = Gaussian | CorrelatedGaussian | Laplace | Poisson | TransmissionCT | Rician


@dataclass(frozen=True, eq=False)
class Measurement:
    """Data y of A(x) with noise, for B items.

    Args:
        operator: A, with trailing axes in_shape -> out_shape, linear or not.
        y: data (B, ..., *out_shape), real floating point, finite.
        noise: the noise model, one of those of `operators`; `Gaussian(sigma)` with sigma in the units of y.

    Raises:
        ValueError: y does not fit the operator or is not finite; the message says what would fit.
    """

    operator: Operator
    y: Tensor
    noise: Noise

    def __post_init__(self) -> None:
        out = self.operator.out_shape
        if not isinstance(self.y, Tensor):
            raise ValueError(f"got y of type {type(self.y).__name__}; expected a torch.Tensor; use torch.as_tensor(y)")
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
    def gaussian(self) -> bool:
        """Whether y = A x + Gaussian noise with a linear A, which most methods need; else see `linearised`."""
        return isinstance(self.operator, LinearOperator) and isinstance(self.noise, Gaussian | CorrelatedGaussian)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise; one number (see `whitened` where it differs by element)."""
        if not isinstance(self.noise, Gaussian):
            raise ValueError(
                f"got {type(self.noise).__name__} noise; expected Gaussian noise of one level; use whitened() or "
                "linearised(x) first"
            )
        sigma = torch.as_tensor(self.noise.sigma, dtype=torch.float64)
        if sigma.numel() != 1:
            raise ValueError(
                f"got a noise level of shape {tuple(sigma.shape)}; expected one number; use whitened() first"
            )
        return float(sigma)

    @property
    def noiseless(self) -> bool:
        """Whether the noise level is zero anywhere: such data have no likelihood and no chi-square."""
        return isinstance(self.noise, Gaussian) and bool((torch.as_tensor(self.noise.sigma) == 0).any())

    @property
    def count(self) -> int:
        """How many data one item has; elements of y that are only padding are left out."""
        measured = self.operator.measured
        kept = 1.0 if measured is None else float(measured.to(torch.float64).mean())
        return round(kept * self.y[0].numel())

    def residual(self, x: Tensor) -> Tensor:
        """y - E[y | x], which is y - A x for Gaussian noise, shape of y, for images x (B, ..., *in_shape)."""
        clean = self.operator(x)
        return self.y - clean if self.gaussian else self._seen(self.y - self.noise.mean(clean))

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(y | x) in nats, shape (B,); padding elements count as fitted exactly."""
        return self.noise.log_likelihood(self.y, self.operator(x))

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient of log p(y | x) by x, shape of x: J^H of the noise model's slope, J the derivative of A."""
        return derivative(self.operator, x).adjoint(self._seen(self.noise.slope(self.y, self.operator(x))))

    def deviations(self, x: Tensor) -> Tensor:
        """(y - E[y | x]) / std[y | x] for each datum, shape of y; zero where nothing was measured."""
        return self._seen(self.noise.deviation(self.y, self.operator(x)))

    def chi_square(self, x: Tensor) -> Tensor:
        """mean of ((y - E[y | x]) / std)^2 over the measured elements, shape (B,): about 1 for a true image."""
        if self.noiseless:
            raise ValueError(
                "got noiseless data; expected a noise level above zero; compare residual(x) with zero instead"
            )
        return self.deviations(x).square().flatten(1).sum(1) / self.count

    def linearised(self, x: Tensor, spread: Tensor | None = None) -> Measurement:
        """The linear measurement with unit noise whose log-likelihood has gradient and curvature of this one at x.

        With J the derivative of A at x and W the Fisher information of each datum: operator W^(1/2) J, and data such
        that the residual at x is W^(-1/2) times the slope of the log-likelihood. Exact for Gaussian noise and a linear
        operator. One step of it is Fisher scoring (Gauss-Newton for nonlinear operators). Where an operator cuts values
        off and has no slope at x, J is the slope towards the data.

        Args:
            x: images (B, ..., *in_shape); the operator of the result belongs to this batch.
            spread: standard deviation of A(x) where x is an estimate, broadcastable to y: slope and information of each
                datum are then those at its most probable value, see `recon.likeliest`, continued to x by a line.
        """
        clean = self.operator(x)
        normal = spread is None or isinstance(self.noise, Gaussian | CorrelatedGaussian)  # the same everywhere
        at = clean if normal else most_probable(self.noise, self.y, clean, spread)
        root, residual = self.noise.local(self.y, at)
        root, residual = self._seen(root), self._seen(residual + root * (at - clean))
        std = 1 / root.clamp(min=torch.finfo(root.dtype).eps)
        operator = Weighted(root, secant(self.operator, x, clean + std * residual, std))
        return Measurement(operator, operator(x) + residual, Gaussian(1.0))

    def _seen(self, values: Tensor) -> Tensor:
        measured = self.operator.measured
        return values if measured is None else values * measured.to(values)

    def whitened(self) -> Measurement:
        """The same measurement with unit noise, where sigma differs by element: A and y divided by it, once."""
        if isinstance(self.noise, CorrelatedGaussian):
            return Measurement(*self.noise.whitened(self.operator, self.y), Gaussian(1.0))
        if not isinstance(self.noise, Gaussian):
            raise ValueError(
                f"got {type(self.noise).__name__} noise; expected Gaussian noise; use linearised(x), or a method that "
                "takes any likelihood"
            )
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
            weight = self._seen(1 / level_for("sigma", sigma, self.y).expand(self.y.shape))
            return Measurement(Weighted(weight, self.operator), self.y * weight, Gaussian(1.0))
        weight = (1 / sigma).reshape(sigma.shape[len(lead) :]).expand(self.operator.out_shape)
        if self.operator.measured is not None:
            weight = weight * self.operator.measured.to(weight)
        return Measurement(Diagonal(weight) @ self.operator, self.y * weight.to(self.y), Gaussian(1.0))

    def in_units_of(self, prior: Prior) -> Measurement:
        """The measurement of the prior's normalised image: with value = scale x + shift, y -> (y - A shift) / scale.

        The only place where units change. With Gaussian noise a linear operator stays as it is, and so do its closed
        forms; otherwise the data stay, and the operator takes the normalised image.
        """
        if not self.gaussian:
            return replace(self, operator=InUnits(self.operator, prior.scale, prior.shift))
        values = torch.full(self.image_shape, float(prior.shift), dtype=self.y.dtype, device=self.y.device)
        y = (self.y - self.operator(values)) / prior.scale
        return Measurement(self.operator, y, self.noise.divided(prior.scale))

    def rows(self, items: list[int]) -> Measurement:
        """The measurement with the items given, in that order; an item may come more than once."""
        operator = self.operator.rows(items) if isinstance(self.operator, Weighted) else self.operator
        levels = {} if isinstance(self.noise, CorrelatedGaussian) else {
            field.name: level[items] for field in fields(self.noise)
            if isinstance(level := getattr(self.noise, field.name), Tensor) and level.ndim == self.y.ndim
            and len(level) > 1
        }  # fmt: skip
        return replace(self, operator=operator, y=self.y[items], noise=replace(self.noise, **levels))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Measurement:
        """The measurement with its data on a device and in a floating-point type."""
        return replace(self, y=self.y.to(device=device, dtype=dtype))
