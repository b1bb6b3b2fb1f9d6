"""Priors of other makers: a folder that the library diffusers has written, local files only, loaded without it.

Understood are a `UNet2DModel` with safetensors weights and the scheduler that it was trained with:

    FOLDER/unet/config.json, diffusion_pytorch_model.safetensors     or the same in FOLDER itself
    FOLDER/scheduler/scheduler_config.json                           or in FOLDER itself

Such a model lives in [-1, 1], so its values are taken to be in [0,1]. It becomes a `ScorePrior` whose network is
`recon.diffusers_network.DiffusersNetwork`: everything that can be done with a prior of ours can be done with it.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from recon.diffusers_network import DiffusersNetwork, preconditioning
from recon.prior import ScorePrior, Units

WEIGHTS, PATTERN = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model*.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_TEXT = 10**7  # bytes of a configuration
DATA_STD = 0.5  # of images in [-1, 1], where the scheduler says nothing: Karras et al., 2022, table 1
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # before version 0.15


def diffusers_folder(path: Path) -> Path | None:
    """The folder of the diffusers model that a path names, itself or its weights; None where it names none."""
    if path.is_dir():
        here = any((path / name).exists() for name in ("unet", "config.json", "model_index.json"))
        return path if here and not (path / "prior.safetensors").exists() else None
    if path.match(PATTERN) and (path.parent / "config.json").is_file():
        return path.parent.parent if path.parent.name == "unet" else path.parent
    return None


def load_diffusers(
    folder: str | Path, data_std: float | None = None, units: Units | None = None, precision: str = "float32"
) -> ScorePrior:
    """The prior of a diffusers folder.

    Its noise levels are those of the scheduler, `prior.sde`; at the scheduler's own steps the network is called exactly
    as the library calls it, and between them at times that are linear in log sigma.

    Args:
        folder: local; nothing is fetched.
        data_std: standard deviation of the normalised images, which samplers scale their guidance and their last level
            by; default: what an EDM scheduler says, else 0.5.
        units: the images' values; default: [0,1].
        precision: what the network computes in, as in `recon.load_prior`.

    Raises:
        ValueError: no such model, weights that can hold code, or settings that are not rebuilt here; the message names
            them.
    """
    folder = Path(folder)
    inner = folder / "unet" if (folder / "unet").is_dir() else folder
    model = _read(inner / "config.json")
    if model.get("_class_name") != "UNet2DModel":
        raise ValueError(
            f"got {folder} with the model {model.get('_class_name')!r}; expected 'UNet2DModel', which is given an "
            "image and a time alone; use another model"
        )
    scheduler = _read(next(filter(Path.is_file, _places(folder)), _places(folder)[0]))
    told, arguments = preconditioning(scheduler), {"unet": model, "scheduler": scheduler}
    if data_std is not None and not 0 < data_std < math.inf:
        raise ValueError(f"got data_std={data_std}; expected a positive number, about 0.5; leave it out")
    if told.predicts == "edm" and data_std not in (None, told.input_std):
        raise ValueError(
            f"got data_std={data_std} for {folder}; expected {told.input_std}, which its network was trained with; "
            "leave data_std out"
        )
    with torch.device("meta"):  # the weights are the file's
        network = DiffusersNetwork(**arguments)
    _fill(network, _weights(inner), inner)
    size = network.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    header = {
        "network": {"name": "diffusers", "arguments": arguments},
        "predicts": told.predicts,
        "input_std": told.input_std,
        "provenance": {"source": f"diffusers folder {folder.name}", "licence": "see where the model came from"},
    }
    std = data_std or (told.input_std if told.predicts == "edm" else DATA_STD)
    shape = (network.unet.config.in_channels, height, width)
    units = units or Units(0.5, 0.5, "[0,1]")
    prior = ScorePrior(network, shape, told.sde, std, units, folder.resolve().name, header, precision)
    return prior.eval().requires_grad_(False)


def _places(folder: Path) -> tuple[Path, Path]:
    return folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"


def _read(path: Path) -> dict[str, Any]:
    """The settings in a JSON file."""
    if not path.is_file():
        raise ValueError(
            f"got no {path}; expected a diffusers folder with a UNet2DModel and its scheduler; name the folder that "
            "holds unet/ and scheduler/, or save the scheduler beside the model"
        )
    if path.stat().st_size > MOST_TEXT:
        raise ValueError(
            f"got {path} of {path.stat().st_size} bytes; expected a configuration; copy the folder again from where it "
            "came"
        )
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"got {path}, which is no JSON ({str(error)[:80]}); expected a configuration; copy the folder again from "
            "where it came"
        ) from None
    if not isinstance(settings, dict):
        raise ValueError(f"got {path} holding a {type(settings).__name__}; expected settings by name; mend the file")
    return settings


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of the folder's one safetensors file."""
    found = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(folder.glob(PATTERN))
    if not found:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        raise ValueError(
            f"got {folder} with {', '.join(pickles[:3]) or 'no weights'}; expected {WEIGHTS}; "
            + ("other formats can execute code and are not opened: save the model again, where it was made, with "
               "save_pretrained(folder, safe_serialization=True)" if pickles else "copy the folder again")
        )  # fmt: skip
    if len(found) > 1:
        raise ValueError(
            f"got {folder} with {len(found)} files of weights, none named {WEIGHTS}; expected one; "
            "join its parts or keep one variant"
        )
    try:
        return load_file(found[0])
    except SafetensorError as error:
        raise ValueError(
            f"got {found[0]}, which is no whole safetensors file ({error}); expected the weights of a UNet2DModel; "
            "copy the file again from where it came"
        ) from None


def _fill(network: DiffusersNetwork, tensors: dict[str, Tensor], folder: Path) -> None:
    """Gives the network its weights, in single precision."""

    def today(name: str) -> str:
        return re.sub(r"(attentions\.\d+\.)(query|key|value|proj_attn)\.", lambda m: m[1] + OLD_NAMES[m[2]] + ".", name)

    try:
        network.unet.load_state_dict({today(name): tensor.float() for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"got {folder}, whose weights do not fit its config.json: {str(error)[:400]}; expected those of the same "
            "model; copy the folder again from where it came"
        ) from None
