"""Priors that are told what their images show: classifier-free and classifier guidance.

With Bayes' rule the score of p(x | label)^w p(x)^(1 - w) is a mixture of two scores, hence of two estimates:
D + w (D_label - D). A classifier says the same by its gradient, D + w sigma^2 grad log p(label | x). One that reads
the estimate D(x) is pulled back by sigma^2 J^T, J = dD/dx, which is the covariance of x0 given x, so its shift is no
larger than images differ; the slope of one that reads x itself is multiplied by sigma^2, and so are its errors.
w = 1 samples p(x | label); a larger w sharpens it, at the price of variety.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from recon.prior import Prior


class LogProbability(Protocol):
    """(x, x0, sigma (B,), label (B,)) -> log p(label | x), (B,), by the noisy x, its estimate x0 = D(x), or both."""

    classes: int

    def __call__(self, x: Tensor, x0: Tensor, sigma: Tensor, label: Tensor) -> Tensor: ...


def checked(
    label: int | Sequence[int] | Tensor | None, prior: Prior, classifier: LogProbability | None, items: int
) -> Tensor | None:
    """A label, or one for each item, as a tensor (items,), None without; ValueError where nobody knows such a class."""
    if label is None:
        return None
    classes = prior.classes if classifier is None else classifier.classes
    if not classes:
        raise ValueError(
            f"got a label for the prior {prior.name!r}, which was trained without; expected a prior with classes; "
            "leave the label out, or train one on labelled images"
        )
    labels = torch.as_tensor(label)
    whole = not (labels.is_floating_point() or labels.is_complex())
    known = whole and bool(((labels >= 0) & (labels < classes)).all())
    if not known or labels.ndim > 1 or labels.numel() not in (1, items):
        raise ValueError(
            f"got label {labels.tolist()} for {items} item(s); expected whole numbers from 0 to {classes - 1}, one "
            "for all or one for each"
        )
    return labels.long().expand(items)


class Told:
    """A prior with another denoiser for batches of just these rows; all else is the prior's own."""

    def __init__(self, prior: Prior, label: Tensor, weight: float = 1.0) -> None:
        self.prior, self.label, self.weight = prior, label, weight

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x, label], as in `Prior.denoise`."""

    def start(self, noise: Tensor, sigma: float) -> Tensor:
        """As in `Prior.start`, about the mean image of each row's label."""
        with torch.no_grad():
            return self.centre(noise, sigma) + sigma * self.start_filter(noise, sigma)

    @abstractmethod
    def centre(self, like: Tensor, sigma: float) -> Tensor:
        """The mean image of each row's label, shape of `like`, for a start at level sigma."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.prior, name)


class Labelled(Told):
    """A prior whose images have labels (B,), two denoisers mixed.

    Args:
        prior: with classes.
        label: (B,), one a row.
        weight: w above; other than 1 it costs a second network call.

    Reference: Ho and Salimans, Classifier-free diffusion guidance, 2022, equation 6, w - 1 there, arXiv:2207.12598.
    """

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        told = self.prior.denoise(x, sigma, self.label)
        if self.weight == 1:
            return told
        free = self.prior.denoise(x, sigma)
        return free + self.weight * (told - free)

    def centre(self, like: Tensor, sigma: float) -> Tensor:
        return self.denoise(torch.zeros_like(like), self.sde.sigma_max)


class Classified(Told):
    """A prior pulled to labels (B,) by the gradient of a classifier; one backpropagation a call.

    Args:
        prior: any.
        label: (B,), one a row.
        weight: w above.
        log_probability: see `recon.classifier`.

    Reference: Dhariwal and Nichol, Diffusion models beat GANs, 2021, section 4, arXiv:2105.05233; Song et al., 2021,
    appendix I, arXiv:2011.13456; Bansal et al., Universal guidance for diffusion models, 2023, section 3.1,
    arXiv:2302.07121 (classifiers of estimates).
    """

    def __init__(self, prior: Prior, label: Tensor, weight: float, log_probability: LogProbability) -> None:
        super().__init__(prior, label, weight)
        self.log_probability = log_probability

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the others know no second derivative
            leaf = x if x.requires_grad else x.detach().requires_grad_(True)
            x0 = self.prior.denoise(leaf, sigma)
            total = self.log_probability(leaf, x0, level, self.label).sum()
            gradient = torch.autograd.grad(total, leaf, create_graph=x.requires_grad)[0]
        variance = level.square().reshape(-1, *(1,) * (x.ndim - 1))
        return (x0 if x.requires_grad else x0.detach()) + self.weight * variance * gradient

    def centre(self, like: Tensor, sigma: float) -> Tensor:
        """By the pull at that level from the mean of all images: at sigma_max a learnt slope, which tends to 0, is lost
        in its errors.
        """
        return self.denoise(self.prior.mean_image(tuple(like.shape[1:])).expand_as(like), sigma)


def told(
    prior: Prior, labels: Tensor | None, rows: list[int], weight: float, classifier: LogProbability | None
) -> tuple[Prior, int]:
    """The prior told the labels of the items `rows`, and how many network calls one of its estimates costs."""
    if labels is None:
        return prior, 1
    chosen = labels[rows].to(prior.device)
    if classifier is not None:
        return Classified(prior, chosen, weight, classifier), 1
    return Labelled(prior, chosen, weight), 1 if weight == 1 else 2
