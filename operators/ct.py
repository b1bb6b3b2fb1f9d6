"""Parallel-beam computed tomography: line integrals of the image, one row of data for each angle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from operators.geometry import ParallelBeam, parallel_beam
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse
from operators.sparse import SparseMatrix
from operators.strips import strip_matrix

EXACT_GRAM_SIZE = 3000  # up to this many data, one eigendecomposition (seconds) beats iterative solves


class ParallelBeamTransform(SparseMatrix):
    """y[a, k] = mean over the rays of bin k at angle a of the line integral of x [value mm].

    A sparse matrix with its transpose, so that the adjoint is exactly matched: 16 bytes for each of about 2.3
    H W angles entries where bins are as wide as pixels (256 x 256 pixels, 180 views: 2.7e7 entries, 0.43 GB,
    3 s to set up). Up to 3000 data the weights are float64, and A A^H is diagonalised on first use, which
    makes solves exact and fast; above, the weights are float32 and solves iterative.

    Args:
        geometry: Where the rays run.
    """

    def __init__(self, geometry: ParallelBeam) -> None:
        out_shape = (geometry.angles_rad.size, geometry.detectors)
        exact = math.prod(out_shape) <= EXACT_GRAM_SIZE
        super().__init__(strip_matrix(geometry, np.float64 if exact else np.float32), geometry.shape, out_shape)
        self.geometry = geometry
        self.register_buffer("gram_vectors", None, persistent=False)
        self.register_buffer("gram_values", None, persistent=False)

    @property
    def closed_form(self) -> bool:
        return math.prod(self.out_shape) <= EXACT_GRAM_SIZE

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        if not self.closed_form:
            return super()._gram_solve(u, rho)
        self._decompose()
        vectors, eigenvalues = self.constant("gram_vectors", u), self.constant("gram_values", u)
        flat = u.flatten(-2)
        rho = rho.flatten(-2) if rho.ndim else rho
        gains = damped_inverse(eigenvalues, rho, eigenvalues.amax())
        return (((flat @ vectors) * gains) @ vectors.T).unflatten(-1, self.out_shape)

    def _decompose(self) -> None:
        """Cache A A^H = Q diag(eigenvalues) Q^T; eigenvalues within rounding of zero become zero."""
        if self.gram_values is not None:
            return
        size = math.prod(self.out_shape)
        with torch.inference_mode(False), torch.no_grad():
            units = torch.eye(size, dtype=torch.float64, device=self.forward_values.device)
            gram = self._project(self._backproject(units))
            values, self.gram_vectors = torch.linalg.eigh((gram + gram.T) / 2)
            floor = size * torch.finfo(torch.float64).eps * values.amax()
            self.gram_values = torch.where(values > floor, values, 0.0)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """From the eigenvectors of A A^H; up to 3000 data."""
        if not self.closed_form:
            return super().svd()
        self._decompose()
        kept = self.gram_values > 0
        left, s = self.gram_vectors[:, kept], self.gram_values[kept].sqrt()
        U = FromFunctions(s.shape, self.out_shape,
                          lambda c: (c @ left.to(c).T).unflatten(-1, self.out_shape),
                          lambda y: y.flatten(-2) @ left.to(y))
        Vh = FromFunctions(self.in_shape, s.shape, lambda x: U.adjoint(self(x)) / s.to(x),
                           lambda c: self.adjoint(U(c / s.to(c))))
        return U, s, Vh


def ct(
    shape: Sequence[int],
    angles: int | Sequence[float] | np.ndarray | Tensor,
    detectors: int | None = None,
    spacing_mm: float = 1.0,
    detector_spacing_mm: float | None = None,
    centre: Sequence[float] | None = None,
    detector_centre: float | None = None,
) -> ParallelBeamTransform:
    """Parallel-beam tomography; arguments and refusals are those of `geometry.parallel_beam`.

    Args:
        shape: (H, W) of the image.
        angles: How many views over a half turn, or the angles in radians (sparse and limited ones as well).
        detectors: Number of bins; by default as many as cover the image's diagonal.
        spacing_mm: Side of a pixel; data are line integrals in value mm.
        detector_spacing_mm: Width of a bin; by default that of a pixel.
        centre: (row, column) of the rotation centre in pixels; by default the geometric centre.
        detector_centre: Bin on which the rotation centre falls; by default the middle.

    Returns:
        The operator, from (..., H, W) to (..., angles, detectors).
    """
    geometry = parallel_beam(
        shape, angles, detectors, spacing_mm, detector_spacing_mm, centre, detector_centre
    )
    operator = ParallelBeamTransform(geometry)
    operator.spec = {
        "name": "ct",
        "parameters": {
            "shape": list(geometry.shape), "angles": geometry.angles_rad, "detectors": geometry.detectors,
            "spacing_mm": geometry.spacing_mm, "detector_spacing_mm": geometry.detector_spacing_mm,
            "centre": list(geometry.centre), "detector_centre": geometry.detector_centre,
        },
    }
    return operator
