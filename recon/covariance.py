"""Covariances that know their own eigenvectors: dense, stationary (diagonal in Fourier), or white (diagonal as it is).

Each offers `eigenvalues` and `filter(x, gains)` = V diag(gains) V^H x; everything a Gaussian prior does is a filter.
`gains` has the shape of `eigenvalues`, or (B, *that) for one set an item.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DenseCovariance(nn.Module):
    """V diag(eigenvalues) V^T over the flattened event of n values: eigenvalues (n,), vectors (n, n)."""

    def __init__(self, eigenvalues: Tensor, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("eigenvalues", eigenvalues)
        self.register_buffer("vectors", vectors)

    def modes(self, x: Tensor) -> Tensor:
        """V^T x, shape (B, n): uncorrelated, with variances `eigenvalues`."""
        return x.flatten(1) @ self.vectors

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        """V diag(gains) V^T x for x (B, *event)."""
        return ((self.modes(x) * gains) @ self.vectors.T).reshape(x.shape)


class StationaryCovariance(nn.Module):
    """F^H diag(eigenvalues) F, F the orthonormal FFT over the `axes` of the event; eigenvalues (*event)."""

    def __init__(self, eigenvalues: Tensor, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("eigenvalues", eigenvalues)
        self.axes = axes

    def modes(self, x: Tensor) -> Tensor:
        """Magnitudes |F x|, shape of x: their squares have the mean `eigenvalues`."""
        return torch.fft.fftn(x, dim=self.axes, norm="ortho").abs()

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        """F^H diag(gains) F x for x (B, *event). Transforms of real numbers are faster, but their rounding depends on
        how many there are.
        """
        return torch.fft.ifftn(torch.fft.fftn(x, dim=self.axes) * gains, dim=self.axes).real


class WhiteCovariance(nn.Module):
    """eigenvalues diag over the event itself, all of them equal: eigenvalues (*event)."""

    def __init__(self, eigenvalues: Tensor) -> None:
        super().__init__()
        self.register_buffer("eigenvalues", eigenvalues)

    def modes(self, x: Tensor) -> Tensor:
        """x itself: its values are uncorrelated."""
        return x

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        """gains x for x (B, *event)."""
        return x * gains


Covariance = DenseCovariance | StationaryCovariance | WhiteCovariance


def as_covariance(value: Tensor, event: tuple[int, ...]) -> Covariance:
    """A dense matrix (n, n), or the spectrum of a stationary covariance, as an object that knows its eigenvectors.

    A spectrum has the shape of the event (or of its last axes): the eigenvalues of the circulant covariance in
    the order of torch.fft, so white noise of variance v is a constant v.

    Raises:
        ValueError: neither shape fits, the matrix is not symmetric, or an eigenvalue is negative.
    """
    n = math.prod(event)
    value = torch.as_tensor(value)
    value = value if value.is_floating_point() else value.double()
    if not bool(value.isfinite().all()):
        raise ValueError("got a covariance with values that are not finite; expected finite ones")
    if value.shape == (n, n) and (n > 1 or event != (1, 1)):
        if not torch.allclose(value, value.T, rtol=1e-5, atol=1e-6 * float(value.abs().max())):
            raise ValueError(
                "got a covariance matrix that is not symmetric; expected a symmetric one; use (C + C.T) / 2"
            )
        if torch.equal(value, value[0, 0] * torch.eye(n, dtype=value.dtype)):
            covariance: Covariance = WhiteCovariance(value[0, 0].repeat(event))
        else:
            eigenvalues, vectors = torch.linalg.eigh(value.double())
            covariance = DenseCovariance(eigenvalues.to(value.dtype), vectors.to(value.dtype))
    elif value.ndim <= len(event) and value.shape == event[len(event) - value.ndim :]:
        axes = tuple(range(-min(2, len(event)), 0)) if len(event) != 1 else (-1,)
        mirrored = value.expand(event)
        for axis in axes:
            mirrored = mirrored.flip(axis).roll(1, axis)
        if not torch.allclose(value.expand(event), mirrored, rtol=1e-4, atol=1e-6 * float(value.abs().max())):
            raise ValueError(
                "got a spectrum S with S[k] different from S[-k]; expected that of a real field, "
                "symmetric in the order of torch.fft"
            )
        covariance = StationaryCovariance(0.5 * (value + mirrored), axes)
    else:
        raise ValueError(
            f"got a covariance of shape {tuple(value.shape)} for events of shape {event}; expected "
            f"({n}, {n}), or a spectrum of shape {event}"
        )
    lowest, highest = float(covariance.eigenvalues.min()), float(covariance.eigenvalues.max())
    if lowest < -1e-5 * max(highest, 0.0) or highest <= 0:
        raise ValueError(
            f"got a covariance with eigenvalues from {lowest:g} to {highest:g}; "
            "expected none negative and some positive"
        )
    covariance.eigenvalues.clamp_(min=0)
    return covariance
