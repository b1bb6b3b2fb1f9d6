"""Files of measured k-space, as fastMRI has them: `kspace` (slices, [coils,] H, W) complex, optional `mask` and `sens`.

The origin of k-space lies at (H // 2, W // 2). Points that were not sampled are zeros, or are marked by the mask.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import hdf5
from data.errors import InputRefused
from data.kinds import sniff

AXES = {  # names of the axes of an array that has so many of them
    2: ("row,column",),
    3: ("coil,row,column", "slice,row,column"),
    4: ("slice,coil,row,column",),
}
SINGLE_COIL = ("reconstruction_esc", "reconstruction_rss", "ismrmrd_header")  # what fastMRI stores beside


@dataclass(frozen=True)
class KspaceFile:
    """Measured k-space.

    Args:
        kspace: (slices, coils, H, W) complex; one coil where the file has no axis for them.
        mask: (H, W) bool, True = sampled.
        coils: (slices, coils, H, W) complex maps, or None.
    """

    kspace: np.ndarray
    mask: np.ndarray
    coils: np.ndarray | None


def is_kspace(path: str | os.PathLike[str]) -> bool:
    """Whether a file is meant as k-space: HDF5 with `kspace`."""
    if sniff(path) != "hdf5":
        return False
    with hdf5.opened(path) as file:
        return "kspace" in file


def read_kspace(
    path: str | os.PathLike[str], axes: str | None = None, max_elements: int = hdf5.MAX_ELEMENTS
) -> KspaceFile:
    """The k-space of a file, its mask and, where they are stored, its coil maps.

    Args:
        path: HDF5.
        axes: names of the axes of `kspace`, like "coil,row,column"; needed where three axes leave it open.
        max_elements: larger arrays are refused unread.

    Raises:
        InputRefused: E-FORMAT for values that are not complex; E-GEOMETRY for axes that are unknown, or parts that do
            not fit one another; E-VALUES for NaN and Inf.
    """
    path = Path(path)
    with hdf5.opened(path) as file:
        kspace = hdf5.dataset(file, "kspace", max_elements)[()]
        mask = hdf5.dataset(file, "mask", max_elements)[()] if "mask" in file else None
        maps = hdf5.dataset(file, "sens", max_elements)[()] if "sens" in file else None
        axes = axes or named(kspace.ndim, file, path)
    where = f"{path}:/kspace"
    if kspace.dtype.kind != "c":
        raise InputRefused("E-FORMAT", "k-space is complex", where, str(kspace.dtype), "complex64 or complex128",
                           "store real and imaginary part as one complex number")  # fmt: skip
    if axes not in AXES.get(kspace.ndim, ()):
        known = " or ".join(AXES.get(kspace.ndim, ("2 to 4 axes",)))
        raise InputRefused("E-GEOMETRY", "the axes of k-space", where, f"{axes} for shape {kspace.shape}", known,
                           f"--axes {AXES.get(kspace.ndim, AXES[3])[0]}")  # fmt: skip
    if not np.isfinite(kspace).all():
        raise InputRefused("E-VALUES", "k-space with NaN or Inf", where, f"{int((~np.isfinite(kspace)).sum())} values",
                           "finite values", "mend the source")  # fmt: skip
    shape = kspace.shape[-2:]
    coil_axis = kspace.shape[-3] if "coil" in axes else 1
    kspace = kspace.reshape(-1, coil_axis, *shape)
    return KspaceFile(kspace, sampled(kspace, mask, path), fitting(maps, kspace.shape, path))


def named(ndim: int, file: object, path: Path) -> str:
    """The axes of an array of so many, where they can be known."""
    if ndim != 3:
        return AXES.get(ndim, ("unknown",))[0]
    if any(key in file for key in SINGLE_COIL):
        return "slice,row,column"
    raise InputRefused(
        "E-GEOMETRY",
        "coils or slices?",
        f"{path}:/kspace",
        "three axes, and nothing that names them",
        "the first axis counted as coils or as slices",
        "--axes coil,row,column, or --axes slice,row,column",
    )


def sampled(kspace: np.ndarray, mask: np.ndarray | None, path: Path) -> np.ndarray:
    """(H, W) bool: the mask of the file, or where any value is not zero."""
    shape = kspace.shape[-2:]
    there = (kspace != 0).any(axis=(0, 1))
    if mask is None:
        return there
    if mask.shape not in (shape, shape[1:]):
        raise InputRefused("E-GEOMETRY", "the mask does not fit k-space", f"{path}:/mask", f"shape {mask.shape}",
                           f"{shape}, or {shape[1:]} for columns", "store it at the size of k-space")  # fmt: skip
    if not np.isin(mask, (0, 1)).all():
        raise InputRefused("E-GEOMETRY", "the mask is no mask", f"{path}:/mask", "other values than 0 and 1",
                           "1 where sampled", "threshold it")  # fmt: skip
    return np.broadcast_to(mask.astype(bool), shape).copy()


def fitting(maps: np.ndarray | None, shape: tuple[int, ...], path: Path) -> np.ndarray | None:
    """Coil maps (slices, coils, H, W), one set for all slices or one for each."""
    if maps is None:
        return None
    if maps.shape not in (shape[1:], shape):
        raise InputRefused("E-GEOMETRY", "the coil maps do not fit k-space", f"{path}:/sens", f"shape {maps.shape}",
                           f"{shape[1:]}, or {shape}", "store one map for each coil")  # fmt: skip
    return np.broadcast_to(maps, shape)
