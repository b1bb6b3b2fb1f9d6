"""Where data come from: a measurement file, what a scanner wrote raw, or a degraded image with flags that say how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import typer

import data
from cli import kspace, measure, projections, spec
from cli.config import refuse_idle
from cli.images import Selection
from cli.measure import Task
from cli.raw import RawFlags
from cli.run_record import Run
from data.kinds import expect
from data.kspace import is_kspace
from data.projections import is_projections
from data.reading import ARRAYS, PICTURES

IMAGE, MEASUREMENT, KSPACE, PROJECTIONS = "image", "measurement", "k-space", "projections"
OF_IMAGES = ("operator", "to_gray", "max_pixels", *(field.name for field in fields(spec.OperatorFlags)))


@dataclass(frozen=True)
class Raw:
    """A kind of raw data: how a file of it is known, what it is called, the flags that it takes, and its reader."""

    known: Callable[[Path], bool]
    called: str
    flags: tuple[str, ...]
    task: Callable[[Path, str | None, RawFlags, str | None, Run], Task]


RAW = {
    KSPACE: Raw(is_kspace, "files of k-space", ("axes", "scale"), kspace.from_kspace),
    PROJECTIONS: Raw(is_projections, "raw projections", ("scale", "air", "stripes", "angles", "set"),
                     projections.from_projections),
}


def kind_of(path: Path, operator: str | None, context: typer.Context) -> str:
    """What a file is; flags that are for another kind are refused."""
    found = expect(path, *PICTURES, *ARRAYS, "hdf5", as_what="a measurement or an image")
    if found != "hdf5" or (operator is not None and not data.is_measurement(path)):
        kind = IMAGE
    else:
        kind = next((kind for kind, raw in RAW.items() if raw.known(path)), MEASUREMENT)
    taken = OF_IMAGES if kind == IMAGE else RAW[kind].flags if kind in RAW else ()
    idle = [name for name in OF_IMAGES if name not in taken]
    refuse_idle(context, idle, "a measurement file has its operator and its data already")
    for raw in RAW.values():
        refuse_idle(context, [name for name in raw.flags if name not in taken], f"these are for {raw.called}")
    return kind


def task(
    kind: str,
    path: Path,
    noise: str | None,
    operator: str | None,
    flags: spec.OperatorFlags,
    of_raw: RawFlags,
    seed: int,
    wanted: Selection,
    run: Run,
) -> Task:
    """The measurement of a file of that kind."""
    if kind in RAW:
        return RAW[kind].task(path, noise, of_raw, wanted.items, run)
    if kind == MEASUREMENT:
        return measure.from_file(path, noise, wanted.items, run)
    return measure.from_image(path, noise, operator, flags, seed, wanted, run)
