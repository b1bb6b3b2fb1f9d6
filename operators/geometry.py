"""The geometry of tomography, as a value apart from the operator: what beams share, and the parallel one.

The image lies on a grid of square pixels; x runs to the right (columns), y upwards (against the rows), and
the origin is the rotation centre. The ray of angle theta and offset t is {x cos(theta) + y sin(theta) = t};
bin k of a parallel beam's detector covers the rays with |t - t_k| < detector_spacing_mm / 2. At theta = 0 rays
run along the columns and bins follow each other to the right. Places on a detector are counted in bins from
the centre of bin 0, so the detector reaches from -0.5 to detectors - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from torch import Tensor

from operators.checks import fault, finite_float, image_shape, positive_int, real_array


@dataclass(frozen=True, eq=False)
class Beam:
    """What a scan is, whatever the shape of its beam.

    Args:
        shape: (H, W) of the image.
        angles_rad: (angles,), float64.
        detectors: Number of detector bins.
        spacing_mm: Side of a pixel.
        detector_spacing_mm: Width of a bin.
        centre: (row, column) of the rotation centre, in pixels counted from the centre of pixel (0, 0).
        detector_centre: The bin on which the rotation centre falls.
    """

    shape: tuple[int, int]
    angles_rad: np.ndarray
    detectors: int
    spacing_mm: float
    detector_spacing_mm: float
    centre: tuple[float, float]
    detector_centre: float

    @property
    def x_mm(self) -> np.ndarray:
        """x of the pixel columns, (W,)."""
        return (np.arange(self.shape[1]) - self.centre[1]) * self.spacing_mm

    @property
    def y_mm(self) -> np.ndarray:
        """y of the pixel rows, (H,), falling."""
        return (self.centre[0] - np.arange(self.shape[0])) * self.spacing_mm

    @property
    def offsets_mm(self) -> np.ndarray:
        """Places of the bin centres along the detector, zero where the rotation centre falls, (detectors,)."""
        return (np.arange(self.detectors) - self.detector_centre) * self.detector_spacing_mm

    @property
    def radius_mm(self) -> float:
        """Of the circle about the rotation centre that the whole image lies in."""
        reach = (max(c, n - 1 - c) + 0.5 for c, n in zip(self.centre, self.shape, strict=True))
        return self.spacing_mm * math.hypot(*reach)

    @property
    def corners_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the pixels' corners, each (H + 1, W + 1)."""
        rows, columns = (np.arange(n + 1) - 0.5 for n in self.shape)
        x, y = (columns - self.centre[1]) * self.spacing_mm, (self.centre[0] - rows) * self.spacing_mm
        return np.meshgrid(x, y)


