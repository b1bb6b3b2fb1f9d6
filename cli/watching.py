"""What a training tells while it runs: its bar, skipped steps by name, pictures, and TensorBoard if that is wanted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cli.dataset import Dataset
from cli.progress import Advance
from cli.run_record import Run
from cli.sketches import Sketches
from cli.team import leads

if TYPE_CHECKING:
    from recon.prior import ScorePrior

NAMED = 10  # skipped steps that are each told of
RISEN = 1.05  # times the least validation loss of the run, above which the end of it is told to be too late


class Watch:
    """Hears from the library after each step and after each prior that was written.

    Args:
        folder: of the training.
        found: its images; one of those that validate is denoised for the pictures.
        minutes: between two saves.
        tensorboard: whether curves and pictures go to `folder`/tensorboard too.
        advance: moves the bar, None where nothing is shown.
        run: its notes name the steps that were skipped.
    """

    def __init__(
        self, folder: Path, found: Dataset, minutes: float, tensorboard: bool, advance: Advance | None, run: Run
    ) -> None:
        held = found.validation[len(found.validation) // 2].astype(np.float32) / np.float32(found.value_max)
        self.sketches = Sketches(folder, held, minutes, run)
        self.board, self.advance, self.run = None, advance, run
        self.smooth, self.skipped = 0.0, []
        if tensorboard and leads():
            from cli.board import Board

            self.board = Board(folder / "tensorboard")

    @property
    def files(self) -> list[str]:
        """What was written into the folder."""
        return [*self.sketches.drawn, *(["tensorboard"] if self.board else [])]

    def step(self, state: dict[str, Any]) -> None:
        """After a step: state has step, loss, fraction and gradient_norm."""
        if not math.isfinite(state["gradient_norm"]):
            self.skip(state["step"])
            return
        if self.board is not None:
            self.board.step(state)
        if self.advance is not None:
            self.smooth += (state["loss"] - self.smooth) * max(0.01, 1 / state["step"])
            self.advance(state["fraction"], f"step {state['step']}  loss {self.smooth:.4f}")

    def skip(self, step: int) -> None:
        """Names a step that was left out."""
        self.skipped.append(step)
        if len(self.skipped) <= NAMED:
            more = "; further ones are in log.jsonl" if len(self.skipped) == NAMED else ""
            self.run.note(f"step {step} skipped: its loss or gradient is not finite{more}")

    def saved(self, prior: ScorePrior, entry: dict[str, Any]) -> None:
        """After the prior's file was written: the averaged prior and the line of the log."""
        pictures = self.sketches(prior, entry)
        if entry["final"] and entry["validation"] and (text := past_its_best(entry)):
            self.run.note(text)
        if self.board is not None:
            self.board.saved(entry, pictures)


def past_its_best(entry: dict[str, Any]) -> str:
    """What to say of a run whose validation loss ended well above its least; "" where it did not."""
    last, kept = entry["validation"]["loss"], entry["kept"]
    if last <= RISEN * kept["loss"]:
        return ""
    return (
        f"the prior is that of step {kept['step']}, where its validation loss was least, {kept['loss']:.4g}; it ended "
        f"at {last:.4g}: training had begun to learn the images by heart, and more of them would help"
    )
