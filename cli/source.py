"""Where data come from: a measurement file, measured k-space, or a degraded image with flags that say how."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import typer

import data
from cli import kspace, measure, spec
from cli.config import refuse_idle
from cli.images import Selection
from cli.measure import Task
from cli.run_record import Run
from data.kinds import expect
from data.kspace import is_kspace
from data.reading import ARRAYS, PICTURES

IMAGE, MEASUREMENT, KSPACE = "image", "measurement", "k-space"
OF_IMAGES = ("operator", "to_gray", "max_pixels", *(field.name for field in fields(spec.OperatorFlags)))
OF_KSPACE = ("axes", "scale")


def kind_of(path: Path, operator: str | None, context: typer.Context) -> str:
    """What a file is; flags that are for another kind are refused."""
    found = expect(path, *PICTURES, *ARRAYS, "hdf5", as_what="a measurement or an image")
    if found != "hdf5" or (operator is not None and not data.is_measurement(path)):
        kind = IMAGE
    else:
        kind = KSPACE if is_kspace(path) else MEASUREMENT
    if kind != IMAGE:
        refuse_idle(context, OF_IMAGES, "a measurement file has its operator and its data already")
    if kind != KSPACE:
        refuse_idle(context, OF_KSPACE, "these are for files of k-space")
    return kind


def task(
    kind: str,
    path: Path,
    noise: str | None,
    operator: str | None,
    flags: spec.OperatorFlags,
    of_kspace: kspace.KspaceFlags,
    seed: int,
    wanted: Selection,
    run: Run,
) -> Task:
    """The measurement of a file of that kind."""
    if kind == KSPACE:
        return kspace.from_kspace(path, noise, of_kspace, wanted.items, run)
    if kind == MEASUREMENT:
        return measure.from_file(path, noise, wanted.items, run)
    return measure.from_image(path, noise, operator, flags, seed, wanted, run)