class ParallelBeam(Beam):
    """Where the rays of a parallel-beam scan run; `parallel_beam` builds and checks it."""

    @property
    def pixel_bins(self) -> float:
        """The side of a pixel in bins."""
        return self.spacing_mm / self.detector_spacing_mm

    def bins_of(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float | np.ndarray) -> np.ndarray:
        """Where points fall on the detector in the view of an angle, in bins."""
        across = x_mm * np.cos(angle_rad) + y_mm * np.sin(angle_rad)
        return across / self.detector_spacing_mm + self.detector_centre

    def rays(self, angle_rad: float) -> tuple[np.ndarray, np.ndarray]:
        """Angle [rad] and offset [mm] of the ray to the middle of each bin in the view of an angle, (detectors,)."""
        return np.full(self.detectors, angle_rad), self.offsets_mm

    def bin_widths(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float, bins: np.ndarray) -> np.ndarray:
        """How wide bins are at points, across their rays [mm]."""
        return np.full(np.shape(bins), self.detector_spacing_mm)

    def widest_bins(self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float) -> np.ndarray:
        """The most that any bin may be as wide at points [mm]."""
        return np.full(np.shape(x_mm), self.detector_spacing_mm)

    def bins_within(
        self, x_mm: np.ndarray, y_mm: np.ndarray, angle_rad: float, reach_mm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last bin whose rays pass points within a distance; the last before the first if none do."""
        middle, reach = self.bins_of(x_mm, y_mm, angle_rad), reach_mm / self.detector_spacing_mm
        return whole_bins(middle - reach, middle + reach, self.detectors)


def parallel_beam(
    shape: Sequence[int],
    angles: int | Sequence[float] | np.ndarray | Tensor,
    detectors: int | None = None,
    spacing_mm: float = 1.0,
    detector_spacing_mm: float | None = None,
    centre: Sequence[float] | None = None,
    detector_centre: float | None = None,
) -> ParallelBeam:
    """A checked `ParallelBeam`; what is not given is derived.

    Args:
        shape: (H, W) of the image.
        angles: How many views over a half turn (evenly, from 0, end excluded), or the angles in radians.
        detectors: Number of bins; by default as many as cover the image's diagonal.
        spacing_mm: Side of a pixel.
        detector_spacing_mm: Width of a bin; by default that of a pixel.
        centre: (row, column) of the rotation centre in pixels; by default the geometric centre.
        detector_centre: Bin on which the rotation centre falls; by default the middle, (detectors - 1) / 2.

    Raises:
        ValueError: an argument is out of range; angles are NaN, look like degrees, or are duplicated. The
            text names all that is wrong with the angles at once, and the remedy.
    """
    shape = image_shape(shape)
    spacing = finite_float("spacing_mm", spacing_mm, low=0.0, above=True)
    bin_width = spacing if detector_spacing_mm is None else detector_spacing_mm
    bin_width = finite_float("detector_spacing_mm", bin_width, low=0.0, above=True)
    if detectors is None:
        detectors = covering(math.hypot(*shape) * spacing / bin_width, shape)
    detectors = positive_int("detectors", detectors)
    return ParallelBeam(
        shape, checked_angles(angles, math.pi), detectors, spacing, bin_width, checked_centre(centre, shape),
        checked_detector_centre(detector_centre, detectors),
    )


def field_of_view(geometry: Beam) -> np.ndarray:
    """The pixels that every view sees whole, (H, W) bool; what lies outside is not determined by the data.

    Args:
        geometry: A `ParallelBeam` or a `FanBeam`: `A.geometry` of an operator built by ct or ct_fan.
    """
    x, y = geometry.corners_mm
    seen = np.ones(x.shape, dtype=bool)
    for angle in geometry.angles_rad:
        bins = geometry.bins_of(x, y, float(angle))
        seen &= (bins > -0.5 - 1e-6) & (bins < geometry.detectors - 0.5 + 1e-6)
    return seen[:-1, :-1] & seen[:-1, 1:] & seen[1:, :-1] & seen[1:, 1:]


def whole_bins(low: np.ndarray, high: np.ndarray, detectors: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last bin of a detector between two places, int32."""
    first, last = np.ceil(low).clip(0, detectors), np.floor(high).clip(-1, detectors - 1)
    return first.astype(np.int32), last.astype(np.int32)


def covering(bins: float, shape: tuple[int, int]) -> int:
    """At least `bins`, even in number if the columns are: at angle 0 bins then face columns."""
    count = math.ceil(bins - 1e-9)
    return count + (count - shape[1]) % 2


def checked_centre(centre: Sequence[float] | None, shape: tuple[int, int]) -> tuple[float, float]:
    """(row, column) of the rotation centre; by default the geometric centre."""
    middle = real_array("centre", [(n - 1) / 2 for n in shape] if centre is None else centre)
    if middle.shape != (2,):
        raise fault("centre", centre, "(row, column) in pixels", f"e.g. centre={tuple(n // 2 for n in shape)}")
    return tuple(middle.tolist())


def checked_detector_centre(bins: float | None, detectors: int) -> float:
    """The bin on which the rotation centre falls; by default the middle."""
    return finite_float("detector_centre", (detectors - 1) / 2 if bins is None else bins)


def checked_angles(angles: int | Sequence[float] | np.ndarray | Tensor, turn: float) -> np.ndarray:
    """Angles in radians; of a count, as many evenly over `turn`, from 0, its end excluded."""
    if isinstance(angles, Integral):
        count = positive_int("angles", angles)
        return np.arange(count) * (turn / count)
    values = np.asarray(angles.detach().cpu() if isinstance(angles, Tensor) else angles)
    if values.dtype.kind not in "uif" or values.ndim != 1 or values.size == 0:
        raise fault("angles", f"dtype {values.dtype}, shape {values.shape}", "a count, or a list of radians",
                    "pass e.g. angles=60, or angles=np.linspace(0, np.pi, 60, endpoint=False)")
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    got, remedies = [], []
    if finite.size < values.size:
        got.append(f"{values.size - finite.size} NaN or infinite")
        remedies.append("drop those views")
    if (np.abs(finite) > 2 * math.pi + 1e-9).any():
        got.append(f"values from {finite.min():g} to {finite.max():g}, which look like degrees")
        remedies.append("convert degrees by np.deg2rad(angles)")
    else:
        turned = np.sort(finite % (2 * math.pi))
        doubled = int((np.diff(turned, append=turned[:1] + 2 * math.pi) < 1e-9).sum())
        if doubled and finite.size > 1:
            got.append(f"{doubled} duplicated")
            remedies.append("keep one view of each angle (average their data)")
    if got:
        raise fault("angles", "; ".join(got), "distinct finite radians in [-2 pi, 2 pi]", "; ".join(remedies))
    return values
