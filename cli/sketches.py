"""Pictures of a training while it runs, drawn in little of its time: samples, a denoising strip, curves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import data
from cli import curves, pictures
from cli.run_record import Run
from data.errors import InputRefused

if TYPE_CHECKING:
    from recon.prior import ScorePrior

SHARE = 0.05  # of the time between two saves may go into pictures
LAST = 5.0  # seconds that the last pictures may take in any case
USUAL = 1.5  # seconds that figures take, until it is known
CALLS = 20  # network calls for each sample
COUNTS = (16, 9, 4, 1)  # how many samples are drawn: as many of these as time allows
SIGMAS = (0.05, 0.125, 0.3, 0.8, 2.0, 5.0)  # noise levels of the strip, normalised units


class Sketches:
    """Draws samples.png, denoising.png and loss.png when it is called with a prior and the line of the log.

    Args:
        folder: of the training; log.jsonl is there.
        held: (C, H, W), a held-out image in values.
        minutes: between two saves.
        run: hears what goes wrong; a picture that fails is no reason to stop a training.
    """

    def __init__(self, folder: Path, held: np.ndarray, minutes: float, run: Run) -> None:
        self.folder, self.held, self.run = folder, held, run
        self.seconds = SHARE * 60 * minutes
        self.cost, self.drawn = USUAL, []

    def __call__(self, prior: ScorePrior, entry: dict[str, Any]) -> list[Path]:
        """Draws, unless that would take too long; returns the files that are new."""
        seconds = max(self.seconds, LAST) if entry["final"] else self.seconds
        if self.cost > seconds:
            return []
        start = time.monotonic()
        try:
            made = [self.losses(), self.strip(prior)]
            made += self.samples(prior, seconds - (time.monotonic() - start))
        except (OSError, InputRefused) as problem:
            self.run.note(f"pictures of the training could not be written: {str(problem).splitlines()[0]}")
            return []
        self.cost = time.monotonic() - start
        self.drawn += [path.name for path in made if path.name not in self.drawn]
        return made

    def losses(self) -> Path:
        """The curves of the log."""
        from recon.training_state import lines

        return curves.draw(lines(self.folder / "log.jsonl"), self.folder / "loss.png")

    def strip(self, prior: ScorePrior) -> Path:
        """One held-out image under six noise levels, and the estimates beneath."""
        import torch

        from recon.strip import denoising_strip

        image, scale = torch.from_numpy(centre(self.held, prior.shape[-2:])), ends(prior)
        noised, estimates, quality = denoising_strip(prior, image, torch.tensor(SIGMAS))
        rows = [
            [pictures.image("noised", f"sigma {s:g}", x.numpy(), scale) for s, x in zip(SIGMAS, noised, strict=True)],
            [pictures.image("estimate", f"{q:.1f} dB", x.numpy(), scale)
             for q, x in zip(quality, estimates, strict=True)],
        ]  # fmt: skip
        path = self.folder / "denoising.png"
        with data.atomic_file(path) as temporary:
            pictures.overview(temporary, ["noised", "estimate"], rows)
        return path

    def samples(self, prior: ScorePrior, seconds: float) -> list[Path]:
        """A grid of unconditional samples, as many as the time allows."""
        import recon

        start = time.monotonic()
        prior.denoise(prior.mean_image(prior.shape), 1.0)
        each = CALLS * (time.monotonic() - start) / 2
        count = next((n for n in COUNTS if n * each <= seconds), 0)
        if not count:
            return []
        images = recon.sample_prior(prior, count, CALLS).numpy()
        grid = pictures.grid(images, round(count**0.5))
        return [pictures.image("samples", "Samples", grid, ends(prior), prior.unit).save(self.folder)]


def centre(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The middle of an image (C, H, W), as large as the prior's."""
    top, left = ((length - side) // 2 for length, side in zip(image.shape[1:], shape, strict=True))
    return image[:, top : top + shape[0], left : left + shape[1]]


def ends(prior: ScorePrior) -> tuple[float, float]:
    """The values that are -1 and 1 to the network."""
    return prior.shift - prior.scale, prior.shift + prior.scale
