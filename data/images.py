"""PNG and JPEG files, decoded by Pillow, and what the picture formats share: limits, orientation, palettes.

What a header claims is checked before a pixel is decoded. Pillow is given the one format that the content
shows, so none of its other decoders can be reached.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputRefused, first_line

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MAX_PIXELS = 100_000_000
ORIENTATION = 0x0112  # EXIF tag
Decoded = tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]  # (H, W) or (H, W, 3); alpha (H, W); notes


def decode_picture(path: Path, kind: str, max_pixels: int) -> Decoded:
    """The pixels of a PNG, JPEG or TIFF file, in the type of the file.

    Returns:
        the array (H, W) or (H, W, 3), its alpha (H, W) or None, and notes on what was converted.

    Raises:
        InputRefused: E-LIMIT (exit 7) when the header claims more than `max_pixels`; E-FORMAT when the file
            is broken or holds several pictures.
    """
    try:
        if kind == "tiff":
            from data.tiff import decode_tiff

            return decode_tiff(path, max_pixels)
        with opened(path, kind) as image:
            refuse_claim(path, image.size[::-1], getattr(image, "n_frames", 1), max_pixels)
            return decode(image)
    except (InputRefused, MemoryError):
        raise
    except Exception as problem:  # decoders raise what they stumble on, from OSError to SyntaxError
        raise InputRefused(
            "E-FORMAT",
            f"broken {kind.upper()} file",
            str(path),
            f"{path.stat().st_size} bytes; the decoder says: {first_line(problem)}",
            f"a whole {kind.upper()} image",
            "copy or download the file again, or save it anew as PNG",
        ) from problem


@contextmanager
def opened(path: Path, kind: str) -> Iterator[PillowImage]:
    """The image, not yet decoded. Pillow's own limit is lifted meanwhile: ours is checked, and adjustable."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=[kind.upper()]) as image:
                yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode(image: PillowImage) -> Decoded:
    """The pixels of an opened image."""
    from PIL import ImageOps

    notes: tuple[str, ...] = ()
    if image.format == "PNG" and image.mode != "I;16" and ";16B" in str(image.tile):
        notes += ("16-bit PNG with colour or alpha decoded with 8 bits per channel",)
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
        notes += ("turned upright as its EXIF orientation says",)
    if image.mode == "P" or "transparency" in image.info:
        return without_palette(image, notes)
    if image.mode in {"CMYK", "YCbCr"}:
        notes += (f"{image.mode} turned into RGB without a colour profile",)
        image = image.convert("RGB")
    if image.mode not in {"1", "L", "LA", "RGB", "RGBA", "I", "F"} and not image.mode.startswith("I;16"):
        raise ValueError(f"pixels of mode {image.mode}")
    return *split_alpha(np.asarray(image)), notes


def without_palette(image: PillowImage, notes: tuple[str, ...]) -> Decoded:
    """The pixels of an image with a palette or a transparent colour; greys stay grey."""
    array, alpha = split_alpha(np.asarray(image.convert("RGBA")))
    alpha = None if (alpha == 255).all() else alpha  # wholly opaque: made by the conversion, not by the file
    grey = (array == array[..., :1]).all() and image.mode != "RGB"
    notes += ("palette replaced by its colours",) if image.mode == "P" else ()
    return array[..., 0] if grey else array, alpha, notes


def split_alpha(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey (H, W) or colour (H, W, 3) apart from the alpha (H, W), if there is one."""
    if array.ndim == 2 or array.shape[-1] == 3:
        return array, None
    return (array[..., 0] if array.shape[-1] == 2 else array[..., :3]), array[..., -1]


def refuse_claim(path: Path, shape: tuple[int, ...], pages: int, max_pixels: int) -> None:
    """Refuses by the header: more pixels than the limit (exit 7), or more than one picture."""
    count = int(np.prod(shape, dtype=object)) * pages
    if count > max_pixels:
        raise too_many(str(path), count, shape, max_pixels)
    if pages > 1:
        raise InputRefused(
            "E-FORMAT",
            "more than one picture in the file",
            str(path),
            f"{pages} pictures",
            "one picture",
            "save one of them as PNG, or the stack as NPY (items, height, width)",
        )


def too_many(where: str, count: int, shape: tuple[int, ...], limit: int) -> InputRefused:
    """The refusal (exit 7) of a file that claims more values than the limit."""
    return InputRefused(
        "E-LIMIT",
        "more pixels than the limit",
        where,
        f"{count} pixels ({' x '.join(map(str, shape))})",
        f"at most {limit} pixels",
        f"if the file is yours and memory allows: --max-pixels {count}",
        exit_code=7,
    )
