"""Folders of the library diffusers as priors: where the weights lie, and what the settings say, without a network.

    FOLDER/unet/config.json, diffusion_pytorch_model.safetensors     or the same in FOLDER itself
    FOLDER/scheduler/scheduler_config.json                           or in FOLDER itself
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data.errors import InputRefused, first_line
from data.kinds import DANGEROUS, describe, sniff
from data.paths import listing

WEIGHTS = "diffusion_pytorch_model.safetensors"
PATTERN = "diffusion_pytorch_model*.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_BYTES = 10**7  # of a file of settings
PROCESSES = {
    "DDPMScheduler": "discrete", "DDIMScheduler": "discrete", "PNDMScheduler": "discrete",
    "EDMEulerScheduler": "ve", "EDMDPMSolverMultistepScheduler": "ve",
}  # fmt: skip


def is_model_folder(path: Path) -> bool:
    """Whether a folder is laid out like a model of diffusers, and is no training run of ours."""
    marks = ("unet", "config.json", "model_index.json")
    return not (path / "prior.safetensors").exists() and any((path / name).exists() for name in marks)


def model_weights(folder: Path) -> Path:
    """The file of weights in a model folder; everything else that the model needs is there and fits.

    Raises:
        InputRefused: E-UNSAFE (exit 7) when the weights are there as pickles only; E-PRIOR for what is missing, or
            is a model of another kind.
    """
    inner = folder / "unet" if (folder / "unet").is_dir() else folder
    model_header(inner)
    found = [inner / WEIGHTS] if (inner / WEIGHTS).is_file() else sorted(inner.glob(PATTERN))
    if len(found) == 1:
        return found[0]
    if found:
        fix = "join its parts, or keep one variant"
        raise refused(inner, f"{len(found)} files of weights", f"one, {WEIGHTS}", fix)
    for path in sorted(inner.iterdir()):
        if path.suffix in PICKLES and path.is_file() and path.stat().st_size:
            kind = sniff(path)
            raise InputRefused(
                "E-UNSAFE",
                "the weights of this model can carry code and were not opened",
                str(path),
                describe(kind, path) if kind in DANGEROUS else f"a {path.suffix} file and no safetensors",
                f"{WEIGHTS}, which holds numbers only",
                "save the model again, where it was made: save_pretrained(folder, safe_serialization=True)",
                exit_code=7,
            )
    raise refused(inner, f"a folder holding {listing(inner)}", WEIGHTS, "copy the folder again from where it came")


def model_header(inner: Path) -> dict[str, Any]:
    """What the settings beside a model's weights say, in the words of our own headers.

    Raises:
        InputRefused: E-PRIOR for what is missing or no JSON, for other models and for other schedulers.
    """
    folder = inner.parent if inner.name == "unet" else inner
    model = settings(inner / "config.json")
    if model.get("_class_name") != "UNet2DModel":
        found = f"the model {model.get('_class_name')!r}"
        raise refused(inner / "config.json", found, "UNet2DModel, which is given an image and a time alone",
                      "use another model")  # fmt: skip
    places = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    place = next(filter(Path.is_file, places), places[0])
    scheduler = settings(place).get("_class_name")
    if scheduler not in PROCESSES:
        fix = "save the model with the scheduler that it was trained with"
        raise refused(place, f"the scheduler {scheduler!r}", " or ".join(PROCESSES), fix)
    size, channels = model.get("sample_size"), model.get("in_channels", 3)
    if not isinstance(size, int | list):
        fix = "write the size of the model's images into config.json"
        raise refused(inner / "config.json", f"sample_size {size!r}", "a number, or height and width", fix)
    return {
        "name": folder.resolve().name,
        "network": {"name": "diffusers"},
        "sde": {"name": PROCESSES[scheduler]},
        "units": {"scale": 0.5, "shift": 0.5, "name": "[0,1]"},
        "shape": [channels, *([size, size] if isinstance(size, int) else size)],
        "provenance": {"source": f"diffusers folder {folder.name}", "licence": "see where the model came from"},
    }


def settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings by name."""
    if not path.is_file():
        fix = "name the folder that holds unet/ and scheduler/, or save the scheduler beside the model"
        raise refused(path, "no such file", "the settings of a diffusers model", fix)
    again = "copy the folder again from where it came"
    if path.stat().st_size > MOST_BYTES:
        raise refused(path, f"{path.stat().st_size} bytes", "a file of settings", again)
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise refused(path, f"no JSON: {first_line(problem)}", "settings by name", again) from problem
    if not isinstance(found, dict):
        raise refused(path, f"a JSON {type(found).__name__}", "settings by name", again)
    return found


def refused(path: Path, found: str, expected: str, fix: str) -> InputRefused:
    return InputRefused("E-PRIOR", "not a usable diffusers model", str(path), found, expected, fix)
