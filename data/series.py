"""Slices of one series in the order in which they lie; mixed series and missing slices are refused.

Nothing here knows a file format. Messages name tags and count values; they never say a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import InputRefused

SAME_PLACE_MM = 1e-3
GAP = 1.5  # slices further apart than so many times the usual distance have one missing between them


@dataclass(frozen=True)
class Slice:
    """Where a slice lies.

    Args:
        alike: tags that are equal in all slices of a series, and their values.
        along_mm: its place along the normal of its plane; None where the file does not say.
        number: its number in the series, or None.
    """

    alike: dict[str, Any]
    along_mm: float | None
    number: int | None


def in_order(slices: list[Slice], where: str) -> tuple[list[int], tuple[str, ...]]:
    """The indices of slices from one end of the series to the other, and notes.

    Raises:
        InputRefused: E-SERIES when they are of several series, when one lies where another does, or when the distances
            (or numbers) say that some are missing; tag names only.
    """
    refuse_mixed(slices, where)
    if all(s.along_mm is not None for s in slices):
        places, tag = np.array([s.along_mm for s in slices]), "ImagePositionPatient"
    elif all(s.number is not None for s in slices):
        places, tag = np.array([s.number for s in slices], float), "InstanceNumber"
    else:
        return list(range(len(slices))), ("slices without position and number: in the order of their names",)
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    twice = int((steps < SAME_PLACE_MM).sum())
    if twice:
        found = f"{twice} slices that lie where another does (tag {tag})"
        raise refused("several series in one folder", where, found, "one slice in each place",
                      "a subfolder for each series or time point")  # fmt: skip
    missing = int((np.rint(steps / np.median(steps)) - 1)[steps > GAP * np.median(steps)].sum())
    if missing:
        found, fix = f"about {missing} missing between {len(slices)} (tag {tag})", "copy the series again, whole"
        raise refused("slices are missing", where, found, "evenly spaced slices", fix)
    return order.tolist(), ()


def refuse_mixed(slices: list[Slice], where: str) -> None:
    """Refuses slices that differ in a tag which is one in a series."""
    found = [
        f"tag {tag}: {count} values in {len(slices)} files"
        for tag in slices[0].alike
        if (count := len({repr(s.alike[tag]) for s in slices})) > 1
    ]
    if found:
        raise refused("several series in one folder", where, "\n".join(found), "one series in a folder",
                      "a subfolder for each series")  # fmt: skip


def refused(title: str, where: str, found: str, expected: str, fix: str) -> InputRefused:
    return InputRefused("E-SERIES", title, where, found, expected, fix)
