"""Labels: the two guidances are Bayes' rule on a mixture whose components are the classes; what wrong labels get."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import operators
import recon
from recon.grids import default_levels
from recon.labels import Classified, Labelled
from recon.networks import UNet

MEANS = torch.tensor([[-1.0, 0.5, 0.0], [1.5, -0.5, 1.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)


def covariances() -> Tensor:
    root = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return root @ root.mT + 0.1 * torch.eye(3, dtype=torch.float64)


class Kinds(recon.MixturePrior):
    """A mixture that can be told the component; `log_probability` is its exact classifier."""

    classes = 2

    def __init__(self) -> None:
        super().__init__(MEANS, covariances(), WEIGHTS)
        self.kinds = [recon.GaussianPrior(m, c) for m, c in zip(MEANS, covariances(), strict=True)]

    def denoise(self, x: Tensor, sigma: Tensor | float, label: Tensor | None = None) -> Tensor:
        if label is None:
            return super().denoise(x, sigma)
        told = torch.stack([kind.denoise(x, sigma) for kind in self.kinds])
        return told[label, torch.arange(len(x))]


class Exact:
    """log p(component | x) of the mixture at a noise level, by the densities themselves, of noisy x."""

    classes = 2

    def __call__(self, x: Tensor, x0: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        eye = torch.eye(3, dtype=x.dtype)
        logs = torch.stack([
            MultivariateNormal(m, c + s**2 * eye).log_prob(row) + w.log()
            for row, s in zip(x, sigma, strict=True)
            for m, c, w in zip(MEANS, covariances(), WEIGHTS, strict=True)
        ]).reshape(len(x), 2)  # fmt: skip
        return logs.log_softmax(1).gather(1, label[:, None])[:, 0]


@pytest.fixture
def states() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])


@pytest.mark.parametrize("sigma", [0.05, 0.7, 6.0])
def test_a_classifier_of_weight_1_is_bayes_rule(states, sigma):
    """D + sigma^2 grad log p(label | x) = D_label, exactly."""
    x, label = states
    prior = Kinds()
    found = Classified(prior, label, 1.0, Exact()).denoise(x, sigma)
    torch.testing.assert_close(found, prior.denoise(x, sigma, label), rtol=0, atol=1e-11)


class ByEstimate:
    """The same log p(component | x), as a function of x0 = D(x) alone: x is found again by Newton's method."""

    classes = 2

    def __init__(self, prior: recon.MixturePrior) -> None:
        self.prior = prior

    def __call__(self, x: Tensor, x0: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        found = x.detach()
        with torch.enable_grad():
            found.requires_grad_(True)
            forward = self.prior.denoise(found, sigma)
            jacobian = torch.stack([torch.autograd.grad(forward[:, i].sum(), found, retain_graph=True)[0]
                                    for i in range(3)], 1)  # fmt: skip
        again = found.detach() + torch.linalg.solve(jacobian, x0 - forward.detach())  # x as a function of x0
        return Exact()(again, x0, sigma, label)


@pytest.mark.parametrize("sigma", [0.05, 0.7, 6.0])
def test_a_classifier_of_estimates_is_pulled_back_through_the_prior(states, sigma):
    x, label = states
    prior = Kinds()
    found = Classified(prior, label, 1.0, ByEstimate(prior)).denoise(x, sigma)
    torch.testing.assert_close(found, prior.denoise(x, sigma, label), rtol=0, atol=1e-8)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_both_guidances_agree_at_every_weight(states, weight):
    x, label = states
    prior = Kinds()
    free = Labelled(prior, label, weight).denoise(x, 0.7)
    torch.testing.assert_close(free, Classified(prior, label, weight, Exact()).denoise(x, 0.7), rtol=0, atol=1e-11)


def test_a_classifier_can_be_backpropagated_through(states):
    """Guided methods need the Jacobian of the told denoiser: that of the component's, C (C + sigma^2)^-1."""
    x, label = states[0][:1], torch.tensor([1])
    jacobian = torch.autograd.functional.jacobian(
        lambda v: Classified(Kinds(), label, 1.0, Exact()).denoise(v[None], 0.7)[0], x[0]
    )
    c, eye = covariances()[1], torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(jacobian, c @ torch.linalg.inv(c + 0.49 * eye), rtol=0, atol=1e-10)


@pytest.mark.parametrize("classifier", [None, Exact()])
def test_reconstruction_with_a_label_is_the_components_posterior(classifier):
    """Told a component, a method has to do what it does for that Gaussian alone on the same path."""
    prior = Kinds()
    A = operators.Dense(torch.tensor([[1.0, 0.5, -0.2]], dtype=torch.float64), (3,), (1,))
    m = recon.Measurement(A, torch.tensor([[0.4], [-0.3]], dtype=torch.float64), operators.Gaussian(0.2))
    labels = [1, 0]
    post = recon.reconstruct(m, prior, "pigdm", 10, 2, label=labels, classifier=classifier)
    for item, label in enumerate(labels):
        alone = Kinds()  # for the noise levels of the mixture
        alone.denoise = lambda x, sigma, kind=alone.kinds[label]: kind.denoise(x, sigma)
        alone.mean_image = lambda shape, seen=alone: (
            seen.denoise(torch.zeros(1, 3).double(), seen.sde.sigma_max) if classifier is None
            else seen.denoise(prior.mean[None], default_levels(prior, 10)[0])
        )  # fmt: skip
        expected = recon.reconstruct(m, alone, "pigdm", 10, 2)
        torch.testing.assert_close(post.samples[:, item], expected.samples[:, item], rtol=0, atol=1e-9)


def test_a_weight_other_than_1_costs_two_calls_inside_the_same_budget():
    A = operators.Dense(torch.eye(3, dtype=torch.float64), (3,), (3,))
    m = recon.Measurement(A, torch.zeros(1, 3, dtype=torch.float64), operators.Gaussian(0.5))
    plain = recon.reconstruct(m, Kinds(), "ddnm", 20, 1, label=0)
    mixed = recon.reconstruct(m, Kinds(), "ddnm", 20, 1, label=0, label_weight=2.0)
    assert plain.nfe == mixed.nfe == 20


def test_samples_of_a_label_are_of_its_component():
    """Probability flow from the broad start: mean and spread of the component within the Monte Carlo error."""
    drawn = recon.sample_prior(Kinds(), 4000, 60, seed=5, label=1)
    error = (drawn.mean(0) - MEANS[1]) / (covariances()[1].diagonal() / 4000).sqrt()
    assert float(error.abs().max()) < 4
    assert torch.allclose(drawn.var(0), covariances()[1].diagonal(), rtol=0.15)


@pytest.mark.parametrize(
    ("label", "says"), [(2, "from 0 to 1"), (-1, "from 0 to 1"), ([0, 1, 0], "one for all"), (0.5, "whole numbers")]
)
def test_wrong_labels_are_refused(label, says):
    with pytest.raises(ValueError, match=says):
        recon.sample_prior(Kinds(), 2, 4, label=label)


def test_a_label_for_a_prior_without_classes_is_refused():
    with pytest.raises(ValueError, match="trained without"):
        recon.sample_prior(recon.GaussianPrior(torch.zeros(3), torch.eye(3)), 2, 4, label=0)


def test_a_label_changes_only_what_its_embedding_says():
    """With embeddings of zero a network ignores labels; no label is the last row."""
    torch.manual_seed(0)
    network = UNet(1, widths=(8,), attention=(), unshuffle=2, classes=3)
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.normal_(network.down[0][0].conv2.weight)
    x, c = torch.randn(2, 1, 8, 8), torch.zeros(2)
    torch.nn.init.zeros_(network.label.weight)
    torch.testing.assert_close(network(x, c, torch.tensor([0, 2])), network(x, c), rtol=0, atol=0)
    torch.nn.init.normal_(network.label.weight)
    torch.testing.assert_close(network(x, c, torch.tensor([3, 3])), network(x, c), rtol=0, atol=0)
    assert float((network(x, c, torch.tensor([0, 1])) - network(x, c)).detach().abs().amax((1, 2, 3)).min()) > 1e-4


def test_a_class_conditional_prior_learns_its_classes(tmp_path):
    """Two kinds of flat images, dark and bright: told which, the estimate at high noise is that kind's grey."""
    labels = torch.arange(64) % 2
    images = (40 + 170 * labels)[:, None, None, None].expand(64, 1, 8, 8).to(torch.uint8)
    config = recon.TrainConfig(
        widths=(8,), attention=(), unshuffle=2, batch_size=16, steps=200, learning_rate=1e-2, warmup=0, ema=64,
        classes=2, drop_label=0.3,
    )  # fmt: skip
    path = recon.train(images, images[:8], config, tmp_path, labels=labels)
    prior = recon.load_prior(path)
    assert prior.classes == 2
    x = 3 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    told = prior.to_value(prior.denoise(x, 3.0, torch.tensor([0, 1]))).mean((1, 2, 3)) * 255
    assert torch.allclose(told, torch.tensor([40.0, 210.0]), atol=20)
    clear = prior.from_value(images[:2].float() / 255)
    free = prior.to_value(prior.denoise(clear + 0.1 * x, 0.3)).mean((1, 2, 3)) * 255  # not told, it sees for itself
    assert torch.allclose(free, torch.tensor([40.0, 210.0]), atol=20)


@pytest.mark.parametrize(
    ("classes", "labels"), [(0, torch.zeros(4)), (2, None), (2, torch.full((4,), 2)), (2, torch.zeros(3))]
)
def test_labels_that_do_not_fit_the_config_are_refused(tmp_path, classes, labels):
    config = recon.TrainConfig(widths=(8,), attention=(), unshuffle=2, classes=classes)
    with pytest.raises(ValueError, match="one label an image"):
        recon.train(torch.zeros(4, 1, 8, 8), torch.zeros(1, 1, 8, 8), config, tmp_path, labels=labels)
