"""Bad input meets one form of error, the right exit code, a remedy, no traceback, and nothing is written.

The numbers are the rows of the table of bad inputs that the project promises to answer.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import data

MASKED = ["--operator", "inpaint", "--keep", 0.5]


def test_1_missing_file_names_the_nearest(refused, picture, tiny):
    assert "picture.png" in refused(3, "reconstruct", "pictur.png", *MASKED, "--prior", tiny, "-o", "out")


def test_1_folder_instead_of_a_file(refused, tmp_path, tiny):
    refused(3, "reconstruct", tmp_path, *MASKED, "--prior", tiny, "-o", "out")


def test_1_no_permission(refused, picture, tiny, monkeypatch):
    def closed(path, *arguments, **keywords):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", closed)  # root, under whom tests may run, is never denied
    refused(3, "reconstruct", picture, *MASKED, "--prior", tiny, "-o", "out")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"<!DOCTYPE html><html><body>not found</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 99\n", "LFS"),
        (b"", "empty"),
    ],
)
def test_3_not_hdf5_though_named_so(content, word, refused, tmp_path, tiny):
    (tmp_path / "scan.h5").write_bytes(content)
    assert word in refused(3, "reconstruct", "scan.h5", "--prior", tiny, "-o", "out")


def test_1_a_link_to_nowhere_is_called_one(refused, tmp_path):
    (tmp_path / "link.png").symlink_to("gone.png")
    message = refused(3, "simulate", "link.png", "--operator", "identity", "-o", "m.h5")
    assert "link to gone.png" in message and "did you mean" not in message


def test_3_what_is_expected_is_said_once(refused, picture):
    message = refused(3, "evaluate", picture)
    assert "expected  an HDF5 file\n" in message


def test_6_a_truth_of_another_size_is_not_one_of_other_items(refused, recon_command, scan, tmp_path):
    recon_command("reconstruct", scan, "--method", "fbp", "-o", "out")
    np.save(tmp_path / "small.npy", np.zeros((8, 8), np.float32))
    assert "--items" not in refused(3, "evaluate", "out", "--truth", "small.npy")


def test_6_wrong_layout_names_the_keys(refused, tmp_path, tiny):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["x_train"] = np.zeros((2, 4, 4))
    message = refused(3, "reconstruct", "scan.h5", "--prior", tiny, "-o", "out")
    assert "closest: deepinv" in message and "fastMRI" in message and "exchange" in message
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"] = np.zeros((2, 4, 4))
    message = refused(3, "evaluate", "scan.h5")
    assert "closest: exchange" in message and "recon reconstruct" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_7_not_finite_in_an_image(value, refused, tmp_path, tiny):
    image = np.full((16, 16), 0.5, np.float32)
    image[3, 4] = value
    np.save(tmp_path / "image.npy", image)
    assert "3, 4)" in refused(3, "reconstruct", "image.npy", *MASKED, "--prior", tiny, "-o", "out")


def test_7_not_finite_in_a_measurement(refused, scan, tiny):
    with h5py.File(scan, "r+") as file:
        file["y"][0, 0, 2, 5] = np.nan
    assert "(0, 0, 2, 5)" in refused(3, "reconstruct", scan, "--prior", tiny, "-o", "out")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_9_colour_for_a_grey_prior(mode, refused, recon_command, tmp_path, tiny):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, len(mode)), np.uint8)
    Image.fromarray(pixels, mode).save(tmp_path / "colour.png")
    words = ["reconstruct", "colour.png", *MASKED, "--prior", tiny, "--steps", 2, "-o", "out"]
    assert "--to-gray" in refused(3, *words)
    assert recon_command(*words, "--to-gray").code == 0


def test_9_sixteen_bit_is_scaled_right(recon_command, tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert (
        recon_command("simulate", "deep.png", "--operator", "identity", "--noise", 0, "-o", "m.h5").code == 0
    )
    np.testing.assert_allclose(data.read_measurement(tmp_path / "m.h5").x[0, 0], values / 65535, atol=1e-7)


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ((0, 255), "divide by 255"),
        ((-1000, 2000), "Hounsfield"),
        ((-1, 1), "(x + 1) / 2"),
        ((0, 65535), "65535"),
    ],
)
def test_12_values_of_another_range(values, advice, refused, tmp_path, tiny):
    np.save(tmp_path / "image.npy", np.linspace(*values, 256, dtype=np.float32).reshape(16, 16))
    words = ["--operator", "inpaint", "--box", "0,0,2,2", "--noise", 0.01]
    message = refused(3, "reconstruct", "image.npy", *words, "--prior", tiny, "-o", "out")
    assert advice in message and f"{values[1]}" in message


def test_12_a_sinogram_of_255s(refused, recon_command, tmp_path, tiny):
    np.save(tmp_path / "image.npy", np.linspace(0, 255, 256, dtype=np.float32).reshape(16, 16))
    assert recon_command("simulate", "image.npy", "--operator", "ct", "--angles", 9, "-o", "m.h5").code == 0
    assert "divide by 255" in refused(3, "reconstruct", "m.h5", "--prior", tiny, "-o", "out")


def test_12_another_unit(refused, recon_command, tmp_path, tiny):
    with h5py.File(tmp_path / "hu.h5", "w") as file:
        file["images"] = np.zeros((1, 16, 16), np.float32)
        file.attrs["unit"] = "HU"
    assert recon_command("simulate", "hu.h5", *MASKED, "--noise", 0.1, "-o", "m.h5").code == 0
    assert "HU" in refused(3, "reconstruct", "m.h5", "--prior", tiny, "-o", "out")


@pytest.mark.parametrize("noise", ["-0.1", "nan", "inf", "loud", "-1%"])
def test_15_noise_that_is_none(noise, refused, picture, tiny):
    refused(2, "simulate", picture, *MASKED, f"--noise={noise}", "-o", "m.h5")
    refused(2, "reconstruct", picture, *MASKED, f"--noise={noise}", "--prior", tiny, "-o", "out")


class Canary:
    def __reduce__(self):
        return (os.system, ("touch canary",))


def torchscript(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))


@pytest.mark.parametrize("name", ["prior.pkl", "prior.safetensors", "prior.pt"])
def test_16_a_pickle_as_prior_is_never_run(name, refused, picture, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Canary()))
    refused(7, "reconstruct", picture, *MASKED, "--prior", name, "-o", "out")
    assert not (tmp_path / "canary").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    "make", [lambda p: torch.save({"a": Canary()}, p), torchscript], ids=["torch", "torchscript"]
)
def test_16_archives_that_carry_code(make, refused, picture, tmp_path):
    make(tmp_path / "prior.pt")
    refused(7, "reconstruct", picture, *MASKED, "--prior", "prior.pt", "-o", "out")
    assert not (tmp_path / "canary").exists()


def test_17_truncated_altered_or_foreign_prior(refused, picture, tiny, tmp_path):
    content = tiny.read_bytes()
    words = ["reconstruct", picture, *MASKED, "--prior", "bad.safetensors", "-o", "out"]
    for bad in (content[:-100], content[:-9] + bytes([content[-9] ^ 16]) + content[-8:], content[:100]):
        (tmp_path / "bad.safetensors").write_bytes(bad)
        refused(3, *words)
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, tmp_path / "bad.safetensors")
    assert "recon" in refused(3, *words)


def test_17_no_such_prior(refused, picture):
    refused(3, "reconstruct", picture, *MASKED, "--prior", "headct-46", "-o", "out")
    refused(2, "reconstruct", picture, *MASKED, "-o", "out")


def test_18_unknown_key_names_line_and_nearest(refused, scan, tiny, tmp_path):
    (tmp_path / "s.toml").write_text("seed = 1\n\nsmaples = 4\n")
    message = refused(2, "reconstruct", scan, "--prior", tiny, "--config", "s.toml", "-o", "out")
    assert "s.toml:3" in message and "samples" in message


@pytest.mark.parametrize("line", ["steps = 'many'", "steps = 0", "samples = [1]", "seed = -3"])
def test_18_wrong_type(line, refused, scan, tiny, tmp_path):
    (tmp_path / "s.toml").write_text(f"# settings\n{line}\n")
    assert "s.toml:2" in refused(2, "reconstruct", scan, "--prior", tiny, "--config", "s.toml", "-o", "out")


@pytest.mark.parametrize("line", ["widht = 3", "sde = 'vpp'", "steps = -1", "widths = 'os.system'"])
def test_18_wrong_training_settings(line, refused, tmp_path):
    (tmp_path / "t.toml").write_text(f"seed = 0\n{line}\n")
    assert "t.toml:2" in refused(2, "train", "many", "--config", "t.toml", "-o", "out")


def test_18_not_toml(refused, scan, tiny, tmp_path):
    (tmp_path / "s.toml").write_text("steps: 4\n")
    refused(2, "reconstruct", scan, "--prior", tiny, "--config", "s.toml", "-o", "out")


def test_18_methods_and_operators_that_do_not_go_together(refused, recon_command, scan, picture, tiny):
    recon_command("simulate", picture, "--operator", "blur", "--std", 1, "-o", "blurred.h5")
    assert "inpaint" in refused(2, "reconstruct", scan, "--prior", tiny, "--method", "repaint", "-o", "out")
    assert "ct" in refused(2, "reconstruct", "blurred.h5", "--method", "fbp", "-o", "out")


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "pigmd"],
        ["--steps", "0"],
        ["--samples", "many"],
        ["--smaples", "4"],
        ["--device", "abacus"],
        ["--operator", "ct"],
    ],
)
def test_18_wrong_flags(words, refused, scan, tiny):
    refused(2, "reconstruct", scan, "--prior", tiny, *words, "-o", "out")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--operator", "radon"],
        ["--operator", "ct", "--keep", 0.4],
        ["--operator", "inpaint"],
        ["--operator", "inpaint", "--keep", 1.5],
        ["--operator", "inpaint", "--box", "1,2,3"],
        ["--operator", "ct", "--angles", "many"],
        ["--operator", "downsample", "--factor", 3],
        ["--operator", "blur", "--std", -1],
    ],
)
def test_18_wrong_operators(words, refused, picture):
    refused(2, "simulate", picture, *words, "-o", "m.h5")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["ct"], "--angles 60"),
        (["inpaint"], "--mask mask.png, or --keep 0.4, or --box 8,8,16,16"),
        (["inpaint", "--keep", 0.5, "--box", "1,1,2,2"], "--keep 0.4"),
        (["inpaint", "--keep", 40], "--keep 0.4"),
        (["inpaint", "--box", "1.5,2,3,4"], "whole pixels"),
        (["blur"], "--std 2"),
        (["blur", "--std", 0], "--std"),
        (["blur", "--motion", "0,3"], "--motion"),
        (["downsample", "--factor", 0], "--factor 4"),
        (["ct", "--angles", 0], "--angles 60"),
        (["ct", "--angles", "0:720:20"], "at most one turn"),
        (["ct", "--angles", "9:9:20"], "--angles 0:120:40"),
        (["ct", "--angles", 9, "--detectors", 0], "--detectors 4"),
    ],
)
def test_18_remedies_are_flags_and_not_python(words, fix, refused, picture):
    message = refused(2, "simulate", picture, "--operator", *words, "-o", "m.h5")
    remedy = re.sub(r"--set \w+=", "--set ", message[message.index("found") :])
    assert fix in remedy
    assert not re.search(r"\w=|np\.|array|missing 1|rad\b|radians|`", remedy), remedy


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--prior", "nosuch"], ["--prior"]),
        (["--steps", 3, "--samples", 4], ["--steps", "--samples"]),
        (["--samples", 8], ["--samples"]),  # the default, but someone typed it
        (["--batch-size", 2], ["--batch-size"]),
        (["--device", "cpu"], ["--device"]),
        (["--config", "s.toml"], ["s.toml:2", "--samples"]),
    ],
)
def test_18_flags_without_effect(words, names, refused, scan, tmp_path):
    (tmp_path / "s.toml").write_text("seed = 1\nsamples = 4\n")
    message = refused(2, "reconstruct", scan, "--method", "tv", *words, "-o", "out")
    assert all(name in message[: message.index("expected")] for name in names)


def test_18_the_environment_is_no_flag(recon_command, scan, monkeypatch):
    monkeypatch.setenv("RECON_DEVICE", "cpu")
    assert recon_command("reconstruct", scan, "--method", "fbp", "--seed", 1, "-o", "out").code == 0


@pytest.mark.parametrize("words", [["--to-gray"], ["--max-pixels", 10], ["--keep", 0.5], ["--operator", "ct"]])
def test_18_flags_of_images_with_a_measurement_file(words, refused, scan, tiny):
    assert words[0] in refused(2, "reconstruct", scan, "--prior", tiny, *words, "-o", "out")


def test_18_flags_of_a_truth_that_is_not_given(refused, recon_command, scan):
    recon_command("reconstruct", scan, "--method", "fbp", "-o", "out")
    assert "--items" in refused(2, "evaluate", "out", "--items", "0:1")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["--steps", 0], ["--steps 0", "a whole number from 1 to 100000"]),
        (["--samples", 0], ["a whole number, 1 or more", "--samples 8"]),
        (["--samples", "many"], ["--samples many", "a whole number"]),
        (["--seed", 2**64], ["from 0 to 18446744073709551615"]),
        (["--method", "dps", "--option", "zta=1"], ["did you mean zeta?", "recon info dps"]),
        (["--method", "dps", "--option", "zeta"], ["zeta has no value", "zeta=VALUE", "recon info dps"]),
        (["--method", "dps", "--option", "zeta=-1"], ["zeta=-1", "above 0", "recon info dps"]),
        (["--method", "ddnm", "--option", "eta=1.5"], ["eta=1.5", "0 to 1"]),
        (["--method", "daps", "--option", "inner=0"], ["inner=0", "1 to 100000"]),
        (["--method", "dps", "--option", "zeta=large"], ["a number", "default is 1.0"]),
        (["--method", "dps", "--option", "zeta=nan"], ["a number"]),
        (["--method", "repaint", "--option", "repeats=2.5"], ["a whole number"]),
        (["--method", "diffpir", "--option", "zeta=1", "--option", "eta=1"], ["did you mean zeta?"]),
    ],
)
def test_18_values_that_flags_do_not_take(words, fix, refused, scan, tiny):
    message = refused(2, "reconstruct", scan, "--prior", tiny, *words, "-o", "out")
    assert all(text in message for text in fix)


def test_18_a_setting_without_a_value(refused, picture):
    message = refused(2, "simulate", picture, "--operator", "mri", "--set", "acceleration", "-o", "m.h5")
    assert "acceleration has no value" in message and "acceleration=VALUE" in message


@pytest.mark.parametrize("name", ["mri", "clip"])
def test_18_noise_that_cannot_be_estimated_says_why(name, refused, recon_command, picture, tiny):
    recon_command("simulate", picture, "--operator", name, "-o", "m.h5")
    message = refused(2, "reconstruct", "m.h5", "--prior", tiny, "--noise", "auto", "-o", "out")
    found = message[message.index("found") : message.index("expected")]
    assert name in found and "Gaussian" not in found and "--noise 1%" in message


def test_6_pictures_of_different_sizes_are_told_what_this_command_can_do(refused, tmp_path):
    for size in (16, 24):
        data.write_image(tmp_path / "mixed" / f"{size}.png", np.zeros((1, size, size)), 0.0, 1.0)
    message = refused(3, "simulate", "mixed", "--operator", "identity", "-o", "m.h5")
    assert "16 x 16" in message and "--size" not in message


@pytest.mark.parametrize("words", [["", "-o", "m.h5"], ["picture.png", "-o", ""]])
def test_18_an_empty_word_is_not_this_folder(words, refused, picture):
    assert "shell variable" in refused(2, "simulate", *words, "--operator", "identity")


def test_18_the_largest_seed_is_one(recon_command, picture, scan, tiny):
    words = ["--prior", tiny, "--steps", 2, "--samples", 2, "--seed", 2**64 - 1]
    assert recon_command("reconstruct", scan, *words, "-o", "out").code == 0
    assert recon_command("simulate", picture, *MASKED, "--seed", 2**64 - 1, "-o", "m.h5").code == 0


def test_18_a_float_image_says_nothing_of_its_noise(refused, tmp_path):
    np.save(tmp_path / "image.npy", np.full((16, 16), 0.5, np.float32))
    assert "--noise 1%" in refused(2, "reconstruct", "image.npy", *MASKED, "--method", "tv", "-o", "out")


def test_18_only_what_exists_is_advised(refused, tiny, scan, tmp_path):
    assert "--method" not in refused(2, "sample", "-o", "out")
    assert "--method fbp, tv or pinv" in refused(2, "reconstruct", scan, "-o", "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    assert "--resume" not in refused(2, "reconstruct", scan, "--prior", tiny, "-o", "full")
    assert "--resume" in refused(2, "train", "many", "-o", "full")


@pytest.mark.parametrize(
    ("words", "side", "fix"),
    [
        (["--size", 60], 64, "--size 64"),
        (["--size", 9], 64, "--size 8"),
        (["--size", 120], 200, "--size 128"),
        (["--config", "t.toml"], 64, "a multiple of 16"),
    ],
)
def test_18_a_size_that_the_network_cannot_take(words, side, fix, refused, tmp_path):
    (tmp_path / "t.toml").write_text("size = 'big'\n")
    data.write_images(tmp_path / "set.h5", np.random.default_rng(0).random((4, 1, side, side), np.float32), "[0,1]")
    assert fix in refused(2, "train", "set.h5", *words, "-o", "out")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["--exact", "--probes", 3], "--probes"),
        (["--bound", "--tolerance", "1e-3"], "--tolerance"),
        (["--probes", 1], "from 2 to 10000"),
        (["--tolerance", 5], "from 1e-08 to 0.1"),
        (["--items", "3:9"], "--items 0:1"),
    ],
)
def test_18_settings_of_densities(words, fix, refused, picture, tiny):
    assert fix in refused(2, "logp", picture, "--prior", tiny, *words, "-o", "out")


def test_images_of_densities_are_checked(refused, tmp_path, tiny):
    words = ["--prior", tiny, "-o", "out"]
    for name, values in {
        "range": np.linspace(0, 255, 256, dtype=np.float32).reshape(16, 16),
        "size": np.full((18, 16), 0.5, np.float32),
        "colour": np.full((16, 16, 3), 0.5, np.float32),
        "nan": np.full((16, 16), np.nan, np.float32),
    }.items():
        np.save(tmp_path / f"{name}.npy", values)
    assert "divide by 255" in refused(3, "logp", "range.npy", *words)
    assert "24 x 16" in refused(3, "logp", "size.npy", *words)
    assert "--to-gray" in refused(3, "logp", "colour.npy", *words)
    refused(3, "logp", "nan.npy", *words)
    assert "range.npy" in refused(3, "logp", "rang.npy", *words)
    refused(2, "logp", "range.npy", "-o", "out")


def test_a_band_needs_enough_images_and_another_file(refused, tmp_path, tiny):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).integers(0, 255, (12, 16, 16)).astype(np.uint8))
    words = ["band", "few.npy", "--prior", tiny, "--subset", "train", "--items", "0:9", "-o"]
    assert "10 images" in refused(3, *words, "new.safetensors")
    refused(2, *words, tiny, "--overwrite")


@pytest.mark.parametrize("sde", ["vp", "ve"])
def test_7_pictures_that_are_all_equal(sde, refused, tmp_path):
    data.write_images(tmp_path / "set.h5", np.full((9, 1, 16, 16), 0.5, np.float32), "[0,1]")
    assert "all pictures are equal" in refused(3, "train", "set.h5", "--sde", sde, "-o", "out")


def test_20_output_exists(refused, scan, picture, tiny, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "--overwrite" in refused(2, "reconstruct", scan, "--prior", tiny, "-o", "out")
    assert "--overwrite" in refused(2, "simulate", picture, *MASKED, "-o", scan)


def test_20_output_is_the_input(refused, picture, tiny):
    content = picture.read_bytes()
    refused(2, "simulate", picture, *MASKED, "--overwrite", "-o", picture)
    refused(2, "reconstruct", picture, *MASKED, "--prior", tiny, "--overwrite", "-o", picture)
    assert picture.read_bytes() == content


def test_20_read_only_output(refused, picture, scan, tiny, tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path))
    refused(5, "simulate", picture, *MASKED, "-o", "closed/m.h5")
    refused(5, "reconstruct", scan, "--prior", tiny, "-o", "closed/out")


def test_20_disk_too_small(refused, scan, picture, tiny, monkeypatch):
    tight = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: tight)
    refused(5, "reconstruct", scan, "--prior", tiny, "-o", "out")
    refused(5, "simulate", picture, *MASKED, "-o", "m.h5")


def test_20_more_samples_than_memory(refused, scan, tiny):
    assert "fewer --samples" in refused(5, "reconstruct", scan, "--prior", tiny, "--samples", 10**9, "-o", "out")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc on this system")
def test_20_a_place_that_takes_no_file(refused, picture, monkeypatch):
    refused(5, "simulate", picture, *MASKED, "-o", "/proc/m.h5")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 0, 2**40))
    refused(5, "simulate", picture, *MASKED, "-o", "/proc/m.h5")


HOLD = """
import sys, time
from pathlib import Path
from cli.output import folder
with folder(Path(sys.argv[1]), True, []):
    print("held", flush=True)
    time.sleep(60)
"""


def test_20_a_device_is_never_replaced(refused, picture, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for words in ([], ["--overwrite"]):
        assert "device or pipe" in refused(2, "simulate", picture, *MASKED, *words, "-o", "pipe")


def test_20_a_place_without_a_disk(refused, picture, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(total=0, free=0))
    message = refused(5, "simulate", picture, *MASKED, "-o", "m.h5")
    assert "no place on a disk" in message and "too small" not in message


def test_20_a_second_process_stops_at_the_lock_and_a_dead_one_leaves_none(
    recon_command, scan, tiny, tmp_path
):
    words = ["reconstruct", scan, "--prior", tiny, "--steps", 2, "-o", "out", "--overwrite"]
    with subprocess.Popen([sys.executable, "-c", HOLD, "out"], cwd=tmp_path, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        done = recon_command(*words)
        assert done.code == 5 and "E-LOCKED" in done.err
        other.kill()
    assert (tmp_path / "out/.recon.lock").exists() and (tmp_path / "out/.recon.part").exists()
    assert recon_command(*words[:-1]).code == 0
    assert not list((tmp_path / "out").glob(".*"))
