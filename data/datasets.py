"""Many pictures as one array: a folder of images, one image, an array file, or HDF5 with `images`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data import hdf5
from data.checks import refuse_not_finite, refuse_not_real
from data.errors import InputRefused
from data.folders import has_subfolders, read_folder
from data.image_set import ImageSet
from data.images import MAX_PIXELS
from data.kinds import expect, sniff
from data.layout import to_stack
from data.paths import existing_file
from data.pixels import LUMINANCE, scale_of
from data.reading import ARRAYS, PICTURES, read_pixels, read_stack
from data.resizing import square
from data.subsets import SUBSETS, held_out_note, split, stored_subset

STACK = 10  # pictures of `max_pixels` that an array file may hold


def read_images(
    path: str | os.PathLike[str],
    subset: str | None = None,
    to_gray: bool = False,
    channels: int | None = None,
    size: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """The pictures of a folder or file.

    Args:
        path: a folder of PNG, JPEG, TIFF or NPY files, which may have the subfolders train and validation;
            one such file; or HDF5 with `images` (N, H, W[, 3]) and, if there is one, `subset` (N,): 0 train,
            1 validation.
        subset: "train" or "validation", as the data say. If they do not, the last tenth validates:
            neighbours are often slices of one patient, so the split is not at random. None for all.
        to_gray, channels, max_pixels: as for `read_image`.
        size: cut the central square out of each picture and bring it to size x size, antialiased.

    Raises:
        InputRefused: as `read_image`; E-LAYOUT when there are no pictures or they are of different sizes.
    """
    if subset not in {None, *SUBSETS}:
        raise ValueError(f"got subset {subset!r}; expected 'train', 'validation' or None")
    path = Path(path)
    if path.is_dir():
        found = read_folder(path, subset, to_gray, channels, size, max_pixels)
    else:
        found = read_file(existing_file(path), subset, to_gray, channels, max_pixels)
        if size is not None:
            found = replace(found, values=np.stack([square(v, size, str(path)) for v in found.values]))
    refuse_not_real(found.values.dtype, str(path))
    refuse_not_finite(found.values, str(path))
    return found


def has_subsets(path: str | os.PathLike[str]) -> bool:
    """Whether the data themselves say which pictures are for training and which for validation."""
    path = Path(path)
    if path.is_dir():
        return has_subfolders(path)
    if sniff(path) != "hdf5":
        return False
    with hdf5.opened(path) as file:
        return "subset" in file


def read_file(
    path: Path, subset: str | None, to_gray: bool, channels: int | None, max_pixels: int
) -> ImageSet:
    """The pictures of one file."""
    kind = expect(path, *PICTURES, *ARRAYS, "hdf5", as_what="an image, or a file of images")
    if kind in PICTURES:
        pixels = read_pixels(path, kind, to_gray, channels, max_pixels)
        chosen = split(1, subset, str(path))
        return ImageSet(pixels.array[None], pixels.value_max, pixels.unit, {}, chosen, pixels.notes)
    if kind == "hdf5":
        stack, attrs, index, notes = read_hdf5(path, subset, STACK * max_pixels)
    else:
        stack = read_stack(path, kind, STACK * max_pixels, single=False)
        index, notes, attrs = split(len(stack), subset, str(path)), held_out_note(len(stack), subset), {}
        stack = stack[index] if subset else stack
    value_max, unit = scale_of(stack.dtype)
    if unit == "raw" and isinstance(attrs.get("unit"), str):
        unit = attrs["unit"]
    stack, more = in_channels(stack, to_gray, channels, str(path))
    return ImageSet(np.ascontiguousarray(stack), value_max, unit, attrs, index, notes + more)


def read_hdf5(
    path: Path, subset: str | None, max_elements: int
) -> tuple[np.ndarray, dict[str, Any], np.ndarray, tuple[str, ...]]:
    """Stack (N, C, H, W), attributes, indices and notes of an HDF5 file with `images`."""
    where = f"{path}:/images"
    with hdf5.opened(path) as file:
        if "images" not in file:
            raise hdf5.wrong_layout(file, "images")
        images = hdf5.dataset(file, "images", max_elements)
        attrs = {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
        if images.ndim not in {3, 4} or 0 in images.shape:
            to_stack(np.broadcast_to(np.uint8(0), images.shape), where, stacked=True)  # refuses, unread
        count, notes = len(images), ()
        index = np.arange(count)
        if subset is not None and "subset" in file:
            index = np.flatnonzero(stored_subset(file, path, count, subset) == SUBSETS[subset])
        elif subset is not None:
            index, notes = split(count, subset, where), held_out_note(count, subset)
        first, last = int(index[0]), int(index[-1]) + 1
        stack = to_stack(images[first:last], where, stacked=True)
        if len(stack) != len(index):
            stack = stack[index - first]
    return stack.astype(stack.dtype.newbyteorder("="), copy=False), attrs, index, notes


def in_channels(
    stack: np.ndarray, to_gray: bool, channels: int | None, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The stack with the channels asked for; colour becomes grey only where `to_gray` says so."""
    refuse_not_real(stack.dtype, where)
    found = stack.shape[1]
    if found == 3 and to_gray:
        grey = np.einsum("c,nchw->nhw", LUMINANCE.astype(np.float32), stack.astype(np.float32))[:, None]
        return grey, ("colour turned into luminance",)
    if channels not in {None, found}:
        fix = "--to-gray" if found == 3 else "use a prior for grey images, or colour images"
        expected = f"{channels} channel(s)"
        raise InputRefused("E-CHANNELS", "channels do not fit", where, f"{found} channel(s)", expected, fix)
    return stack, ()
