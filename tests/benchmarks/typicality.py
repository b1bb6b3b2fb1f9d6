"""Whether the band stored with a prior tells its images from others, beside the bound on their density alone.

    python -m tests.benchmarks.typicality --prior headct-64 --inside headct_64.h5 --halves \\
        --outside mnist_28.h5@pad chest_256.h5 photographs.h5@crop --count 100         # prints Markdown

A file of images is resized to the prior's size, its middle square; `@pad` puts it into the middle of black, `@crop`
cuts windows out of it. Validation images are taken where the file says which; grey ones become neutral colours for a
prior of colour images. With --halves the band is measured anew
on the first half of the inside images and the second half is scored: no scored image, nor its neighbour, made the band.

AUROC: how often an outside image has the larger value than an inside one; 0.5 is chance, less is the reversed order.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import data
import recon
from recon.density import bits_per_dimension
from recon.prior import Prior
from recon.typicality import band_of, error_powers


def even(count: int, most: int) -> np.ndarray:
    """Places of at most `most` of `count` images, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)


def padded(images: np.ndarray, size: int) -> np.ndarray:
    """Images (N, C, H, W) in the middle of a black square."""
    height, width = images.shape[-2:]
    top, left = (size - height) // 2, (size - width) // 2
    return np.pad(images, ((0, 0), (0, 0), (top, size - height - top), (left, size - width - left)))


def cropped(images: np.ndarray, size: int, count: int) -> np.ndarray:
    """`count` windows of images (N, C, H, W), at random places, from each in turn."""
    rng = np.random.default_rng(0)
    places = [(k % len(images), *(int(rng.integers(n - size + 1)) for n in images.shape[-2:])) for k in range(count)]
    return np.stack([images[k, :, a : a + size, b : b + size] for k, a, b in places])


def read(source: str, prior: Prior, count: int | None = None) -> Tensor:
    """Images (N, C, size, size) of `FILE`, `FILE@pad` or `FILE@crop` in the prior's values; all without `count`."""
    name, _, how = source.partition("@")
    size, channels = prior.shape[-1], prior.shape[0]
    subset = "validation" if data.has_subsets(name) else None
    found = data.read_images(name, subset, to_gray=channels == 1, size=None if how else size)
    values = found.values if how == "crop" else found.values[even(len(found.values), count or len(found.values))]
    if how:
        values = padded(values, size) if how == "pad" else cropped(values, size, count or len(values))
    return torch.from_numpy((values / found.value_max).astype(np.float32)).expand(-1, channels, -1, -1)


def auroc(inside: Tensor, outside: Tensor) -> float:
    """The share of pairs in which the outside value is the larger one, ties counted half."""
    apart = outside[:, None] - inside[None]
    return float((apart > 0).double().mean() + 0.5 * (apart == 0).double().mean())


def bits(prior: Prior, images: Tensor) -> Tensor:
    """The bound in bits per dimension of 256 grey values, (B,)."""
    parts = [recon.log_density_bound(prior, recon.dequantised(part, 1 / 255)) for part in images.split(32)]
    return bits_per_dimension(torch.cat(parts), images[0].numel(), 1 / 255)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--inside", required=True, metavar="FILE[@pad|@crop]")
    parser.add_argument("--outside", nargs="+", required=True, metavar="FILE[@pad|@crop]")
    parser.add_argument("--count", type=int, default=100, help="images of a file")
    parser.add_argument("--halves", action="store_true", help="measure the band on the first half of the inside images")
    arguments = parser.parse_args()
    prior = recon.load_prior(arguments.prior)
    inside = read(arguments.inside, prior, arguments.count if arguments.inside.endswith("@crop") else None)
    others = {source: read(source, prior, arguments.count) for source in arguments.outside}
    band = band_of(prior)
    if arguments.halves:
        half = len(inside) // 2
        band, inside = recon.measure_band(prior, inside[:half]), inside[half:]
    if band is None:
        parser.error("the prior has no band; --halves measures one")
    sets = {arguments.inside: inside[even(len(inside), arguments.count)], **others}
    print(f"prior {arguments.prior}, band of {len(band.log_power)} images, usual up to {band.quantiles()[-1]:.2f}\n")
    print("| images | count | distance, median | unusual | AUROC distance | bound, bits/dim | AUROC bound | s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    known: tuple[Tensor, Tensor] | None = None
    for source, images in sets.items():
        started = time.monotonic()
        found = band.judge(error_powers(prior, prior.from_value(images), band.sigmas))
        bound = bits(prior, images)
        known = known or (found.scores, bound)
        by_distance, by_bound = (f"{auroc(*pair):.3f}" for pair in zip(known, (found.scores, bound), strict=True))
        distance, unusual = float(found.scores.median()), float(found.unusual.double().mean())
        print(
            f"| {Path(source).name} | {len(images)} | {distance:.2f} | {unusual:.2f} | {by_distance} | "
            f"{float(bound.mean()):.2f} | {by_bound} | {time.monotonic() - started:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
