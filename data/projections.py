"""Files of raw tomography: detector counts of a parallel beam, with and without the object, and the angles.

    Data Exchange   /exchange/data (angle, row, column), data_white, data_dark, theta
    plain           projections, flat, dark, angles_deg
    NXtomo          all of them frames of one stack, see `data.nxtomo`

Flats and darks are stacks (frame, row, column), which are averaged, or single frames. Angles are degrees; where they
have an attribute `units` that says radians, these. Rows are read only where they are asked for, so a file may be
larger than the memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data import hdf5, nxtomo
from data.errors import InputRefused
from data.images import too_many
from data.kinds import sniff

if TYPE_CHECKING:
    import h5py

LAYOUTS = {  # names of projections, flats, darks and angles
    "Data Exchange": ("exchange/data", "exchange/data_white", "exchange/data_dark", "exchange/theta"),
    "plain": ("projections", "flat", "dark", "angles_deg"),
}
WHAT = (
    "projections", "flats, the beam without the object", "darks, the detector without the beam", "angles in degrees",
)
AXES = ("angle", "row", "column")
DEGREES, RADIANS = ("deg", "degree", "degrees"), ("rad", "radian", "radians")
CLAIMED = 10**12  # elements of a whole scan; what is read of it is judged by itself
FEW = 4  # angles, which may be small without being radians


@dataclass(frozen=True)
class Scan:
    """Where a scan lies in its file, and its sizes; nothing of the counts is in it.

    Args:
        path: of the file.
        names: of projections, flats, darks and angles.
        shape: (angles, rows, columns).
        angles_rad: (angles,), or None where the file has none.
        frames: how many flats and darks there are.
        kinds: which frames of one stack are projections, flats and darks; None where each is a stack of its own.
        beam: (angles,), its intensity over that of the flats, where a monitor tells.
        notes: what a user should know.
    """

    path: Path
    names: tuple[str, str, str, str]
    shape: tuple[int, int, int]
    angles_rad: np.ndarray | None
    frames: tuple[int, int]
    kinds: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    beam: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """Detector counts, (views, rows, columns), and the means (rows, columns) of the flats and darks; float64.

    `beam` is its intensity in each view over that in the flats, (views,), or None where nothing tells.
    """

    projections: np.ndarray
    flat: np.ndarray
    dark: np.ndarray
    beam: np.ndarray | None = None


def is_projections(path: str | os.PathLike[str]) -> bool:
    """Whether a file is meant as raw tomography, complete or not."""
    if sniff(path) != "hdf5":
        return False
    with hdf5.opened(path) as file:
        return layout(file) is not None


def layout(file: h5py.File) -> str | None:
    """The layout of raw tomography that a file has, by its projections; None where it has none."""
    named = next((name for name, places in LAYOUTS.items() if places[0] in file), None)
    return named or ("NXtomo" if nxtomo.entry_of(file) else None)


def find_scan(path: str | os.PathLike[str], angles_needed: bool = True) -> Scan:
    """The parts of a scan, checked against each other.

    Args:
        path: HDF5.
        angles_needed: whether a file without angles is refused.

    Raises:
        InputRefused: E-LAYOUT for a part that is missing; E-GEOMETRY for parts that do not fit one another, and for
            angles that are none or look like radians.
    """
    path = Path(path)
    with hdf5.opened(path) as file:
        found = layout(file) or "plain"
        if found == "NXtomo":
            return one_stack(file, path, angles_needed)
        names = LAYOUTS[found]
        for name, what in zip(names[:3], WHAT, strict=False):
            if name not in file:
                raise missing(file, path, name, what)
        sizes = [hdf5.dataset(file, name, CLAIMED).shape for name in names[:3]]
        refuse_unequal(sizes, names, path)
        angles = angles_of(file, path, names[3], sizes[0], angles_needed)
    frames = tuple(1 if len(size) == 2 else size[0] for size in sizes[1:])
    return Scan(path, names, sizes[0], angles, frames)


def one_stack(file: h5py.File, path: Path, angles_needed: bool) -> Scan:
    """The parts of a scan whose frames are one stack."""
    found = nxtomo.frames_of(file, path, nxtomo.entry_of(file), CLAIMED)
    names = (*[found.counts] * 3, found.angles)
    shape = hdf5.dataset(file, found.counts, CLAIMED).shape
    refuse_unequal([shape], names, path)
    angles = angles_of(file, path, found.angles, shape, angles_needed, found.kinds[0])
    sizes = len(found.kinds[1]), len(found.kinds[2])
    return Scan(path, names, (len(found.kinds[0]), *shape[1:]), angles, sizes, found.kinds, found.beam, found.notes)


def missing(file: h5py.File, path: Path, name: str, what: str) -> InputRefused:
    """The refusal of a file without one of its parts."""
    folder = name.rpartition("/")[0]
    group = file[folder] if folder and folder in file else file
    fix = "--angles 0:180:COUNT, or store them" if what is WHAT[3] else f"store them as {name}"
    fix += "; zeros where the detector has none" if what is WHAT[2] else ""
    return InputRefused("E-LAYOUT", f"no {what.partition(',')[0]} in the scan", f"{path}:/{name}",
                        f"nothing of that name, but {', '.join(group)}", what, fix)  # fmt: skip


def refuse_unequal(sizes: list[tuple[int, ...]], names: Sequence[str], path: Path) -> None:
    """Refuses projections that are no stack of views, and flats or darks of another size."""
    views = sizes[0]
    if len(views) != 3 or 0 in views:
        raise InputRefused("E-GEOMETRY", "these are no projections", f"{path}:/{names[0]}", f"shape {views}",
                           f"({', '.join(AXES)})", "one row alone is values[:, None, :]")  # fmt: skip
    for size, name in zip(sizes[1:], names[1:], strict=False):
        if size[-2:] != views[1:] or len(size) not in (2, 3) or 0 in size:
            raise InputRefused(
                "E-GEOMETRY", "the frame has another size than the projections", f"{path}:/{name}", f"shape {size}",
                f"{views[1:]}, or (frames, {views[1]}, {views[2]}), as {names[0]} has (angle, row, column) {views}",
                "cut and bin it as the projections; where their axes have another order, numpy.moveaxis",
            )  # fmt: skip


def angles_of(
    file: h5py.File, path: Path, name: str, shape: tuple[int, ...], needed: bool, views: np.ndarray | None = None
) -> np.ndarray | None:
    """The angles in radians, one for each view; of a stack with other frames in it, for those that are views."""
    if name not in file:
        if needed:
            raise missing(file, path, name, WHAT[3])
        return None
    stored = hdf5.dataset(file, name)
    units = stored.attrs.get("units", "")
    units = units.decode(errors="replace") if isinstance(units, bytes) else str(units)
    theta = stored[()]
    if views is not None and theta.shape == shape[:1]:
        theta, shape = theta[views], (len(views), *shape[1:])
    return checked_angles(theta, units, shape, f"{path}:/{name}")


def checked_angles(theta: np.ndarray, units: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Angles in radians, from those of a file and the unit that it states, "" for none."""
    if theta.dtype.kind not in "uif" or theta.shape != shape[:1]:
        fits = [axis for axis, n in zip(AXES, shape, strict=True) if theta.shape == (n,)]
        fix = f"the projections have their {fits[0]} axis first? numpy.moveaxis" if fits else "store one for each view"
        raise InputRefused("E-GEOMETRY", "not one angle for each view", where, f"{theta.dtype}, shape {theta.shape}",
                           f"{shape[:1]}, numbers, for projections {shape}", fix)  # fmt: skip
    theta = theta.astype(np.float64)
    if not np.isfinite(theta).all():
        raise InputRefused("E-VALUES", "angles with NaN or Inf", where, f"{int((~np.isfinite(theta)).sum())} of them",
                           "finite angles", "store the true ones, or --angles 0:180:COUNT")  # fmt: skip
    if units.lower() in RADIANS:
        return theta
    found = f"{len(theta)} angles, {theta.min():g} .. {theta.max():g}, units {units or 'not stated'}"
    if units.lower() not in (*DEGREES, ""):
        raise InputRefused("E-GEOMETRY", "angles in an unknown unit", where, found, "units deg or rad",
                           "state one of these in the attribute units")  # fmt: skip
    if not units and len(theta) > FEW and np.abs(theta).max() < 1.001 * 2 * np.pi:
        raise InputRefused(
            "E-GEOMETRY", "are these radians?", where, found, "degrees, over half a turn or more",
            f"file[{where.rpartition(':/')[2]!r}].attrs['units'] = 'rad', or 'deg' if they are degrees",
        )  # fmt: skip
    return np.deg2rad(theta)


