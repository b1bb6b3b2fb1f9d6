"""Parallel-beam computed tomography: line integrals of the image, one row of data for each angle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor

from operators.checks import fault
from operators.fourier_slice import FourierSliceTransform, cubic, square
from operators.geometry import ParallelBeam, parallel_beam
from operators.parallel import ParallelBeamTransform, even_and_odd
from operators.sparse import SparseMatrix
from operators.strips import StripTransform
from operators.symmetry import HALF_TURN, MIRROR, Symmetry

EXACT_GRAM_SIZE = 3000  # up to the cost of one eigendecomposition of this size (seconds), it beats iterative solves
PROJECTORS = {  # with the symmetries that they keep to rounding
    "strip": (StripTransform, (MIRROR, HALF_TURN)),
    "fourier": (partial(FourierSliceTransform, pixel=square), ()),
    "cubic": (partial(FourierSliceTransform, pixel=cubic), ()),
}


def ct(
    shape: Sequence[int],
    angles: int | Sequence[float] | np.ndarray | Tensor,
    detectors: int | None = None,
    spacing_mm: float = 1.0,
    detector_spacing_mm: float | None = None,
    centre: Sequence[float] | None = None,
    detector_centre: float | None = None,
    projector: str = "strip",
) -> ParallelBeamTransform:
    """Parallel-beam tomography; arguments and refusals but for the last are those of `geometry.parallel_beam`.

    "strip" is exact for square pixels, never negative for images that are not, and the default. "fourier" is the same
    model but for the pixels' highest frequencies: within 0.01 % on smooth images, with ripples of up to 0.05 % of the
    largest value beside sharp edges. It holds less memory, and is the faster one at many views, above all where they
    are not spread evenly about the image's middle. "cubic" differs from it in taking the image as the cubic
    interpolation of its pixels, which makes projections sharper: closest to those of a continuous object, with ripples
    of 1 %. Small problems are solved exactly by "strip" up to twice as many data, since its symmetries are exact.

    Args:
        shape: (H, W) of the image.
        angles: How many views over a half turn, or the angles in radians (sparse and limited ones as well).
        detectors: Number of bins; by default as many as cover the image's diagonal.
        spacing_mm: Side of a pixel; data are line integrals in value mm.
        detector_spacing_mm: Width of a bin; by default that of a pixel.
        centre: (row, column) of the rotation centre in pixels; by default the geometric centre.
        detector_centre: Bin on which the rotation centre falls; by default the middle.
        projector: "strip" (`StripTransform`), "fourier" or "cubic" (`FourierSliceTransform`).

    Returns:
        The operator, from (..., H, W) to (..., angles, detectors).

    Raises:
        ValueError: As `geometry.parallel_beam`; or the projector is unknown.
    """
    if projector not in PROJECTORS:
        raise fault("projector", repr(projector), " or ".join(map(repr, PROJECTORS)), "choose one of these")
    geometry = parallel_beam(
        shape, angles, detectors, spacing_mm, detector_spacing_mm, centre, detector_centre
    )
    build, symmetries = PROJECTORS[projector]
    operator = build(geometry, _exact_bases(geometry, symmetries))
    operator.spec = {
        "name": "ct",
        "parameters": {
            "shape": list(geometry.shape), "angles": geometry.angles_rad, "detectors": geometry.detectors,
            "spacing_mm": geometry.spacing_mm, "detector_spacing_mm": geometry.detector_spacing_mm,
            "centre": list(geometry.centre), "detector_centre": geometry.detector_centre,
            "projector": projector,
        },
    }
    return operator


def _exact_bases(geometry: ParallelBeam, symmetries: Sequence[Symmetry]) -> list[SparseMatrix]:
    """The parts in which A A^H is diagonalised, none if that would take too long."""
    if geometry.angles_rad.size * geometry.detectors > 4 * EXACT_GRAM_SIZE:
        return []
    bases = even_and_odd(geometry, symmetries)
    cost = sum(math.prod(basis.out_shape) ** 3 for basis in bases)
    return bases if cost <= EXACT_GRAM_SIZE**3 else []
