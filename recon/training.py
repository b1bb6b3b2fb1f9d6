"""Score matching, read from top to bottom: settings, loss, averaging, loop, saving.

The loss is E lambda(sigma) |D(x0 + sigma n, sigma) - x0|^2 over the noise levels of the chosen SDE, see
`recon.objectives`, `recon.levels` and `recon.batches`; by default as in Karras et al., 2022 (arXiv:2206.00364),
section 5. All randomness of step k comes from (seed, k), so that a resumed run continues bit for bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from recon.batches import centred, draw_batch, draw_labels
from recon.checkpoint import load_prior, save_prior
from recon.distributed import Team, team
from recon.labels import Labelled
from recon.levels import LEVELS
from recon.networks import NETWORKS
from recon.objectives import OBJECTIVES, WEIGHTINGS
from recon.parametrisation import PREDICTS
from recon.prior import ScorePrior, Units, per_item
from recon.sde import SDE, SDES
from recon.spectrum import measure
from recon.training_state import append, restore, save, skipped_steps
from recon.typicality import FEWEST_IMAGES, measure_band

BANDS = (0.01, 0.05, 0.2, 0.8, 3.0, 10.0)  # edges of the noise levels that validation reports, normalised units
MOST_SKIPPED = 0.01  # share of the steps that may give no finite loss (five of them in any case)


class TrainConfig(BaseModel):
    """All settings of a training run; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sde: Literal["vp", "ve", "subvp"] = "vp"
    widths: tuple[int, ...] = (96, 128, 128)
    blocks: int = Field(1, ge=1)
    attention: tuple[int, ...] = (1, 2)
    unshuffle: int = Field(4, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: int = Field(20_000, ge=1, description="half-life of the weight average, in images")
    steps: int = Field(20_000, ge=1, description="the run ends after this many steps")
    hours: float | None = Field(None, gt=0, description="or after this many hours, if sooner")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in, one after the other")
    precision: Literal["float32", "bfloat16"] = "float32"
    predicts: Literal[tuple(PREDICTS)] = Field("edm", description="what the network's output stands for")
    objective: Literal[tuple(OBJECTIVES)] = Field("denoising", description="the form of score matching")
    weighting: Literal[tuple(WEIGHTINGS)] = Field("edm", description="weight of the noise levels")
    levels: Literal[tuple(LEVELS)] = Field("lognormal", description="distribution of the noise levels")
    level_count: int = Field(10, ge=2, description="how many levels there are with levels = discrete")
    log_sigma_mean: float = Field(-1.0, description="mean of log sigma with levels = lognormal, normalised units")
    log_sigma_std: float = Field(1.5, gt=0)
    flip: bool = Field(True, description="mirror images left to right at random")
    rotate: float = Field(0.0, ge=0, le=180, description="turn images by up to so many degrees at random")
    zoom: float = Field(0.0, ge=0, lt=1, description="scale images by up to this share at random")
    crop: int | None = Field(None, ge=8, description="train on random square windows of this size")
    classes: int = Field(0, ge=0, description="how many kinds of images the labels tell apart; 0 without labels")
    drop_label: float = Field(0.1, ge=0, le=1, description="share of the images whose label is withheld")
    save_minutes: float = Field(5.0, gt=0)
    seed: int = 0
    initial: str | None = Field(None, description="prior to start the weights from: a bundled name or a path")


def score_matching_loss(
    prior: ScorePrior, x0: Tensor, sigma: Tensor, noise: Tensor, objective: str = "denoising", weighting: str = "edm"
) -> Tensor:
    """Weighted error of the estimate for each image, (B,): the mean over its values of lambda(sigma) |D - x0|^2."""
    weight = WEIGHTINGS[weighting](sigma, prior.data_std, prior.sde)
    return weight * OBJECTIVES[objective](prior, x0, sigma, noise)


def evenly(images: Tensor, most: int, least: int) -> Tensor:
    """Some of the images (N, C, H, W), evenly spread: `most` of small ones, of larger ones fewer."""
    count = min(len(images), max(least, min(most, most * 2 * 64**2 // math.prod(images.shape[-2:]))))
    return images[torch.linspace(0, len(images) - 1, count).long()]


@torch.no_grad()
def validation_losses(prior: ScorePrior, images: Tensor) -> dict[str, float]:
    """Denoising PSNR in dB (of the image's range of 2) over bands of sigma, and the mean weighted loss; same noise
    each time.
    """
    generator = torch.Generator().manual_seed(1234)
    x0 = prior.from_value(evenly(images, 256, 32).float())
    result, losses = {}, []
    for low, high in zip(BANDS, BANDS[1:], strict=False):
        sigma = torch.exp(math.log(low) + (math.log(high) - math.log(low)) * (torch.arange(len(x0)) + 0.5) / len(x0))
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        sigma = sigma[torch.randperm(len(x0), generator=generator)].to(x0)
        mse = []
        for part in torch.arange(len(x0)).split(64):
            x = x0[part] + per_item(sigma[part], x0[part]) * noise[part]
            mse.append((prior.denoise(x, sigma[part]) - x0[part]).square().flatten(1).mean(1))
            losses.append(score_matching_loss(prior, x0[part], sigma[part], noise[part]))
        result[f"psnr_{low:g}_{high:g}"] = round(float(10 * torch.log10(4 / torch.cat(mse).mean())), 3)
    return {"loss": round(float(torch.cat(losses).mean()), 5), **result}


class Loss(nn.Module):
    """(x0, sigma, noise) -> the mean loss of a part of a batch, as a module, which is what torch distributes."""

    def __init__(self, prior: ScorePrior, config: TrainConfig) -> None:
        super().__init__()
        self.prior, self.config = prior, config

    def forward(self, x0: Tensor, sigma: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        prior = self.prior if label is None else Labelled(self.prior, label)
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            return score_matching_loss(
                prior, x0, sigma, noise, self.config.objective, self.config.weighting
            ).mean()


def backpropagated_loss(model: nn.Module, batch: tuple[Tensor, ...], parts: int) -> Tensor:
    """The mean loss of a batch, whose gradient is added to the parameters, part by part."""
    rows = torch.arange(len(batch[0])).chunk(parts)
    total = torch.zeros((), device=batch[0].device)
    for part in rows:
        last = part is rows[-1]
        with nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync():
            loss = model(*(tensor[part] for tensor in batch)) * (len(part) / len(batch[0]))
            loss.backward()
        total = total + loss.detach()
    return total


def average(target: nn.Module, source: nn.Module, decay: float) -> None:
    """target <- decay target + (1 - decay) source, for all parameters."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), 1 - decay)


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """Linear warm-up, then half a cosine down to a hundredth, over the share of the run that is done."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))))


def new_prior(
    config: TrainConfig, images: Tensor, units: Units, handed: Units, name: str, provenance: dict
) -> ScorePrior:
    """An untrained prior for images (N, C, H, W) that are `handed` in other multiples of the prior's `units`."""
    arguments = {
        "channels": images.shape[1],
        "widths": list(config.widths),
        "blocks": config.blocks,
        "attention": list(config.attention),
        "unshuffle": config.unshuffle,
        "dropout": config.dropout,
    }
    if config.classes:
        arguments["classes"] = config.classes
    some = images[torch.linspace(0, len(images) - 1, min(512, len(images))).long()]
    some = centred(some, config.crop).float().flatten(1) / handed.scale
    apart = some - some.mean(0)
    spread = torch.linalg.eigvalsh(apart @ apart.T / len(some))[-1].clamp(min=0).sqrt()
    header = {
        "network": {"name": "unet", "arguments": arguments},
        "predicts": config.predicts,
        "provenance": provenance,
        "spread": float(spread),
    }
    torch.manual_seed(config.seed)
    prior = ScorePrior(
        NETWORKS["unet"](**arguments),
        tuple(centred(images[:1], config.crop).shape[1:]),
        process(config, some),
        float(some.std()),
        units,
        name,
        header,
    )
    if config.initial:
        start = load_prior(config.initial)
        prior.network.load_state_dict(start.network.state_dict())
        prior.header["started_from"] = {"name": start.name, **start.header.get("provenance", {})}
    return prior.to(memory_format=torch.channels_last)


def process(config: TrainConfig, images: Tensor) -> SDE:
    """The SDE of the config; VE reaches the largest distance between two of the normalised images (N, d).

    Reference: Song and Ermon, Improved techniques, 2020, technique 1, arXiv:2006.09011.
    """
    if config.sde != "ve":
        return SDES[config.sde]()
    return SDES["ve"](sigma_high=round(float(torch.cdist(images, images).max()), 2))


def _check_labels(labels: Tensor | None, count: int, classes: int) -> None:
    """Raise a ValueError unless there is a label in range for each image, or neither labels nor classes."""
    if labels is None:
        fits, found = not classes, "none"
    else:
        fits = labels.shape == (count,) and 0 <= int(labels.min()) <= int(labels.max()) < classes
        found = f"{tuple(labels.shape)} from {int(labels.min())} to {int(labels.max())}"
    if not fits:
        raise ValueError(
            f"got labels {found} for {count} images and classes={classes}; expected one label an image from 0 to "
            "classes - 1, or neither labels nor classes"
        )


def train(
    images: Tensor,
    validation: Tensor,
    config: TrainConfig,
    out: str | Path,
    *,
    labels: Tensor | None = None,
    units: Units | None = None,
    name: str = "",
    provenance: dict | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    progress: Callable[[dict], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    written: Callable[[ScorePrior, dict], None] = lambda prior, entry: None,
) -> Path:
    """Train a prior on images (N, C, H, W) and write `out`/prior.safetensors, state.safetensors and log.jsonl.

    Args:
        images: training images, uint8 or float, in the units that `units` maps to about [-1, 1].
        validation: held-out images of the same kind; they never touch a gradient.
        labels: (N,) whole numbers from 0, what the training images show; with `classes` in the config.
        units: value = scale * x + shift of the images handed in; default: values in [0, 1], uint8 ones divided by 255.
        provenance: where the images come from and under which licence; stored in the prior.
        resume: continue from `out`/state.safetensors.
        device: where to compute; default: a GPU where there is one. Under `torchrun` each process takes its share of
            every batch (`recon.distributed`), and the first one writes.
        progress: called after every step with {"step", "loss", "fraction", "gradient_norm"}.
        interrupted: asked after every step; once it says True the state is saved, to be resumed from, and the run ends.
        written: called each time the prior's file was written, with the averaged prior and the line of the log
            {"step", "seconds", "final", "validation"}; for pictures of its progress.

    Returns:
        The prior's file, the averaged weights in half precision.

    Raises:
        FileNotFoundError: resume without an earlier run.
        ValueError: resume with other settings, a crop larger than the images, or labels that do not fit the config.
        FloatingPointError: five steps in a row, or more than one in a hundred, gave a loss that is not finite; the last
            saved state is kept.
    """
    if config.crop and config.crop > min(images.shape[-2:]):
        raise ValueError(
            f"got crop={config.crop} for images of {images.shape[-2]}x{images.shape[-1]}; expected at most the shorter "
            "side; use larger images or a smaller crop"
        )
    _check_labels(labels, len(images), config.classes)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    stored = units or Units(0.5, 0.5, "[0,1]")
    factor = 255.0 if images.dtype == torch.uint8 and units is None else 1.0
    handed = Units(stored.scale * factor, stored.shift * factor)
    prior = new_prior(config, images, stored, handed, name, provenance or {})
    with team(device) as processes:
        return _loop(
            prior, images, labels, validation, config, out, handed, processes, resume, progress, interrupted, written
        )


def _loop(
    prior: ScorePrior,
    images: Tensor,
    labels: Tensor | None,
    validation: Tensor,
    config: TrainConfig,
    out: Path,
    handed: Units,
    processes: Team,
    resume: bool,
    progress: Callable[[dict], None] | None,
    interrupted: Callable[[], bool],
    written: Callable[[ScorePrior, dict], None],
) -> Path:
    """The steps of `train`, for one process of a team."""
    prior = prior.to(processes.device)
    averaged = copy.deepcopy(prior).eval()
    optimiser = torch.optim.AdamW(
        prior.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    model = processes.model(Loss(prior, config))
    parts = {"network": prior.network, "average": averaged.network}
    settings, defaults = config.model_dump(), TrainConfig().model_dump()
    step, before = restore(out / "state.safetensors", parts, optimiser, settings, defaults) if resume else (0, 0.0)
    started, saved, bad = time.monotonic() - before, time.monotonic(), 0
    skipped = skipped_steps(out / "log.jsonl", step) if resume else []

    def keep() -> None:
        if not processes.leads:
            return
        seconds = time.monotonic() - started
        save(out / "state.safetensors", parts, optimiser, settings, step, seconds)

    def record(final: bool) -> None:
        if not processes.leads:
            return
        seconds = time.monotonic() - started
        held = centred(validation, config.crop).to(processes.device).float() * (prior.scale / handed.scale)
        losses = validation_losses(averaged, held) if len(held) else {}
        averaged.header["training"] = {
            "config": settings,
            "steps": step,
            "skipped_steps": len(skipped),
            "images_seen": step * config.batch_size,
            "seconds": round(seconds),
            "threads": torch.get_num_threads(),
            "training_images": len(images),
            "validation_images": len(validation),
            "validation": losses,
            "code_version": version("recon"),
            "torch": torch.__version__,
        }
        if final and len(held):
            some = averaged.from_value(evenly(held, 128, 24))
            with torch.no_grad():
                spectrum = measure(averaged.denoise, some, 0.02 * averaged.data_std, 6 * averaged.spread)
            averaged.header["error_spectrum"] = asdict(spectrum)
            if len(held) >= FEWEST_IMAGES:
                averaged.header["typicality"] = asdict(measure_band(averaged, held))
        keep()
        save_prior(out / "prior.safetensors", averaged)
        entry = {"step": step, "seconds": round(seconds, 1), "final": final, "validation": losses}
        append(out / "log.jsonl", entry)
        written(averaged, entry)

    def share_done() -> float:
        hours = (time.monotonic() - started) / 3600
        return processes.agreed(max(step / config.steps, hours / config.hours if config.hours else 0.0))

    while (fraction := share_done()) < 1:
        generator = torch.Generator().manual_seed((config.seed << 32) + step)
        torch.manual_seed((config.seed << 32) + step)  # dropout draws from the global one
        x0, index = draw_batch(images, handed, config, generator)
        sigma = LEVELS[config.levels](config, prior.sde, len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator)
        optimiser.param_groups[0]["lr"] = learning_rate(config, step, fraction)
        prior.train()
        optimiser.zero_grad(set_to_none=True)
        told = () if labels is None else (draw_labels(labels[index].long(), config, generator),)
        batch = tuple(map(processes.share, (x0, sigma, noise, *told)))
        loss = processes.mean(backpropagated_loss(model, batch, config.accumulate))
        norm = nn.utils.clip_grad_norm_(prior.parameters(), config.clip)
        bad = 0 if bool(torch.isfinite(norm)) else bad + 1
        skipped += [step + 1] if bad else []
        if bad == 5 or len(skipped) > max(MOST_SKIPPED * step, 5):
            found = "five losses in a row" if bad == 5 else f"{len(skipped)} losses"
            raise FloatingPointError(
                f"got {found} that are not finite, the last at step {step}; expected finite ones at more than "
                f"{1 - MOST_SKIPPED:.0%} of the steps; lower the learning rate and resume"
            )
        if not bad:
            optimiser.step()
            images_seen = (step + 1) * config.batch_size
            average(averaged, prior, 0.5 ** (config.batch_size / min(config.ema, 0.1 * images_seen + 1)))
        step += 1
        if progress:
            progress({"step": step, "loss": float(loss), "fraction": fraction, "gradient_norm": float(norm)})
        if processes.leads and (step % 50 == 0 or bad):
            append(
                out / "log.jsonl",
                {
                    "step": step,
                    "seconds": round(time.monotonic() - started, 1),
                    "loss": round(float(loss), 5),
                    "skipped": bool(bad),
                },
            )
        if time.monotonic() - saved > 60 * config.save_minutes:
            record(final=False)
            saved = time.monotonic()
        if processes.agreed(interrupted()):
            keep()
            return out / "prior.safetensors"
    record(final=True)
    return out / "prior.safetensors"
