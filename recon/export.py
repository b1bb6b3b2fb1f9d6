"""Priors for others: a folder in the layout of the library diffusers, which its `from_pretrained` opens."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from recon.checkpoint import write_atomically
from recon.diffusers_network import EDM, DiffusersNetwork, preconditioning
from recon.foreign import WEIGHTS
from recon.prior import Prior, ScorePrior

PIPELINES = {"DDPMScheduler": "DDPMPipeline", "DDIMScheduler": "DDIMPipeline", "PNDMScheduler": "PNDMPipeline"}
WRITTEN_FOR = "0.35.1"  # the library's version whose layout this is


def export_diffusers(prior: Prior, folder: str | Path) -> list[Path]:
    """Write a prior as a diffusers model: unet/, scheduler/ and model_index.json; single precision.

    Args:
        prior: one whose network is a `UNet2DModel`, loaded from such a folder or trained so. Its units are not part of
            the layout: the model lives in normalised images, [-1, 1].
        folder: made where missing; files of the layout's names are replaced.

    Returns:
        The files written.

    Raises:
        ValueError: another network, which the layout has no words for, or a scheduler that does not fit the prior.
    """
    if not isinstance(prior, ScorePrior) or not isinstance(prior.network, DiffusersNetwork):
        kind = prior.header["network"]["name"] if isinstance(prior, ScorePrior) else type(prior).__name__
        raise ValueError(
            f"got prior {prior.name!r} with the network {kind!r}; expected a UNet2DModel: the layout of diffusers has "
            "no words for other networks (ours folds pixels into channels first); share the .safetensors file instead"
        )
    arguments = prior.header["network"]["arguments"]
    told, scheduler = preconditioning(arguments["scheduler"]), arguments["scheduler"]
    if (told.predicts, told.input_std) != (prior.predicts, prior.input_std):
        raise ValueError(
            f"got prior {prior.name!r}, which predicts {prior.predicts} of images of standard deviation "
            f"{prior.input_std:g}, with a {scheduler['_class_name']} for {told.predicts} and {told.input_std:g}; "
            f"expected the same; train it with predicts={told.predicts}, or with one of {', '.join(EDM)} and its "
            "sigma_data"
        )
    folder, kind = Path(folder), scheduler["_class_name"]
    stamp = {"_diffusers_version": WRITTEN_FOR}
    index = {"_class_name": PIPELINES.get(kind, "DDPMPipeline"), **stamp}
    index |= {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", kind]}
    texts = {
        "unet/config.json": {**stamp, **arguments["unet"], "_class_name": "UNet2DModel"},
        "scheduler/scheduler_config.json": {**stamp, **scheduler},
        "model_index.json": index,
    }
    tensors = {name: tensor.cpu().float().contiguous() for name, tensor in prior.network.unet.state_dict().items()}
    write_atomically(folder / "unet" / WEIGHTS, save(tensors, {"format": "pt"}))
    for name, settings in texts.items():
        write_atomically(folder / name, (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode())
    return [folder / name for name in (f"unet/{WEIGHTS}", *texts)]
