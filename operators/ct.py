"""Parallel-beam computed tomography: line integrals of the image, one row of data for each angle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor

from operators.checks import fault
from operators.folded import FoldedTransform, held_whole
from operators.fourier_slice import FourierSliceTransform, cubic, rays, square
from operators.geometry import ParallelBeam, parallel_beam
from operators.parallel import ParallelBeamTransform
from operators.rays import RAYS
from operators.splitting import Splitting, splitting
from operators.strips import STRIPS
from operators.symmetry import HALF_TURN, MIRROR, QUARTER_TURN, Symmetry, folding

EXACT_GRAM_SIZE = 3200  # up to the cost of one eigendecomposition of this size (seconds), it beats iterative solves
SQUARE = (MIRROR, HALF_TURN, QUARTER_TURN)
PROJECTORS = {  # with the symmetries that they keep to rounding
    "ray": (partial(FoldedTransform, weights=RAYS), SQUARE),
    "strip": (partial(FoldedTransform, weights=STRIPS), SQUARE),
    "fourier-ray": (partial(FourierSliceTransform, model=rays), ()),
    "fourier": (partial(FourierSliceTransform, model=square), ()),
    "cubic": (partial(FourierSliceTransform, model=cubic), ()),
}


def ct(
    shape: Sequence[int],
    angles: int | Sequence[float] | np.ndarray | Tensor,
    detectors: int | None = None,
    spacing_mm: float = 1.0,
    detector_spacing_mm: float | None = None,
    centre: Sequence[float] | None = None,
    detector_centre: float | None = None,
    projector: str = "auto",
) -> ParallelBeamTransform:
    """Parallel-beam tomography; arguments and refusals but for the last are those of `geometry.parallel_beam`.

    "ray" is the most accurate of those whose data are never negative for images that are not: line integrals along
    the ray to the middle of each bin. "strip" is exact for square pixels seen by bins that take means, whatever the
    ratio of the two, and smooths more. "fourier-ray" and "fourier" are the same models but for the pixels' highest
    frequencies: within 0.01 % on smooth images, with ripples beside sharp edges, of up to 1 % and 0.05 % of the largest
    value. They hold less memory, and are faster at many views, above all where these are not spread evenly about the
    image's middle. "cubic" differs from "fourier" in taking the image as the cubic interpolation of its pixels; its
    ripples are of 1 %. Small problems are solved exactly by "ray" and "strip" up to four times as many data, since
    their symmetries are exact.

    "auto" is "ray", and "fourier-ray" where the matrix of "ray" would take more than 1.5 GiB. The choice depends on the
    geometry alone.

    Args:
        shape: (H, W) of the image.
        angles: How many views over a half turn, or the angles in radians (sparse and limited ones as well).
        detectors: Number of bins; by default as many as cover the image's diagonal.
        spacing_mm: Side of a pixel; data are line integrals in value mm.
        detector_spacing_mm: Width of a bin; by default that of a pixel.
        centre: (row, column) of the rotation centre in pixels; by default the geometric centre.
        detector_centre: Bin on which the rotation centre falls; by default the middle.
        projector: "auto" ("ray", or "fourier-ray" if its matrix would exceed 1.5 GiB), "ray" or "strip"
            (`FoldedTransform`), "fourier-ray", "fourier" or "cubic" (`FourierSliceTransform`).

    Returns:
        The operator, from (..., H, W) to (..., angles, detectors); its `spec` names the projector chosen.

    Raises:
        ValueError: As `geometry.parallel_beam`; or the projector is unknown.
    """
    if projector not in ("auto", *PROJECTORS):
        raise fault("projector", repr(projector), " or ".join(map(repr, ("auto", *PROJECTORS))), "choose one of these")
    geometry = parallel_beam(
        shape, angles, detectors, spacing_mm, detector_spacing_mm, centre, detector_centre
    )
    projector = _automatic(geometry) if projector == "auto" else projector
    build, symmetries = PROJECTORS[projector]
    operator = build(geometry, _exact_parts(geometry, symmetries))
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


def _automatic(geometry: ParallelBeam) -> str:
    """The projector that "auto" takes: rays, which are never negative, as long as their matrix is held whole."""
    return "ray" if held_whole(folding(geometry), RAYS) else "fourier-ray"


def _exact_parts(geometry: ParallelBeam, symmetries: Sequence[Symmetry]) -> Splitting | None:
    """The parts in which A A^H is diagonalised, None if that would take too long."""
    if geometry.angles_rad.size * geometry.detectors > 4 * EXACT_GRAM_SIZE:
        return None
    parts = splitting(geometry, symmetries)
    return parts if parts.cost <= EXACT_GRAM_SIZE**3 else None
