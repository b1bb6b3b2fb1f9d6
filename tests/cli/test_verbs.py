"""Each command does what its help says, on a prior too small to be good but whole."""

from __future__ import annotations

import json
import re
import shutil

import h5py
import numpy as np
import pytest

import data
import recon
from recon.presets import DEFAULT_METHOD

OPERATORS = {
    "ct": ["--operator", "ct", "--angles", 7],
    "ct limited": ["--operator", "ct", "--angles", "0:120:8", "--detectors", 25],
    "inpaint keep": ["--operator", "inpaint", "--keep", 0.5],
    "inpaint box": ["--operator", "inpaint", "--box", "4,4,6,6"],
    "blur": ["--operator", "blur", "--std", 1.5],
    "blur motion": ["--operator", "blur", "--motion", "5,30", "--boundary", "zero"],
    "downsample": ["--operator", "downsample", "--factor", 2, "--kernel", "bicubic"],
    "identity": ["--operator", "identity"],
}


@pytest.mark.parametrize("words", OPERATORS.values(), ids=OPERATORS.keys())
def test_simulate_and_reconstruct(words, recon_command, picture, tiny, tmp_path):
    done = recon_command("simulate", picture, *words, "--noise", 0.02, "-o", "m.h5")
    assert done.code == 0 and done.out.strip() == "m.h5", done.err
    assert "noise standard deviation 0.02 " in done.err
    stored = data.read_measurement(tmp_path / "m.h5")
    assert stored.noise["sigma"] == 0.02 and stored.x.shape == (1, 1, 16, 16) and stored.unit == "[0,1]"
    done = recon_command(
        "reconstruct", "m.h5", "--prior", tiny, "-o", "out", "--samples", 2, "--steps", 2, "--json"
    )
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["network_calls"] == 2 and record["samples"] == 2
    result = data.read_result(tmp_path / "out/result.h5")
    assert result.samples.shape == (2, 1, 1, 16, 16)
    np.testing.assert_allclose(result.mean, result.samples.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.std, result.samples.std(0, ddof=1), atol=1e-6)
    assert all((tmp_path / "out" / name).is_file() for name in record["outputs"])


def test_noise_has_the_stated_standard_deviation(recon_command, tmp_path):
    np.save(tmp_path / "flat.npy", np.full((256, 256), 0.5, np.float32))
    assert (
        recon_command("simulate", "flat.npy", "--operator", "identity", "--noise", "4%", "-o", "m.h5").code
        == 0
    )
    stored = data.read_measurement(tmp_path / "m.h5")
    assert stored.noise["sigma"] == pytest.approx(0.02, rel=1e-6)
    assert (stored.y - 0.5).std() == pytest.approx(0.02, rel=0.02)


