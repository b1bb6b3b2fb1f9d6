"""Parallel-beam computed tomography: line integrals of the image, one row of data for each angle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from operators.geometry import ParallelBeam, parallel_beam
from operators.parallel import ParallelBeamTransform, even_and_odd
from operators.sparse import SparseMatrix
from operators.strips import StripTransform

EXACT_GRAM_SIZE = 3000  # up to the cost of one eigendecomposition of this size (seconds), it beats iterative solves


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
    operator = StripTransform(geometry, _exact_bases(geometry))
    operator.spec = {
        "name": "ct",
        "parameters": {
            "shape": list(geometry.shape), "angles": geometry.angles_rad, "detectors": geometry.detectors,
            "spacing_mm": geometry.spacing_mm, "detector_spacing_mm": geometry.detector_spacing_mm,
            "centre": list(geometry.centre), "detector_centre": geometry.detector_centre,
        },
    }
    return operator


def _exact_bases(geometry: ParallelBeam) -> list[SparseMatrix]:
    """The parts in which A A^H is diagonalised, none if that would take too long."""
    if geometry.angles_rad.size * geometry.detectors > 4 * EXACT_GRAM_SIZE:
        return []
    bases = even_and_odd(geometry)
    cost = sum(math.prod(basis.out_shape) ** 3 for basis in bases)
    return bases if cost <= EXACT_GRAM_SIZE**3 else []
