"""From a command line to a training run of the library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cli import config as files
from cli import suggest
from cli.dataset import Dataset, suggested
from cli.errors import INPUT, NUMERICAL, USAGE, refusing, usage
from cli.team import leads
from data.errors import InputRefused

if TYPE_CHECKING:
    from torch import Tensor

    from cli.watching import Watch
    from recon import TrainConfig, Units

STATES = ("state.safetensors", "state-before.safetensors")
UNFINISHED = (".prior.safetensors.*", ".state.safetensors.*", ".*.png")  # files that were still being written
# settings that the library does not have
OWN = ("size", "name", "range", "clip", "unit", "rescale", "tensorboard", "labels")


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


def multiple(chosen: TrainConfig, path: Path | None, size: int) -> int:
    """The number that height and width must be multiples of: of the network of the settings, which is asked, or without
    a file of settings of the one that is suggested for images of this size.
    """
    from recon.networks import NETWORKS

    parts = {key: getattr(chosen, key) for key in ("widths", "blocks", "attention", "unshuffle", "dropout")}
    if path is None:
        parts |= {key: value for key, value in suggest.network(size).items() if key in parts}
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


def refuse_images(found: Dataset, crop: int | None, multiple: int) -> None:
    """Refuses images that would fail only after the training has begun, or teach nothing."""
    where, images = found.provenance["data"], found.training
    for size in images.shape[2:] if crop is None else (crop,):
        refuse_size(size, multiple, where)
    if all(np.array_equal(image, images[0]) for image in images[1:]):
        count, fix = f"{len(images)} equal ones", "check that these are the images you meant"
        raise InputRefused("E-VALUES", "all pictures are equal", where, count, "different pictures", fix)


def resolved(
    chosen: TrainConfig, path: Path | None, flags: dict[str, Any], found: Dataset, labels: bool
) -> tuple[TrainConfig, list[str]]:
    """The settings; without a file those that the images suggest where no flag says otherwise, and a line on them.

    Images with labels are not mirrored: a mirrored sign, digit or hand may be of another class, or of none.
    """
    if path is not None:
        return chosen, []
    ideas = suggested(found) | ({"flip": False} if labels else {})
    suggestions = {key: value for key, value in ideas.items() if flags.get(key) is None}
    shown = ", ".join(f"{key} {value}" for key, value in suggestions.items())
    return settings(None, {**suggestions, **flags})[0], [f"chosen   {shown} (defaults chosen from the data)"]


def labelled(chosen: TrainConfig, own: dict[str, Any], found: Dataset) -> TrainConfig:
    """The settings with as many classes as the data have, where the run is to learn them; their names go to the origin
    that the prior states.
    """
    if not (own.get("labels") or chosen.classes):
        return chosen
    where = found.provenance["data"]
    if found.labels is None:
        expected = "`labels` (N,) beside the images, or a subfolder for each class"
        raise usage("the data have no labels", where, "none", expected, "leave --labels out, or add the labels")
    count = len(found.class_names)
    if chosen.classes not in (0, count):
        raise usage("another number of classes", "classes", chosen.classes, f"{count}, as in {where}", "leave it out")
    found.provenance["classes"] = list(found.class_names)
    return chosen.model_copy(update={"classes": count})


def units(found: Dataset) -> Units:
    """The units of the prior: value = scale * x + shift maps -1 .. 1 to the range of the images."""
    from recon import Units

    return Units((found.high - found.low) / 2, (found.high + found.low) / 2, found.unit, found.spacing_mm)


def tensor(images: np.ndarray, found: Dataset) -> Tensor:
    """Images as the library takes them: 8 bits as they are, others as values."""
    import torch

    if found.value_max == 1 and images.dtype in (np.int16, np.float32):
        return torch.from_numpy(images)
    return torch.from_numpy(images.astype(np.float32) / np.float32(found.value_max))


def start(
    found: Dataset,
    chosen: TrainConfig,
    folder: Path,
    name: str,
    resume: bool,
    watch: Watch,
    interrupted: Callable[[], bool],
) -> Path:
    """Runs the training and returns the prior's file."""
    import torch

    import recon

    if leads():
        tidied(folder, resume)

    plain = found.training.dtype == np.uint8 and (found.low, found.high, found.spacing_mm) == (0.0, 1.0, None)
    parts = [torch.from_numpy(part) if plain else tensor(part, found) for part in (found.training, found.validation)]
    code, exit_code = ("E-RESUME", INPUT) if resume else ("E-TRAIN", USAGE)
    try:
        with refusing(code, "training cannot start", str(folder), exit_code):
            return recon.train(
                *parts,
                chosen,
                folder,
                labels=torch.from_numpy(found.labels) if chosen.classes else None,
                units=None if plain else units(found),
                name=name,
                provenance=found.provenance,
                resume=resume,
                progress=watch.step,
                interrupted=interrupted,
                written=watch.saved,
            )
    except FloatingPointError as error:
        found = str(error).split(";")[0].removeprefix("got ")
        fix = "a lower learning_rate in --config; the last saved state and prior are kept"
        raise InputRefused("E-DIVERGED", "the training left the finite numbers", str(folder / "log.jsonl"), found,
                           "finite losses", fix, NUMERICAL) from error  # fmt: skip


def states(folder: Path) -> list[str]:
    """The names of the states that a run has left, the one before the last too where there are two."""
    return [name for name in STATES if (folder / name).is_file()]


def tidied(folder: Path, resume: bool) -> None:
    """Removes what a run that was killed while saving has left, and, unless it goes on, its log and its state: no
    resume may take them for those of the run that replaces it.
    """
    earlier = () if resume else ("log.jsonl", *STATES)
    parts = [path for pattern in UNFINISHED for path in folder.glob(pattern)]
    for path in [*parts, *(folder / name for name in earlier)]:
        path.unlink(missing_ok=True)