def test_the_same_seed_gives_the_same_file_and_another_seed_another(recon_command, picture, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        recon_command(
            "simulate", picture, "--operator", "inpaint", "--keep", 0.5, "--seed", seed, "-o", f"{name}.h5"
        )
    a, b, c = (data.read_measurement(tmp_path / f"{name}.h5") for name in "abc")
    np.testing.assert_array_equal(a.y, b.y)
    assert not np.array_equal(a.operator["parameters"]["mask"], c.operator["parameters"]["mask"])


def test_items_of_a_measurement_and_no_truth(recon_command, tiny, tmp_path):
    rng = np.random.default_rng(0)
    data.write_images(tmp_path / "set.h5", rng.random((5, 1, 16, 16), np.float32), "[0,1]")
    words = ["--operator", "inpaint", "--keep", 0.5, "--items", "1:4", "--no-truth"]
    assert recon_command("simulate", "set.h5", *words, "-o", "m.h5").code == 0
    assert data.read_measurement(tmp_path / "m.h5").y.shape == (3, 1, 16, 16)
    assert data.read_measurement(tmp_path / "m.h5").x is None
    words = ["--prior", tiny, "--steps", 2, "--samples", 2, "--items", "1:3"]
    assert recon_command("reconstruct", "m.h5", *words, "-o", "out").code == 0
    assert data.read_result(tmp_path / "out/result.h5").mean.shape == (2, 1, 16, 16)
    done = recon_command("evaluate", "out", "--truth", "set.h5", "--items", "2:4", "--json")
    found = json.loads(done.out)
    assert len(found["items"]) == 2 and set(found["mean"]) == {"psnr", "ssim", "coverage90", "chi_square"}
    truth, mean = (
        data.read_images(tmp_path / "set.h5").values[2:4],
        data.read_result(tmp_path / "out/result.h5").mean,
    )
    expected = 10 * np.log10(1 / ((mean - truth) ** 2).mean((1, 2, 3)))
    assert [item["psnr"] for item in found["items"]] == pytest.approx(expected, abs=1e-3)


def test_a_photograph_with_a_painted_mask(recon_command, picture, mask, tiny, tmp_path):
    words = ["--operator", "inpaint", "--mask", mask, "--prior", tiny, "--steps", 2, "--samples", 3]
    done = recon_command("reconstruct", picture, *words, "-o", "out")
    assert done.code == 0, done.err
    assert "0.00113 is assumed" in done.err and "--noise" in done.err  # 1 / (255 sqrt(12))
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["inputs_sha256"].keys() == {str(picture), str(mask), str(tiny)}
    assert record["inputs_sha256"][str(picture)] == data.sha256(picture)
    assert record["scores"] == {} and record["settings"]["samples"] == 3
    assert record["noise"] == "0.001132 (assumed)" and "(assumed)" in (tmp_path / "out/report.html").read_text()


def test_an_odd_size_is_padded_and_cropped_with_a_note(recon_command, tiny, tmp_path):
    data.write_image(tmp_path / "odd.png", np.full((1, 13, 19), 0.5), 0, 1)
    words = ["--operator", "inpaint", "--keep", 0.6, "--prior", tiny, "--steps", 2, "--samples", 2]
    done = recon_command("reconstruct", "odd.png", *words, "-o", "out")
    assert done.code == 0, done.err
    assert "13 x 19" in done.err and "padded to 16 x 24" in done.err
    result = data.read_result(tmp_path / "out/result.h5")
    assert result.mean.shape == (1, 1, 13, 19) and result.samples.shape == (2, 1, 1, 13, 19)
    assert data.read_image(tmp_path / "out/mean.png").values.shape == (1, 13, 19)


@pytest.mark.parametrize("method", ["fbp", "tv", "pinv"])
def test_classical_methods_need_no_prior(method, recon_command, scan, tmp_path):
    done = recon_command("reconstruct", scan, "--method", method, "-o", method)
    assert done.code == 0, done.err
    result = data.read_result(tmp_path / method / "result.h5")
    assert result.samples is None and result.std is None
    page = (tmp_path / method / "report.html").read_text()
    assert "classical estimate" in page and "90 %" not in page


def test_one_sample_has_no_spread(recon_command, scan, tiny, tmp_path):
    done = recon_command("reconstruct", scan, "--prior", tiny, "--samples", 1, "--steps", 2, "-o", "out")
    assert done.code == 0, done.err
    assert data.read_result(tmp_path / "out/result.h5").std is None
    assert "coverage90" not in recon_command("evaluate", "out").out


def test_evaluate_takes_the_stored_truth(recon_command, scan, tiny, picture):
    recon_command("reconstruct", scan, "--prior", tiny, "--samples", 2, "--steps", 2, "-o", "out")
    stored, given, measured = (
        json.loads(recon_command("evaluate", "out", *words, "--json").out)["items"]
        for words in ([], ["--truth", picture], ["--truth", scan])
    )
    assert stored == given == measured


def test_evaluate_scores_what_has_a_truth_and_names_what_has_none(recon_command, picture, tmp_path):
    words = ["simulate", picture, "--operator", "identity"]
    for name, more in (("a", ["--no-truth"]), ("b", []), ("c", ["--no-truth"])):
        assert recon_command(*words, *more, "-o", f"{name}.h5").code == 0
        assert recon_command("reconstruct", f"{name}.h5", "--method", "pinv", "-o", f"all/{name}").code == 0
    done = recon_command("evaluate", "all", "--json")
    assert done.code == 0 and set(json.loads(done.out)["results"]) == {"b"}, done.err
    assert all(f"all/{name}/result.h5" in done.err for name in "ac") and "all/b" not in done.err
    shutil.rmtree(tmp_path / "all/b")
    done = recon_command("evaluate", "all")
    assert done.code == 2 and "--truth" in done.err and "all/a/result.h5" in done.err


def test_what_few_samples_say_of_the_spread_is_said(recon_command, scan, tiny, tmp_path):
    for count, wide in ((2, "15.5"), (4, "5.26")):
        words = ["--prior", tiny, "--steps", 2, "--samples", count, "-o", f"out{count}"]
        done = recon_command("reconstruct", scan, *words)
        page = (tmp_path / f"out{count}/report.html").read_text()
        assert f"{count} samples, {wide} std" in page and f"{wide} standard deviations of {count} samples" in page
        assert ("a rough one" in done.err) == (count == 2)
        width = data.read_result(tmp_path / f"out{count}/result.h5").std.max() * float(wide)
        assert ("wider than all values there are" in page) == (width > 1)


def test_report_is_one_page_that_says_what_to_trust(recon_command, scan, tiny, tmp_path):
    recon_command("reconstruct", scan, "--prior", tiny, "--samples", 2, "--steps", 2, "-o", "out")
    page = (tmp_path / "out/report.html").read_text()
    assert "Research use, not for diagnosis; generated structure may be absent in the patient." in page
    assert "chi-square" in page and "What to trust" in page and "90 %" in page
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:)", page) and "<script" not in page


