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
RISEN = 1.05  # times the least validation loss of the run, above which its end is told to be too late


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
        self.checks: dict[int, float] = {}  # validation loss by step
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
        if entry.get("validation"):
            self.checks[entry["step"]] = entry["validation"]["loss"]
        if entry.get("final") and self.checks and (text := past_its_best(self.checks)):
            self.run.note(text)
        if self.board is not None:
            self.board.saved(entry, pictures)


def past_its_best(checks: dict[int, float]) -> str:
    """What to say of validation losses by step whose last is well above their least; "" where it is not."""
    step, last = min(checks, key=checks.__getitem__), checks[max(checks)]
    if last <= RISEN * checks[step]:
        return ""
    return (
        f"the validation loss ended at {last:.4g} and was {checks[step]:.4g} at step {step}: the prior has begun to "
        f"learn its images by heart; give it more of them, or end sooner (--steps {step})"
    )
