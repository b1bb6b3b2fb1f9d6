"""Score matching, read from top to bottom: loss, averaging, loop, saving.

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

import torch
from torch import Tensor, nn

from recon.batches import centred, draw_batch, draw_labels
from recon.checkpoint import save_prior
from recon.distributed import Team, team
from recon.labels import Labelled
from recon.levels import LEVELS
from recon.objectives import score_matching_loss
from recon.prior import ScorePrior, Units
from recon.spectrum import measure
from recon.train_config import TrainConfig
from recon.training_state import append, restore, save, skipped_steps
from recon.typicality import FEWEST_IMAGES, measure_band
from recon.untrained import new_prior
from recon.validation import Kept, evenly, steps_between, validation_losses

MOST_SKIPPED = 0.01  # share of the steps that may give no finite loss (five of them in any case)


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
            {"step", "seconds", "final", "validation", "kept"}; for pictures of its progress.

    Returns:
        The prior's file in half precision: of the averaged weights that were checked on held-out images every so many
        steps the best ones, or with keep = "last" the last ones.

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
    averaged, kept = copy.deepcopy(prior).eval(), Kept(copy.deepcopy(prior).eval(), config)
    if config.compiled:
        prior.compile()
    optimiser = torch.optim.AdamW(
        prior.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    model = processes.model(Loss(prior, config))
    parts = {"network": prior.network, "average": averaged.network, "kept": kept.prior.network}
    settings, defaults = config.model_dump(), TrainConfig().model_dump()
    before = restore(out / "state.safetensors", parts, optimiser, settings, defaults) if resume else {}
    step, (kept.step, kept.losses) = before.get("step", 0), before.get("kept", (0, {}))
    started, saved, shown = time.monotonic() - before.get("seconds", 0.0), time.monotonic(), time.monotonic()
    skipped, bad = skipped_steps(out / "log.jsonl", step) if resume else [], 0
    every = steps_between(centred(validation, config.crop), config.batch_size)

    def seconds() -> float:
        return round(time.monotonic() - started, 1)

    def save_state() -> None:
        progress = {"step": step, "seconds": time.monotonic() - started, "kept": (kept.step, kept.losses)}
        save(out / "state.safetensors", parts, optimiser, settings, progress)

    def held() -> Tensor:
        return centred(validation, config.crop).to(processes.device).float() * (prior.scale / handed.scale)

    def check(final: bool = False) -> dict:
        losses = validation_losses(averaged, held()) if len(validation) else {}
        kept.offer(averaged, step, losses)
        told = {"step": kept.step, "loss": kept.losses.get("loss")}
        return {"step": step, "seconds": seconds(), "final": final, "validation": losses, "kept": told}

    def write(entry: dict) -> None:
        best = kept.prior
        best.header["training"] = {
            "config": settings,
            "steps": step,
            "kept_step": kept.step,
            "skipped_steps": len(skipped),
            "images_seen": step * config.batch_size,
            "seconds": round(seconds()),
            "threads": torch.get_num_threads(),
            "training_images": len(images),
            "validation_images": len(validation),
            "validation": kept.losses,
            "code_version": version("recon"),
            "torch": torch.__version__,
        }
        if entry["final"] and len(validation):
            some = best.from_value(evenly(held(), 128, 24))
            with torch.no_grad():
                spectrum = measure(best.denoise, some, 0.02 * best.data_std, 6 * best.spread)
            best.header["error_spectrum"] = asdict(spectrum)
            if len(validation) >= FEWEST_IMAGES:
                best.header["typicality"] = asdict(measure_band(best, held()))
        save_prior(out / "prior.safetensors", best)
        written(best, entry)

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
        if processes.leads:
            if step % 50 == 0 or bad:
                entry = {"step": step, "seconds": seconds(), "loss": round(float(loss), 5), "skipped": bool(bad)}
                append(out / "log.jsonl", entry)
            if step % every == 0:
                entry = check()
                append(out / "log.jsonl", entry)
                if time.monotonic() - shown > 60 * config.save_minutes:
                    write(entry)
                    shown = time.monotonic()
            if time.monotonic() - saved > 60 * config.save_minutes:
                save_state()
                saved = time.monotonic()
        if processes.agreed(interrupted()):
            if processes.leads:
                save_state()
            return out / "prior.safetensors"
    if processes.leads:
        entry = check(final=True)
        save_state()
        append(out / "log.jsonl", entry)
        write(entry)
    return out / "prior.safetensors"
