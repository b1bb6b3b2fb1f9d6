"""Which axis is which: every image array becomes (N, C, H, W), or is refused where the axes are in doubt."""

from __future__ import annotations

import numpy as np

from data.errors import InputRefused

CHANNELS = (1, 3)
EXPECTED = "(H, W), (H, W, 3), (N, H, W), (N, H, W, 3) or (N, C, H, W) with C = 1 or 3"


def to_stack(array: np.ndarray, where: str, *, single: bool = False, stacked: bool = False) -> np.ndarray:
    """A view (N, C, H, W) of an image array.

    Args:
        single: one picture is expected, so (3, H, W) is a colour picture and not three grey ones.
        stacked: the first axis counts pictures, so (N, H, W) is grey and nothing else.

    Raises:
        InputRefused: E-LAYOUT when no reading fits, or more than one does.
    """
    shape, first, last = array.shape, array.shape[:1], array.shape[-1:]
    if 0 in shape:
        raise refused(where, shape, "an array with something in it", "check how the file was made")
    if array.ndim == 2 and not stacked:
        return array[None, None]
    if array.ndim == 3 and stacked:
        return array[:, None]
    if array.ndim == 3 and last[0] in CHANNELS:
        return np.moveaxis(array, -1, 0)[None]
    if array.ndim == 3 and single:
        if first[0] in CHANNELS:
            return array[None]
        raise refused(where, shape, "one picture: (H, W), (H, W, 3) or (C, H, W)", "choose one: array[0]")
    if array.ndim == 3 and first[0] == 3:
        raise refused(
            where,
            shape,
            "(1, 3, H, W) for one colour picture or (3, 1, H, W) for three grey ones",
            "reshape the array to one of the two",
        )
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and (shape[1] in CHANNELS) != (shape[3] in CHANNELS):
        stack = array if shape[1] in CHANNELS else np.moveaxis(array, -1, 1)
        if single and len(stack) > 1:
            raise refused(where, shape, "one picture", "choose one: array[0]")
        return stack
    raise refused(where, shape, EXPECTED, "bring the axes into one of these orders (numpy.moveaxis)")


def refused(where: str, shape: tuple[int, ...], expected: str, fix: str) -> InputRefused:
    return InputRefused(
        "E-LAYOUT", "the axes do not say where the pictures are", where, f"shape {shape}", expected, fix
    )
