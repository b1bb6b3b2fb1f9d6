"""What the numbers of training images mean: `--range`, `--rescale`, `--unit`, `--clip`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import data
from cli.errors import usage
from cli.run_record import Run
from data import ImageSet, Rescaling
from data.errors import InputRefused
from data.rescaling import checked

LITTLE = 1 / 16  # of the range of 16 bits: pictures below are 12-bit ones, or Hounsfield units with an offset
WINDOW = "-1000:1000"  # HU from air to dense bone


@dataclass(frozen=True)
class Values:
    """What the user says of the values.

    Args:
        low, high: values that become -1 and 1 for the network; None where the unit has a range of its own.
        clip: whether values outside end there; they are refused otherwise.
        rescaling: what the stored numbers mean; None where the files say it.
    """

    low: float | None = None
    high: float | None = None
    clip: bool = False
    rescaling: Rescaling | None = None


def stated(own: dict[str, Any]) -> Values:
    """The values as the settings `range`, `clip`, `unit` and `rescale` state them."""
    ends = numbers(own["range"], "--range", ":", "-1000:1000") if own.get("range") is not None else (None, None)
    if ends[0] is not None and not ends[0] < ends[1]:
        raise usage("no such range", "--range", own["range"], "LOW:HIGH with LOW below HIGH", f"--range {WINDOW}")
    if own.get("clip") and ends[0] is None:
        raise usage("nothing to clip to", "--clip", "no --range", "a range", f"--range {WINDOW}, or leave out --clip")
    if own.get("unit") is None and own.get("rescale") is None:
        return Values(*ends, clip=bool(own.get("clip")))
    slope = numbers(own["rescale"], "--rescale", ",", "1,-1024") if own.get("rescale") is not None else (1.0, 0.0)
    return Values(*ends, bool(own.get("clip")), checked(str(own.get("unit") or "raw"), *slope, "--rescale"))


def numbers(value: Any, where: str, mark: str, example: str) -> tuple[float, float]:
    """Two numbers, typed as `a:b`, or a list of a configuration."""
    parts = value.split(mark) if isinstance(value, str) else value
    try:
        first, second = (float(part) for part in parts)
        if np.isfinite([first, second]).all():
            return first, second
    except (TypeError, ValueError):
        pass
    raise usage("two numbers are expected", where, value, f"two finite numbers like {example}", f"{where} {example}")


def in_range(found: ImageSet, wanted: Values, where: str, run: Run) -> tuple[ImageSet, tuple[float, float]]:
    """The images within the range of the prior, and that range in their unit.

    Raises:
        InputRefused: E-USAGE for images of no known range without `--range`; E-RANGE for values outside of it without
            `--clip`. The remedy names a range that holds all values.
    """
    low, high = wanted.low, wanted.high
    if low is None and found.unit == "[0,1]":
        refuse_dark(found, where)
        if found.value_max == 1:
            data.check_range(found.values, found.unit, where)
        return found, (0.0, 1.0)
    if found.value_max != 1:
        found = replace(found, values=(found.values / np.float32(found.value_max)).astype(np.float32), value_max=1.0)
    least, most = float(found.values.min()), float(found.values.max())
    grain = 10.0 ** math.floor(math.log10(most - least or 1.0)) / 100
    whole = f"--range {short(least, -1, grain)}:{short(most, 1, grain)} takes them all"
    if low is None:
        window = f"--range {WINDOW} --clip (HU, from air to dense bone); " if found.unit == "HU" else ""
        expected = "8 or 16-bit images, or the range that is to become -1 .. 1"
        raise usage("training images need a known range", where, f"{least:.6g} .. {most:.6g}, unit {found.unit}",
                    expected, window + whole)  # fmt: skip
    outside = (found.values < low) | (found.values > high)
    share = float(outside.mean())
    if share and not wanted.clip:
        seen = f"{least:.6g} .. {most:.6g} in {found.unit}; {share:.2%} of the values are outside"
        raise InputRefused("E-RANGE", "values outside --range", where, seen, f"{low:g} .. {high:g}",
                           f"--clip ends them there; {whole}")  # fmt: skip
    if share:
        run.note(f"{share:.2%} of the values in {where} are outside {low:g} .. {high:g} {found.unit}: clipped")
        ends = found.values.dtype.type if float(low).is_integer() and float(high).is_integer() else np.float32
        values = found.values if ends is not np.float32 else found.values.astype(np.float32)
        found = replace(found, values=np.clip(values, low, high).astype(values.dtype))
    return found, (low, high)


def short(end: float, side: int, grain: float) -> str:
    """A whole number of grains that does not lie inside of it: at most it for side -1, at least it for side 1."""
    text = f"{side * math.ceil(side * end / grain) * grain:.6g}"
    return text if side * (float(text) - end) >= 0 else repr(end)


def refuse_dark(found: ImageSet, where: str) -> None:
    """Refuses 16-bit pictures that use little of their range: what they mean has to be said."""
    if found.value_max != 65535:
        return
    most = data.percentiles(found)["99"]
    if most < LITTLE:
        fix = f"--rescale 1,-1024 --unit HU --range {WINDOW} --clip for a CT stored as HU + 1024; " \
              f"--range 0:{most:.3f} --clip for most of what is stored, --range 0:1 for all"  # fmt: skip
        seen = f"99 % of the values below {round(65535 * most)} of 65535"
        raise usage("16-bit images that use little of their range", where, seen, "what the values mean", fix)
