"""TIFF files: tifffile for what it decodes without loss, Pillow for palettes, inks and old compressions."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import tifffile

from data.images import Decoded, decode, opened, refuse_claim, split_alpha

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it complains about becomes one error of ours
OURS = {1, 8, 32946}  # compressions that tifffile decodes by itself: none, deflate and its older number


def decode_tiff(path: Path, max_pixels: int) -> Decoded:
    """Array (H, W) or (H, W, 3) in the file's type, its alpha or None, and notes."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        shape = page.shape[:2] if page.planarconfig == 1 else page.shape[-2:]
        refuse_claim(path, shape, len(file.pages), max_pixels)
        plain = page.photometric in {0, 1, 2}  # white is zero, black is zero, RGB
        if plain and page.compression in OURS:
            return decode_page(page)
        if page.samplesperpixel > 1 and max(page.bitspersample, 8) > 8:
            raise ValueError(f"colours of {page.bitspersample} bits, compressed as {page.compression}")
    with opened(path, "tiff") as image:
        return decode(image)


def decode_page(page: tifffile.TiffPage) -> Decoded:
    """The pixels of one page, as they are stored."""
    array = page.asarray()
    if page.planarconfig == 2 and array.ndim == 3:
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[-1] > 4):
        raise ValueError(f"pixels in shape {array.shape}")
    if page.photometric == 0:
        if array.dtype.kind not in "bu":
            raise ValueError("white-is-zero pixels that are not unsigned integers")
        array = ~array
    notes = ("white-is-zero image turned over",) if page.photometric == 0 else ()
    return *split_alpha(array), notes
