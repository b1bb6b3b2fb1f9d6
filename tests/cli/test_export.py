"""A diffusers folder as the prior of every command, and `recon export`."""

from __future__ import annotations

import json
import os
import pickle

import pytest

import recon
from tests.recon.foreign_models import SMALL, reference, weights, write_folder


@pytest.fixture
def model(tmp_path):
    return write_folder("ddpm", tmp_path / "model", weights(reference("ddpm")[0]))


def test_a_folder_is_described_sampled_from_and_exported(recon_command, model, tmp_path):
    assert "8 x 8" in recon_command("info", model).out
    done = recon_command("sample", "--prior", model, "-n", 1, "--steps", 2, "-o", "drawn", "--json")
    assert done.code == 0, done.err
    assert list(json.loads(done.out)["inputs_sha256"]) == [str(model / "unet/diffusion_pytorch_model.safetensors")]
    done = recon_command("export", model, "-o", "again", "--format", "diffusers")
    assert done.code == 0, done.err
    names = ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"]
    assert done.out.split()[1:] == [f"again/{name}" for name in names]
    assert (tmp_path / "again/run.json").is_file()
    again = recon.load_prior(tmp_path / "again")
    assert all(map(lambda a, b: bool((a == b).all()), again.parameters(), recon.load_prior(model).parameters()))
    assert recon_command("export", model, "-o", "again").code == 2
    assert recon_command("export", model, "-o", "again", "--overwrite").code == 0


def test_ours_has_no_such_form(recon_command, tiny, tmp_path):
    done = recon_command("export", tiny, "-o", "out")
    assert done.code == 2 and "E-EXPORT" in done.err and "UNet2DModel" in done.err
    assert not (tmp_path / "out").exists()


class Canary:
    def __reduce__(self):
        return (os.system, ("touch canary",))


def test_a_folder_of_pickles_is_never_opened(recon_command, model, tmp_path):
    (model / "unet/diffusion_pytorch_model.safetensors").unlink()
    (model / "unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Canary()))
    for words in (["sample", "--prior", model], ["export", model]):
        done = recon_command(*words, "-o", "out")
        assert done.code == 7 and "safe_serialization=True" in done.err
    assert not (tmp_path / "canary").exists() and not (tmp_path / "out").exists()


def test_settings_that_are_not_rebuilt_are_input_errors(recon_command, model):
    (model / "unet/config.json").write_text(json.dumps({**SMALL, "num_class_embeds": 10}))
    done = recon_command("sample", "--prior", model, "-o", "out")
    assert done.code == 3 and "num_class_embeds=10" in done.err and "E-PRIOR" in done.err
