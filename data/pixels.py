"""From the pixels of a decoded image to grey or colour planes: transparency, luminance, units.

A conversion that loses nothing is made and noted. One that loses something (colour, transparency) is refused
unless it was asked for with `to_gray`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data.checks import refuse_not_finite, refuse_not_real
from data.errors import InputRefused

LUMINANCE = np.array(
    [0.2125, 0.7154, 0.0721]
)  # ITU-R BT.709 as in skimage.color.rgb2gray, on values as they are stored
EXACT = {"b": 1, "u1": 255, "u2": 65535}  # integer types whose largest value means white


@dataclass(frozen=True)
class Pixels:
    """Planes of one image (C, H, W) in the type of the file.

    `array / value_max` is in `unit`: "[0,1]" for files of 1, 8 and 16 bit, "raw" for others (value_max 1).
    `notes` says what was converted on the way.
    """

    array: np.ndarray
    value_max: float
    unit: str
    notes: tuple[str, ...] = ()


def planes(
    array: np.ndarray,
    alpha: np.ndarray | None,
    where: str,
    channels: int | None,
    to_gray: bool,
    notes: tuple[str, ...] = (),
) -> Pixels:
    """Planes (C, H, W) from an array (H, W) or (H, W, 3) and the alpha (H, W) that came with it.

    Args:
        channels: 1 or 3 where only grey or only colour will do, None to keep what the file holds.
        to_gray: turn colour into luminance and drop the alpha.

    Raises:
        InputRefused: E-CHANNELS when colour or transparency would be lost, or a grey image has to be colour.
    """
    stack = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    colour = len(stack) == 3
    see_through = (
        alpha is not None and alpha.min() != alpha.max()
    )  # a constant alpha says nothing about the picture
    if (see_through or (alpha is not None and colour and channels == 1)) and not to_gray:
        raise refused(
            "the image is partly transparent" if see_through else "the image has colour and an alpha channel",
            where,
            f"{describe(stack)} with alpha from {alpha.min()} to {alpha.max()}",
            "grey without alpha" if channels == 1 else "no alpha channel",
            "--to-gray (keeps the luminance, drops the alpha), or save the picture without transparency",
        )
    if alpha is not None:
        notes += ("alpha channel dropped" if see_through else "constant alpha channel dropped",)
    value_max, unit = scale_of(stack.dtype)
    if colour and to_gray:
        stack = np.tensordot(LUMINANCE, stack.astype(np.float64), 1)[None].astype(np.float32)
        notes += ("colour turned into luminance",)
    elif colour and channels == 1:
        equal = (stack == stack[:1]).all()
        raise refused(
            "a colour image where grey is expected",
            where,
            describe(stack),
            "one channel",
            "--to-gray" + (" (the three channels are equal, nothing is lost)" if equal else ""),
        )
    elif channels == 3 and not colour:
        raise refused(
            "a grey image where colour is expected",
            where,
            describe(stack),
            "three channels (RGB)",
            "use a prior for grey images, or a colour image",
        )
    return Pixels(np.ascontiguousarray(stack), value_max, unit, notes)


def scale_of(dtype: np.dtype) -> tuple[float, str]:
    """The value that means white and the unit: (255, "[0,1]") for 8 bit, (1, "raw") for what has no white."""
    value = EXACT.get(dtype.str[1:] if dtype.kind == "u" else dtype.kind)
    return (float(value), "[0,1]") if value else (1.0, "raw")


def to_float(pixels: Pixels, where: str) -> Pixels:
    """The pixels as float32 in their unit; an integer that float32 cannot hold is refused, never rounded.

    Raises:
        InputRefused: E-VALUES for NaN, Inf or integers beyond 2^24; E-FORMAT for values that are not real.
    """
    array = pixels.array
    refuse_not_real(array.dtype, where)
    refuse_not_finite(array, where)
    with np.errstate(over="ignore"):
        values = (
            (array / pixels.value_max).astype(np.float32)
            if pixels.value_max != 1
            else array.astype(np.float32)
        )
    refuse_not_finite(values, where)
    notes = pixels.notes
    if array.dtype.kind in "iu" and pixels.unit == "raw":
        if (values.astype(np.float64) != array).any():
            raise InputRefused(
                "E-VALUES",
                "integers too large for single precision",
                where,
                f"{array.min()} .. {array.max()}",
                "integers up to 16777216 in size",
                "scale the values and store them as float32",
            )
        notes += (f"{array.dtype} values kept as they are (unit raw)",)
    if array.dtype == np.uint16 and 0 < array.max() < 4096:
        notes += (f"16-bit image whose largest value is {array.max()}: 65535 means white, so it is dark",)
    return replace(pixels, array=values, value_max=1.0, notes=notes)


def describe(stack: np.ndarray) -> str:
    """Shape and type of an image for a message: "a colour image, 64 x 48 (height x width), uint8"."""
    kind = "a colour image" if len(stack) == 3 else "a grey image"
    return f"{kind}, {stack.shape[1]} x {stack.shape[2]} (height x width), {stack.dtype}"


def refused(title: str, where: str, found: str, expected: str, fix: str) -> InputRefused:
    return InputRefused("E-CHANNELS", title, where, found, expected, fix)
