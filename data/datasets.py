"""Many pictures as one array: a folder of images, one image, an array file, or HDF5 with `images`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from data import hdf5
from data.checks import refuse_not_finite, refuse_not_real
from data.errors import InputRefused
from data.folders import has_subfolders, listed, read_folder
from data.image_set import ImageSet
from data.images import MAX_PIXELS, opened
from data.kinds import expect, sniff
from data.layout import to_stack
from data.paths import existing_file
from data.pixels import LUMINANCE, scale_of
from data.reading import ARRAYS, PICTURES, read_pixels, read_stack
from data.rescaling import Rescaling, rescaled, stated
from data.stacking import Shaping, stacked
from data.subsets import SUBSETS, held_out_note, split, stored_labels, stored_subset
from data.volumes import VOLUMES, read_volumes, shapes_of, volumes_in
from data.volumes import read_file as read_volume_file

STACK = 10  # pictures of `max_pixels` that an array file may hold
UNSHAPED = Shaping()


def read_images(
    path: str | os.PathLike[str],
    subset: str | None = None,
    to_gray: bool = False,
    channels: int | None = None,
    size: int | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    crop: int | None = None,
    at_least: int = 0,
    rescaling: Rescaling | None = None,
) -> ImageSet:
    """The pictures of a folder or file.

    Args:
        path: a folder of PNG, JPEG, TIFF or NPY files, or of one subfolder of them for each class, which may have the
            subfolders train and validation; a folder of DICOM series or NIfTI volumes, at any depth; one such file;
            or HDF5 with `images` (N, H, W[, 3]) and, if there are, `subset` (N,) 0 train, 1 validation, and `labels`
            (N,) integers. The attributes `unit`, `rescale_slope` and `rescale_intercept` of an HDF5 file state values.
        subset: "train" or "validation", as the data say. If they do not, the last tenth validates:
            neighbours are often slices of one patient, so the split is not at random. None for all.
        to_gray, channels, max_pixels: as for `read_image`.
        size, crop, at_least: what is done with pictures of different sizes, see `data.stacking.Shaping`.
        rescaling: what the stored numbers mean, where the caller knows better than the file.

    Raises:
        InputRefused: as `read_image`; E-LAYOUT when there are no pictures or they are of different sizes; E-SERIES for
            mixed or incomplete DICOM series.
    """
    if subset not in {None, *SUBSETS}:
        raise ValueError(f"got subset {subset!r}; expected 'train', 'validation' or None")
    path, shaping = Path(path), Shaping(size, crop, at_least)
    if path.is_dir():
        volumes = volumes_in(path)
        found = (
            read_volumes(path, volumes, subset, shaping, max_pixels)
            if volumes
            else read_folder(path, subset, to_gray, channels, shaping, max_pixels)
        )
    else:
        found = read_file(existing_file(path), subset, to_gray, channels, shaping, max_pixels)
    found = rescaled(found, rescaling)
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


def image_sizes(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> list[tuple[int, int]]:
    """Height and width of every picture of a folder or file, from headers where formats have them."""
    path = Path(path)
    if path.is_dir():
        volumes = volumes_in(path)
        if volumes:
            return [shape for volume in volumes for shape in shapes_of(volume)]
        return [picture_size(file, max_pixels) for file in listed(path, None).files]
    if sniff(existing_file(path)) != "hdf5":
        return [values.shape[-2:] for values in read_images(path, max_pixels=max_pixels).values]
    with hdf5.opened(path) as file:
        if "images" not in file:
            raise hdf5.wrong_layout(file, "images")
        shape = hdf5.dataset(file, "images", STACK * max_pixels).shape
    like = np.broadcast_to(np.uint8(0), shape)
    return [to_stack(like, f"{path}:/images", stacked=True).shape[-2:]] * shape[0]


def picture_size(path: Path, max_pixels: int) -> tuple[int, int]:
    """Height and width of one picture; EXIF may still turn it."""
    kind = expect(path, *PICTURES, *ARRAYS, as_what="an image")
    if kind in {"png", "jpeg"}:
        with opened(path, kind) as image:
            return image.height, image.width
    return read_pixels(path, kind, True, None, max_pixels).array.shape[-2:]


def read_file(
    path: Path, subset: str | None, to_gray: bool, channels: int | None, shaping: Shaping, max_pixels: int
) -> ImageSet:
    """The pictures of one file."""
    kind = expect(path, *PICTURES, *ARRAYS, "hdf5", *VOLUMES, as_what="an image, or a file of images")
    if kind in VOLUMES:
        return read_volume_file(path, kind, subset, shaping, max_pixels)
    if kind in PICTURES:
        pixels = read_pixels(path, kind, to_gray, channels, max_pixels)
        chosen = split(1, subset, str(path))
        values, _, notes = stacked([pixels.array], [str(path)], str(path), shaping)
        return ImageSet(values, pixels.value_max, pixels.unit, {}, chosen, pixels.notes + notes)
    labels, names, known = None, (), None
    if kind == "hdf5":
        stack, attrs, index, notes = read_hdf5(path, subset, STACK * max_pixels)
        labels, names = stored_labels(path, index)
        known = stated(attrs, str(path))
    else:
        stack = read_stack(path, kind, STACK * max_pixels, single=False)
        index, notes, attrs = split(len(stack), subset, str(path)), held_out_note(len(stack), subset), {}
        stack = stack[index] if subset else stack
    value_max, unit = scale_of(stack.dtype)
    if unit == "raw" and isinstance(attrs.get("unit"), str):
        unit = attrs["unit"]
    stack, more = in_channels(stack, to_gray, channels, str(path))
    stack = stack if shaping == UNSHAPED else stacked(list(stack), [str(path)] * len(stack), str(path), shaping)[0]
    found = ImageSet(np.ascontiguousarray(stack), value_max, unit, attrs, index, notes + more, labels, names)
    return rescaled(found, known)


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
