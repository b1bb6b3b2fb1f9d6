"""Pictures of any size to squares of one size."""

from __future__ import annotations

import numpy as np

from data.errors import InputRefused


def square(image: np.ndarray, size: int, where: str) -> np.ndarray:
    """The central square of an image (C, H, W), antialiased to (C, size, size), in the type it came in.

    Raises:
        InputRefused: E-SIZE when the image is smaller than that: nothing is made up.
    """
    _, height, width = image.shape
    side = min(height, width)
    if side < size:
        raise InputRefused(
            "E-SIZE",
            "the image is smaller than asked for",
            where,
            f"{height} x {width}",
            f"at least {size} x {size}",
            f"--size {side} or less, or leave it out",
        )
    top, left = (height - side) // 2, (width - side) // 2
    image = image[:, top : top + side, left : left + side]
    if side == size:
        return image
    from skimage.transform import resize

    small = resize(image, (len(image), size, size), order=1, anti_aliasing=True, preserve_range=True)
    return (np.rint(small) if image.dtype.kind in "iub" else small).astype(image.dtype)
