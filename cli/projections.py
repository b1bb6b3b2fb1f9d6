"""Raw tomography as a measurement: line integrals, rotation centre, noise and scale found where nobody states them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cli import keywords, noises, raw, spec
from cli.errors import INPUT, USAGE, refusing, usage
from cli.images import chosen
from cli.measure import AUTO, ESTIMATED, STATED, Task
from cli.run_record import Run
from data.projections import Scan, find_scan, read_counts

if TYPE_CHECKING:
    from operators.line_integrals import LineIntegrals

BRIGHT = 99.9  # percentile of the image that becomes 1
MOST_ROWS = 256  # in which the rotation centre is sought
NOTABLE = 0.3  # stripes of that share of the noise are worth a word
SET_BY_SCAN = ("angles", "detectors")


@dataclass(frozen=True)
class Air:
    """Where only air is seen: rows, and bins at each end of every row."""

    rows: slice | None
    bins: int


def from_projections(
    path: Path, noise: str | None, flags: raw.RawFlags, items: str | None, run: Run
) -> Task:
    """Some rows of the detector, each the sinogram of a slice, scaled so that their images lie in about 0 .. 1."""
    import torch

    import recon
    from operators import OPERATORS, Gaussian

    scan = find_scan(path, flags.angles is None)
    rows = wanted_rows(items, scan)
    angles, views = distinct(scan, flags.angles, run)
    more = settings(flags.set)
    found = read(scan, views, rows, run)
    air = air_of(flags.air, scan)
    values = levelled(found.values, scan, views, air, run)
    values = without_stripes(values, flags.stripes, run)
    centre = more.pop("detector_centre", None)
    centre = found_centre(scan, angles, views, run) if centre is None else centre
    width = scan.shape[2]
    with refusing("E-USAGE", "ct cannot be built", "--set", USAGE):
        operator = OPERATORS["ct"]((width, width), angles, width, detector_centre=centre, **more)
    y = torch.from_numpy(values.swapaxes(0, 1)[:, None])
    factor = raw.scale(flags.scale, brightness(operator, y, path))
    sigma = levels(values, found, noise, run)
    run.note(f"line integrals are multiplied by {factor:.6g}" + (": the image is about 0 .. 1"
             if raw.scaled(flags.scale) else ""))  # fmt: skip
    level = factor * torch.as_tensor(sigma)
    level = level.swapaxes(0, 1)[:, None].float() if level.ndim else float(level)
    run.begin(scale=factor, detector_centre=centre, noise_level=float(factor * np.median(sigma)), views=len(angles))
    with refusing("E-USAGE", "projections cannot be scaled so", f"--scale {flags.scale}", USAGE):
        measurement = recon.Measurement(operator, (factor * y).float(), Gaussian(level))
    return Task(measurement, None, "[0,1]", known=ESTIMATED if noise in (None, AUTO) else STATED)


def wanted_rows(items: str | None, scan: Scan) -> slice:
    """The rows of the detector that are wanted; the user names them where there are several."""
    count = scan.shape[1]
    if items is None and count > 1:
        raise usage("which rows of the detector?", str(scan.path), f"{count} rows, and no --items",
                    "one row or some, each a slice of the object",
                    f"--items {count // 2}, or --items {count // 2}:{min(count, count // 2 + 4)}")  # fmt: skip
    return chosen(items, count)


def distinct(scan: Scan, typed: str | None, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Angles in radians, of the file or as typed, and the numbers of the views, one for each angle."""
    angles = scan.angles_rad if typed is None else spec.angles(typed)
    if isinstance(angles, int):
        angles = np.arange(angles) * (np.pi / angles)
    if len(angles) != scan.shape[0]:
        raise usage("not one angle for each view", "--angles", f"{len(angles)} angles", f"{scan.shape[0]} views",
                    f"--angles 0:180:{scan.shape[0]}")  # fmt: skip
    turned = np.round(angles % (2 * np.pi), 6) % round(2 * np.pi, 6)
    views = np.sort(np.unique(turned, return_index=True)[1])
    if repeated := len(angles) - len(views):
        run.note(f"{repeated} views repeat the angle of another and are left out")
    return np.where(np.abs(angles[views]) > 2 * np.pi, angles[views] % (2 * np.pi), angles[views]), views


def settings(typed: list[str] | None) -> dict[str, Any]:
    """What `--set` says of the operator."""
    from operators import OPERATORS

    known = {key: value for key, value in spec.parameters("ct").items() if key not in SET_BY_SCAN}
    return keywords.read("ct", "--set", OPERATORS["ct"], known, typed or [])


def read(scan: Scan, views: np.ndarray, rows: slice, run: Run) -> LineIntegrals:
    """The line integrals of some rows; a note names what was not counted."""
    found = integrals(scan, views, rows)
    if found.dead.any():
        row, column = np.argwhere(found.dead)[0]
        first = f"the first in row {row + (rows.start or 0)}, column {column}"
        run.note(f"{found.dead.sum()} dead pixels, {first}: interpolated, and without weight")
    if starved := int((~found.counted & ~found.dead).sum()):
        run.note(f"{starved} counts are not above the dark level: interpolated, and without weight")
    return found


