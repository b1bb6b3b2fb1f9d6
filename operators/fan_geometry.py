"""The geometry of fan-beam tomography, as a value apart from the operator.

In the view of angle theta the source stands at source_mm (sin theta, -cos theta), the rotation centre is the
origin, and bins follow each other along (cos theta, sin theta), as in a parallel beam of that angle. The ray
at the fan angle gamma from the central one is the parallel ray of angle theta - gamma and offset
t = source_mm sin(gamma). On a flat detector it falls at detector_mm tan(gamma) from the central ray, on a curved
one (an arc about the source, equal angles between bins) at detector_mm gamma.

Reference: Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, section 3.4, with the
opposite sign of gamma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from operators.checks import fault, finite_float, image_shape, positive_int
from operators.geometry import Beam, checked_angles, checked_centre, checked_detector_centre, covering, whole_bins

DETECTORS = ("flat", "curved")
EDGE = math.pi / 2 - 1e-6  # of what a flat detector sees


@dataclass(frozen=True, eq=False)
class FanBeam(Beam):
    """Where the rays of a fan-beam scan run; `fan_beam` builds and checks it.

    Args:
        shape, angles_rad, detectors, spacing_mm, detector_spacing_mm, centre, detector_centre: As in `Beam`; the
            width of a bin is measured on the detector, along the arc if it is curved.
        source_mm: From the source to the rotation centre.
        detector_mm: From the source to the detector, along the central ray.
        detector: "flat" or "curved".
    """

    source_mm: float
    detector_mm: float
    detector: str

    @property
    def pixel_bins(self) -> float:
        """The side of a pixel at the rotation centre in bins."""
        return self.spacing_mm * self.detector_mm / (self.source_mm * self.detector_spacing_mm)

    def fan_angles(self, bins: np.ndarray) -> np.ndarray:
        """gamma [rad] of the rays that fall on places of the detector, given in bins."""
        arc = (np.asarray(bins) - self.detector_centre) * (self.detector_spacing_mm / self.detector_mm)
        return np.arctan(arc) if self.detector == "flat" else arc

    def from_source(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float) -> tuple[np.ndarray, np.ndarray]:
        """How far points lie from the source in the view of an angle: along the central ray, and across it [mm]."""
        cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
        return self.source_mm - x_mm * sine + y_mm * cosine, x_mm * cosine + y_mm * sine

    def bins_of(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float) -> np.ndarray:
        """Where points fall on the detector in the view of an angle, in bins."""
        along, across = self.from_source(x_mm, y_mm, angle_rad)
        arc = across / along if self.detector == "flat" else np.arctan2(across, along)
        return arc * (self.detector_mm / self.detector_spacing_mm) + self.detector_centre

    def rays(self, angle_rad: float) -> tuple[np.ndarray, np.ndarray]:
        """As of the parallel rays along the same lines: angle [rad] and offset [mm] of each bin's, (detectors,)."""
        gammas = self.fan_angles(np.arange(self.detectors))
        return angle_rad - gammas, self.source_mm * np.sin(gammas)

    def bin_widths(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float, bins: np.ndarray) -> np.ndarray:
        """How wide bins are at points, across their rays [mm]."""
        widest = self.widest_bins(x_mm, y_mm, angle_rad)
        return widest * np.cos(self.fan_angles(bins)) ** 2 if self.detector == "flat" else widest

    def widest_bins(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float) -> np.ndarray:
        """The most that any bin may be as wide at points [mm]."""
        distance = np.hypot(*self.from_source(x_mm, y_mm, angle_rad))
        return distance * (self.detector_spacing_mm / self.detector_mm)

    def bins_within(
        self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float, reach_mm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last bin whose rays pass points within a distance; the last before the first if none do."""
        along, across = self.from_source(x_mm, y_mm, angle_rad)
        gammas, reach = np.arctan2(across, along), np.arcsin(np.minimum(reach_mm / np.hypot(along, across), 1.0))
        ends = np.stack([gammas - reach, gammas + reach])
        if self.detector == "flat":
            ends = np.tan(ends.clip(-EDGE, EDGE))
        low, high = ends * (self.detector_mm / self.detector_spacing_mm) + self.detector_centre
        return whole_bins(low, high, self.detectors)


def fan_beam(
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
) -> FanBeam:
    """A checked `FanBeam`; what is not given is derived.

    Args:
        shape: (H, W) of the image.
        angles: How many views over a full turn (evenly, from 0, end excluded), or the angles in radians.
        source_mm: From the source to the rotation centre; the image must lie within this circle.
        detector_mm: From the source to the detector; as much as source_mm puts it at the rotation centre, where
            text books place it.
        detector: "flat" (equal distances between bins) or "curved" (an arc about the source, equal angles).
        detectors: Number of bins; by default as many as cover the circle around the image.
        spacing_mm: Side of a pixel.
        detector_spacing_mm: Width of a bin on the detector; by default that of a pixel at the rotation centre,
            magnified by detector_mm / source_mm.
        centre: (row, column) of the rotation centre in pixels; by default the geometric centre.
        detector_centre: Bin on which the central ray falls; by default the middle, (detectors - 1) / 2.

    Raises:
        ValueError: an argument is out of range, the source would pass through the image, the detector stands
            before the rotation centre, or it spans half a turn; the text has the remedy. For the angles see
            `parallel_beam`.
    """
    shape = image_shape(shape)
    spacing = finite_float("spacing_mm", spacing_mm, low=0.0, above=True)
    source = finite_float("source_mm", source_mm, low=0.0, above=True)
    distance = finite_float("detector_mm", detector_mm, low=0.0, above=True)
    if distance < source:
        raise fault("detector_mm", f"{distance:g}", f"{source:g} (source_mm) or more: from the source, not from the "
                    "rotation centre", f"detector_mm={source + distance:g} if {distance:g} is from the centre")
    if detector not in DETECTORS:
        raise fault("detector", repr(detector), " or ".join(map(repr, DETECTORS)), "choose one of these")
    centre, angles_rad = checked_centre(centre, shape), checked_angles(angles, 2 * math.pi)
    radius = Beam(shape, angles_rad, 1, spacing, 1.0, centre, 0.0).radius_mm
    if source <= radius:
        raise fault("source_mm", f"{source:g}", f"more than {radius:.6g}, the radius of the circle around the image",
                    "move the source out, or lower spacing_mm or the shape")
    bin_width = spacing * distance / source if detector_spacing_mm is None else detector_spacing_mm
    bin_width = finite_float("detector_spacing_mm", bin_width, low=0.0, above=True)
    if detectors is None:
        widest = math.asin(radius / source)
        half = math.tan(widest) if detector == "flat" else widest
        detectors = covering(2 * half * distance / bin_width, shape)
    geometry = FanBeam(
        shape, angles_rad, positive_int("detectors", detectors), spacing, bin_width, centre,
        checked_detector_centre(detector_centre, detectors), source, distance, detector,
    )
    ends = geometry.fan_angles(np.array([-0.5, geometry.detectors - 0.5]))
    if np.abs(ends).max() >= math.pi / 2:
        raise fault("detectors", f"a curved detector from {np.rad2deg(ends[0]):.4g} to {np.rad2deg(ends[1]):.4g} "
                    "degrees", "rays within 90 degrees of the central one",
                    "lower detectors or detector_spacing_mm, or raise detector_mm")
    return geometry
