"""A classifier of a prior's estimates, whose gradient tells a prior without labels what to draw, see `recon.labels`.

It is trained on D(x0 + sigma n, sigma) at the prior's own noise levels, by the cross entropy. Reference: Dhariwal and
Nichol, Diffusion models beat GANs on image synthesis, 2021, section 4, arXiv:2105.05233, whose classifier reads the
noisy images themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.checkpoint import read_tensors, write_tensors
from recon.networks import NETWORKS
from recon.prior import Prior, per_item

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "classifiers"


class Classifier(nn.Module):
    """log p(label | x) by the estimate x0 = D(x), (B, C, H, W) in the prior's normalised units, at a noise level.

    Args:
        network: (x0, c) -> logits (B, classes).
        classes: how many.
        data_std: standard deviation of the normalised images.
        header: what the file says of itself.
    """

    def __init__(self, network: nn.Module, classes: int, data_std: float, header: dict | None = None) -> None:
        super().__init__()
        self.network, self.classes, self.data_std, self.header = network, classes, data_std, header or {}

    def logits(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """Logits (B, classes) for estimates x0 made at noise levels sigma (B,)."""
        return self.network(x0 / self.data_std, sigma.log() / 4)

    def forward(self, x: Tensor, x0: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        """As in `recon.labels.LogProbability`; x itself is not looked at."""
        return self.logits(x0, sigma).log_softmax(1).gather(1, label[:, None])[:, 0]


def train_classifier(
    images: Tensor,
    labels: Tensor,
    prior: Prior,
    *,
    widths: tuple[int, ...] = (32, 64, 128),
    steps: int = 3000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[dict], None] | None = None,
) -> Classifier:
    """A classifier of what a prior makes of noisy images, at its own noise levels.

    Args:
        images: (N, C, H, W), uint8 or values in the prior's unit.
        labels: (N,) whole numbers from 0.
        prior: makes the estimates; gives noise levels, units and the header's provenance.
        widths: channels of the levels, finest first.
        steps, batch_size, learning_rate, seed: of the training; a cosine to 0 ends it.
        progress: called after every step with {"step", "loss", "fraction"}.

    Returns:
        The classifier, ready to use; `save_classifier` writes it.
    """
    arguments = {"channels": images.shape[1], "widths": list(widths), "classes": int(labels.max()) + 1, "unshuffle": 2}
    torch.manual_seed(seed)
    provenance = getattr(prior, "header", {}).get("provenance", {})
    header = {"network": {"name": "encoder", "arguments": arguments}, "provenance": provenance}
    model = Classifier(NETWORKS["encoder"](**arguments), arguments["classes"], prior.data_std, header)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, steps)
    low, high = math.log(prior.sigma_end), math.log(prior.sigma_start)
    for step in range(steps):
        generator = torch.Generator().manual_seed((seed << 32) + step)
        index = torch.randint(len(images), (batch_size,), generator=generator)
        x0 = prior.from_value(images[index].float() / (255 if images.dtype == torch.uint8 else 1))
        share = (torch.rand((), generator=generator) + torch.arange(batch_size) / batch_size) % 1
        sigma = (low + (high - low) * share).exp()
        with torch.no_grad():
            estimate = prior.denoise(x0 + per_item(sigma, x0) * torch.randn(x0.shape, generator=generator), sigma)
        loss = F.cross_entropy(model.logits(estimate, sigma), labels[index].long())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress:
            progress({"step": step + 1, "loss": float(loss.detach()), "fraction": (step + 1) / steps})
    model.header["training"] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    return model.eval().requires_grad_(False)


def save_classifier(path: str | Path, classifier: Classifier) -> None:
    """Write a classifier, weights in half precision, as `recon.checkpoint` writes priors."""
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in classifier.network.state_dict().items()
    }
    write_tensors(Path(path), tensors, {**classifier.header, "kind": "classifier", "data_std": classifier.data_std})


def bundled_classifiers() -> dict[str, Path]:
    """Names and files of the classifiers that come with the package."""
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors"))}


def load_classifier(name: str | Path) -> Classifier:
    """A classifier by its bundled name or its file; ValueError where the file is altered or something else."""
    path = bundled_classifiers().get(str(name), Path(name))
    tensors, header = read_tensors(path)
    if header.get("kind") != "classifier":
        raise ValueError(f"got {path}, which is no classifier; expected a file of `save_classifier`")
    arguments = header["network"]["arguments"]
    network = NETWORKS[header["network"]["name"]](**arguments)
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    return Classifier(network, arguments["classes"], header["data_std"], header).eval().requires_grad_(False)
