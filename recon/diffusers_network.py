"""A diffusers model as a network of ours, F(x, c): what its scheduler says of time, noise and prediction.

The schedulers of the library fall into two kinds. Those of variance-preserving steps (DDPM, DDIM, PNDM) hold a table of
beta_t, and their model sees x_sde = x / (1 + sigma^2)^(1/2) at the step t, where with a_t = prod (1 - beta_i)

    sigma_t = ((1 - a_t) / a_t)^(1/2);

between the steps t is linear in log sigma (`recon.sde.Discrete`). Those of EDM (Karras et al., 2022, arXiv:2206.00364)
see x / (sigma^2 + sigma_data^2)^(1/2) and log(sigma) / 4. Settings of their samplers (spacing, clipping, variance) are
not the model's, and are left out.

Reference: Ho et al., 2020, arXiv:2006.11239 (linear); Rombach et al., 2022, arXiv:2112.10752 (scaled linear); Nichol
and Dhariwal, 2021, equation 17, arXiv:2102.09672 (cosine); Lin et al., 2024, algorithm 1, arXiv:2305.08891 (zero
terminal signal).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recon.diffusers_unet import UNet2D, read_config
from recon.sde import SDE, VE, Discrete

STEPPED = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}  # the library's words, ours
NEAR = 1e-3  # a time this near to a whole step is that step: levels in single precision are no nearer


@dataclass(frozen=True)
class Preconditioning:
    """What a scheduler says of its model.

    Args:
        sde: the noise levels.
        predicts: what the output stands for, see `recon.parametrisation`.
        input_std: the model sees x / (sigma^2 + input_std^2)^(1/2).
        sign: of the output.
    """

    sde: SDE
    predicts: str
    input_std: float
    sign: float = 1.0


def _number(settings: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = settings.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        raise ValueError(
            f"got a scheduler with {name}={value!r}; expected a number between {low:g} and {high:g}; "
            "mend scheduler_config.json"
        )
    return value


def betas(settings: dict[str, Any]) -> Tensor:
    """beta_t of a scheduler's settings, float32 as the library's: a model is called at what these round to."""
    steps = int(_number(settings, "num_train_timesteps", 1000, 1, 1e6))
    first = _number(settings, "beta_start", 1e-4, 0, 1)
    last = _number(settings, "beta_end", 0.02, 0, 1)
    name = settings.get("beta_schedule", "linear")
    if (trained := settings.get("trained_betas")) is not None:
        if not isinstance(trained, list) or not all(isinstance(b, float | int) and 0 < b <= 1 for b in trained):
            raise ValueError(
                f"got a scheduler with trained_betas={str(trained)[:60]}; expected a list of numbers above 0, at most "
                "1; mend scheduler_config.json"
            )
        table = torch.tensor(trained, dtype=torch.float32)
    elif name == "linear":
        table = torch.linspace(first, last, steps)
    elif name == "scaled_linear":
        table = torch.linspace(first**0.5, last**0.5, steps) ** 2
    elif name == "squaredcos_cap_v2":
        left = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        table = torch.tensor([min(1 - b / a, 0.999) for a, b in zip(left, left[1:], strict=False)])
    elif name == "sigmoid":
        table = torch.sigmoid(torch.linspace(-6, 6, steps)) * (last - first) + first
    else:
        raise ValueError(
            f"got a scheduler with beta_schedule={name!r}; expected linear, scaled_linear, squaredcos_cap_v2, sigmoid "
            "or trained_betas; use another model"
        )
    return without_last_signal(table) if settings.get("rescale_betas_zero_snr") else table


def without_last_signal(table: Tensor) -> Tensor:
    """The betas for which a_t^(1/2) is shifted and scaled so that the last is 0 and the first stays."""
    signal = torch.cumprod(1 - table, 0).sqrt()
    left = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
    squares = left**2
    return 1 - torch.cat([squares[:1], squares[1:] / squares[:-1]])


def step_levels(settings: dict[str, Any]) -> tuple[float, ...]:
    """sigma_t of a scheduler's steps 0, 1, ..., rising; steps at which no signal is left are none."""
    with torch.device("cpu"):  # also while a network is laid out without memory
        alphas = torch.cumprod(1 - betas(settings), 0).double()
    alphas = alphas[alphas > 0]
    return tuple(((1 - alphas) / alphas).sqrt().tolist())


def preconditioning(settings: dict[str, Any]) -> Preconditioning:
    """What a scheduler's `scheduler_config.json` says of its model.

    Raises:
        ValueError: a scheduler, a prediction or a schedule that is not known here.
    """
    kind, prediction = settings.get("_class_name"), str(settings.get("prediction_type") or "epsilon")
    if kind not in STEPPED + EDM:
        raise ValueError(
            f"got the scheduler {kind!r}; expected one of {', '.join(STEPPED + EDM)}; save the model with the one that "
            "it was trained with"
        )
    if kind in EDM:
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"got {kind} with prediction_type={prediction!r}; expected epsilon or v_prediction; "
                "mend scheduler_config.json"
            )
        low, high = (_number(settings, f"sigma_{k}", v, 0, math.inf) for k, v in (("min", 0.002), ("max", 80.0)))
        std = _number(settings, "sigma_data", 0.5, 0, math.inf)
        return Preconditioning(VE(low, high), "edm", std, 1.0 if prediction == "epsilon" else -1.0)
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"got {kind} with prediction_type={prediction!r}; expected one of {', '.join(PREDICTIONS)}; "
            "mend scheduler_config.json"
        )
    return Preconditioning(Discrete(step_levels(settings)), PREDICTIONS[prediction], 1.0)


class DiffusersNetwork(nn.Module):
    """F(x, c): x (B, C, H, W) scaled as its scheduler has it, c (B,) = log(sigma) / 4 -> (B, C, H, W).

    Args:
        unet: the library's configuration of the model, `config.json`.
        scheduler: that of its scheduler, `scheduler_config.json`.
    """

    def __init__(self, unet: dict[str, Any], scheduler: dict[str, Any]) -> None:
        super().__init__()
        config, told = read_config(unet), preconditioning(scheduler)
        self.unet, self.sign = UNet2D(config), told.sign
        self.steps = told.sde if isinstance(told.sde, Discrete) else None
        self.first = 1.0 if config.time_embedding_type == "fourier" else 0.0  # the logarithm of step 0 is none
        if self.first and self.steps is None:
            raise ValueError(
                f"got time_embedding_type='fourier' with {scheduler['_class_name']}, whose times have no logarithm; "
                "expected positional; use another model"
            )
        self.multiple = 2 ** (len(config.block_out_channels) - 1)

    def time(self, c: Tensor) -> Tensor:
        """What the model is told for log(sigma) / 4."""
        if self.steps is None:
            return c
        t = self.steps.time((4 * c.double()).exp())
        return torch.where((t - t.round()).abs() < NEAR, t.round(), t).clamp(min=self.first)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            raise ValueError(
                f"got an image of {x.shape[-2]}x{x.shape[-1]}; expected height and width to be multiples of "
                f"{self.multiple}; pad or crop the image"
            )
        return self.sign * self.unet(x, self.time(c))
