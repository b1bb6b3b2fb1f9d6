"""Every operator from the command line: set, measured, stored, rebuilt, reconstructed, shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import data
from cli.keywords import typed
from operators import OPERATORS
from recon import SDES, ScorePrior, Units, save_prior
from recon.networks import NETWORKS

RNG = np.random.default_rng(0)
MAPS = RNG.standard_normal((3, 16, 16)) + 1j * RNG.standard_normal((3, 16, 16))
GREY = {
    "mri": (["acceleration=4", "center_fraction=0.1"], (1, 2, 16, 16)),
    "mri equispaced": (["kind=equispaced", "acceleration=2"], (1, 2, 16, 16)),
    "mri radial": (["trajectory=radial", "acceleration=3"], (1, 2, 8, 32)),
    "mri coils": (["coils=maps.npy", "acceleration=2"], (1, 3, 2, 16, 16)),
    "hadamard": (["ratio=0.5"], (1, 128)),
    "random_projection": (["ratio=0.25"], (1, 64)),
    "blur": (["defocus=2.5"], (1, 16, 16)),
    "ct": (["angles=6", "spacing_mm=0.5"], (1, 6, 24)),
    "ct_fan": (["angles=6", "source_mm=40", "detector_mm=70", "detector=curved"], (1, 6, 24)),
}
COLOUR = {"mosaic": ["pattern=BGGR"], "grey": ["weights=0.5,0.25,0.25"]}


def words(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture
def colour_prior(tmp_path):
    """An untrained prior of 16 x 16 colour images in [0, 1]."""
    torch.manual_seed(0)
    arguments = {"channels": 3, "widths": [8, 8], "blocks": 1, "attention": [], "unshuffle": 4, "dropout": 0.0}
    header = {"network": {"name": "unet", "arguments": arguments}, "provenance": {"licence": "none"}}
    prior = ScorePrior(
        NETWORKS["unet"](**arguments), (3, 16, 16), SDES["vp"](), 0.5, Units(0.5, 0.5, "[0,1]"), "colours", header
    )
    save_prior(tmp_path / "colours.safetensors", prior)
    return tmp_path / "colours.safetensors"


@pytest.mark.parametrize("case", GREY)
def test_grey_images_there_and_back(case, recon_command, picture, tiny, tmp_path):
    settings, shape = GREY[case]
    np.save(tmp_path / "maps.npy", MAPS)
    done = recon_command("simulate", picture, "--operator", case.split()[0], *words(settings), "-o", "m.h5")
    assert done.code == 0, done.err
    stored = data.read_measurement(tmp_path / "m.h5")
    assert stored.y.shape == (1, *shape)
    A = OPERATORS[stored.operator["name"]](**stored.operator["parameters"])
    residual = torch.from_numpy(stored.y) - A(torch.from_numpy(stored.x))
    spread = float(residual[residual != 0].std())  # zero where nothing was measured
    assert spread == pytest.approx(stored.noise["sigma"], rel=0.5)  # few data: the wrong operator is far off
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--steps", 2, "--samples", 2, "-o", "out", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert data.read_image(tmp_path / "out/input.png").values.ndim == 3 and len(record["chi_square"]) == 1
    assert recon_command("evaluate", "out").code == 0


def test_the_noise_of_k_space_is_a_share_of_the_image(recon_command, picture, tmp_path):
    recon_command("simulate", picture, "--operator", "mri", "--noise", "2%", "-o", "m.h5")
    stored = data.read_measurement(tmp_path / "m.h5")
    assert stored.noise["sigma"] == pytest.approx(0.02 * stored.x.max(), rel=1e-6)


@pytest.mark.parametrize("name", COLOUR)
def test_colour_images_there_and_back(name, recon_command, colour_prior, tmp_path):
    np.save(tmp_path / "colours.npy", RNG.random((1, 3, 16, 16), np.float32))
    done = recon_command(
        "simulate", "colours.npy", "--operator", name, *words(COLOUR[name]), "--noise", "1%", "-o", "m.h5"
    )
    assert done.code == 0, done.err
    assert data.read_measurement(tmp_path / "m.h5").y.shape == (1, 1, 16, 16)
    done = recon_command("reconstruct", "m.h5", "--prior", colour_prior, "--steps", 2, "--samples", 2, "-o", "out")
    assert done.code == 0, done.err
    assert data.read_result(tmp_path / "out/result.h5").mean.shape == (1, 3, 16, 16)
    assert recon_command("evaluate", "out").code == 0


def test_a_grey_image_has_no_mosaic(recon_command, picture):
    done = recon_command("simulate", picture, "--operator", "mosaic", "-o", "m.h5")
    assert done.code == 3 and "3 channels for mosaic" in done.err


@pytest.mark.parametrize(
    ("operator", "setting", "said"),
    [
        ("mri", "accelleration=4", "did you mean acceleration?"),
        ("mri", "acceleration=fast", "a number"),
        ("mri", "acceleration=0.5", "at least 1"),
        ("mri", "coils=nosuch.npy", "nosuch.npy"),
        ("mri", "kind=spiral", "'random' or"),
        ("hadamard", "ratio", "ratio=VALUE"),
        ("hadamard", "seed=3", "ratio=..."),
        ("blur", "std=two", "a number"),
    ],
)
def test_settings_that_are_none(operator, setting, said, recon_command, picture):
    done = recon_command("simulate", picture, "--operator", operator, "--set", setting, "-o", "m.h5")
    assert done.code in (2, 3) and said in done.err and "Traceback" not in done.err


def test_a_parameter_given_twice(recon_command, picture):
    flags = ["--operator", "blur", "--std", 2, "--set", "std=3"]
    done = recon_command("simulate", picture, *flags, "-o", "m.h5")
    assert done.code == 2 and "std is given twice" in done.err


def test_set_and_the_shorthand_are_one(recon_command, picture, tmp_path):
    for name, flags in {"a": ["--angles", "0:90:7"], "b": ["--set", "angles=0:90:7"]}.items():
        assert recon_command("simulate", picture, "--operator", "ct", *flags, "-o", f"{name}.h5").code == 0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    (tmp_path / "s.toml").write_text('operator = "ct"\n[set]\nangles = "0:90:7"\n')
    assert recon_command("simulate", picture, "--config", "s.toml", "-o", "c.h5").code == 0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


def test_a_small_picture_is_enlarged_by_a_factor_that_is_set(recon_command, picture, tiny, tmp_path):
    words = ["--operator", "downsample", "--set", "factor=2", "--prior", tiny, "--steps", 1, "--samples", 1]
    done = recon_command("reconstruct", picture, *words, "-o", "out")
    assert done.code == 0, done.err
    assert data.read_result(tmp_path / "out/result.h5").mean.shape == (1, 1, 32, 32)


def test_values_take_the_type_of_the_signature():
    assert typed("--set", "n", "4", int | None, None) == 4
    assert typed("--set", "n", "4", float, 1.0) == 4.0
    assert typed("--set", "n", "1,2.5", tuple[float, float] | None, None) == (1.0, 2.5)
    assert typed("--set", "n", "radial", str | np.ndarray | None, None) == "radial"


@pytest.mark.parametrize("operator", ["mri", "ct", "blur", "hadamard"])
def test_sizes_that_the_prior_cannot_take_are_padded(operator, recon_command, tiny, tmp_path):
    data.write_image(tmp_path / "odd.png", np.full((1, 13, 19), 0.5), 0, 1)
    settings = {"ct": ["--angles", 5], "blur": ["--std", 1]}.get(operator, [])
    assert recon_command("simulate", "odd.png", "--operator", operator, *settings, "-o", "m.h5").code == 0
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--steps", 2, "--samples", 2, "-o", "out")
    assert done.code == 0 and "padded to 16 x 24" in done.err, done.err
    assert data.read_result(tmp_path / "out/result.h5").mean.shape == (1, 1, 13, 19)


def test_k_space_of_another_range_is_refused(recon_command, tiny, tmp_path):
    np.save(tmp_path / "bytes.npy", (RNG.random((16, 16)) * 255).astype(np.float32))
    assert recon_command("simulate", "bytes.npy", "--operator", "mri", "-o", "m.h5").code == 0
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--steps", 2, "-o", "out")
    assert done.code == 3 and "E-RANGE" in done.err and "divide by 255" in done.err


def test_an_operator_is_described(recon_command):
    found = json.loads(recon_command("info", "mri", "--json").out)["--set NAME=VALUE"]
    assert {"acceleration", "center_fraction", "kind", "mask", "trajectory", "coils", "image"} <= set(found)
    assert "default 4.0" in found["acceleration"] and "default real" in found["image"] and "--mask" in found["mask"]


def test_a_measurement_says_what_its_operator_was_given(recon_command, tmp_path):
    data.write_image(tmp_path / "x.png", np.full((1, 16, 16), 0.5), 0, 1)
    said = {}
    for name, words in (("inpaint", ["--keep", 0.25]), ("ct", ["--angles", 20]), ("phase_retrieval", [])):
        more = ["--set", "patterns=2"] if name == "phase_retrieval" else []
        assert recon_command("simulate", "x.png", "--operator", name, *words, *more, "-o", f"{name}.h5").code == 0
        said[name] = recon_command("info", f"{name}.h5").out
    assert "mask 16 x 16 (25 %)" in said["inpaint"] and "angles 20 (0 .. 2.985)" in said["ct"]
    assert "patterns 2 x 16 x 16 (modulus 1 .. 1)" in said["phase_retrieval"]
