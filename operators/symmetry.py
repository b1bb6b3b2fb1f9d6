"""The symmetries of a square grid, by which views of a parallel-beam scan repeat each other.

A symmetry is (k, mirrored): the image is mirrored left to right if so, then turned by k quarter turns against the
clock. The projection of x at angle theta equals that of the moved image at the moved angle,

    P[theta] x = P[angle_after(theta)] moved(x)

exactly, square pixels included. So the system matrix of a few angles serves all angles that symmetries lead to them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from operators.geometry import Beam, ParallelBeam

Symmetry = tuple[int, bool]

SAME_ANGLE = 1e-9  # rad
IDENTITY, MIRROR, UPSIDE_DOWN = (0, False), (0, True), (2, True)
QUARTER_TURN, HALF_TURN = (1, False), (2, False)
KEEP_SHAPE = [  # the groups of those that keep any rectangle, and of those that need a square
    [IDENTITY], [IDENTITY, MIRROR], [IDENTITY, UPSIDE_DOWN], [IDENTITY, HALF_TURN],
    [IDENTITY, MIRROR, UPSIDE_DOWN, HALF_TURN],
]
NEED_SQUARE = [
    [IDENTITY, (1, True)], [IDENTITY, (3, True)], [IDENTITY, (1, True), (3, True), HALF_TURN],
    [(k, False) for k in range(4)], [(k, mirrored) for mirrored in (False, True) for k in range(4)],
]


@dataclass(frozen=True, eq=False)
class Folding:
    """Which view is which view of which moved image.

    Args:
        geometry: Of the images that are projected: their grid holds the scan's image (zeros around it) with the
            rotation centre in its middle; only the folded angles.
        margins: Rows above and columns left of the scan's image within that grid.
        symmetries: Those by which the image is moved.
        angle, symmetry: For each view of the scan, the index of the folded angle and of the symmetry.
        half: Whether only the bins from the middle of the detector on are projected: the others of each view are seen
            after half a turn more, in reverse.
    """

    geometry: Beam
    margins: tuple[int, int]
    symmetries: tuple[Symmetry, ...]
    angle: np.ndarray
    symmetry: np.ndarray
    half: bool = False

    @property
    def share(self) -> float:
        """The share of a view's rays that is projected."""
        return 0.5 if self.half else 1.0


def folding(
    geometry: Beam,
    keep_shape: Sequence[Sequence[Symmetry]] = KEEP_SHAPE[1:],
    need_square: Sequence[Sequence[Symmetry]] = NEED_SQUARE,
) -> Folding:
    """The cheapest way to project, by a rule fitted to measured times: rays x pixels x (5 + 2 images).

    Args:
        geometry: Of the scan.
        keep_shape, need_square: The groups of symmetries that its beam has; a parallel one has them all.
    """
    candidates = [_folded(geometry, (0, 0), geometry.shape, [IDENTITY])]
    doubled = [2 * c for c in geometry.centre]
    if all(abs(d - round(d)) < 1e-9 for d in doubled):
        # The least grid with the rotation centre in its middle.
        shape = [max(round(d) + 1, 2 * n - 1 - round(d)) for d, n in zip(doubled, geometry.shape, strict=True)]
        candidates += [_framed(geometry, shape, group) for group in keep_shape]
        if (shape[0] - shape[1]) % 2 == 0:
            candidates += [_framed(geometry, [max(shape)] * 2, group) for group in need_square]
    if isinstance(geometry, ParallelBeam) and abs(geometry.detector_centre - (geometry.detectors - 1) / 2) < 1e-9:
        # More images than these two meet the caches' limits, and take as long as the bins left out.
        candidates += [_halved(fold) for fold in candidates[:1] if _in_the_middle(fold.geometry)]
    return min(candidates, key=_cost)


def _cost(fold: Folding) -> float:
    views = fold.geometry.angles_rad.size
    # Images that are turned to be seen from behind; reversing what is seen takes time as well.
    images, share = (2 * len(fold.symmetries), 0.6) if fold.half else (len(fold.symmetries), 1.0)
    return share * views * math.prod(fold.geometry.shape) * (5 + 2 * images)