def integrals(scan: Scan, views: np.ndarray, rows: slice) -> LineIntegrals:
    from operators.line_integrals import line_integrals

    counts = read_counts(scan, views, rows)
    with refusing("E-VALUES", "counts give no line integrals", f"{scan.path}:/{scan.names[0]}", INPUT):
        return line_integrals(counts.projections, counts.flat, counts.dark)


def air_of(text: str | None, scan: Scan) -> Air:
    """`8`, `0:25` or `0:25,8`: the bins at each end, and the rows, that see only air."""
    air = Air(None, 0)
    for part in (text or "").split(",") if text is not None else []:
        if ":" in part:
            air = Air(chosen(part, scan.shape[1]), air.bins)
        else:
            air = Air(air.rows, int(part) if part.strip().isdigit() else -1)
    if not 0 <= air.bins < scan.shape[2] // 2 or (text is not None and air == Air(None, 0)):
        raise usage("air not understood", "--air", text,
                    f"pixels at each end of a row, fewer than {scan.shape[2] // 2}; or START:STOP of the rows that see "
                    "only air; or both", "--air 8, or --air 0:25,8")  # fmt: skip
    return air


def levelled(values: np.ndarray, scan: Scan, views: np.ndarray, air: Air, run: Run) -> np.ndarray:
    """Line integrals less those of the air; a note says how much that was."""
    from operators.line_integrals import air_beside

    if air.rows is not None:
        level = integrals(scan, views, air.rows).values.mean(axis=1, keepdims=True)
        values = values - level
        run.note(f"air of rows {air.rows.start}:{air.rows.stop} subtracted: {span(level)}")
    if air.bins:
        level = air_beside(values, air.bins)
        values = values - level
        run.note(f"air of {air.bins} pixels at the ends of each row subtracted: {span(level)}")
    return values


def span(level: np.ndarray) -> str:
    return f"{level.mean():.4g} on average, {level.min():.4g} .. {level.max():.4g}"


def without_stripes(values: np.ndarray, width: int | None, run: Run) -> np.ndarray:
    """Line integrals without the stripes that all views share, where that is asked for; a note says how large they are."""
    from operators.line_integrals import stripes
    from recon.noise_level import estimate_noise

    found = stripes(values, width or 9)
    size = float(np.sqrt(np.mean(found**2)))
    if width is None:
        noise = estimate_noise((values - values.mean(axis=0)).swapaxes(0, 1), along_rows=True).sigma
        if size > NOTABLE * noise:
            run.note(f"all views share stripes of {size:.2g}, {size / noise:.1f} of the noise: --stripes 9 takes them out")
        return values
    run.note(f"stripes of {size:.2g} that all views share are taken out (narrower than {width} pixels)")
    return values - found


def found_centre(scan: Scan, angles: np.ndarray, views: np.ndarray, run: Run) -> float:
    """The rotation centre from a view and its opposite, of all rows; a note says it."""
    from operators.rotation_centre import opposite_views, rotation_centre

    with refusing("E-GEOMETRY", "the rotation centre cannot be found", f"{scan.path}:/{scan.names[3]}", INPUT,
                  "state it in pixels, counted from 0: --set detector_centre=..."):  # fmt: skip
        first, others, beyond = opposite_views(angles)
        order = np.unique([first, *others])
        rows = slice(0, None, max(1, scan.shape[1] // MOST_ROWS))
        seen = dict(zip(order.tolist(), integrals(scan, views[order], rows).values.swapaxes(0, 0), strict=True))
        centre = rotation_centre(seen[first], np.stack([seen[k] for k in others]), beyond)
    degrees = np.rad2deg(angles[[first, others[0]]])
    run.note(f"rotation centre {centre:.2f} pixels from the first, found from the views at {degrees[0]:.4g} and "
             f"{degrees[1]:.4g} degrees (--set detector_centre=... states it)")  # fmt: skip
    return centre


def brightness(operator: Any, y: Any, path: Path) -> float:
    """The 99.9th percentile of filtered backprojections, smoothed."""
    from operators import fbp

    bright = float(np.percentile(fbp(operator, y, "hann").numpy(), BRIGHT))
    if not bright > 0:
        raise usage("nothing in the image is brighter than air", str(path), f"{bright:.4g}", "a value above zero",
                    "check the flats, or state --scale")  # fmt: skip
    return bright


def levels(values: np.ndarray, found: LineIntegrals, noise: str | None, run: Run) -> float | np.ndarray:
    """The noise: one level as typed, or that of each count, sqrt(gain / counts), with the gain estimated."""
    from operators.line_integrals import count_noise
    from recon.noise_level import estimate_noise

    if noise not in (None, AUTO):
        return noises.sigma(noise, float(np.abs(values).max()))
    each = count_noise(found.transmitted, found.counted, 1.0)
    # what all views share is no noise between them; its mean takes one degree of freedom of each pixel
    white = (values - values.mean(axis=0)) / each
    with refusing("E-USAGE", "noise cannot be estimated here", "--noise auto", USAGE):
        level = estimate_noise(white.swapaxes(0, 1), along_rows=True)
    root = level.sigma * np.sqrt(len(values) / max(1, len(values) - 1))
    run.note(f"noise {root * np.median(each):.4g}, less where more was counted (variance {root**2:.3g} / counts), "
             "estimated from the data")  # fmt: skip
    if level.doubtful:
        run.note(f"this noise level is doubtful: estimates differ by {100 * (level.disagreement - 1):.0f} %")
    return root * each
