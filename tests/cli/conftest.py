"""A command line to call, a prior small enough to run anywhere, an image and a mask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import data
from cli.main import execute
from recon import SDES, ScorePrior, Units, save_prior
from recon.networks import NETWORKS


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def recon_command(capsys, tmp_path, monkeypatch) -> Callable[..., Outcome]:
    """Runs `recon` with the given words in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECON_DEVICE", raising=False)

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        code = execute([str(word) for word in words])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(recon_command, tmp_path):
    """Runs a command that must fail: checks form, speed and that no file appears; gives the message."""

    def call(code: int, *words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        start = time.process_time()  # of the processor: a busy machine is no fault of the command
        done = recon_command(*words)
        seconds = time.process_time() - start
        assert done.code == code, f"exit {done.code}, expected {code}\n{done.err}"
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        assert seconds < 2.0
        assert done.out == "" and "Traceback" not in done.err
        message = done.err[done.err.index("error E-") :].splitlines()
        for label in ("where", "found", "expected", "fix"):
            assert [
                line for line in message if line.startswith(f"  {label:<9} ") and line[12:].strip(" -")
            ], label
        return done.err

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """An untrained prior of 16 x 16 grey images in [0, 1] that takes multiples of 8."""
    torch.manual_seed(0)
    arguments = {
        "channels": 1,
        "widths": [8, 8],
        "blocks": 1,
        "attention": [],
        "unshuffle": 4,
        "dropout": 0.0,
    }
    header = {"network": {"name": "unet", "arguments": arguments}, "provenance": {"licence": "none"}}
    network = NETWORKS["unet"](**arguments)
    prior = ScorePrior(network, (1, 16, 16), SDES["vp"](), 0.5, Units(0.5, 0.5, "[0,1]"), "tiny", header)
    path = tmp_path_factory.mktemp("priors") / "tiny.safetensors"
    save_prior(path, prior)
    return path


@pytest.fixture
def picture(tmp_path) -> Path:
    """A smooth 16 x 16 grey PNG."""
    rows, columns = np.mgrid[:16, :16] / 15
    path = tmp_path / "picture.png"
    data.write_image(path, (0.2 + 0.3 * rows + 0.4 * columns**2)[None], 0.0, 1.0)
    return path


@pytest.fixture
def mask(tmp_path) -> Path:
    """A 16 x 16 mask with a black box."""
    values = np.ones((1, 16, 16))
    values[:, 5:9, 4:10] = 0
    path = tmp_path / "mask.png"
    data.write_image(path, values, 0.0, 1.0)
    return path


@pytest.fixture
def scan(recon_command, picture, tmp_path) -> Path:
    """A CT measurement file of the picture."""
    path = tmp_path / "scan.h5"
    assert (
        recon_command(
            "simulate", picture, "--operator", "ct", "--angles", 9, "--noise", "1%", "-o", path
        ).code
        == 0
    )
    return path
