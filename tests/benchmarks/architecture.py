"""Validation loss against CPU seconds of training: our U-Net in several forms, and diffusers' UNet2DModel beside it.

    python -m tests.benchmarks.architecture --data headct_64.h5 -o curve.jsonl --seconds 3600
    python -m tests.benchmarks.architecture --table curve.jsonl          # Markdown

The configurations take turns of a few seconds, so that other work on the machine slows all of them alike.
Everything but the network is the same for all: EDM preconditioning and weighting, AdamW with warm-up and half a cosine
over the seconds, averaged weights, batches, noise levels, held-out images and their noise. Seconds are of the processor
and of training steps alone. The library's network is rebuilt by `recon.diffusers_unet` and has the parameters of our
default to within a tenth; it is told the noise as its EDM scheduler tells it (log(sigma) / 4), or, with
`-steps`, as a DDPM scheduler does (a time from 0 to 999). A run that was stopped begins again with those that had
not ended.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

import recon
from recon.batches import draw_batch
from recon.diffusers_network import DiffusersNetwork
from recon.levels import LEVELS
from recon.networks import Attention, Block
from recon.prior import ScorePrior, Units
from recon.training import Loss, average, backpropagated_loss, learning_rate
from recon.untrained import new_prior
from recon.validation import validation_losses
from tests.benchmarks.table import append_row, read_rows

UNITS = Units(0.5, 0.5, "[0,1]")
BYTES = Units(127.5, 127.5)  # of images handed in as 0..255
TURN = 10.0  # seconds of the processor
COARSE = {"unshuffle": 4, "widths": (96, 128, 128), "attention": (1, 2)}
OURS = {
    "default": {},
    "no-attention": {"attention": ()},
    "attention-lowest": {"attention": (3,)},
    "unshuffle-1": {"unshuffle": 1, "widths": (32, 64, 96, 160), "attention": (3,)},
    "unshuffle-2-of-3": {"widths": (64, 112, 144), "attention": (2,)},
    "unshuffle-4": COARSE,
    "unshuffle-4, wide": {**COARSE, "widths": (128, 192, 192)},
    "unshuffle-4, deep": {**COARSE, "widths": (72, 96, 96), "blocks": 2},
    "unshuffle-4, no attention": {**COARSE, "attention": ()},
    "unshuffle-8": {"unshuffle": 8, "widths": (128, 176), "attention": (0, 1)},
}


def swapped(network: nn.Module, kind: type[nn.Module], other: Callable[[nn.Module], nn.Module]) -> None:
    """Puts other layers in the place of all inner ones of a kind."""
    for parent in [module for module in network.modules() if isinstance(module, Block | Attention)]:
        for name, layer in parent.named_children():
            if isinstance(layer, kind):
                setattr(parent, name, other(layer))


def in_groups(count: int) -> Callable[[nn.Module], nn.Module]:
    """A convolution between equally many channels, split into groups; zero where it was."""

    def other(old: nn.Conv2d) -> nn.Module:
        if old.kernel_size == (1, 1) or old.in_channels % count or old.out_channels % count:
            return old
        new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, groups=count)
        if not old.weight.any():
            nn.init.zeros_(new.weight)
            nn.init.zeros_(new.bias)
        return new

    return other


def separable(old: nn.Conv2d) -> nn.Module:
    """A convolution as one within each channel and one across them (MobileNet); zero where it was."""
    if old.kernel_size == (1, 1):
        return old
    across = nn.Conv2d(old.in_channels, old.out_channels, 1)
    if not old.weight.any():
        nn.init.zeros_(across.weight)
        nn.init.zeros_(across.bias)
    return nn.Sequential(nn.Conv2d(old.in_channels, old.in_channels, 3, padding=1, groups=old.in_channels), across)


CHANGED = {
    "grouped": (nn.Conv2d, in_groups(4)),
    "depth-wise": (nn.Conv2d, separable),
    "layer-norm": (nn.GroupNorm, lambda old: nn.GroupNorm(1, old.num_channels)),
    "no-norm": (nn.GroupNorm, lambda old: nn.Identity()),
}


@dataclass(frozen=True)
class Foreign:
    """A UNet2DModel by its levels: widths as multiples of the finest, which is chosen to match a parameter count."""

    ratios: tuple[int, ...]
    layers: int
    attention: tuple[int, ...]
    scheduler: str = "EDMEulerScheduler"

    def unet(self, width: int, channels: int, size: int) -> dict:
        kinds = ["Attn" if level in self.attention else "" for level in range(len(self.ratios))]
        return {
            "_class_name": "UNet2DModel", "sample_size": size, "in_channels": channels, "out_channels": channels,
            "block_out_channels": [width * ratio for ratio in self.ratios], "layers_per_block": self.layers,
            "down_block_types": [f"{kind}DownBlock2D" for kind in kinds], "norm_num_groups": 4,
            "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)], "attention_head_dim": 8,
        }  # fmt: skip


FOREIGN = {
    "diffusers": Foreign((1, 2, 2, 4), 2, (2, 3)),
    "diffusers-light": Foreign((1, 2, 4), 1, (2,)),
    "diffusers-steps": Foreign((1, 2, 2, 4), 2, (2, 3), "DDPMScheduler"),
}
KNOWN = [*OURS, *CHANGED, *FOREIGN]


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def matched(foreign: Foreign, count: int, data_std: float, channels: int, size: int) -> dict:
    """The arguments of the network whose number of parameters is nearest to `count`, its widths in steps of 4."""
    scheduler = {"_class_name": foreign.scheduler}
    if foreign.scheduler == "EDMEulerScheduler":
        scheduler["sigma_data"] = data_std

    def apart(width: int) -> float:
        with torch.device("meta"):
            return abs(parameters(DiffusersNetwork(foreign.unet(width, channels, size), scheduler)) / count - 1)

    return {"unet": foreign.unet(min(range(8, 129, 4), key=apart), channels, size), "scheduler": scheduler}


def start(name: str, images: Tensor, config: recon.TrainConfig) -> ScorePrior:
    """The untrained prior of a configuration."""
    settings = config.model_copy(update=OURS.get(name, {}))
    prior = new_prior(settings, images, UNITS, BYTES, name, {})
    if name in CHANGED:
        torch.manual_seed(config.seed)
        swapped(prior.network, *CHANGED[name])
        prior.to(memory_format=torch.channels_last)
    if name not in FOREIGN:
        return prior
    size = images.shape[-1]
    arguments = matched(FOREIGN[name], parameters(prior.network), prior.data_std, images.shape[1], size)
    torch.manual_seed(config.seed)
    network, header = DiffusersNetwork(**arguments), {"network": {"name": "diffusers", "arguments": arguments}}
    header = {**prior.header, **header}
    prior = ScorePrior(network, prior.shape, prior.sde, prior.data_std, UNITS, name, header)
    return prior.to(memory_format=torch.channels_last)


def curve(
    name: str, images: Tensor, held: Tensor, config: recon.TrainConfig, seconds: float, points: int, out: Path
) -> Iterator[float]:
    """Trains one configuration, yields the seconds after each step, and appends a row at `points` times, each twice
    the one before, the last at the end.
    """
    prior = start(name, images, config)
    averaged, model = copy.deepcopy(prior).eval(), Loss(prior, config)
    optimiser = torch.optim.AdamW(
        prior.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    spent, step, due = 0.0, 0, [seconds / 2**k for k in reversed(range(points))]
    while due:
        began = time.process_time()
        generator = torch.Generator().manual_seed((config.seed << 32) + step)
        x0, _ = draw_batch(images, BYTES, config, generator)
        sigma = LEVELS[config.levels](config, prior.sde, len(x0), generator)
        optimiser.param_groups[0]["lr"] = learning_rate(config, step, spent / seconds)
        prior.train()
        optimiser.zero_grad(set_to_none=True)
        backpropagated_loss(model, (x0, sigma, torch.randn(x0.shape, generator=generator)), 1)
        nn.utils.clip_grad_norm_(prior.parameters(), config.clip)
        optimiser.step()
        step += 1
        seen = step * config.batch_size
        average(averaged, prior, 0.5 ** (config.batch_size / min(config.ema, 0.1 * seen + 1)))
        spent += time.process_time() - began
        if spent >= due[0]:
            due = [moment for moment in due if moment > spent]
            row = {"configuration": name, "parameters": parameters(prior.network), "seconds": round(spent, 1),
                   "images": seen, "budget": seconds, **validation_losses(averaged, held),
                   "threads": torch.get_num_threads()}  # fmt: skip
            append_row(out, row)
            print(row, flush=True)
        yield spent


def take_turns(curves: list[Iterator[float]]) -> None:
    """Runs all to their ends, `TURN` seconds of each in turn."""
    turn = 0
    while curves:
        turn += 1
        curves = [curve for curve in curves if next((True for spent in curve if spent >= turn * TURN), False)]


def load(path: Path, subset: int, limit: int) -> Tensor:
    """Up to `limit` images (N, C, H, W) uint8 of a subset (0 training, 1 validation), evenly spread."""
    with h5py.File(path) as file:
        kept = np.flatnonzero(file["subset"][:] == subset)
        chosen = kept[np.unique(np.linspace(0, len(kept) - 1, min(limit, len(kept))).astype(int))]
        stack = torch.from_numpy(file["images"][:][chosen])
    return stack.movedim(-1, 1) if stack.ndim == 4 else stack[:, None]


def finished(path: Path) -> set[str]:
    """The configurations that have come to their end; rows of one that was stopped are taken out of the file."""
    rows = read_rows(path)
    done = {row["configuration"] for row in rows if row["seconds"] >= row["budget"]}
    if any(row["configuration"] not in done for row in rows):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows if row["configuration"] in done))
    return done


def table(rows: list[dict]) -> str:
    """One line a configuration, best at the end first: its loss after each time."""
    by_name: dict[str, list[dict]] = {}
    for row in rows:
        by_name.setdefault(row["configuration"], []).append(row)
    times = [row["seconds"] for row in max(by_name.values(), key=len)]
    heads = ["configuration", "parameters", "images/s", *(f"{t:.0f} s" for t in times)]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, of_name in sorted(by_name.items(), key=lambda item: item[1][-1]["loss"]):
        last = of_name[-1]
        losses = [f"{row['loss']:.4f}" for row in of_name]
        cells = [f"`{name}`", f"{last['parameters'] / 1e6:.2f} M", f"{last['images'] / last['seconds']:.0f}", *losses]
        lines.append("| " + " | ".join(cells + [""] * (len(heads) - len(cells))) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not finished yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CONFIGURATION", help=f"of {', '.join(KNOWN)}")
    parser.add_argument("--data", type=Path, help="HDF5 with `images` (N, H, W[, C]) uint8 and `subset`")
    parser.add_argument("-o", "--output", type=Path, default=Path("architecture.jsonl"))
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the processor, for each")
    parser.add_argument("--points", type=int, default=6)
    parser.add_argument("--limit", type=int, default=20_000, help="training images kept in memory")
    parser.add_argument("--validation", type=int, default=64, help="held-out images")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_rows(arguments.table)))
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    names = arguments.names or KNOWN
    if unknown := set(names) - set(KNOWN):
        parser.error(f"unknown configuration {', '.join(unknown)}; known: {', '.join(KNOWN)}")
    config = recon.TrainConfig(warmup=arguments.warmup)
    images, held = load(arguments.data, 0, arguments.limit), load(arguments.data, 1, arguments.validation)
    held = held.float() * (UNITS.scale / BYTES.scale)
    done = finished(arguments.output)
    take_turns(
        [
            curve(name, images, held, config, arguments.seconds, arguments.points, arguments.output)
            for name in names
            if name not in done
        ]
    )


if __name__ == "__main__":
    main()
