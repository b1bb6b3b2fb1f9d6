"""The classifier of a prior's estimates: it learns, survives the disk, and its gradient pulls a prior to the label."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import recon
from recon.networks import UNet
from recon.prior import ScorePrior, Units


def halves(count: int = 64) -> tuple[Tensor, Tensor]:
    """Images bright on the left (0) or on the right (1), uint8."""
    labels = torch.arange(count) % 2
    images = torch.full((count, 1, 8, 8), 40, dtype=torch.uint8)
    images[labels == 0, :, :, :4] = 220
    images[labels == 1, :, :, 4:] = 220
    return images, labels


@pytest.fixture(scope="module")
def trained() -> tuple[recon.Classifier, recon.MixturePrior]:
    """The prior of these images, a little noise about each, and its classifier."""
    images, labels = halves()
    means = (images[:2].float() / 255 - 0.5) / 0.5
    prior = recon.MixturePrior(means, torch.full((1, 8, 8), 1e-4), units=Units(0.5, 0.5, "[0,1]"))
    return recon.train_classifier(images, labels, prior, widths=(8, 16), steps=120, batch_size=32), prior


def test_it_tells_noisy_images_apart_as_well_as_the_exact_one(trained):
    """At sigma the exact log odds of these two images are the difference of squared distances over 2 sigma^2."""
    classifier, prior = trained
    images, labels = halves(512)
    x0 = prior.from_value(images.float() / 255)
    for sigma in (0.3, 3.0):
        x = x0 + sigma * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
        odds = [(x - x0[k]).square().flatten(1).sum(1) for k in (0, 1)]
        best = float(((odds[0] > odds[1]) == labels.bool()).float().mean())
        levels = torch.full((512,), sigma)
        said = classifier.logits(prior.denoise(x, levels), levels).argmax(1)
        assert float((said == labels).float().mean()) > best - 0.04


def test_log_probabilities_are_normalised(trained):
    classifier, _ = trained
    x, sigma = torch.randn(3, 1, 8, 8), torch.full((3,), 0.5)
    total = sum(classifier(x, x, sigma, torch.full((3,), k)).exp() for k in (0, 1))
    torch.testing.assert_close(total, torch.ones(3), rtol=0, atol=1e-6)


def test_it_survives_the_disk_and_other_files_are_refused(trained, tmp_path):
    classifier, prior = trained
    recon.save_classifier(tmp_path / "c.safetensors", classifier)
    again = recon.load_classifier(tmp_path / "c.safetensors")
    x, sigma = torch.randn(3, 1, 8, 8), torch.full((3,), 0.5)
    torch.testing.assert_close(again.logits(x, sigma), classifier.logits(x, sigma), rtol=0, atol=2e-2)
    assert again.classes == 2
    network = UNet(1, widths=(8,), attention=(), unshuffle=2)
    recon.save_prior(tmp_path / "p.safetensors", ScorePrior(network, (1, 8, 8), recon.VP(), 0.7, prior.units))
    with pytest.raises(ValueError, match="no classifier"):
        recon.load_classifier(tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match="prior, not another checkpoint"):
        recon.load_prior(tmp_path / "c.safetensors")


def test_a_prior_without_classes_takes_labels_from_the_classifier():
    """Gaussian images of one strong horizontal wave: told which half is brighter, samples are so."""
    variances = torch.full((8, 8), 0.04)
    variances[0, 1] = variances[0, -1] = 16
    prior = recon.GaussianPrior(torch.zeros(1, 8, 8), variances)

    def brighter_left(x: Tensor) -> Tensor:
        return x[..., :4].mean((1, 2, 3)) > x[..., 4:].mean((1, 2, 3))

    images = prior.sample(torch.randn(2048, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    classifier = recon.train_classifier(
        images, brighter_left(images).long(), prior, widths=(8, 16), steps=250, batch_size=64
    )
    labels = torch.arange(40) % 2

    def agreed(weight: float) -> float:
        drawn = recon.sample_prior(prior, 40, 30, seed=1, label=labels, label_weight=weight, classifier=classifier)
        return float((brighter_left(drawn) == labels).float().mean())

    assert agreed(1.0) >= 0.9
    assert agreed(0.0) < 0.75
