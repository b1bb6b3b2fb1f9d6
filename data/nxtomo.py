"""Raw tomography as NeXus has it: one stack of frames, what each of them is, and its angle.

    ENTRY/instrument/detector/data        (frame, row, column)
    ENTRY/instrument/detector/image_key   (frame,): 0 projection, 1 flat, 2 dark, 3 not valid
    ENTRY/sample/rotation_angle           (frame,)
    ENTRY/control/data                    (frame,) what a monitor of the beam counted; may be missing

ENTRY is `entry`, or any other group at the top of the file, or one in such a group (entry1/tomo_entry).

Reference: NeXus International Advisory Committee, application definition NXtomo,
    manual.nexusformat.org/classes/applications/NXtomo.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data import hdf5
from data.errors import InputRefused

if TYPE_CHECKING:
    import h5py

COUNTS, KEY = "instrument/detector/data", "instrument/detector/image_key"
ANGLES = ("sample/rotation_angle", "data/rotation_angle", "rotation_angle")
MONITOR = "control/data"
KINDS = ("projections", "flats", "darks")  # of image_key 0, 1 and 2
NOT_VALID = 3


@dataclass(frozen=True)
class Frames:
    """Which frames of the stack are what.

    Args:
        counts, angles: names of both in the file.
        kinds: numbers of the frames that are projections, flats and darks.
        beam: (projections,), its intensity over that of the flats, by the monitor; None where that says nothing.
        notes: what a user should know.
    """

    counts: str
    angles: str
    kinds: tuple[np.ndarray, np.ndarray, np.ndarray]
    beam: np.ndarray | None
    notes: tuple[str, ...]


def entry_of(file: h5py.File) -> str | None:
    """The first group that holds frames, if possible with their keys."""
    outer = [name for name in file if is_group(file, name)]
    inner = [f"{name}/{part}" for name in outer for part in file[name] if is_group(file[name], part)]
    found = [name for name in (*outer, *inner) if f"{name}/{COUNTS}" in file]
    return next((name for name in found if f"{name}/{KEY}" in file), found[0] if found else None)


def is_group(parent: h5py.Group, name: str) -> bool:
    """Whether a name leads to a group; links that lead nowhere do not."""
    return name in parent and hasattr(parent[name], "keys")


def frames_of(file: h5py.File, path: Path, entry: str, most: int) -> Frames:
    """The frames of an entry.

    Args:
        file: open.
        path: of the file.
        entry: group of the stack.
        most: elements that the whole stack may have.

    Raises:
        InputRefused: E-GEOMETRY for keys that are not one for each frame; E-LAYOUT where keys or all frames of a kind
            are missing.
    """
    counts = f"{entry}/{COUNTS}"
    shape = hdf5.dataset(file, counts, most).shape
    where, expected = f"{path}:/{entry}/{KEY}", f"{shape[:1]}, whole numbers, for frames {shape}"
    fix = "store 0 for projections, 1 for flats, 2 for darks"
    if f"{entry}/{KEY}" not in file:
        raise InputRefused("E-LAYOUT", "nothing says what the frames are", where, "nothing of that name", expected, fix)
    key = hdf5.dataset(file, f"{entry}/{KEY}")
    if key.shape != shape[:1] or key.dtype.kind not in "iu":
        raise InputRefused("E-GEOMETRY", "not one key for each frame", where, f"{key.dtype}, shape {key.shape}",
                           expected, fix)  # fmt: skip
    keys = key[()]
    kinds = tuple(np.flatnonzero(keys == number) for number in range(len(KINDS)))
    for number, (kind, frames) in enumerate(zip(KINDS, kinds, strict=True)):
        if not frames.size:
            found = ", ".join(f"{n} of {value}" for value, n in zip(*np.unique(keys, return_counts=True), strict=True))
            zeros = "; a frame of zeros where the detector has none" if kind == "darks" else ""
            raise InputRefused("E-LAYOUT", f"no {kind} in the scan", where, f"keys: {found}",
                               f"frames of key {number}", f"store them with that key{zeros}")  # fmt: skip
    beam, said = monitored(file, f"{entry}/{MONITOR}", kinds, len(keys))
    left_out = len(keys) - sum(frames.size for frames in kinds)
    notes = (f"{left_out} frames are not valid by their image_key and left out",) if left_out else ()
    angles = next((f"{entry}/{name}" for name in ANGLES if f"{entry}/{name}" in file), f"{entry}/{ANGLES[0]}")
    return Frames(counts, angles, kinds, beam, notes + said)


def monitored(
    file: h5py.File, name: str, kinds: tuple[np.ndarray, ...], frames: int
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The beam in the projections over that in the flats, if the monitor tells, and a note of it."""
    if name not in file:
        return None, ()
    values = hdf5.dataset(file, name)[()]
    if values.shape != (frames,) or values.dtype.kind not in "uif":
        return None, (f"{name} is not used: {values.dtype}, shape {values.shape}, for {frames} frames",)
    values = values.astype(np.float64)
    lit = np.concatenate(kinds[:2])
    if bad := int((~(np.isfinite(values[lit]) & (values[lit] > 0))).sum()):
        return None, (f"{name} is not used: {bad} of its values are not above zero",)
    beam = values[kinds[0]] / values[kinds[1]].mean()
    return beam, (f"the beam was {beam.min():.4g} .. {beam.max():.4g} of that of the flats by {name}: divided out",)
