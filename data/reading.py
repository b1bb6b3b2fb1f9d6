"""One picture or one mask from a file of any kind that is read: the content decides which reader serves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import hdf5
from data.arrays import read_array
from data.checks import refuse_not_finite, refuse_not_real
from data.errors import InputRefused
from data.images import MAX_PIXELS, decode_picture
from data.kinds import DESCRIPTIONS, expect
from data.layout import to_stack
from data.paths import existing_file, sha256
from data.pixels import Pixels, planes, to_float

PICTURES = ("png", "jpeg", "tiff")
ARRAYS = ("npy", "npz")
SUFFIXES = {
    ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".tif": "tiff", ".tiff": "tiff",
    ".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".dcm": "dicom", ".nii": "nifti",
}  # fmt: skip
CLEAR = 0.02  # a mask value this close to black or white counts as such (JPEG noise)


@dataclass(frozen=True)
class Image:
    """One picture: `values` (C, H, W) float32 in `unit` ("[0,1]", or "raw" for files without a white point).

    `kind` is the file format, `sha256` that of the file, `notes` what was converted on the way.
    """

    values: np.ndarray
    unit: str
    path: Path
    kind: str
    sha256: str
    notes: tuple[str, ...] = ()


def read_image(
    path: str | os.PathLike[str],
    to_gray: bool = False,
    channels: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """One picture from a PNG, JPEG, TIFF, NPY, NPZ or HDF5 file, or a slice from DICOM or NIfTI.

    8 and 16-bit files (and 1 bit) come in "[0,1]": value / 255 or / 65535. Floats, signed and wider integers
    come as they are, in "raw"; slices with the rescaling that their file states, a CT in "HU".

    Args:
        path: the file; its content decides how it is read.
        to_gray: turn colour into luminance (0.2125 R + 0.7154 G + 0.0721 B of the stored values) and drop
            the alpha.
        channels: 1 or 3 where only grey or only colour will do; None keeps what the file holds.
        max_pixels: the largest number of pixels that is read.

    Raises:
        InputRefused: E-FILE, E-FORMAT, E-LAYOUT, E-CHANNELS, E-VALUES (exit 3); E-LIMIT, E-UNSAFE (exit 7).
    """
    path = existing_file(path)
    kind = expect(path, *PICTURES, *ARRAYS, "hdf5", "dicom", "nifti", as_what="an image")
    pixels = to_float(read_pixels(path, kind, to_gray, channels, max_pixels), str(path))
    return Image(pixels.array, pixels.unit, path, kind, sha256(path), (*misnamed(path, kind), *pixels.notes))


def read_pixels(path: Path, kind: str, to_gray: bool, channels: int | None, max_pixels: int) -> Pixels:
    """The planes of one picture in the type of the file."""
    if kind in {"dicom", "nifti"}:
        return read_slice(path, kind, max_pixels)
    if kind in PICTURES:
        array, alpha, notes = decode_picture(path, kind, max_pixels)
    else:
        stack = read_stack(path, kind, max_pixels, single=True)
        array, alpha, notes = np.moveaxis(stack[0], 0, -1), None, ()
        array = array[..., 0] if array.shape[-1] == 1 else array
    refuse_not_real(array.dtype, str(path))
    return planes(array, alpha, str(path), channels, to_gray, notes)


def read_slice(path: Path, kind: str, max_pixels: int) -> Pixels:
    """The one slice of a DICOM or NIfTI file."""
    from data.stacking import Shaping
    from data.volumes import read_file

    found = read_file(path, kind, None, Shaping(), max_pixels)
    if len(found.values) != 1:
        raise more_than_one(str(path), len(found.values))
    return Pixels(found.values[0], 1.0, found.unit, found.notes)


def read_stack(path: Path, kind: str, max_elements: int, *, single: bool) -> np.ndarray:
    """The pictures (N, C, H, W) of an array file or of the dataset `images` of an HDF5 file."""
    if kind in ARRAYS:
        return to_stack(read_array(path, kind, max_elements), str(path), single=single)
    with hdf5.opened(path) as file:
        if "images" not in file:
            raise hdf5.wrong_layout(file, "images")
        images = hdf5.dataset(file, "images", max_elements)
        if single and len(images) != 1:
            raise more_than_one(f"{path}:/images", len(images))
        return to_stack(images[()], f"{path}:/images", stacked=True)


def more_than_one(where: str, count: int) -> InputRefused:
    return InputRefused(
        "E-LAYOUT", "more than one picture", where, f"{count} pictures", "one", "choose one with --items 0:1"
    )


def read_mask(
    path: str | os.PathLike[str], shape: tuple[int, int], max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """A mask (H, W) of bool from an image or array file: white or nonzero is kept (observed), black is lost.

    Raises:
        InputRefused: E-GEOMETRY for another shape; E-MASK for shades, colours, or a mask that keeps nothing.
    """
    path = existing_file(path)
    kind = expect(path, *PICTURES, *ARRAYS, as_what="a mask")
    if kind in PICTURES:
        array, alpha, _ = decode_picture(path, kind, max_pixels)
        if array.ndim == 3 and (array == array[..., :1]).all():
            array = array[..., 0]
        if array.ndim == 3 or (alpha is not None and alpha.min() != alpha.max()):
            raise bad_mask(
                path, "colours" if array.ndim == 3 else "transparency", "paint it in black and white only"
            )
    else:
        array = read_array(path, kind, max_pixels).squeeze()
        refuse_not_real(array.dtype, str(path))
        refuse_not_finite(array, str(path))
    if array.shape != tuple(shape):
        turned = "; it would fit turned by 90 degrees" if array.shape == tuple(shape)[::-1] else ""
        raise InputRefused(
            "E-GEOMETRY",
            "mask of another size than the image",
            str(path),
            f"mask {array.shape} (height, width){turned}",
            f"{tuple(shape)}",
            "make the mask on the image itself, at its full size",
        )
    return black_and_white(array, path)


def black_and_white(array: np.ndarray, path: Path) -> np.ndarray:
    """Where the mask is white; shades between are refused, because such pixels are neither kept nor lost."""
    share = array.astype(np.float64) / max(float(array.max()), 1e-30)
    grey = int(((share > CLEAR) & (share < 1 - CLEAR)).sum()) + int((share < 0).sum())
    if grey:
        raise bad_mask(
            path,
            f"{grey} of {array.size} pixels between black and white",
            "paint it with a hard brush (no anti-aliasing), or set a threshold and save it as PNG",
        )
    if array.max() <= 0:
        raise bad_mask(
            path, "no white pixel: nothing would be kept", "white marks what is kept: invert the mask"
        )
    return share > 0.5


def bad_mask(path: Path, found: str, fix: str) -> InputRefused:
    return InputRefused(
        "E-MASK",
        "not a black and white mask",
        str(path),
        found,
        "white (kept) and black (lost) pixels, some of them white",
        fix,
    )


def misnamed(path: Path, kind: str) -> tuple[str, ...]:
    """A note when the name of a file says another kind than its content."""
    named = SUFFIXES.get(path.suffix.lower())
    return (f"named {path.suffix} but is {DESCRIPTIONS[kind]}",) if named not in {None, kind} else ()
