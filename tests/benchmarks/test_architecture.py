"""The curve of architectures: equal networks are compared equally, and a stopped run goes on."""

from __future__ import annotations

import json

import pytest
import torch

import recon
from recon.export import export_diffusers
from tests.benchmarks.architecture import CHANGED, FOREIGN, OURS, curve, finished, parameters, start, table, take_turns
from tests.benchmarks.table import read_rows

IMAGES = torch.randint(0, 256, (12, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FOREIGN)
def test_the_librarys_network_has_as_many_parameters(name):
    """To within what widths in steps of four allow."""
    count = parameters(start("default", IMAGES, recon.TrainConfig()).network)
    assert parameters(start(name, IMAGES, recon.TrainConfig()).network) == pytest.approx(count, rel=0.09)


def test_rows_are_added_as_they_are_measured_and_make_a_table(tmp_path):
    out, config = tmp_path / "curve.jsonl", recon.TrainConfig(batch_size=2, warmup=1)
    names = ("unshuffle-4", "diffusers-light")
    take_turns([curve(name, IMAGES, IMAGES[:4] / 255.0, config, 0.2, 2, out) for name in names])
    rows = read_rows(out)
    assert rows[-1]["seconds"] >= 0.2 and rows[-1]["images"] > 0 and rows[-1]["loss"] > 0
    assert finished(out) == {"unshuffle-4", "diffusers-light"}
    assert table(rows).count("\n| `") == 2
    with out.open("a") as file:
        file.write(json.dumps({**rows[0], "configuration": "unshuffle-8", "seconds": 0.1}) + "\n")
    assert finished(out) == {"unshuffle-4", "diffusers-light"} and read_rows(out) == rows


@pytest.mark.parametrize("name", CHANGED)
def test_changed_layers_are_others_that_start_at_the_same_function(name):
    """The last layer starts at zero, so both give the preconditioned input; the inner ones are not the same."""
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    usual, changed = (start(kind, IMAGES, recon.TrainConfig()) for kind in ("default", name))
    torch.testing.assert_close(changed.denoise(x, 0.5), usual.denoise(x, 0.5))
    assert [str(m) for m in usual.network.modules()] != [str(m) for m in changed.network.modules()]
    assert parameters(changed.network) <= parameters(usual.network)


def test_a_trained_one_can_be_handed_to_the_library(tmp_path):
    """EDM preconditioning with the data's own standard deviation is what its EDM scheduler says."""
    prior = start("diffusers-light", IMAGES, recon.TrainConfig())
    export_diffusers(prior, tmp_path)
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = recon.load_prior(tmp_path)
    assert torch.allclose(found.denoise(x, 0.5), prior.eval().denoise(x, 0.5), atol=1e-5)
    assert set(OURS).isdisjoint(FOREIGN)
