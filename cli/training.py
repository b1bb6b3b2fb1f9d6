"""From a command line to a training run of the library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import config as files
from cli.dataset import Dataset
from cli.errors import INPUT, USAGE, refusing, usage

if TYPE_CHECKING:
    from recon import TrainConfig

OWN = ("size", "name")  # settings of the command that the library does not have


def settings(path: Path | None, flags: dict[str, Any]) -> tuple[TrainConfig, dict[str, Any]]:
    """Defaults < file < flags, checked: the library's settings, and the command's own."""
    from pydantic import ValidationError

    from recon import TrainConfig

    flags = {key: value for key, value in flags.items() if value is not None}
    given = {**files.extra(path, [*TrainConfig.model_fields, *OWN]), **flags}
    own = {key: given.pop(key) for key in OWN if key in given}
    try:
        return TrainConfig(**given), own
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        where = files.line_of(path, key) if path and key not in flags else f"--{key.replace('_', '-')}"
        raise usage(
            "wrong setting", where, f"{key} = {problem['input']!r}", problem["msg"], "mend the value"
        ) from error


def start(
    found: Dataset, chosen: TrainConfig, folder: Path, name: str, resume: bool, progress: Callable | None
) -> Path:
    """Runs the training and returns the prior's file."""
    import torch

    import recon

    training, validation = (torch.from_numpy(part) for part in (found.training, found.validation))
    if found.unit != "[0,1]":
        raise usage(
            "training images need a known range",
            found.provenance["data"],
            f"unit {found.unit}",
            "8 or 16-bit images",
            "store them as 8-bit or 16-bit images",
        )
    if training.dtype != torch.uint8:
        training, validation = (part.float() / found.value_max for part in (training, validation))
    with refusing(
        "E-RESUME" if resume else "E-TRAIN", "training cannot start", str(folder), INPUT if resume else USAGE
    ):
        return recon.train(
            training,
            validation,
            chosen,
            folder,
            name=name,
            provenance=found.provenance,
            resume=resume,
            progress=progress,
        )


@contextmanager
def bar() -> Iterator[Callable[[dict], None] | None]:
    """A bar of the share of the run that is done, with the loss; None when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    text = TextColumn("step {task.fields[step]}  loss {task.fields[loss]:.4f}")
    columns = (
        text,
        BarColumn(),
        TextColumn("{task.percentage:.1f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("training", total=1.0, step=0, loss=float("nan"))
        smooth = 0.0

        def advance(state: dict) -> None:
            nonlocal smooth
            smooth += (state["loss"] - smooth) * max(0.01, 1 / state["step"])
            progress.update(task, completed=state["fraction"], step=state["step"], loss=smooth)

        yield advance
