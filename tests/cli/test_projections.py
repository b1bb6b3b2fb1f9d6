"""Raw tomography from the terminal: a Data Exchange file to a picture that is the phantom."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import data
from tests.scans import BINS, CENTRE, FLAT, GAIN, VIEWS, attenuation, one_stack, scan, write

TRUTH = attenuation()
INSIDE = np.hypot(*np.meshgrid(*2 * [np.arange(BINS) - (BINS - 1) / 2])) < 26


def error(folder, scale: float) -> float:
    """Root mean square error in units of the discs' largest attenuation, where all views see the image."""
    image = data.read_result(folder / "result.h5").mean[0, 0] / scale
    return float(np.sqrt(((image - TRUTH) ** 2)[INSIDE].mean()) / TRUTH.max())


def test_a_data_exchange_file_becomes_the_phantom(recon_command, tmp_path):
    path = write(tmp_path / "scan.h5", scan(beam=0.7, tilt=0.05))
    done = recon_command("reconstruct", path, "--items", 1, "--air", 6, "--method", "fbp", "-o", "out", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["settings"]
    assert found["detector_centre"] == pytest.approx(CENTRE, abs=0.2) and "rotation centre 33." in done.err
    assert "subtracted: 0.35" in done.err  # -log 0.7
    assert found["noise_level"] / found["scale"] == pytest.approx(np.sqrt(GAIN / (0.7 * FLAT * 0.8)), rel=0.12)
    assert found["scale"] * TRUTH.max() == pytest.approx(1.0, abs=0.25)
    assert error(tmp_path / "out", found["scale"]) < 0.09
    done = recon_command("reconstruct", path, "--items", 1, "--air", "2:3,6", "--method", "tv", "-o", "tv", "--json")
    assert done.code == 0 and error(tmp_path / "tv", json.loads(done.out)["settings"]["scale"]) < 0.05
    assert json.loads(done.out)["chi_square"] == [pytest.approx(1.0, abs=0.05)]


def test_air_and_stripes_are_named_and_taken_out(recon_command, tmp_path):
    path = write(tmp_path / "scan.h5", scan(beam=0.7, stripes=0.02))
    words = ["reconstruct", path, "--items", 1, "--method", "fbp", "--set", f"detector_centre={CENTRE}", "--json"]
    plain = recon_command(*words, "-o", "plain")
    assert "--air 8" in plain.err and "--stripes 9" in plain.err and "rotation centre" not in plain.err
    level = recon_command(*words, "--air", 6, "-o", "level")
    clean = recon_command(*words, "--air", 6, "--stripes", 9, "-o", "clean")
    assert clean.code == 0 and "stripes of 0.0" in clean.err, clean.err
    names = {"plain": plain, "level": level, "clean": clean}
    errors = [error(tmp_path / name, json.loads(done.out)["settings"]["scale"]) for name, done in names.items()]
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.2 * errors[2]


def test_a_prior_takes_several_rows_with_the_noise_of_each_count(recon_command, tiny, tmp_path):
    path = write(tmp_path / "scan.h5", scan())
    words = ["--prior", tiny, "--steps", 2, "--samples", 1, "--set", "projector=fourier"]
    done = recon_command("reconstruct", path, "--items", "0:2", *words, "-o", "out")
    assert done.code == 0, done.err
    assert data.read_result(tmp_path / "out/result.h5").mean.shape == (2, 1, BINS, BINS)


def test_dead_pixels_and_repeated_views_are_named(recon_command, tmp_path):
    parts = scan(turn=360.0)
    parts["exchange/data"][:, 1, 20] = 3
    parts["exchange/data"][4, 1, 31] = 0
    path = write(tmp_path / "scan.h5", parts)
    words = ["--items", 1, "--method", "fbp", "--air", 6, "-o", "out", "--json"]
    done = recon_command("reconstruct", path, *words)
    assert done.code == 0, done.err
    assert "1 dead pixels, the first in row 1, column 20" in done.err and "1 counts are not above" in done.err
    assert "1 views repeat" in done.err and json.loads(done.out)["settings"]["views"] == VIEWS - 1
    assert error(tmp_path / "out", json.loads(done.out)["settings"]["scale"]) < 0.12


def test_angles_as_typed_and_a_centre_that_cannot_be_found(recon_command, refused, tmp_path):
    parts = scan()
    del parts["exchange/theta"]
    path = write(tmp_path / "scan.h5", parts)
    assert "--angles 0:180:COUNT" in refused(3, "reconstruct", path, "--items", 1, "--method", "fbp", "-o", "out")
    words = ["reconstruct", path, "--items", 1, "--method", "fbp", "-o", "out", "--noise", 0.02]
    assert "--set detector_centre" in refused(3, *words, "--angles", f"0:90:{VIEWS}")
    assert f"0:180:{VIEWS}" in refused(2, *words, "--angles", 7)
    assert recon_command(*words, "--angles", VIEWS, "--scale", 100).code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--method", "fbp"], 2, "--items 1"),
        (["--method", "fbp", "--items", 1, "--air", 40], 2, "--air 8"),
        (["--method", "fbp", "--items", 1, "--air", "five"], 2, "--air 8"),
        (["--method", "fbp", "--items", 1, "--axes", "coil,row,column"], 2, "k-space"),
        (["--method", "fbp", "--items", 1, "--keep", 0.5], 2, "--keep"),
        (["--method", "fbp", "--items", 1, "--set", "detectors=9"], 2, "ct takes"),
    ],
)
def test_flags_that_cannot_be(words, code, said, refused, tmp_path):
    path = write(tmp_path / "scan.h5", scan())
    assert said in refused(code, "reconstruct", path, *words, "-o", "out")


def test_info_describes_raw_projections(recon_command, tmp_path):
    path = write(tmp_path / "scan.h5", scan())
    found = recon_command("info", path)
    assert found.code == 0 and f"{VIEWS} views of 3 rows x {BINS} columns" in found.out, found.err
    assert "40, 2" in found.out and "0 .. 180 degrees" in found.out and "--items 1 --method fbp" in found.out
    with h5py.File(path, "r+") as file:
        del file["exchange/theta"]
    assert f"--angles 0:180:{VIEWS}" in recon_command("info", path).out


def test_a_nexus_file_becomes_the_same_phantom(recon_command, tmp_path):
    parts = scan()
    beam = np.linspace(1.0, 0.6, VIEWS)  # falls while the scan lasts
    dark = parts["exchange/data_dark"][0]
    parts["exchange/data"] = np.round((parts["exchange/data"] - dark) * beam[:, None, None] + dark).astype(np.uint16)
    path = write(tmp_path / "scan.nxs", one_stack(parts, beam=1000 * beam))
    found = recon_command("info", path)
    assert found.code == 0 and f"{VIEWS} views of 3 rows x {BINS} columns" in found.out, found.err
    assert "40, 2" in found.out and "0 .. 180 degrees" in found.out and "1 frames are not valid" in found.out
    words = ["reconstruct", path, "--items", 1, "--method", "fbp", "--json"]
    done = recon_command(*words, "-o", "out")
    assert done.code == 0 and "0.6 .. 1 of that of the flats by entry/control/data" in done.err, done.err
    settings = json.loads(done.out)["settings"]
    assert settings["detector_centre"] == pytest.approx(CENTRE, abs=0.2)
    assert error(tmp_path / "out", settings["scale"]) < 0.09
