"""NIfTI volumes as axial slices that lie as DICOM shows them: rows to the back, columns to the left of the patient.

Parsing is nibabel's. The affine of the file is kept among the attributes. Errors never quote the header.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.checks import refuse_not_real
from data.errors import InputRefused
from data.extras import needed
from data.images import too_many
from data.rescaling import Rescaling

if TYPE_CHECKING:
    from nibabel import Nifti1Image

AXES = ("L", "P", "S")  # what the indices of a volume count towards, once it is turned
SMALLEST = 1e-9  # of the determinant, next to the product of the lengths of the columns


def read_volume(path: Path, max_elements: int) -> tuple[np.ndarray, dict[str, Any], tuple[str, ...]]:
    """Slices (N, H, W) from the feet to the head, rescaled as the header states, int16 or float32.

    Returns:
        slices, attributes (`affine` 4 x 4 of the file as lists, `spacing_mm` where pixels are square), notes.

    Raises:
        InputRefused: E-FORMAT (broken, no numbers), E-LAYOUT (not three axes), E-GEOMETRY (singular affine), E-LIMIT
            (exit 7), E-EXTRA (exit 2).
    """
    image = opened(path)
    shape, affine = extent(image, path), np.asarray(image.affine, float)
    if np.prod(shape, dtype=object) > max_elements:
        raise too_many(str(path), int(np.prod(shape, dtype=object)), shape, max_elements)
    refuse_not_real(image.get_data_dtype(), str(path))
    refuse_singular(affine, path)
    try:
        stored = np.asanyarray(image.dataobj).reshape(shape)
    except (MemoryError, InputRefused):
        raise
    except Exception as problem:  # unpacking and reading each have their own errors
        raise broken(path, problem) from None
    values, spacing, turned = upright(Rescaling()(stored), affine)
    attrs = {"affine": affine.tolist()}
    if np.isclose(spacing[0], spacing[1], rtol=1e-3):
        attrs["spacing_mm"] = float(spacing[0])
    return values, attrs, ("axes of the volume turned to axial slices",) if turned else ()


def shape_of(path: Path) -> tuple[int, int, int]:
    """Slices, rows and columns once the volume is turned, from the header."""
    image = opened(path)
    shape, affine = extent(image, path), np.asarray(image.affine, float)
    refuse_singular(affine, path)
    return upright(np.broadcast_to(np.int16(0), shape), affine)[0].shape


def opened(path: Path) -> Nifti1Image:
    """The file with its header read, its values not yet."""
    nibabel = needed("nibabel", "medical", str(path))
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it complains about quotes the header
    try:
        return nibabel.Nifti1Image.from_filename(path) if kind_is_1(path) else nibabel.Nifti2Image.from_filename(path)
    except Exception as problem:  # the parser raises what it stumbles on
        raise broken(path, problem) from None


def kind_is_1(path: Path) -> bool:
    """Whether the header is that of NIfTI-1 (348 bytes), not of NIfTI-2 (540)."""
    from data.kinds import beginning

    return 348 in {int.from_bytes(beginning(path)[:4], order) for order in ("little", "big")}


def extent(image: Nifti1Image, path: Path) -> tuple[int, int, int]:
    """The three lengths of a volume; a flat one is one slice."""
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape += (1,) * (3 - len(shape))
    if len(shape) == 3 and min(shape) > 0:
        return shape
    raise InputRefused("E-LAYOUT", "not a volume", str(path), f"shape {image.shape}", "three axes",
                       "save one time point or channel as a volume of its own")  # fmt: skip


def refuse_singular(affine: np.ndarray, path: Path) -> None:
    """Refuses an affine that is not finite or flattens the volume: it cannot say where anything lies."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > SMALLEST * max(lengths.prod(), 1e-30):
        return
    found = f"column lengths {lengths[0]:.3g}, {lengths[1]:.3g}, {lengths[2]:.3g}"
    fix = "correct sform and qform (nibabel), or export it again"
    raise InputRefused("E-GEOMETRY", "the affine of the volume is singular", str(path), found,
                       "three independent axes in mm", fix)  # fmt: skip


def upright(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """A volume (X, Y, Z) as slices (N, H, W), the spacing of rows and columns in mm, and whether axes had to turn."""
    from nibabel import orientations as turn

    found = turn.io_orientation(affine)
    change = turn.ornt_transform(found, turn.axcodes2ornt(AXES))
    slices = np.transpose(turn.apply_orientation(volume, change), (2, 1, 0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(found[:, 0])]
    return slices, spacing[[1, 0]], not np.array_equal(change, [[0, 1], [1, 1], [2, 1]])


def broken(path: Path, problem: Exception) -> InputRefused:
    return InputRefused("E-FORMAT", "broken NIfTI file", str(path),
                        f"{path.stat().st_size} bytes; the reader stops with {type(problem).__name__}",
                        "a whole NIfTI file", "copy or export the file again")  # fmt: skip
