"""From a command line to a training run of the library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cli import config as files
from cli.dataset import Dataset
from cli.errors import INPUT, USAGE, refusing, usage
from cli.progress import Advance
from data.errors import InputRefused

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


def multiple(chosen: TrainConfig, path: Path | None) -> int:
    """The number that height and width of the images must be multiples of; a network of these settings is asked."""
    from recon.networks import NETWORKS

    parts = {key: getattr(chosen, key) for key in ("widths", "blocks", "attention", "unshuffle", "dropout")}
    where = str(path or "default settings")
    with refusing("E-USAGE", "no such network", where, USAGE, "mend it in the --config file"):
        return NETWORKS["unet"](channels=1, **parts).multiple


def refuse_size(size: Any, multiple: int, where: str) -> None:
    """Refuses a height or width that the network cannot take."""
    if isinstance(size, int) and size > 0 and size % multiple == 0:
        return
    nearest = max(1, round(size / multiple)) * multiple if isinstance(size, int) else multiple
    expected = f"a multiple of {multiple} (as unshuffle and the number of widths are)"
    raise usage("the network cannot take this size", where, f"{size}", expected, f"--size {nearest}")


def refuse_images(found: Dataset, multiple: int) -> None:
    """Refuses images that would fail only after the training has begun, or teach nothing."""
    where, images = found.provenance["data"], found.training
    if found.unit != "[0,1]":
        fix = "store them as 8-bit or 16-bit images"
        raise usage("training images need a known range", where, f"unit {found.unit}", "8 or 16-bit images", fix)
    for size in images.shape[2:]:
        refuse_size(size, multiple, where)
    if all(np.array_equal(image, images[0]) for image in images[1:]):
        count, fix = f"{len(images)} equal ones", "check that these are the images you meant"
        raise InputRefused("E-VALUES", "all pictures are equal", where, count, "different pictures", fix)


def start(
    found: Dataset,
    chosen: TrainConfig,
    folder: Path,
    name: str,
    resume: bool,
    progress: Callable | None,
    interrupted: Callable[[], bool],
) -> Path:
    """Runs the training and returns the prior's file."""
    import torch

    import recon

    training, validation = (torch.from_numpy(part) for part in (found.training, found.validation))
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
            interrupted=interrupted,
        )


def shown(advance: Advance | None) -> Callable[[dict], None] | None:
    """What the library tells after each step as progress: the share that is done, with the smoothed loss."""
    if advance is None:
        return None
    smooth = 0.0

    def told(state: dict) -> None:
        nonlocal smooth
        smooth += (state["loss"] - smooth) * max(0.01, 1 / state["step"])
        advance(state["fraction"], f"step {state['step']}  loss {smooth:.4f}")

    return told
