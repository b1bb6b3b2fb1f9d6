"""Whether the given image and the reconstruction are like the images of the prior, by the band stored with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.errors import split
from cli.measure import ASSUMED, Task

if TYPE_CHECKING:
    from torch import Tensor

    from recon import Prior

MOST_ITEMS, MOST_SAMPLES = 16, 2  # that are judged: a few network calls each, beside those of the sampler
NO_BAND = "no band stored"
LABEL = "unlike the prior's images"


@dataclass(frozen=True)
class Judged:
    """The judgement of one kind of images.

    Args:
        what: "given image" or "samples".
        scores: for each item its distance from the prior's held-out images; none where it was not judged.
        limit: what one in a hundred of these exceeds.
        why_not: why they were not judged.
    """

    what: str
    scores: tuple[float, ...] = ()
    limit: float = 0.0
    why_not: str = ""

    def unusual(self, item: int) -> bool:
        """Whether an item was judged, and is farther off than nearly all held-out images."""
        return item < len(self.scores) and self.scores[item] > self.limit

    def text(self, item: int) -> str:
        """The judgement of an item in words."""
        if item >= len(self.scores):
            return f"{self.what}: not judged ({self.why_not or f'only the first {MOST_ITEMS} items are'})"
        side = "unusual" if self.unusual(item) else "usual"
        return f"{self.what}: {side}, distance {self.scores[item]:.2f}, usual up to {self.limit:.2f}"

    def record(self) -> dict[str, Any]:
        """For `run.json`."""
        if not self.scores:
            return {"not_judged": self.why_not}
        unusual = [self.unusual(item) for item in range(len(self.scores))]
        return {"distance": self.scores, "usual_up_to": self.limit, "unusual": unusual}


@dataclass(frozen=True)
class Likeness:
    """What a reconstruction was judged by; nothing where the prior has no band."""

    prior: str
    judged: tuple[Judged, ...] = ()

    def unusual(self, item: int) -> bool:
        return any(part.unusual(item) for part in self.judged)

    def text(self, item: int) -> str:
        return "; ".join(part.text(item) for part in self.judged) or NO_BAND

    def record(self) -> dict[str, Any]:
        """For `run.json`."""
        parts = {part.what.replace(" ", "_"): part.record() for part in self.judged}
        return {"band": "stored" if parts else NO_BAND, **parts}

    def warnings(self, title: str) -> list[str]:
        """One sentence for each kind of images of which some are unusual."""
        found = []
        for part in self.judged:
            items = [item for item in range(len(part.scores)) if part.unusual(item)]
            if items:
                count = len(part.scores)
                of = f"{len(items)} of {count} items, " if count > 1 else ""
                worst = max(part.scores)
                far = f"distance {worst:.2f}, one in a hundred of its held-out images exceeds {part.limit:.2f}"
                found.append(
                    f"{title}: {of}{part.what} unlike the images that prior {self.prior} was trained on ({far}). "
                    "What the data do not fix may then be wrong, and intervals too narrow."
                )
        return found


def of_images(images: Tensor, prior: Prior, what: str, noise: float = 0.0) -> Judged | None:
    """The judgement of images (B, C, H, W) in the prior's values with white noise; None without a band."""
    import recon

    try:
        found = recon.judge(prior, images, noise)
    except ValueError as problem:
        return Judged(what, why_not=": ".join(split(str(problem))[:2]))
    if found is None:
        return None
    return Judged(what, tuple(round(v, 4) for v in found.scores.tolist()), round(found.limit, 4))


def of_samples(samples: Tensor, prior: Prior) -> Judged | None:
    """The mean distance of samples (S, B, C, H, W) for each item.

    Samples, not their mean: it is smoother than any image, and would be unusual where all is well.
    """
    some = samples[:MOST_SAMPLES, :MOST_ITEMS]
    found = of_images(some.flatten(0, 1), prior, "samples")
    if found is None or not found.scores:
        return found
    count = some.shape[1]
    means = tuple(sum(found.scores[item::count]) / len(some) for item in range(count))
    return Judged("samples", means, found.limit)


def of_data(task: Task, prior: Prior) -> Judged | None:
    """The judgement of the data where they are an image of which every pixel was seen, its stated noise allowed for."""
    operator, what = task.measurement.operator, "given image"
    if operator.spec["name"] not in ("identity", "inpaint"):
        return Judged(what, why_not="the data are no image")
    if operator.measured is not None and not task.crop(operator.measured.numpy()).all():
        return Judged(what, why_not="only part of it was seen")
    import torch

    from operators import Gaussian

    model = task.measurement.noise
    if not isinstance(model, Gaussian) or len(torch.as_tensor(model.sigma).unique()) > 1:
        return Judged(what, why_not="its noise is not normal and the same everywhere")
    noise = 0.0 if task.known == ASSUMED else float(torch.as_tensor(model.sigma).max())
    return of_images(task.crop(task.measurement.y[:MOST_ITEMS]), prior, what, noise)


def of_result(task: Task, samples: Tensor, prior: Prior) -> Likeness:
    """The judgement of a reconstruction: of its data where they are an image, and of its samples (S, B, C, H, W)."""
    from recon.typicality import band_of

    if band_of(prior) is None:
        return Likeness(prior.name)
    parts = (of_data(task, prior), of_samples(samples, prior))
    return Likeness(prior.name, tuple(part for part in parts if part))