def _in_the_middle(geometry: Beam) -> bool:
    """Whether the rotation centre is that of the grid."""
    return all(abs(2 * c - (n - 1)) < 1e-9 for c, n in zip(geometry.centre, geometry.shape, strict=True))


def _halved(fold: Folding) -> Folding:
    """The same with one half of the detector."""
    below = fold.geometry.detectors // 2
    geometry = dataclasses.replace(
        fold.geometry, detectors=fold.geometry.detectors - below, detector_centre=fold.geometry.detector_centre - below
    )
    return dataclasses.replace(fold, geometry=geometry, half=True)


def _framed(geometry: Beam, shape: list[int], group: Sequence[Symmetry]) -> Folding:
    margins = tuple(round((n - 1) / 2 - c) for n, c in zip(shape, geometry.centre, strict=True))
    return _folded(geometry, margins, tuple(shape), group)


def _folded(
    geometry: Beam, margins: tuple[int, int], shape: tuple[int, int], group: Sequence[Symmetry]
) -> Folding:
    moved = np.stack([angle_after(symmetry, geometry.angles_rad) for symmetry in group])
    # The least angle of each orbit; among equal ones the first symmetry, so that few are used.
    chosen = np.argmax(moved <= moved.min(axis=0) + SAME_ANGLE, axis=0)
    least = np.take_along_axis(moved, chosen[None], axis=0)[0]
    order = np.argsort(least, kind="stable")
    new = np.diff(least[order], prepend=-1.0) > SAME_ANGLE
    index = np.empty(least.size, dtype=np.int64)
    index[order] = np.cumsum(new) - 1
    used, symmetry = np.unique(chosen, return_inverse=True)
    centre = tuple(c + m for c, m in zip(geometry.centre, margins, strict=True))
    projected = dataclasses.replace(geometry, shape=shape, centre=centre, angles_rad=least[order][new])
    return Folding(projected, margins, tuple(group[i] for i in used), index, symmetry)


def angle_after(symmetry: Symmetry, angles_rad: np.ndarray) -> np.ndarray:
    """Where each angle goes, in [0, 2 pi)."""
    turns, mirrored = symmetry
    moved = (math.pi - angles_rad if mirrored else angles_rad) + turns * (math.pi / 2)
    moved = moved % (2 * math.pi)
    return np.where(moved > 2 * math.pi - SAME_ANGLE / 2, 0.0, moved)


def moved(x: Tensor, symmetry: Symmetry) -> Tensor:
    """x, rows and columns being its first axes, mirrored and turned."""
    turns, mirrored = symmetry
    return torch.rot90(x.flip(1) if mirrored else x, turns, dims=(0, 1))


def moved_back(x: Tensor, symmetry: Symmetry) -> Tensor:
    """The inverse of `moved`."""
    turns, mirrored = symmetry
    x = torch.rot90(x, -turns, dims=(0, 1))
    return x.flip(1) if mirrored else x


def data_permutation(geometry: ParallelBeam, symmetry: Symmetry) -> np.ndarray | None:
    """p with (A moved(x))[p] = A x on flattened data, or None where the scan lacks this symmetry.

    Needs the rotation centre in the middle of the image; a view is also found from its other side, where the
    middle of the detector sees that centre.
    """
    middle = [(n - 1) / 2 for n in geometry.shape]
    if not np.allclose(geometry.centre, middle, rtol=0, atol=1e-9):
        return None
    if symmetry[0] % 2 and geometry.shape[0] != geometry.shape[1]:
        return None
    bins = np.arange(geometry.detectors)
    centred = abs(geometry.detector_centre - (geometry.detectors - 1) / 2) < 1e-9
    here = geometry.angles_rad % (2 * math.pi)
    parts = []
    for angle in angle_after(symmetry, geometry.angles_rad):
        for turned, order in ((angle, bins), (angle + math.pi, bins[::-1])):
            away = np.abs((here - turned + math.pi) % (2 * math.pi) - math.pi)
            found = int(away.argmin())
            if away[found] < SAME_ANGLE and (centred or order is bins):
                parts.append(found * bins.size + order)
                break
        else:
            return None
    return np.concatenate(parts)
