"""Fan-beam tomography from the command line: measured, stored, reconstructed, refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import data
from cli import measure
from cli.run_record import Run
from operators import OPERATORS

FAN = ["--operator", "ct_fan", "--set", "source_mm=40", "--set", "detector_mm=70"]


@pytest.mark.parametrize("flags", [
    ["--angles", 90],
    ["--angles", "0:225:80", "--set", "detector=curved"],
    ["--angles", 90, "--set", "detector_centre=13.3", "--set", "centre=7,8", "--set", "spacing_mm=0.5"],
])
def test_simulated_and_filtered_back(flags, recon_command, picture):
    done = recon_command("simulate", picture, *FAN, *flags, "--noise", "0.1%", "-o", "scan.h5")
    assert done.code == 0, done.err
    done = recon_command("reconstruct", "scan.h5", "--method", "fbp", "-o", "out", "--json")
    assert done.code == 0, done.err
    scores = json.loads(recon_command("evaluate", "out", "--json").out)
    truth = data.read_measurement("scan.h5").x
    assert scores["mean"]["psnr"] > 20 + 10 * np.log10(0.05 / truth.var()), "beside the mean image"


def test_the_geometry_is_kept_in_the_file(recon_command, picture):
    settings = ["--set", "detector=curved", "--set", "detector_centre=13.3", "--detectors", 29, "--angles", "10:200:7"]
    assert recon_command("simulate", picture, *FAN, *settings, "-o", "scan.h5").code == 0
    stored = data.read_measurement("scan.h5")
    g = OPERATORS[stored.operator["name"]](**stored.operator["parameters"]).geometry
    assert (g.source_mm, g.detector_mm, g.detector, g.detectors, g.detector_centre) == (40, 70, "curved", 29, 13.3)
    np.testing.assert_allclose(np.rad2deg(g.angles_rad), np.linspace(10, 200, 7, endpoint=False))
    with h5py.File("scan.h5") as file:
        assert file["angles"].attrs["units"] == "rad"
        assert [dim.label for dim in file["y"].dims] == ["item", "channel", "angle", "detector"]


def test_degrees_in_the_file_are_understood_and_a_missing_unit_is_refused(recon_command, picture):
    assert recon_command("simulate", picture, *FAN, "--angles", 30, "-o", "scan.h5").code == 0
    expected = data.read_measurement("scan.h5").operator["parameters"]["angles"]
    with h5py.File("scan.h5", "r+") as file:
        file["angles"][...] = np.rad2deg(file["angles"][...])
        file["angles"].attrs["units"] = "deg"
    np.testing.assert_allclose(data.read_measurement("scan.h5").operator["parameters"]["angles"], expected)
    with h5py.File("scan.h5", "r+") as file:
        del file["angles"].attrs["units"]
    done = recon_command("reconstruct", "scan.h5", "--method", "fbp", "-o", "out")
    assert done.code == 3 and 'units "deg" or "rad"' in done.err


@pytest.mark.parametrize(("words", "said"), [
    (["--operator", "ct_fan", "--angles", 30], "--set source_mm=570 --set detector_mm=1040"),
    (["--operator", "ct_fan", "--angles", 30, "--set", "source_mm=40"], "no detector_mm"),
    (FAN, "--angles 360"),
    (["--operator", "ct_fan"], "--angles 360 --set source_mm=570 --set detector_mm=1040"),
    ([*FAN, "--angles", 30, "--set", "detector=round"], "'flat' or 'curved'"),
    (["--operator", "ct_fan", "--angles", 30, "--set", "source_mm=9", "--set", "detector_mm=70"], "more than 11.3137"),
    (["--operator", "ct_fan", "--angles", 30, "--set", "source_mm=40", "--set", "detector_mm=30"], "40 (source_mm) or"),
])
def test_geometries_that_cannot_be(words, said, recon_command, picture):
    done = recon_command("simulate", picture, *words, "-o", "scan.h5")
    assert done.code == 2 and said in done.err and "Traceback" not in done.err, done.err


def test_an_image_is_told_how_to_become_data(recon_command, picture, tiny):
    done = recon_command("reconstruct", picture, *FAN, "--angles", 30, "--prior", tiny, "-o", "out")
    assert done.code == 2
    assert "--operator ct_fan --angles 360 --set source_mm=570 --set detector_mm=1040 --noise 1%" in done.err


def test_it_is_described(recon_command):
    found = json.loads(recon_command("info", "ct_fan", "--json").out)["--set NAME=VALUE"]
    assert {"source_mm", "detector_mm", "detector", "detector_centre", "centre", "angles"} <= set(found)
    assert "default flat" in found["detector"]


def test_files_from_before_projectors_had_names_keep_theirs(recon_command, picture):
    """The same data under the projector that they were measured with, and told apart from today's."""
    for name, more in (("old.h5", ["--set", "projector=strip"]), ("new.h5", [])):
        assert recon_command("simulate", picture, *FAN, "--angles", 90, *more, "-o", name).code == 0
    with h5py.File("old.h5", "r+") as file:
        parameters = json.loads(file["operator"].attrs["parameters"])
        assert parameters.pop("projector") == "strip"
        file["operator"].attrs["parameters"] = json.dumps(parameters)
    read = [measure.from_file(Path(name), None, None, Run("test", {})) for name in ("old.h5", "new.h5")]
    assert [task.measurement.operator.spec["parameters"]["projector"] for task in read] == ["strip", "ray"]
