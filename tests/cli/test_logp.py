"""`recon logp`, `recon band` and what `recon reconstruct` says of images unlike the prior's."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import data
import recon
from cli import likeness
from cli.likeness import NO_BAND, Judged, Likeness
from cli.measure import Task
from operators import OPERATORS, Gaussian, Laplace

QUICK = ("--tolerance", "1e-2", "--probes", 2)


def smooth(count: int, seed: int) -> np.ndarray:
    """8-bit images (N, 1, 16, 16) with a bright blob somewhere."""
    rng, grid = np.random.default_rng(seed), np.mgrid[:16, :16]
    centres = rng.uniform(4, 12, (count, 2, 1, 1))
    distance = ((grid - centres) ** 2).sum(1)
    return np.rint(60 + 150 * np.exp(-distance / rng.uniform(8, 16, (count, 1, 1))))[:, None].astype(np.uint8)


@pytest.fixture
def blobs(tmp_path) -> Path:
    path = tmp_path / "blobs.npy"
    np.save(path, smooth(24, 0)[:, 0])
    return path


@pytest.fixture
def banded(recon_command, blobs, tiny, tmp_path) -> Path:
    """The tiny prior with a band of images of blobs."""
    path = tmp_path / "banded.safetensors"
    done = recon_command("band", blobs, "--prior", tiny, "--items", "0:20", "--subset", "train", "-o", path)
    assert done.code == 0 and done.out.strip() == str(path), done.err
    return path


def test_numbers_are_those_of_the_library(recon_command, blobs, tiny, tmp_path):
    done = recon_command("logp", blobs, "--items", "0:2", "--prior", tiny, *QUICK, "--json", "-o", "out")
    assert done.code == 0, done.err
    record, prior = json.loads(done.out), recon.load_prior(tiny)
    values = recon.dequantised(torch.from_numpy(smooth(24, 0)[:2]).float() / 255, 1 / 255)
    found = recon.log_density(prior, values, 2, 0, 1e-2, 1e-2)
    rows, total = record["items"], record["total"]
    assert [row["nats"] for row in rows] == pytest.approx(found.nats.tolist(), rel=1e-3)
    assert [row["standard_error"] for row in rows] == pytest.approx(found.standard_error.tolist(), rel=1e-2)
    bits = [-row["nats"] / 256 / math.log(2) + math.log2(255) for row in rows]
    assert [row["bits_per_dimension"] for row in rows] == pytest.approx(bits, rel=1e-9)
    assert total["nats"] == pytest.approx(sum(row["nats"] for row in rows))
    assert total["bits_per_dimension"] == pytest.approx(sum(bits) / 2)
    assert total["standard_error"] == pytest.approx(math.hypot(*(row["standard_error"] for row in rows)))
    assert total["bits_standard_error"] == pytest.approx(total["standard_error"] / 512 / math.log(2))
    bound = recon.log_density_bound(prior, values)
    assert [row["bound_nats"] for row in rows] == pytest.approx(bound.tolist(), rel=1e-3)
    assert "256 grey values" in record["density_of"] and record["likeness"] == NO_BAND
    assert "unlike" not in done.err and "distance" not in rows[0]
    stored = json.loads((tmp_path / "out/run.json").read_text())
    with (tmp_path / "out/logp.csv").open() as stream:
        assert [float(row["nats"]) for row in csv.DictReader(stream)] == [row["nats"] for row in stored["items"]]


def test_a_row_does_not_depend_on_the_batch(recon_command, blobs, tiny):
    words = ["logp", blobs, "--items", "0:3", "--prior", tiny, "--bound", "--json"]
    whole, single = (json.loads(recon_command(*words, *more).out)["items"] for more in ((), ("--batch-size", 1)))
    assert [row["bound_nats"] for row in single] == pytest.approx([row["bound_nats"] for row in whole], rel=1e-4)
    assert len({row["bound_nats"] for row in whole}) == 3 and "nats" not in whole[0]


def test_grey_steps_and_continuous_values(recon_command, picture, tiny, tmp_path):
    """Taken for exact, the values are not dequantised, and bits are of the unit's values."""
    words = ["logp", picture, "--prior", tiny, "--bound", "--json"]
    grey, exact = (json.loads(recon_command(*words, *more).out) for more in ((), ("--continuous",)))
    prior, values = recon.load_prior(tiny), torch.from_numpy(data.read_image(picture).values[None])
    bound = float(recon.log_density_bound(prior, values))
    assert exact["items"][0]["bound_nats"] == pytest.approx(bound, rel=1e-4)
    assert exact["items"][0]["bound_bits_per_dimension"] == pytest.approx(-bound / 256 / math.log(2), rel=1e-4)
    assert "continuous values, per unit [0,1]" in exact["density_of"]
    assert grey["items"][0]["bound_nats"] != exact["items"][0]["bound_nats"]
    np.save(tmp_path / "floats.npy", values[0, 0].numpy())
    found = json.loads(recon_command("logp", "floats.npy", "--prior", tiny, "--bound", "--json").out)
    assert found["items"][0]["bound_nats"] == pytest.approx(exact["items"][0]["bound_nats"], rel=1e-4)


def test_exact_asks_for_the_exact_trace(recon_command, picture, tiny, monkeypatch):
    asked, measure = [], recon.log_density
    monkeypatch.setattr(
        recon, "log_density", lambda *a: asked.append(a[2]) or measure(*a[:2], 2, 0, 1e-1, 1e-1)
    )
    assert recon_command("logp", picture, "--prior", tiny, "--exact").code == 0
    assert asked == [None]


