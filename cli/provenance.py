"""What of a reconstruction the data fix and what the prior supplied, as arrays and numbers to show."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cli.measure import Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Supplied:
    """The prior's part of a posterior.

    Args:
        std: (B, C, H, W) standard deviation over the samples of what the data do not fix; None of a single sample.
        image_share: for each item the share of its variance, about its average value, that the prior supplied.
        spread_share: the same for the samples' deviations from their mean.
        seconds: what finding it took.
        why_not: why it was not found.
    """

    std: np.ndarray | None = None
    image_share: tuple[float, ...] = ()
    spread_share: tuple[float, ...] = ()
    seconds: float = 0.0
    why_not: str = ""

    def text(self, item: int) -> str:
        """The shares of an item in words."""
        if self.why_not:
            return f"not split: {self.why_not}"
        found = f"{100 * self.image_share[item]:.2g} % of the image's variance"
        if self.spread_share:
            found += f", {100 * self.spread_share[item]:.2g} % of the variance between samples"
        return found

    def record(self) -> dict[str, Any]:
        """For `run.json`."""
        if self.why_not:
            return {"not_split": self.why_not}
        image, spread = ([round(v, 6) for v in shares] for shares in (self.image_share, self.spread_share))
        return {"of_the_image": image, "of_the_spread": spread, "seconds": round(self.seconds, 3)}


def supplied(task: Task, samples: Tensor, device: str) -> Supplied:
    """The prior's part of samples (S, B, C, H, W), without padding."""
    from operators import LinearOperator
    from recon.nullspace import split

    measurement = task.measurement
    if not isinstance(measurement.operator, LinearOperator):
        return Supplied(why_not="the operator is not linear, what it is blind to differs from image to image")
    start = time.perf_counter()
    try:
        whole = split(measurement.to(device, samples.dtype), samples.to(device))
    except ValueError as problem:
        return Supplied(why_not=str(problem))
    shown = replace(whole, images=task.crop(whole.images), null=task.crop(whole.null))
    return Supplied(
        std=None if shown.std is None else shown.std.cpu().numpy(),
        image_share=tuple(shown.image_share.tolist()),
        spread_share=() if shown.spread_share is None else tuple(shown.spread_share.tolist()),
        seconds=time.perf_counter() - start,
    )
