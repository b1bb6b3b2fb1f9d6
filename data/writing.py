"""Images to files: PNG on a stated scale for people, HDF5 with `images` for programs."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from data import hdf5
from data.errors import printable
from data.outputs import atomic_file


def write_image(path: str | os.PathLike[str], values: np.ndarray, vmin: float, vmax: float) -> None:
    """An 8-bit PNG, round(255 (value - vmin) / (vmax - vmin)); the file states the scale in its text.

    Args:
        path: ends in .png; replaced if it exists.
        values: (C, H, W) with C = 1 (grey) or 3 (RGB), finite; what is outside the scale is shown as its end.
        vmin, vmax: the values shown as black and white.

    Raises:
        ValueError: another shape, values that are not finite, a scale that runs backwards, another suffix.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if not str(path).lower().endswith(".png"):
        raise ValueError(f"got {path}; expected a name ending in .png; other formats are not written")
    if values.ndim != 3 or len(values) not in {1, 3}:
        raise ValueError(
            f"got shape {values.shape}; expected (1, H, W) or (3, H, W); write one image at a time"
        )
    if not np.isfinite(values).all() or not vmin <= vmax:
        raise ValueError(f"got NaN, Inf or a scale {vmin} .. {vmax}; expected finite values and vmin <= vmax")
    share = (values.astype(np.float64) - vmin) / ((vmax - vmin) or 1.0)
    pixels = np.floor(255 * np.clip(share, 0, 1) + 0.5).astype(np.uint8)
    text = PngInfo()
    text.add_text("scale", f"0 = {vmin:.9g}, 255 = {vmax:.9g}")
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    with atomic_file(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=text)


def write_images(
    path: str | os.PathLike[str], images: np.ndarray, unit: str = "raw", attrs: dict[str, Any] | None = None
) -> None:
    """An HDF5 file with the dataset `images`, (N, H, W) or (N, H, W, 3), which `read_images` reads back.

    Args:
        path: replaced if it exists.
        images: (N, C, H, W), C = 1 or 3.
        unit: of the values.
        attrs: numbers and texts, stored as attributes of the file.

    Raises:
        ValueError: another shape.
    """
    if images.ndim != 4 or images.shape[1] not in {1, 3}:
        raise ValueError(f"got shape {images.shape}; expected (N, 1, H, W) or (N, 3, H, W)")
    stack = images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)
    with hdf5.created(path) as file:
        file["images"] = stack
        file.attrs["unit"] = unit
        for key, value in (attrs or {}).items():
            file.attrs[key] = printable(value) if isinstance(value, str) else value
