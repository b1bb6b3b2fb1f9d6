"""What is taken out of line integrals before they are believed, air and stripes, and the noise of what remains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cli import noises
from cli.errors import USAGE, refusing, usage
from cli.images import chosen
from cli.measure import AUTO
from cli.run_record import Run

if TYPE_CHECKING:
    from data.projections import Scan
    from operators.line_integrals import LineIntegrals

USUAL_WIDTH = 9  # of stripes, in bins
SHIFTED = 0.05  # ends of rows beyond that share of the range are worth a word
NOTABLE = 0.3  # stripes of that share of the noise are worth a word


@dataclass(frozen=True)
class Air:
    """Where only air is seen: some rows, and so many bins at each end of every row."""

    rows: slice | None = None
    bins: int = 0


def air_of(text: str | None, scan: Scan) -> Air:
    """`8`, `0:25` or `0:25,8` as bins at each end, and rows."""
    air, most = Air(), scan.shape[2] // 2
    for part in text.split(",") if text is not None else ():
        if ":" in part:
            air = replace(air, rows=chosen(part, scan.shape[1]))
        else:
            air = replace(air, bins=int(part) if part.strip().isdecimal() else 0)
            if not 0 < air.bins < most:
                raise usage("air not understood", "--air", text, "pixels at each end of a row, fewer than "
                            f"{most}; or START:STOP of the rows that see only air; or both",
                            "--air 8, or --air 0:25,8")  # fmt: skip
    return air


def without_air(values: np.ndarray, air: Air, beside: np.ndarray | None, run: Run) -> np.ndarray:
    """Line integrals less those of the air; notes say how much that was.

    Args:
        values: (views, rows, bins).
        air: where it is seen.
        beside: line integrals of the rows that see only air.
        run: takes the notes.
    """
    from operators.line_integrals import air_beside

    if beside is not None:
        level = beside.mean(axis=1, keepdims=True)
        values = values - level
        run.note(f"air of {beside.shape[1]} rows subtracted: {span(level)}")
    if air.bins:
        level = air_beside(values, air.bins)
        values = values - level
        run.note(f"air of {air.bins} pixels at the ends of each row subtracted: {span(level)}")
    ends = float(np.median(values[..., [0, 1, -2, -1]]))
    if air == Air() and abs(ends) > SHIFTED * float(np.ptp(values)):
        run.note(f"the ends of the rows read {ends:.3g}; where they see only air that is a beam other than the flats': "
                 "--air 8 subtracts it")  # fmt: skip
    return values


def span(level: np.ndarray) -> str:
    """Mean and range."""
    return f"{level.mean():.4g} on average, {level.min():.4g} .. {level.max():.4g}"


def without_stripes(values: np.ndarray, width: int | None, run: Run) -> np.ndarray:
    """Line integrals without the stripes that all views share, where that is asked for; else a note of large ones."""
    from operators.line_integrals import stripes

    found = stripes(values, width or USUAL_WIDTH)
    size = float(np.sqrt(np.mean(found**2)))
    if width is not None:
        run.note(f"stripes of {size:.2g} that all views share are taken out (narrower than {width} pixels)")
        return values - found
    between = float(np.median(np.abs(np.diff(values - values.mean(axis=0), axis=0)))) * 1.05  # of normal values: sigma
    if size > NOTABLE * between > 0:
        share = f"{size / between:.1f} of the noise"
        run.note(f"all views share stripes of {size:.2g}, {share}: --stripes {USUAL_WIDTH} takes them out")
    return values


def noise_of(values: np.ndarray, found: LineIntegrals, noise: str | None, run: Run) -> float | np.ndarray:
    """The noise: one level as typed, or that of each count, sqrt(gain / counts), with the gain estimated."""
    from operators.line_integrals import count_noise
    from recon.noise_level import estimate_noise

    if noise not in (None, AUTO):
        return noises.sigma(noise, float(np.abs(values).max()))
    each = count_noise(found.transmitted, found.counted, 1.0)
    # what all views share is no noise between them; its mean takes one degree of freedom of each pixel
    white = (values - values.mean(axis=0)) / each
    with refusing("E-USAGE", "noise cannot be estimated here", "--noise auto", USAGE):
        level = estimate_noise(white.swapaxes(0, 1), found.counted.swapaxes(0, 1), along_rows=True)
    root = level.sigma * np.sqrt(len(values) / max(1, len(values) - 1))
    run.note(f"noise {root * np.median(each):.4g}, less where more was counted (variance {root**2:.3g} / counts), "
             "estimated from the data")  # fmt: skip
    if level.doubtful:
        run.note(f"this noise level is doubtful: estimates differ by {100 * (level.disagreement - 1):.0f} %")
    return root * each
