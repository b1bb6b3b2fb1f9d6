"""Guided digits: how often an independent classifier reads the digit that was asked for, and half digits completed.

    python -m tests.benchmarks.labels --data digits_32.h5 [--classifier guide.safetensors]

`digits_32.h5` is what `data/priors/pad_digits.py` writes. The reader is a small convolutional network of another kind,
trained here on clean training digits; its accuracy on validation digits is printed beside. 50 network calls a sample.
"""

from __future__ import annotations

import argparse

import h5py
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import operators
import recon
from recon.metrics import psnr


def digits(path: str, subset: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 32, 32) in [0, 1] and labels of a subset (0 training, 1 validation)."""
    with h5py.File(path) as file:
        kept = file["subset"][:] == subset
        images, labels = (torch.from_numpy(file[key][:][kept]) for key in ("images", "labels"))
    return images[:, None] / 255.0, labels.long()


def reader(images: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """A plain convolutional classifier of clean digits, without anything in common with the guides."""
    torch.manual_seed(99)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        index = torch.randint(len(images), (128,), generator=torch.Generator().manual_seed(step))
        loss = F.cross_entropy(network(images[index]), labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def share_read(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float((network(images.clamp(0, 1)).argmax(1) == labels).float().mean())


def main() -> None:
    """Train the reader, sample, complete, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--prior", default="digits-32")
    parser.add_argument("--classifier", help="also guide by this classifier of noisy digits")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--reader-steps", type=int, default=1500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prior = recon.load_prior(arguments.prior)
    guides = [recon.load_classifier(arguments.classifier)] if arguments.classifier else []
    x, truth = digits(arguments.data, 1)
    read = reader(*digits(arguments.data, 0), arguments.reader_steps)
    print(f"The reader is right on {share_read(read, x, truth):.3f} of the {len(x)} validation digits.\n")

    print(f"| {arguments.count} samples told their digit | read as that digit |\n|---|---:|")
    asked = torch.arange(arguments.count) % 10
    told = [(f"labels, weight {w:g}", w, None) for w in (1, 2, 3)]
    told += [(f"classifier, weight {w:g}", w, guide) for guide in guides for w in (1, 2, 4, 8)]
    for name, weight, classifier in told:
        drawn = recon.sample_prior(
            prior, arguments.count, arguments.steps, 0, label=asked, label_weight=weight, classifier=classifier
        )
        print(f"| {name} | {share_read(read, drawn, asked):.3f} |", flush=True)

    chosen = torch.linspace(0, len(x) - 1, arguments.count // 4).long()
    half = operators.OPERATORS["inpaint"](shape=(32, 32), box=(16, 0, 16, 32))
    noise = 0.02 * torch.randn(x[chosen].shape, generator=torch.Generator().manual_seed(0))
    m = recon.Measurement(half, half(x[chosen] + noise), operators.Gaussian(0.02))
    print(f"\n| lower half of {len(chosen)} digits completed, one sample | read right | PSNR |\n|---|---:|---:|")
    for name, label in (("not told", None), ("told the digit", truth[chosen])):
        post = recon.reconstruct(m, prior, steps=arguments.steps, samples=1, label=label)
        score = float(psnr(post.mean, x[chosen], 1.0).mean())
        print(f"| {name} | {share_read(read, post.mean, truth[chosen]):.3f} | {score:.2f} |", flush=True)


if __name__ == "__main__":
    main()