def read_counts(
    scan: Scan, views: Sequence[int] | slice = slice(None), rows: slice = slice(None),
    max_elements: int = hdf5.MAX_ELEMENTS,
) -> Counts:  # fmt: skip
    """The counts of some views and rows, and the frames of these rows.

    Raises:
        InputRefused: E-LIMIT for more than `max_elements`; E-VALUES for counts that are not finite.
    """
    parts, where = [], f"{scan.path}:/{scan.names[0]}"
    height = len(range(scan.shape[1])[rows])
    depth = len(range(scan.shape[0])[views]) if isinstance(views, slice) else len(views)
    wanted = (max(depth, *scan.frames), height, scan.shape[2])
    if np.prod(wanted, dtype=object) > max_elements:
        raise too_many(where, int(np.prod(wanted, dtype=object)), wanted, max_elements)
    wholes = (views, slice(None), slice(None))
    wanted_frames = [part[one] for part, one in zip(scan.kinds, wholes, strict=True)] if scan.kinds else wholes
    with hdf5.opened(scan.path) as file:
        for name, chosen in zip(scan.names[:3], wanted_frames, strict=True):
            stored = hdf5.dataset(file, name, CLAIMED)
            if stored.dtype.kind not in "uif":
                raise InputRefused("E-FORMAT", "counts are real numbers", f"{scan.path}:/{name}", str(stored.dtype),
                                   "integers or floating point", "store the counts of the detector")  # fmt: skip
            values = (frames(stored, chosen, rows) if stored.ndim == 3 else stored[rows]).astype(np.float64)
            if bad := int((~np.isfinite(values)).sum()):
                raise InputRefused("E-VALUES", "counts with NaN or Inf", f"{scan.path}:/{name}", f"{bad} values",
                                   "finite counts", "store zero for pixels that do not count")  # fmt: skip
            parts.append(values)
    flat, dark = (part if part.ndim == 2 else part.mean(axis=0) for part in parts[1:])
    return Counts(parts[0], flat, dark, None if scan.beam is None else scan.beam[views])


def frames(stored: h5py.Dataset, views: Sequence[int] | slice, rows: slice) -> np.ndarray:
    """Some frames; of most, all between the first and the last are read, as lists of numbers are read one by one."""
    if isinstance(views, slice):
        return stored[views, rows]
    first, last = min(views), max(views)
    if 2 * len(views) > last - first:
        return stored[first : last + 1, rows][np.asarray(views) - first]
    return stored[views, rows]
