"""`recon train`: what it chooses from the data, which values it takes, what it tells and draws, and its followers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import data
import recon
from cli import suggest, team
from cli.dataset import Reading, described, load, suggested
from cli.run_record import Run
from cli.sketches import Sketches
from cli.training import multiple, units
from cli.values import in_range, stated
from cli.watching import past_its_best
from recon.checkpoint import read_tensors

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
TINY = "widths = [8, 8]\nattention = []\nbatch-size = 4\n"


@pytest.fixture
def hounsfield(tmp_path):
    """Twenty slices as many labs store a CT: 16-bit, HU + 1024."""
    path = tmp_path / "ct.h5"
    with h5py.File(path, "w") as file:
        file["images"] = RNG.integers(0, 3000, (20, 16, 16)).astype(np.uint16)
        file["labels"] = np.arange(20) % 2
    return path


@pytest.fixture
def run():
    return Run("train", {})


def asked(**own):
    return stated(own)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [([(28, 28)] * 5, 28), ([(25, 25)] * 5, 24), ([(45, 50)] * 3, 40), ([(64, 64)], 64), ([(100, 90)], 80),
     ([(127, 300)], 96), ([(512, 512)] * 9, 256), ([(200, 200)] * 95 + [(20, 20)] * 5, 192),
     ([(200, 200)] * 5 + [(70, 70)] * 5, 64), ([(7, 90)], None)],
)  # fmt: skip
def test_suggested_sides_are_reached_by_nine_in_ten_and_taken_by_the_suggested_network(sizes, side):
    assert suggest.side(sizes) == side
    assert suggest.side(sizes, 1) == min(256, sorted(map(min, sizes))[len(sizes) // 10])


@pytest.mark.parametrize("side", suggest.SIDES)
def test_every_suggested_network_takes_its_side(side):
    assert side % multiple(recon.TrainConfig(), None, side) == 0
    assert max(suggest.network(side)["attention"]) < len(suggest.network(side)["widths"])


def test_suggested_levels_grow_with_contrast_and_side():
    assert suggest.levels(64, 0.5) == {"log_sigma_mean": -1.0}
    assert suggest.levels(256, 0.5)["log_sigma_mean"] == pytest.approx(-0.3)
    assert suggest.levels(64, 0.25)["log_sigma_mean"] == pytest.approx(-1.7)


def test_pictures_of_different_sizes_are_brought_to_the_suggested_one(tmp_path, run):
    for k in range(20):
        shape = (40 + k, 50) if k else (9, 9)
        Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{k}.png")
    found = load(tmp_path, Reading(), lambda side: 1, True, run)
    assert found.training.shape == (17, 1, 40, 40) and found.fingerprint["suggested_size"] == 40
    assert found.fingerprint["sizes"]["smallest"] == (9, 9) and found.fingerprint["sizes"]["largest"] == (59, 50)
    assert any("brought to 40 x 40" in note for note in run.notes) and any("left out" in note for note in run.notes)
    assert load(tmp_path, Reading(), lambda side: 16, False, run).training.shape[2:] == (32, 32)
    for crop in (8, 9):
        assert load(tmp_path, Reading(crop=crop), lambda side: 8, False, run).training.shape[2:] == (9, 9)
    assert suggested(found)["widths"] == [64, 128]


def test_pictures_that_fit_stay_as_they_are_and_large_ones_are_reduced(tmp_path, run):
    data.write_images(tmp_path / "a.h5", RNG.random((4, 1, 32, 64), np.float32), "[0,1]")
    data.write_images(tmp_path / "b.h5", RNG.random((4, 1, 260, 260), np.float32), "[0,1]")
    network = lambda side: multiple(recon.TrainConfig(), None, side)  # noqa: E731
    assert load(tmp_path / "a.h5", Reading(), network, True, run).training.shape[2:] == (32, 64)
    assert load(tmp_path / "b.h5", Reading(), network, True, run).training.shape[2:] == (256, 256)


def test_values_outside_the_range_are_refused_or_clipped_with_their_share(hounsfield, run):
    values = data.read_images(hounsfield).values.astype(int) - 1024
    found = data.read_images(hounsfield, rescaling=asked(unit="HU", rescale="1,-1024").rescaling)
    with pytest.raises(data.InputRefused, match=r"(?s)E-RANGE.*% of the values are outside.*-1000 .. 1000.*--clip"):
        in_range(found, asked(range="-1000:1000"), "ct.h5", run)
    images, ends = in_range(found, asked(range="-1000:1000", clip=True), "ct.h5", run)
    assert ends == (-1000, 1000) and np.array_equal(images.values, values.clip(-1000, 1000))
    share = ((values < -1000) | (values > 1000)).mean()
    assert f"{share:.2%} of the values" in run.notes[0] and images.values.dtype == np.int16
    images, _ = in_range(found, asked(range="-0.5:0.5", clip=True), "ct.h5", run)
    assert set(np.unique(images.values)) <= {-0.5, 0, 0.5} and images.values.dtype == np.float32
    assert in_range(found, asked(range="-1024:3000"), "ct.h5", run)[0] is found


def test_the_range_that_takes_all_values_is_proposed_in_round_numbers(run):
    cases = ((0.000544, 1, "0:1"), (-1024, 3071, "-1030:3080"), (3, 254.3, "3:255"), (2, 2, "2:2"))
    for least, most, proposed in cases:
        found = data.ImageSet(np.array([least, most], np.float64).reshape(1, 1, 1, 2), 1.0, "raw")
        with pytest.raises(data.InputRefused, match=f"--range {proposed} takes them all"):
            in_range(found, asked(), "a.npy", run)
        low, high = map(float, proposed.split(":"))
        assert low <= least and most <= high


def test_what_has_no_known_range_asks_for_one(hounsfield, run):
    with pytest.raises(data.InputRefused, match=r"(?s)use little of their range.*--rescale 1,-1024 --unit HU --range"):
        in_range(data.read_images(hounsfield), asked(), "ct.h5", run)
    found = data.read_images(hounsfield, rescaling=asked(unit="HU", rescale=[1, -1024]).rescaling)
    with pytest.raises(data.InputRefused, match=r"(?s)known range.*unit HU.*--range -1000:1000 --clip.*takes them all"):
        in_range(found, asked(), "ct.h5", run)
    floats = data.ImageSet(RNG.random((2, 1, 4, 4)), 1.0, "mm")
    with pytest.raises(data.InputRefused) as caught:
        in_range(floats, asked(), "a.npy", run)
    whole = caught.value.fix.split()[1]
    assert in_range(floats, asked(range=whole), "a.npy", run)[0] is floats
    images, ends = in_range(data.read_images(hounsfield), asked(range="0:0.05"), "ct.h5", run)
    assert ends == (0, 0.05) and images.values.max() == pytest.approx(data.read_images(hounsfield).values.max() / 65535)


@pytest.mark.parametrize(
    ("words", "fix"),
    [(["--range", "5"], "--range -1000:1000"), (["--range", "5:1"], "LOW below HIGH"), (["--clip"], "leave out --clip"),
     (["--rescale", "1"], "--rescale 1,-1024"), (["--rescale", "0,1"], "slope not zero"), (["--range", "a:b"], "two")],
)  # fmt: skip
def test_values_that_are_typed_wrong(words, fix, recon_command, hounsfield):
    done = recon_command("train", hounsfield, *words, "-o", "out")
    assert done.code in (2, 3) and fix in done.err and "Traceback" not in done.err


def test_a_ct_in_hounsfield_units_gives_a_prior_in_hounsfield_units(recon_command, hounsfield, tmp_path, monkeypatch):
    (tmp_path / "t.toml").write_text(TINY + "steps = 60\n")
    loss, calls = recon.training.score_matching_loss, []

    def poisoned(prior, x0, *others):
        calls.append(0)
        return loss(prior, x0 * (torch.nan if len(calls) == 7 else 1), *others)

    monkeypatch.setattr(recon.training, "score_matching_loss", poisoned)
    words = ["--rescale", "1,-1024", "--unit", "HU", "--range", "-1000:1000", "--clip", "--config", "t.toml"]
    done = recon_command("train", hounsfield, *words, "-o", "ct")
    assert done.code == 0, done.err
    assert "2: 0 9, 1 9" in done.err and "range    -1000 .. 1000 HU" in done.err and "clipped" in done.err
    units = data.prior_header(tmp_path / "ct/prior.safetensors")["units"]
    assert (units["scale"], units["shift"], units["name"]) == (1000, 0, "HU")
    record = json.loads((tmp_path / "ct/run.json").read_text())
    assert "note: step 7 skipped" in done.err and record["skipped_steps"] == [7]
    assert record["outputs"][3:6] == ["loss.png", "denoising.png", "samples.png"]
    for name in record["outputs"]:
        assert (tmp_path / "ct" / name).exists(), name
    assert data.read_image(tmp_path / "ct/samples.png").values.shape == (1, 67, 67)
    assert not [p.name for p in (tmp_path / "ct").iterdir() if p.name[0] == "."]
    prior, images = recon.load_prior(tmp_path / "ct"), data.read_images(hounsfield).values.astype(np.float32) - 1024
    assert abs(prior.data_std - (images[:18].clip(-1000, 1000) / 1000).std()) < 2e-3


def test_the_largest_level_of_ve_is_the_fingerprints_distance(recon_command, tmp_path):
    data.write_images(tmp_path / "set.h5", RNG.random((20, 1, 16, 16), np.float32), "[0,1]")
    (tmp_path / "t.toml").write_text(TINY + "steps = 1\nsde = 've'\n")
    assert recon_command("train", "set.h5", "--config", "t.toml", "-o", "ve").code == 0
    record = json.loads((tmp_path / "ve/run.json").read_text())
    sde = data.prior_header(tmp_path / "ve/prior.safetensors")["sde"]
    assert sde["sigma_high"] == pytest.approx(record["fingerprint"]["sigma_max"], abs=0.006)


def test_more_than_one_step_in_a_hundred_that_is_not_finite_ends_the_run(recon_command, tmp_path, monkeypatch):
    data.write_images(tmp_path / "set.h5", RNG.random((20, 1, 16, 16), np.float32), "[0,1]")
    (tmp_path / "t.toml").write_text(TINY + "steps = 200\n")
    loss, calls = recon.training.score_matching_loss, []

    def poisoned(prior, x0, *others):
        calls.append(0)
        return loss(prior, x0 * (torch.nan if len(calls) % 4 == 0 else 1), *others)

    monkeypatch.setattr(recon.training, "score_matching_loss", poisoned)
    done = recon_command("train", "set.h5", "--config", "t.toml", "-o", "out")
    assert done.code == 4 and "E-DIVERGED" in done.err and "6 losses" in done.err and len(calls) == 24
    skipped = [json.loads(line)["step"] for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert skipped == [4, 8, 12, 16, 20]


def test_pictures_take_little_of_the_time_between_saves(tmp_path, tiny, run):
    prior = recon.load_prior(tiny)
    entry = {"step": 1, "final": False, "validation": {}}
    hurried = Sketches(tmp_path, np.zeros((1, 16, 16), np.float32), 0.01, run)
    assert hurried(prior, entry) == [] and not list(tmp_path.iterdir())
    (tmp_path / "log.jsonl").write_text('{"step": 50, "loss": 1.5, "skipped": false}\n{"step": 1')
    unhurried = Sketches(tmp_path, np.zeros((1, 20, 24), np.float32), 10.0, run)
    assert [p.name for p in unhurried(prior, entry)] == ["loss.png", "denoising.png", "samples.png"] and not run.notes


@pytest.mark.parametrize("last, told", [(0.5, False), (0.52, False), (0.6, True)])
def test_a_prior_that_was_better_before_is_told_of(last, told):
    text = past_its_best({"step": 30, "validation": {"loss": last}, "kept": {"step": 20, "loss": 0.5}})
    assert bool(text) == told and (not told or "of step 20" in text and "0.5;" in text and "ended at 0.6" in text)


def test_tensorboard_is_written_and_named_where_it_is_missing(recon_command, tmp_path, monkeypatch):
    data.write_images(tmp_path / "set.h5", RNG.random((20, 1, 16, 16), np.float32), "[0,1]")
    (tmp_path / "t.toml").write_text(TINY + "steps = 1\n")
    words = ["train", "set.h5", "--config", "t.toml", "--tensorboard", "-o", "out"]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torch.utils.tensorboard", None)
        done = recon_command(*words)
        assert done.code == 2 and "recon[tracking]" in done.err and not (tmp_path / "out").exists()
    pytest.importorskip("tensorboard", reason="the extra `tracking` is not installed")
    assert recon_command(*words).code == 0
    assert [p.name[:6] for p in (tmp_path / "out/tensorboard").iterdir()] == ["events"]


def test_a_follower_says_nothing_and_takes_no_lock(recon_command, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(team, "PATIENCE", 0.0)
    done = recon_command("train", "missing.h5", "-o", "out")
    assert (done.code, done.out, done.err) == (3, "", "")


def test_overwriting_does_not_resume_what_was_there(recon_command, tmp_path):
    data.write_images(tmp_path / "set.h5", RNG.random((20, 1, 16, 16), np.float32), "[0,1]")
    (tmp_path / "t.toml").write_text(TINY)
    words = ["train", "set.h5", "--config", "t.toml", "-o", "out", "--steps"]
    assert recon_command(*words, 2).code == 0 and recon_command(*words, 1, "--overwrite").code == 0
    assert [json.loads(line)["step"] for line in (tmp_path / "out/log.jsonl").read_text().splitlines()] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("program", [["-m", "cli"], ["--no-python", "recon"]])
def test_two_processes_under_torchrun_train_as_one(program, tmp_path):
    data.write_images(tmp_path / "set.h5", RNG.random((20, 1, 16, 16), np.float32), "[0,1]")
    (tmp_path / "t.toml").write_text(TINY + "steps = 12\nwarmup = 0\n")
    start = Path(sys.executable).parent
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{start}:{environment['PATH']}"
    if program[-1] == "recon" and not (start / "recon").exists():
        pytest.skip("the console script is not installed")
    words = ["train", "set.h5", "--config", "t.toml", "-o"]
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *program]
    settings = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    one = subprocess.run([sys.executable, "-m", "cli", *words, "one"], **settings)
    two = subprocess.run([*several, *words, "two"], **settings)
    assert one.returncode == two.returncode == 0, two.stderr
    assert two.stdout.split() == ["two/prior.safetensors"] and two.stderr.count("18 for training") == 1
    weights = [read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("one", "two")]
    first, second = (torch.cat([v.flatten() for k, v in w.items() if k.startswith("network")]) for w in weights)
    assert float((first - second).norm() / first.norm()) < 1e-3
    assert len((tmp_path / "two/log.jsonl").read_text().splitlines()) == 1
    again = subprocess.run([*several, *words, "two"], **settings)
    assert again.returncode != 0 and again.stderr.count("error E-OUTPUT") == 1


def test_info_says_what_a_folder_of_different_pictures_holds(recon_command, tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for k in range(3):
            picture = RNG.integers(0, 256, (40 + k, 50), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / f"many/{name}/{k}.png")
    said = json.loads(recon_command("info", "many", "--json").out)["many"]
    assert said["images"] == "6 of 40 x 50 .. 42 x 50, 1 channel(s), uint8" and said["classes"] == "cats, dogs"
    assert said["size to train at"] == "40" and said["below"].startswith("1 % 0.0")


def test_the_prior_knows_the_spacing_of_the_pixels_unless_pictures_were_scaled():
    slices = data.ImageSet(RNG.integers(-900, 900, (4, 1, 16, 16)).astype(np.int16), 1.0, "HU", {"spacing_mm": 0.7})
    for size, spacing in ((None, 0.7), (16, None)):
        found = units(described(Path("scan"), slices, slices, (-1000.0, 500.0), [(16, 16)] * 4, size))
        assert (found.scale, found.shift, found.name, found.spacing_mm) == (750, -250, "HU", spacing)


def classes_of(tmp_path: Path, labelled: bool = True) -> Path:
    """Dark and bright pictures, each kind in its own folder."""
    for name, grey in (("bright", 200), ("dark", 30)):
        folder = tmp_path / "set" / (name if labelled else "")
        for k in range(6):
            picture = np.full((1, 16, 16), (grey + k) / 255)
            picture[0, k] = 0.5
            folder.mkdir(parents=True, exist_ok=True)
            data.write_image(folder / f"{name}{k}.png", picture, 0, 1)
    return tmp_path / "set"


def test_classes_are_learnt_when_asked_for(recon_command, tmp_path):
    found = recon_command("train", classes_of(tmp_path), "-o", "out", "--labels", "--steps", 2, "--batch-size", 4)
    assert found.code == 0, found.err
    header = data.prior_header(tmp_path / "out" / "prior.safetensors")
    assert header["provenance"]["classes"] == ["bright", "dark"]
    assert header["network"]["arguments"]["classes"] == 2
    assert header["training"]["config"]["flip"] is False and "flip False" in found.err
    drawn = recon_command("sample", "--prior", "out", "--label", "dark", "-n", 1, "--steps", 1, "-o", "drawn")
    assert drawn.code == 0, drawn.err


def test_without_the_wish_classes_are_left_alone(recon_command, tmp_path):
    assert recon_command("train", classes_of(tmp_path), "-o", "out", "--steps", 2, "--batch-size", 4).code == 0
    header = data.prior_header(tmp_path / "out" / "prior.safetensors")
    assert "classes" not in header["network"]["arguments"] and header["training"]["config"]["flip"] is True


def test_labels_that_are_not_there_are_refused(recon_command, tmp_path):
    found = recon_command("train", classes_of(tmp_path, labelled=False), "-o", "out", "--labels", "--steps", 2)
    assert found.code == 2
    assert "a subfolder for each class" in found.err
