"""Folders of diffusers: the weights are found, the settings read, and what can carry code is refused unopened."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

import data

UNET = {"_class_name": "UNet2DModel", "sample_size": 16, "in_channels": 1}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    for name, settings in (("unet/config", UNET), ("scheduler/scheduler_config", {"_class_name": "DDIMScheduler"})):
        (path / name).parent.mkdir(parents=True)
        (path / f"{name}.json").write_text(json.dumps(settings))
    save_file({"conv_in.weight": np.zeros(3, np.float32)}, path / "unet" / WEIGHTS)
    return path


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("size, shape", [(16, [1, 16, 16]), ([16, 24], [1, 16, 24])])
def test_weights_and_settings_are_found(folder, size, shape):
    (folder / "unet/config.json").write_text(json.dumps({**UNET, "sample_size": size}))
    assert data.is_model_folder(folder) and data.prior_path(folder) == folder / "unet" / WEIGHTS
    header = data.prior_header(data.prior_path(folder))
    assert (header["name"], header["shape"], header["sde"]) == ("model", shape, {"name": "discrete"})


def test_one_folder_for_all(folder):
    for path in [*folder.glob("*/*")]:
        path.rename(folder / path.name)
    (folder / "unet").rmdir()
    assert data.prior_header(data.prior_path(folder))["name"] == "model"


def test_our_own_runs_are_none(folder):
    (folder / "prior.safetensors").write_bytes(b"")
    assert not data.is_model_folder(folder) and not data.is_model_folder(folder / "scheduler")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", WEIGHTS])
def test_pickles_are_refused_unopened(folder, refuses, name):
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "unet" / name).write_bytes(pickle.dumps(Canary(folder / "canary")))
    with refuses("E-UNSAFE", 7, name, "not opened", "safetensors"):
        data.prior_header(data.prior_path(folder))
    assert not (folder / "canary").exists()


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("unet/config.json", None, "no such file"),
        ("scheduler/scheduler_config.json", None, "no such file"),
        (f"unet/{WEIGHTS}", None, "a folder holding config.json"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "", "2 files of weights"),
        ("unet/config.json", "{", "no JSON"),
        ("unet/config.json", "[" * 10**5, "no JSON"),
        ("unet/config.json", " " * (10**7 + 1), "10000001 bytes"),
        ("scheduler/scheduler_config.json", "3", "a JSON int"),
        ("unet/config.json", '{"_class_name": "UNet2DConditionModel"}', "UNet2DConditionModel"),
        ("unet/config.json", '{"_class_name": "UNet2DModel"}', "sample_size None"),
        ("scheduler/scheduler_config.json", '{"_class_name": "LCMScheduler"}', "LCMScheduler"),
    ],
)
def test_what_is_missing_or_of_another_kind(folder, refuses, name, text, words):
    if "fp16" in name:
        (folder / "unet" / WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.non_ema.safetensors")
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with refuses("E-PRIOR", 3, words):
        data.prior_path(folder)
