"""Fan-beam computed tomography: line integrals along rays that leave one source, a row of data for each angle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from torch import Tensor

from operators.fan_geometry import FanBeam, fan_beam
from operators.fan_strips import fan_strip_matrix
from operators.sparse import SparseMatrix
from operators.strips import StripTransform
from operators.symmetry import HALF_TURN, IDENTITY, Folding, folding

EXACT_GRAM_SIZE = 3000  # up to this many data, one eigendecomposition (seconds) beats iterative solves
QUARTER_TURNS = [(turns, False) for turns in range(4)]


class FanBeamTransform(StripTransform):
    """y[a, k] = mean over the rays of bin k at angle a of the line integral of x [value mm].

    As for a parallel beam, a sparse matrix with its transpose, of 16 bytes for each of about 2.3 H W angles entries
    where bins are as wide as a pixel's shadow; a quarter of that where views repeat each other by quarter turns about
    the middle of a square image, as four times any number over a full turn do. Up to 3000 data the weights are
    float64, and solves exact; above, the weights are float32 and solves iterative.

    Args:
        geometry: Where the rays run.
    """

    def __init__(self, geometry: FanBeam) -> None:
        size = geometry.angles_rad.size * geometry.detectors
        exact = size <= EXACT_GRAM_SIZE
        unit_data = SparseMatrix(scipy.sparse.identity(size, format="csr"), (size,), (size,)) if exact else None
        super().__init__(geometry, [unit_data] if exact else [], turned_views(geometry), fan_strip_matrix)


def turned_views(geometry: FanBeam) -> Folding:
    """Which views repeat others by half and quarter turns; a mirror image is seen with its bins in reverse."""
    fold = folding(geometry, keep_shape=[[IDENTITY, HALF_TURN]], need_square=[QUARTER_TURNS])
    # The grid that turns keep may be larger than the image, but the source must stay outside.
    outside = fold.geometry.radius_mm < 0.99 * geometry.source_mm
    return fold if outside else folding(geometry, keep_shape=[], need_square=[])


def ct_fan(
    shape: Sequence[int],
    angles: int | Sequence[float] | np.ndarray | Tensor,
    source_mm: float,
    detector_mm: float,
    detector: str = "flat",
    detectors: int | None = None,
    spacing_mm: float = 1.0,
    detector_spacing_mm: float | None = None,
    centre: Sequence[float] | None = None,
    detector_centre: float | None = None,
) -> FanBeamTransform:
    """Fan-beam tomography; arguments and refusals are those of `fan_geometry.fan_beam`.

    Args:
        shape: (H, W) of the image.
        angles: How many views over a full turn, or the angles in radians (a short scan, or any others).
        source_mm: From the source to the rotation centre.
        detector_mm: From the source to the detector, as much as source_mm or more.
        detector: flat, or curved: an arc about the source with equal angles between its bins.
        detectors: Number of bins; by default as many as cover the circle around the image.
        spacing_mm: Side of a pixel; data are line integrals in value mm.
        detector_spacing_mm: Width of a bin on the detector; by default that of a pixel's shadow.
        centre: (row, column) of the rotation centre in pixels; by default the geometric centre.
        detector_centre: Bin on which the central ray falls; by default the middle.

    Returns:
        The operator, from (..., H, W) to (..., angles, detectors).
    """
    geometry = fan_beam(
        shape, angles, source_mm, detector_mm, detector, detectors, spacing_mm, detector_spacing_mm, centre,
        detector_centre,
    )
    operator = FanBeamTransform(geometry)
    operator.spec = {
        "name": "ct_fan",
        "parameters": {
            "shape": list(geometry.shape), "angles": geometry.angles_rad, "source_mm": geometry.source_mm,
            "detector_mm": geometry.detector_mm, "detector": geometry.detector, "detectors": geometry.detectors,
            "spacing_mm": geometry.spacing_mm, "detector_spacing_mm": geometry.detector_spacing_mm,
            "centre": list(geometry.centre), "detector_centre": geometry.detector_centre,
        },
    }
    return operator