def test_report_escapes_what_a_file_is_called(recon_command, picture, tiny, tmp_path):
    name = "<img src=x onerror=alert(1)>.png"
    picture.rename(tmp_path / name)
    words = ["--operator", "identity", "--noise", 0.1, "--prior", tiny, "--steps", 2, "--samples", 2]
    assert recon_command("reconstruct", name, *words, "-o", "out").code == 0
    assert "<img src=x" not in (tmp_path / "out/report.html").read_text()


def test_sample_writes_a_grid_and_the_images(recon_command, tiny, tmp_path):
    done = recon_command("sample", "--prior", tiny, "-n", 5, "--steps", 2, "-o", "s")
    assert done.code == 0, done.err
    assert data.read_images(tmp_path / "s/samples.h5").values.shape == (5, 1, 16, 16)
    assert data.read_image(tmp_path / "s/samples.png").values.shape == (1, 3 * 17 - 1, 2 * 17 - 1)


def test_train_writes_a_prior_that_reconstructs(recon_command, tmp_path, scan):
    rng = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    for k in range(20):
        data.write_image(tmp_path / f"many/{k}.png", rng.random((1, 32, 32)), 0, 1)
    (tmp_path / "t.toml").write_text("widths = [8, 8]\nattention = []\nbatch-size = 4\nsteps = 50\n")
    words = ["train", "many", "--size", 16, "--config", "t.toml", "--steps", 3, "--sde", "ve"]
    done = recon_command(*words, "-o", "prior")
    assert done.code == 0, done.err
    assert "18 for training, 2 for validation" in done.err and "16 x 16" in done.err
    header = data.prior_header(tmp_path / "prior/prior.safetensors")
    assert header["training"]["steps"] == 3 and header["sde"]["name"] == "ve" and header["name"] == "prior"
    assert recon_command(*words, "--steps", 5, "--resume", "-o", "prior").code == 0
    assert data.prior_header(tmp_path / "prior/prior.safetensors")["training"]["steps"] == 5
    assert recon_command("reconstruct", scan, "--prior", "prior", "--steps", 2, "-o", "out").code == 0
    assert recon_command(*words, "--resume", "-o", "elsewhere").code == 3
    assert not (tmp_path / "elsewhere").exists()


def test_info_describes_files(recon_command, scan, picture, tiny):
    assert "sigma" in recon_command("info", scan).out
    assert "16 x 16" in recon_command("info", picture).out
    assert json.loads(recon_command("info", tiny, "--json").out)[str(tiny)]["unit"] == "[0,1]"
    recon_command("reconstruct", scan, "--prior", tiny, "--steps", 2, "--samples", 3, "-o", "out")
    found = json.loads(recon_command("info", "out", "--json").out)["out"]
    assert (found["samples"], found["method"], found["truth"]) == ("3", DEFAULT_METHOD, "stored")
    assert recon_command("info", "nothing-of-the-kind").code == 3


def test_a_run_replaces_its_own_files_and_no_others(recon_command, scan, tiny, tmp_path):
    words = ["reconstruct", scan, "--prior", tiny, "--steps", 2, "-o", "out"]
    assert recon_command(*words, "--samples", 3).code == 0
    (tmp_path / "out/notes.txt").write_text("mine")
    assert recon_command(*words, "--samples", 2).code == 2
    assert recon_command(*words, "--samples", 2, "--overwrite").code == 0
    assert not (tmp_path / "out/sample_2.png").exists() and (tmp_path / "out/notes.txt").exists()


def test_noiseless_data_are_reconstructed_without_a_chi_square(recon_command, picture, tiny, tmp_path):
    words = ["--operator", "inpaint", "--keep", 0.5, "--noise", 0]
    assert recon_command("simulate", picture, *words, "-o", "m.h5").code == 0
    for folder, words in (("a", ["--method", "tv"]), ("b", ["--prior", tiny, "--samples", 2, "--steps", 2])):
        done = recon_command("reconstruct", "m.h5", *words, "-o", folder, "--json")
        assert done.code == 0, done.err
        assert (tmp_path / folder / "report.html").is_file()
    assert recon_command("evaluate", "b", "--json").code == 0


