"""Denoising by each prior, one network call, beside total variation and non-local means on the same noisy images.

    python -m tests.benchmarks.denoising headct-64=headct_64.h5 ct-chest-256=ct_chest_8bit_256.h5    # prints Markdown

PSNR in dB over the validation images (evenly spread; of large ones the middle), white Gaussian noise of a share of the
range 0..1. With `FILE@grey` a prior of colour images is tried on their means over the colours. The weight of total
variation (Chambolle, scikit-image) and the filter strength of non-local means (Buades et al., scikit-image, noise level
given) are those of highest PSNR on training images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import h5py
import numpy as np
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor

import recon
from recon.batches import centred
from recon.metrics import psnr

LEVELS = (0.05, 0.1, 0.2, 0.4)
SPLITS = 4  # of grey noise into colours, whose estimates are averaged
TUNED_ON = 3  # training images
STRENGTHS = (0.5, 0.7, 0.9, 1.2, 1.6)  # in units of the noise
Filter = Callable[[np.ndarray, float, float], np.ndarray]


def images(path: str, subset: int, count: int, size: int) -> Tensor:
    """`count` images (count, C, size, size) in [0, 1] of a subset (0 training, 1 validation) of FILE or FILE@grey."""
    path, _, grey = path.partition("@")
    with h5py.File(path) as file:
        kept = np.flatnonzero(file["subset"][:] == subset)
        chosen = kept[np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)]
        stack = torch.from_numpy(np.stack([file["images"][int(i)] for i in chosen]))
    stack = stack.movedim(-1, 1) if stack.ndim == 4 else stack[:, None]
    stack = centred(stack, size if size < min(stack.shape[-2:]) else None).float() / 255
    return stack.mean(1, keepdim=True) if grey else stack


def total_variation(noisy: np.ndarray, sigma: float, strength: float) -> np.ndarray:
    return denoise_tv_chambolle(noisy, weight=strength * sigma, channel_axis=0, max_num_iter=300, eps=1e-5)


def non_local_means(noisy: np.ndarray, sigma: float, strength: float) -> np.ndarray:
    grey = len(noisy) == 1  # scikit-image loses the axis of a single channel
    image, axis = (noisy[0], None) if grey else (noisy, 0)
    return denoise_nl_means(image, 5, 6, h=strength * sigma, sigma=sigma, fast_mode=True, channel_axis=axis)


def filtered(method: Filter, noisy: Tensor, sigma: float, strength: float) -> Tensor:
    """A filter of scikit-image on each of a batch of images."""
    return torch.stack([torch.from_numpy(method(x.numpy(), sigma, strength)).reshape(x.shape) for x in noisy])


def noised(x: Tensor, sigma: float, seed: int) -> Tensor:
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def tuned(method: Filter, path: str, size: int, sigma: float) -> float:
    """The strength of highest PSNR on training images."""
    x = images(path, 0, TUNED_ON, size)
    noisy = noised(x, sigma, 1)
    return max(STRENGTHS, key=lambda s: float(psnr(filtered(method, noisy, sigma, s), x, 1.0).mean()))


def coloured(grey: Tensor, sigma: float, seed: int) -> Tensor:
    """Grey images (N, 1, H, W) with noise sigma as colour images, white noise of sqrt(3) sigma, whose mean they are."""
    apart = torch.randn(len(grey), 3, *grey.shape[2:], generator=torch.Generator().manual_seed(seed))
    return grey + 3**0.5 * sigma * (apart - apart.mean(1, keepdim=True))


def estimated_grey(prior: recon.Prior, noisy: Tensor, sigma: float) -> Tensor:
    """Grey estimates (N, 1, H, W) by a prior of colour images: the added colour noise says nothing of the grey."""
    splits = [estimated(prior, coloured(noisy, sigma, seed), 3**0.5 * sigma) for seed in range(100, 100 + SPLITS)]
    return torch.stack(splits).mean(0).mean(1, keepdim=True)


def estimated(prior: recon.Prior, noisy: Tensor, sigma: float) -> Tensor:
    """E[x0 | x] by one network call an image, in values."""
    state = prior.from_value(noisy)
    with torch.no_grad():
        return prior.to_value(torch.cat([prior.denoise(x[None], sigma / prior.scale) for x in state]))


def main() -> None:
    """Measure every prior at every level and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="PRIOR=DATA", help="prior, and HDF5 with `images` and `subset`")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--levels", type=lambda text: tuple(map(float, text.split(","))), default=LEVELS)
    parser.add_argument("--size", type=int, default=256, help="middle square of this side, of larger images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    levels = arguments.levels
    print("| prior | method |" + "".join(f" sigma {s:.3g} |" for s in levels) + "\n|---|---|" + "---:|" * len(levels))
    for pair in arguments.pairs:
        name, path = pair.split("=", 1)
        prior = recon.load_prior(name)
        x = images(path, 1, arguments.count, arguments.size)
        rows: dict[str, list[float]] = {"prior": [], "non-local means": [], "total variation": [], "noisy": []}
        estimate_of = estimated if prior.shape[0] == x.shape[1] else estimated_grey
        for sigma in levels:
            noisy = noised(x, sigma, 0)
            rows["noisy"].append(float(psnr(noisy, x, 1.0).mean()))
            rows["prior"].append(float(psnr(estimate_of(prior, noisy, sigma), x, 1.0).mean()))
            for label, method in (("non-local means", non_local_means), ("total variation", total_variation)):
                estimate = filtered(method, noisy, sigma, tuned(method, path, arguments.size, sigma))
                rows[label].append(float(psnr(estimate, x, 1.0).mean()))
        for label, scores in rows.items():
            print(f"| `{name}` | {label} |" + "".join(f" {score:.2f} |" for score in scores), flush=True)


if __name__ == "__main__":
    main()