def test_unlike_images_are_named(recon_command, blobs, banded, tmp_path):
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 255, (2, 16, 16)).astype(np.uint8))
    usual = recon_command("logp", blobs, "--prior", banded, "--items", "20:24", "--bound")
    assert usual.code == 0 and "unlike" not in usual.err and "usual up to" in usual.out
    done = recon_command("logp", "noise.npy", "--prior", banded, "--bound")
    assert done.code == 0 and done.out.count("unusual") == 2
    assert "2 of 2 items, images unlike the images that prior tiny was trained on" in done.err


def test_a_band_leaves_the_rest_of_a_prior_alone(recon_command, banded, tiny):
    before, after = (data.prior_header(path) for path in (tiny, banded))
    assert len(after.pop("typicality")["log_power"]) == 20 and after == before
    done = recon_command("info", banded)
    assert "20 held-out images" in done.out


@pytest.mark.parametrize("name", ["noise", "blob"])
def test_reconstruct_says_what_is_unlike_the_prior(name, recon_command, banded, tmp_path):
    """Noise as the given image: a warning everywhere; a blob: none for it."""
    noise = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    data.write_image(tmp_path / "noise.png", noise[None] / 255, 0, 1)
    data.write_image(tmp_path / "blob.png", smooth(1, 5)[0] / 255, 0, 1)
    words = ["--operator", "identity", "--prior", banded, "--steps", 2, "--samples", 3]
    done = recon_command("reconstruct", f"{name}.png", *words, "-o", "out")
    assert done.code == 0, done.err
    record, report = (tmp_path / "out" / file for file in ("run.json", "report.html"))
    found = json.loads(record.read_text())["likeness"]
    assert found["band"] == "stored" and found["given_image"]["unusual"] == [name == "noise"]
    warned = "given image unlike the images that prior tiny was trained on" in done.err
    assert warned == (name == "noise")
    assert len(found["samples"]["distance"]) == 1
    assert "likeness to the prior&#39;s images" in report.read_text()
    assert name == "blob" or "This is unlike the prior&#39;s images" in report.read_text()


@pytest.mark.parametrize(
    ("operator", "reason"),
    [(["inpaint", "--keep", 0.5], "only part of it was seen"), (["blur", "--std", 1], "the data are no image")],
)
def test_data_that_are_no_whole_image_are_not_judged(operator, reason, recon_command, picture, banded):
    words = ["--operator", *operator, "--prior", banded, "--steps", 2, "--samples", 1, "--json"]
    found = json.loads(recon_command("reconstruct", picture, *words, "-o", "out").out)["likeness"]
    assert found["given_image"] == {"not_judged": reason} and len(found["samples"]["unusual"]) == 1


def test_a_prior_without_a_band_says_so_and_does_not_warn(recon_command, picture, tiny):
    words = ["--operator", "identity", "--prior", tiny, "--steps", 2, "--samples", 1, "--json"]
    done = recon_command("reconstruct", picture, *words, "-o", "out")
    assert json.loads(done.out)["likeness"] == {"band": NO_BAND} and "unlike" not in done.err


def test_images_that_cannot_be_judged_say_why(banded):
    prior = recon.load_prior(banded)
    small = likeness.of_images(torch.full((1, 1, 8, 16), 0.5), prior, "images")
    assert "8 x 16" in small.why_not and small.record() == {"not_judged": small.why_not} and not small.unusual(0)
    loud = likeness.of_images(torch.full((1, 1, 16, 16), 0.5), prior, "images", noise=5.0)
    assert "noise" in loud.why_not


def test_noise_that_is_not_white_is_not_allowed_for(banded):
    prior, y = recon.load_prior(banded), torch.from_numpy(smooth(2, 3)).float() / 255
    levels = torch.full((1, 1, 16, 16), 0.01)
    levels[..., 3] = 0.02
    for noise, judged in ((Gaussian(0.01), True), (Gaussian(levels), False), (Laplace(0.01), False)):
        task = Task(recon.Measurement(OPERATORS["identity"](shape=(16, 16)), y, noise), None, "[0,1]")
        found = likeness.of_data(task, prior)
        assert bool(found.scores) == judged and judged != ("noise is not normal" in found.why_not)


def test_samples_are_judged_by_their_mean_distance(banded):
    prior, values = recon.load_prior(banded), torch.from_numpy(smooth(6, 7)).float() / 255
    each = recon.judge(prior, values).scores.reshape(3, 2)
    found = likeness.of_samples(values.reshape(3, 2, 1, 16, 16), prior)  # three samples, of which two are judged
    assert found.scores == pytest.approx(each[:2].mean(0).tolist(), abs=1e-4)


def test_words():
    part = Judged("samples", (0.5, 2.0), 1.2)
    whole = Likeness("p", (part, Judged("given image", why_not="the data are no image")))
    assert [whole.unusual(k) for k in (0, 1, 2)] == [False, True, False]
    other = "given image: not judged (the data are no image)"
    assert whole.text(1) == f"samples: unusual, distance 2.00, usual up to 1.20; {other}"
    assert "only the first 16 items" in whole.text(2)
    assert len(whole.warnings("t")) == 1 and whole.warnings("t")[0].startswith("t: 1 of 2 items, samples unlike")
    assert Likeness("p").text(0) == NO_BAND and Likeness("p").warnings("t") == []