def test_info_describes_an_array_of_noise_levels(recon_command, scan):
    with h5py.File(scan, "r+") as file:
        shape = file["y"].shape[-1:]
        del file["noise"].attrs["sigma"]
        file["noise"]["sigma"] = np.linspace(0.01, 0.02, shape[0])
    done = recon_command("info", scan)
    assert done.code == 0 and f"sigma 0.01 .. 0.02 ({shape[0]} values)" in done.out
    assert recon_command("reconstruct", scan, "--method", "fbp", "-o", "out").code == 0


def test_a_mask_that_seems_inverted_is_noted(recon_command, picture, mask, tmp_path):
    """A damaged picture, black where the mask is: the mask turned over shows nothing but the damage."""
    kept = data.read_mask(mask, (16, 16))
    data.write_image(tmp_path / "damaged.png", data.read_image(picture).values * kept, 0, 1)
    data.write_image(tmp_path / "turned.png", 1.0 - kept[None], 0, 1)
    words = ["reconstruct", "damaged.png", "--operator", "inpaint", "--method", "pinv", "--mask"]
    assert "is it inverted? White is kept" in recon_command(*words, "turned.png", "-o", "a").err
    assert "inverted" not in recon_command(*words, mask, "-o", "b").err


@pytest.mark.parametrize("config", ["[option]\nzeta = 0.5\n", "option = ['zeta=0.5']\n", "option = 'zeta=0.5'\n"])
def test_options_of_a_method_reach_it_and_the_record(config, recon_command, scan, tiny, tmp_path, monkeypatch):
    given, reconstruct = [], recon.reconstruct
    monkeypatch.setattr(
        recon, "reconstruct", lambda *a, **k: given.append(k["options"]) or reconstruct(*a, **k)
    )
    words = ["reconstruct", scan, "--prior", tiny, "--method", "dps", "--steps", 2, "--samples", 2]
    assert recon_command(*words, "--option", "zeta=0.5", "-o", "a").code == 0
    (tmp_path / "s.toml").write_text(config)
    assert recon_command(*words, "--config", "s.toml", "-o", "b").code == 0
    assert given == [{"zeta": 0.5}] * 2
    assert json.loads((tmp_path / "a/run.json").read_text())["settings"]["options"] == {"zeta": 0.5}
    assert recon_command("reconstruct", scan, "--method", "fbp", "--option", "window=hann", "-o", "c").code == 0


def test_info_lists_methods_and_their_options(recon_command):
    assert all(name in recon_command("info").out for name in ("spectral", "dps", "tv"))
    found = json.loads(recon_command("info", "dds", "--json").out)["--option NAME=VALUE"]
    assert found == {"eta": "0.85; 0 to 1", "iterations": "5; 1 to 100000", "weight": "0.0; 0 or more"}
    assert "above 0" in recon_command("info", "dps").out


def test_a_prior_of_other_images_is_named_by_what_it_was_trained_on(recon_command, picture, tmp_path):
    words = ["--operator", "identity", "--noise", 0.1, "--prior", "headct-64", "--steps", 2, "--samples", 2]
    done = recon_command("reconstruct", picture, *words, "-o", "out")
    assert "trained at 64 x 64, not 16 x 16, on: " in done.err and "head CT" in done.err
    assert "head CT" in json.loads((tmp_path / "out/run.json").read_text())["settings"]["trained_on"]
    assert "head CT" in (tmp_path / "out/report.html").read_text()


def test_a_failed_demo_leaves_nothing_and_does_not_stand_in_the_way(recon_command, tiny, tmp_path, monkeypatch):
    words = ["demo", "--prior", tiny, "--steps", 2, "--samples", 2, "-o", "out"]
    with monkeypatch.context() as patched:
        patched.setattr("cli.report.write", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        assert recon_command(*words).code == 130
    assert [path for path in tmp_path.iterdir() if path != tiny] == []
    assert recon_command(*words[:-2], "--method", "tv", "-o", "out").code == 2
    done = recon_command(*words)
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "ct", "inpaint", "report.html", "overview.png", "run.json"
    }  # fmt: skip
    follow = done.out.splitlines()[-1].removeprefix("next: recon ").split()[:2]
    assert data.read_measurement(tmp_path / follow[1]).x.shape == (1, 1, 64, 64)
    table = recon_command("evaluate", "out").out
    assert [line for line in table.splitlines() if line in ("ct", "inpaint")] == ["ct", "inpaint"]
    found = json.loads(recon_command("evaluate", "out", "--json").out)["results"]
    assert found["ct"]["mean"]["psnr"] == json.loads(recon_command("evaluate", "out/ct", "--json").out)["mean"]["psnr"]
    assert list(json.loads(recon_command("info", "out", "--json").out)) == ["out/ct", "out/inpaint"]
    assert recon_command(*words, "--overwrite", "--samples", 1).code == 0
    assert not (tmp_path / "out/ct/sample_1.png").exists() and not (tmp_path / "out/ct/std.png").exists()
