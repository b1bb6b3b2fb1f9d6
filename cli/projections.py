"""Raw tomography as a measurement: line integrals, rotation centre, noise and scale found where nobody states them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cli import keywords, levelling, raw, spec
from cli.errors import INPUT, USAGE, refusing, usage
from cli.images import chosen
from cli.measure import AUTO, ESTIMATED, STATED, Task
from cli.run_record import Run
from data.projections import Scan, find_scan, read_counts

if TYPE_CHECKING:
    from torch import Tensor

    from operators import LinearOperator
    from operators.line_integrals import LineIntegrals

BRIGHT = 99.9  # percentile of the image that becomes 1
MOST_ROWS = 256  # in which the rotation centre is sought
SET_BY_SCAN = ("angles", "detectors")


def from_projections(path: Path, noise: str | None, flags: raw.RawFlags, items: str | None, run: Run) -> Task:
    """Some rows of the detector, each the sinogram of a slice, scaled so that their images lie in about 0 .. 1."""
    import torch

    import recon
    from operators import OPERATORS, Gaussian

    scan = find_scan(path, flags.angles is None)
    rows = wanted_rows(items, scan)
    for note in scan.notes:
        run.note(note)
    angles, views = distinct(scan, flags.angles, run)
    more, air = settings(flags.set), levelling.air_of(flags.air, scan)
    found = integrals(scan, views, rows)
    note_uncounted(found, rows.start or 0, run)
    beside = None if air.rows is None else integrals(scan, views, air.rows).values
    values = levelling.without_stripes(levelling.without_air(found.values, air, beside, run), flags.stripes, run)
    centre = more.pop("detector_centre", None)
    centre = found_centre(scan, angles, views, run) if centre is None else centre
    width = scan.shape[2]
    with refusing("E-USAGE", "ct cannot be built", "--set", USAGE):
        operator = OPERATORS["ct"]((width, width), angles, width, detector_centre=centre, **more)
    y = torch.from_numpy(values.swapaxes(0, 1)[:, None])
    factor = raw.scale(flags.scale, brightness(operator, y, path))
    run.note(f"line integrals are multiplied by {factor:.6g}" + (": the image is about 0 .. 1"
             if raw.scaled(flags.scale) else ""))  # fmt: skip
    sigma = torch.as_tensor(factor * levelling.noise_of(values, found, noise, run))
    level = sigma.swapaxes(0, 1)[:, None].float() if sigma.ndim else float(sigma)
    run.begin(scale=factor, detector_centre=centre, noise_level=float(sigma.median()), views=len(angles))
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
    """Angles in radians, of the file or as typed, and the numbers of their views; of equal angles the first."""
    angles = scan.angles_rad if typed is None else spec.angles(typed)
    angles = np.arange(angles) * (np.pi / angles) if isinstance(angles, int) else angles
    if len(angles) != scan.shape[0]:
        raise usage("not one angle for each view", "--angles", f"{len(angles)} angles", f"{scan.shape[0]} views",
                    f"--angles 0:180:{scan.shape[0]}")  # fmt: skip
    turned = np.round(np.rad2deg(angles) % 360, 4) % 360
    views = np.sort(np.unique(turned, return_index=True)[1])
    if repeated := len(angles) - len(views):
        run.note(f"{repeated} views repeat the angle of another and are left out")
    return np.deg2rad(turned[views]) if np.abs(angles).max() > 2 * np.pi else angles[views], views


def settings(typed: list[str] | None) -> dict[str, Any]:
    """What `--set` says of the operator."""
    from operators import OPERATORS

    known = {key: value for key, value in spec.parameters("ct").items() if key not in SET_BY_SCAN}
    return keywords.read("ct", "--set", OPERATORS["ct"], known, typed or [])


def integrals(scan: Scan, views: np.ndarray, rows: slice) -> LineIntegrals:
    """The line integrals of some views and rows."""
    from operators.line_integrals import line_integrals

    counts = read_counts(scan, views, rows)
    with refusing("E-VALUES", "counts give no line integrals", f"{scan.path}:/{scan.names[0]}", INPUT):
        return line_integrals(counts.projections, counts.flat, counts.dark, counts.beam)


def note_uncounted(found: LineIntegrals, top: int, run: Run) -> None:
    """Notes what was not counted, and what becomes of it."""
    if found.dead.any():
        row, column = np.argwhere(found.dead)[0]
        first = f"the first in row {row + top}, column {column}"
        run.note(f"{found.dead.sum()} dead pixels, {first}: interpolated, and without weight")
    if starved := int((~found.counted & ~found.dead).sum()):
        run.note(f"{starved} counts are not above the dark level: interpolated, and without weight")


def found_centre(scan: Scan, angles: np.ndarray, views: np.ndarray, run: Run) -> float:
    """The rotation centre from a view and its opposite, of all rows; a note says it."""
    from operators.rotation_centre import opposite_views, rotation_centre

    state = "state it in pixels, counted from 0: --set detector_centre=..."
    with refusing("E-GEOMETRY", "the rotation centre cannot be found", f"{scan.path}:/{scan.names[3]}", INPUT, state):
        first, others, beyond = opposite_views(angles)
        numbers = np.unique([first, *others])  # in the order of the file
        rows = slice(0, None, max(1, scan.shape[1] // MOST_ROWS))
        seen = dict(zip(numbers, integrals(scan, views[numbers], rows).values, strict=True))
        centre = rotation_centre(seen[first], np.stack([seen[k] for k in others]), beyond)
    degrees = np.rad2deg(angles[[first, others[0]]])
    run.note(f"rotation centre {centre:.2f} pixels from the first, found from the views at {degrees[0]:.4g} and "
             f"{degrees[1]:.4g} degrees (--set detector_centre=... states it)")  # fmt: skip
    return centre


def brightness(operator: LinearOperator, y: Tensor, path: Path) -> float:
    """The 99.9th percentile of filtered backprojections, smoothed."""
    from operators import fbp

    bright = float(np.percentile(fbp(operator, y, "hann").numpy(), BRIGHT))
    if not bright > 0:
        raise usage("nothing in the image is brighter than air", str(path), f"{bright:.4g}", "a value above zero",
                    "check the flats, or state --scale")  # fmt: skip
    return bright
