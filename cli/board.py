"""Scalars and pictures of a training for TensorBoard, an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import data
from cli.errors import usage

EVERY = 50  # steps between two points of a curve, as in the log


def refuse_missing() -> None:
    """Refuses to go on where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        found, fix = "no package tensorboard", 'pip install "recon[tracking]", or leave out --tensorboard'
        raise usage("tensorboard is not installed", "--tensorboard", found, "the extra 'tracking'", fix) from error


class Board:
    """What is written to a folder that `tensorboard --logdir` shows."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))

    def step(self, state: dict[str, Any]) -> None:
        """The progress of the library after a step."""
        if state["step"] % EVERY == 0:
            for name in ("loss", "gradient_norm"):
                self.writer.add_scalar(f"training/{name}", state[name], state["step"])

    def saved(self, entry: dict[str, Any], pictures: list[Path]) -> None:
        """The log's line of a saved prior, and the pictures that were drawn of it."""
        for name, value in entry["validation"].items():
            self.writer.add_scalar(f"validation/{name}", value, entry["step"])
        for path in pictures:
            self.writer.add_image(path.stem, data.read_image(path).values, entry["step"])
        self.writer.flush()
