"""What a network predicts, and how that becomes the estimate D(x, sigma) = E[x0 | x]: one affine form for all.

A network output F stands for D = skip x + out F, with (skip, out) functions of sigma and of the standard deviation s
of the images. With x = x0 + sigma n:

    x0      D = F
    eps     n = (x - D) / sigma
    score   (D - x) / sigma^2
    v       a n - b x0, (a, b) = (1, sigma) / (1 + sigma^2)^(1/2), the signal and noise of a VP process
            (Salimans and Ho, 2022, arXiv:2202.00512)
    edm     a mixture that has unit variance at every sigma (Karras et al., 2022, equation 7, arXiv:2206.00364)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Affine = Callable[[Tensor, float], tuple[Tensor | float, Tensor | float]]

PREDICTS: dict[str, Affine] = {
    "edm": lambda sigma, s: (s**2 / (sigma**2 + s**2), sigma * s / (sigma**2 + s**2) ** 0.5),
    "x0": lambda sigma, s: (0.0, 1.0),
    "eps": lambda sigma, s: (1.0, -sigma),
    "score": lambda sigma, s: (1.0, sigma**2),
    "v": lambda sigma, s: (1 / (1 + sigma**2), -sigma / (1 + sigma**2) ** 0.5),
}


def estimate(predicts: str, output: Tensor, x: Tensor, sigma: Tensor, data_std: float = 1.0) -> Tensor:
    """D of a network output (B, ...) at x; sigma broadcasts over x."""
    skip, out = PREDICTS[predicts](sigma, data_std)
    return skip * x + out * output


def prediction(predicts: str, estimate: Tensor, x: Tensor, sigma: Tensor, data_std: float = 1.0) -> Tensor:
    """What a network that predicts `predicts` says where the estimate is `estimate`: the inverse of the above."""
    skip, out = PREDICTS[predicts](sigma, data_std)
    return (estimate - skip * x) / out


def convert(output: Tensor, x: Tensor, sigma: Tensor, source: str, target: str, data_std: float = 1.0) -> Tensor:
    """One prediction as another, say eps as score."""
    return prediction(target, estimate(source, output, x, sigma, data_std), x, sigma, data_std)
