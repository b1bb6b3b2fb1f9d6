"""The geometry of parallel-beam tomography, as a value apart from the operator.

The image lies on a grid of square pixels; x runs to the right (columns), y upwards (against the rows), and
the origin is the rotation centre. The ray of angle theta and offset t is {x cos(theta) + y sin(theta) = t};
bin k of the detector covers the rays with |t - t_k| < detector_spacing_mm / 2. At theta = 0 rays run along
the columns and bins follow each other to the right.
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
class ParallelBeam:
    """Where the rays of a parallel-beam scan run; `parallel_beam` builds and checks it.

    Args:
        shape: (H, W) of the image.
        angles_rad: (angles,), float64.
        detectors: Number of detector bins.
        spacing_mm: Side of a pixel.
        detector_spacing_mm: Width of a bin.
        centre: (row, column) of the rotation centre, in pixels counted from the centre of pixel (0, 0).
        detector_centre: Where the rotation centre falls on the detector, in bins from the centre of bin 0.
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
        """t of the bin centres, (detectors,)."""
        return (np.arange(self.detectors) - self.detector_centre) * self.detector_spacing_mm


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
        detectors = _covering(shape, spacing / bin_width)
    detectors = positive_int("detectors", detectors)
    middle = real_array("centre", [(n - 1) / 2 for n in shape] if centre is None else centre)
    if middle.shape != (2,):
        raise fault("centre", centre, "(row, column) in pixels",
                    f"e.g. centre={tuple(n // 2 for n in shape)}")
    on_detector = (detectors - 1) / 2 if detector_centre is None else detector_centre
    return ParallelBeam(
        shape, _checked_angles(angles), detectors, spacing, bin_width, tuple(middle.tolist()),
        finite_float("detector_centre", on_detector),
    )


def _covering(shape: tuple[int, int], pixels_per_bin: float) -> int:
    """Bins that cover the diagonal, even in number if the columns are: at angle 0 bins then face columns."""
    count = math.ceil(math.hypot(*shape) * pixels_per_bin - 1e-9)
    return count + (count - shape[1]) % 2


def _checked_angles(angles: int | Sequence[float] | np.ndarray | Tensor) -> np.ndarray:
    if isinstance(angles, Integral):
        count = positive_int("angles", angles)
        return np.arange(count) * (math.pi / count)
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
