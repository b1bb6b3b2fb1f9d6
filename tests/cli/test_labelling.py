"""Labels on the command line: by name or number, from the prior or from a classifier, and what wrong ones get."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import data
import recon
from recon.networks import NETWORKS


def tiny_prior(path: Path, classes: int, names: list[str]) -> Path:
    """A prior whose labels shift the estimate: untrained but for the embedding of its labels."""
    torch.manual_seed(0)
    arguments = {"channels": 1, "widths": [8, 8], "blocks": 1, "attention": [], "unshuffle": 4, "classes": classes}
    header = {"network": {"name": "unet", "arguments": arguments}, "provenance": {"licence": "none", "classes": names}}
    network = NETWORKS["unet"](**arguments)
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.2)
    units = recon.Units(0.5, 0.5, "[0,1]")
    recon.save_prior(path, recon.ScorePrior(network, (1, 16, 16), recon.VP(), 0.5, units, "tiny", header))
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> Path:
    return tiny_prior(tmp_path_factory.mktemp("kinds") / "kinds.safetensors", 3, ["cat", "dog", "owl"])


def drawn(folder: Path) -> np.ndarray:
    return data.read_images(folder / "samples.h5").values


def test_a_label_by_name_is_the_label_by_number(recon_command, kinds, tmp_path):
    for name, label in (("a", "dog"), ("b", "1"), ("c", "owl")):
        found = recon_command("sample", "--prior", kinds, "-n", 2, "--steps", 2, "--label", label, "-o", name)
        assert found.code == 0, found.err
    assert np.array_equal(drawn(tmp_path / "a"), drawn(tmp_path / "b"))
    assert not np.array_equal(drawn(tmp_path / "a"), drawn(tmp_path / "c"))
    assert json.loads((tmp_path / "a" / "run.json").read_text())["settings"]["label"] == "dog"


def test_reconstruction_is_told_the_label(recon_command, kinds, tmp_path):
    data.write_image(tmp_path / "x.png", np.full((1, 16, 16), 0.4), 0, 1)
    results = []
    for label in ([], ["--label", "cat"], ["--label", "cat", "--label-weight", 3]):
        folder = tmp_path / str(len(results))
        words = ["reconstruct", "x.png", "--operator", "identity", "--noise", 0.5, "--prior", kinds, "--steps", 4]
        found = recon_command(*words, "--samples", 1, *label, "-o", folder)
        assert found.code == 0, found.err
        results.append(data.read_result(folder / "result.h5").mean)
    assert len({result.tobytes() for result in results}) == 3


def test_a_classifier_file_can_tell_it(recon_command, kinds, tmp_path):
    prior = recon.load_prior(kinds)
    images, labels = torch.rand(32, 1, 16, 16), torch.arange(32) % 2
    guide = recon.train_classifier(images, labels, prior, widths=(8,), steps=2)
    recon.save_classifier(tmp_path / "guide.safetensors", guide)
    words = ["sample", "--prior", kinds, "-n", 1, "--steps", 2, "--classifier", "guide.safetensors"]
    assert recon_command(*words, "--label", 1, "-o", "out").code == 0
    alone = recon_command(*words, "-o", "no")
    assert alone.code == 2
    assert "--label NAME" in alone.err
    other = recon_command(*words[:-1], kinds, "--label", 1, "-o", "no")
    assert other.code == 3
    assert "no classifier" in other.err
    stranger = recon.Classifier(guide.network, 2, 2 * guide.data_std, guide.header)
    recon.save_classifier(tmp_path / "far.safetensors", stranger)
    far = recon_command(*words[:-1], "far.safetensors", "--label", 1, "-o", "no")
    assert far.code == 2
    assert "of another prior" in far.err
    without = recon_command(*words, "--label", 1, "--label-weight", "nan", "-o", "no")
    assert without.code == 2
    assert "--label-weight" in without.err
    assert not (tmp_path / "no").exists()


def test_the_bundled_classifier_guides_a_reconstruction_through_attention(recon_command, tmp_path):
    """Guidance differentiates the classifier's pull once more, which the fast kernels of attention do not know."""
    digit = np.zeros((32, 32), np.float32)
    digit[6:26, 15:18] = 1
    data.write_image(tmp_path / "one.png", digit[None], 0.0, 1.0)
    words = ["reconstruct", "one.png", "--operator", "inpaint", "--box", "16,0,16,32", "--noise", 0.05, "--steps", 2]
    found = recon_command(*words, "--samples", 1, "--prior", "digits-32", "--classifier", "digits-32", "--label", 1,
                          "-o", "out")  # fmt: skip
    assert found.code == 0, found.err


@pytest.mark.parametrize(
    ("label", "says"), [("dag", "did you mean dog?"), ("3", "cat, dog, owl"), ("-1", "cat, dog, owl")]
)
def test_an_unknown_class_gets_the_known_ones(recon_command, kinds, label, says):
    found = recon_command("sample", "--prior", kinds, "--label", label, "-o", "out")
    assert found.code == 2
    assert says in found.err


def test_a_prior_without_classes_says_so(recon_command, tiny):
    found = recon_command("sample", "--prior", tiny, "--label", "1", "-o", "out")
    assert found.code == 2
    assert "trained without" in found.err


def test_a_weight_without_a_label_is_refused(recon_command, kinds):
    found = recon_command("sample", "--prior", kinds, "--label-weight", "2", "-o", "out")
    assert found.code == 2
    assert "--label-weight" in found.err
