"""Fan-beam computed tomography: line integrals along rays that leave one source, a row of data for each angle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from operators.checks import fault
from operators.fan_geometry import FanBeam, fan_beam
from operators.fan_strips import FAN_STRIPS
from operators.folded import FoldedTransform
from operators.rays import RAYS
from operators.splitting import Splitting, unsplit
from operators.symmetry import HALF_TURN, IDENTITY, Folding, folding

EXACT_GRAM_SIZE = 3000  # up to this many data, one eigendecomposition (seconds) beats iterative solves
QUARTER_TURNS = [(turns, False) for turns in range(4)]
PROJECTORS = {"ray": RAYS, "strip": FAN_STRIPS}
AUTOMATIC = "ray"  # nothing else is as accurate, and nothing is faster


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
    projector: str = "auto",
) -> FoldedTransform:
    """Fan-beam tomography; arguments and refusals but for the last are those of `fan_geometry.fan_beam`.

    Both projectors are sparse matrices without negative entries, and hold quarter turns of the scan once: four times
    any number of views over a full turn about the middle of a square image. Up to 3000 data the weights are float64,
    and solves exact; above, the weights are float32 and solves iterative.

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
        projector: "auto" ("ray"), "ray" (`operators.rays`, the most accurate), "strip" (`operators.fan_strips`, means
            over bins of square pixels).

    Returns:
        The operator, from (..., H, W) to (..., angles, detectors); its `spec` names the projector chosen.

    Raises:
        ValueError: As `fan_geometry.fan_beam`; or the projector is unknown.
    """
    if projector not in ("auto", *PROJECTORS):
        raise fault("projector", repr(projector), " or ".join(map(repr, ("auto", *PROJECTORS))), "choose one of these")
    geometry = fan_beam(
        shape, angles, source_mm, detector_mm, detector, detectors, spacing_mm, detector_spacing_mm, centre,
        detector_centre,
    )
    projector = AUTOMATIC if projector == "auto" else projector
    operator = FoldedTransform(geometry, _unit_data(geometry), PROJECTORS[projector], turned_views(geometry))
    operator.spec = {
        "name": "ct_fan",
        "parameters": {
            "shape": list(geometry.shape), "angles": geometry.angles_rad, "source_mm": geometry.source_mm,
            "detector_mm": geometry.detector_mm, "detector": geometry.detector, "detectors": geometry.detectors,
            "spacing_mm": geometry.spacing_mm, "detector_spacing_mm": geometry.detector_spacing_mm,
            "centre": list(geometry.centre), "detector_centre": geometry.detector_centre,
            "projector": projector,
        },
    }
    return operator


def _unit_data(geometry: FanBeam) -> Splitting | None:
    """Images and data as they are, in which A A^H is diagonalised, where the data are few."""
    return unsplit(geometry) if geometry.angles_rad.size * geometry.detectors <= EXACT_GRAM_SIZE else None
