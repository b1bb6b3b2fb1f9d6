"""Tiny diffusers models with weights from a formula, and what the library itself makes of them.

    python -m tests.recon.foreign_models       # with diffusers installed; writes foreign_reference.npz

The reference holds, for each model, the names and shapes of its weights in the library, the noise levels of some steps,
and the library's own eps there. It was computed by diffusers 0.35.1, in double precision.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

REFERENCE = Path(__file__).with_name("foreign_reference.npz")
SMALL = {
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
    "block_out_channels": [4, 8], "norm_num_groups": 2, "attention_head_dim": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ddpm": (
        {**SMALL, "flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "norm_eps": 1e-6,
         "attention_head_dim": None, "mid_block_scale_factor": 1},
        {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "variance_type": "fixed_large"},
    ),
    "colour-v": (
        {**SMALL, "sample_size": [8, 12], "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
         "resnet_time_scale_shift": "scale_shift", "attention_head_dim": 2, "block_out_channels": [4, 4, 8],
         "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
         "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]},
        {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
         "beta_start": 0.00085, "beta_end": 0.012},
    ),
    "resnet-sample": (
        {**SMALL, "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"], "act_fn": "mish",
         "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"], "mid_block_scale_factor": 1.4142,
         "center_input_sample": True},
        {"_class_name": "DDIMScheduler", "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
    ),
    "attention-resnet": (
        {**SMALL, "down_block_types": ["AttnDownBlock2D", "DownBlock2D"], "downsample_type": "resnet",
         "up_block_types": ["UpBlock2D", "AttnUpBlock2D"], "upsample_type": "resnet", "add_attention": False,
         "act_fn": "gelu"},
        {"_class_name": "PNDMScheduler", "num_train_timesteps": 200, "steps_offset": 1, "skip_prk_steps": True},
    ),
    "own-betas": (
        {**SMALL, "block_out_channels": [5, 10], "norm_num_groups": 5, "attention_head_dim": 3, "act_fn": "relu",
         "mid_block_type": None, "time_embedding_dim": 7},
        {"_class_name": "PNDMScheduler", "trained_betas": [round(0.01 + 0.02 * i, 4) for i in range(20)],
         "num_train_timesteps": 20, "prediction_type": "v_prediction"},
    ),
    "no-last-signal": (
        {**SMALL, "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4},
        {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ),
    "fourier": (
        {**SMALL, "time_embedding_type": "fourier"},
        {"_class_name": "DDPMScheduler", "beta_schedule": "sigmoid", "num_train_timesteps": 100},
    ),
    "edm": (SMALL, {"_class_name": "EDMEulerScheduler", "sigma_data": 0.6, "sigma_max": 40.0}),
    "edm-v": (
        SMALL,
        {"_class_name": "EDMDPMSolverMultistepScheduler", "prediction_type": "v_prediction", "num_train_timesteps": 50},
    ),
}  # fmt: skip


def draw(name: str, shape: list[int]) -> Tensor:
    """Normal numbers that depend on a name and a shape alone, whatever the version of the generator, float64."""
    return torch.from_numpy(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).reshape(shape))


def weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights of a size that keeps the signal, all different, no zeros; norms about one."""
    found = {}
    for name, shape in shapes.items():
        fan = np.prod(shape[1:]) if len(shape) > 1 else 25
        found[name] = (draw(name, shape) / fan**0.5 + (1 if "norm" in name and "weight" in name else 0)).float()
    return found


def steps(case: str) -> list[int]:
    """The places in the scheduler's table that are compared; the logarithm of step 0 is none."""
    last = CASES[case][1].get("num_train_timesteps", 1000) - 1
    last -= CASES[case][1].get("rescale_betas_zero_snr", False)
    return [1 if case == "fourier" else 0, last // 3, last]


def images(case: str) -> Tensor:
    """What the library's model is shown before its scheduler scales it, (2, C, H, W), float64."""
    unet, size = CASES[case][0], CASES[case][0]["sample_size"]
    return draw(case, [2, unet["in_channels"], *([size] * 2 if isinstance(size, int) else size)])


def write_folder(case: str, folder: Path, tensors: dict[str, Tensor], bare: bool = False) -> Path:
    """A model folder as the library writes it; `bare`: all of it in one folder, as its first models had it."""
    unet, scheduler = (folder, folder) if bare else (folder / "unet", folder / "scheduler")
    unet.mkdir(parents=True, exist_ok=True)
    scheduler.mkdir(exist_ok=True)
    (unet / "config.json").write_text(json.dumps(CASES[case][0]))
    (scheduler / "scheduler_config.json").write_text(json.dumps(CASES[case][1]))
    save_file(tensors, unet / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    return folder


def reference(case: str) -> tuple[dict[str, list[int]], np.ndarray, np.ndarray]:
    """(shapes of the weights by name, sigma (steps,), eps (steps, 2, C, H, W)) that were stored."""
    with np.load(REFERENCE) as stored:
        return json.loads(str(stored[f"{case}/shapes"])), stored[f"{case}/sigma"], stored[f"{case}/eps"]


def model_of(case: str) -> torch.nn.Module:
    """The library's model, with the weights of the formula."""
    from diffusers import UNet2DModel

    model = UNet2DModel.from_config(CASES[case][0])
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights(shapes))
    return model.eval()


@torch.no_grad()
def library(case: str, model: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """(sigma, eps) by the library's own model and scheduler, at `steps`, in the model's precision."""
    import diffusers

    scheduler = getattr(diffusers, CASES[case][1]["_class_name"]).from_config(CASES[case][1])
    kind, x, sigmas, found = scheduler.config.prediction_type, images(case).to(model.dtype), [], []
    for step in steps(case):
        if case.startswith("edm"):
            sigma = scheduler.sigmas[step].to(model.dtype)
            output = model(scheduler.precondition_inputs(sigma * x, sigma), scheduler.timesteps[step]).sample
            found.append((sigma * x - scheduler.precondition_outputs(sigma * x, output, sigma)) / sigma)
        else:
            a = scheduler.alphas_cumprod[step].double()
            output, sigma = model(x, step).sample, ((1 - a) / a).sqrt()
            signal, noise = a.sqrt().to(x), (1 - a).sqrt().to(x)
            found.append({"epsilon": output, "sample": (x - signal * output) / noise,
                          "v_prediction": signal * output + noise * x}[kind])  # fmt: skip
        sigmas.append(sigma.double())
    return torch.stack(sigmas), torch.stack(found)


if __name__ == "__main__":
    stored = {}
    for name in CASES:
        network = model_of(name)
        stored[f"{name}/shapes"] = json.dumps({k: list(v.shape) for k, v in network.state_dict().items()})
        stored[f"{name}/sigma"], stored[f"{name}/eps"] = (part.numpy() for part in library(name, network.double()))
    np.savez_compressed(REFERENCE, **stored)
