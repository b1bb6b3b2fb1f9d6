"""The judgement of a fit: what is good, odd and bad, and that nobody can miss it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

import data
from cli import pictures
from cli.verdict import Fit, judge

FIT = Fit(
    chi_square=1.0, misfit=0.03, peak=3.0, place="row 1, column 2", count=4000, of_samples=True, known="stated"
)


@pytest.mark.parametrize(
    ("changes", "word", "text"),
    [
        ({}, "good", "as large as the stated noise (chi-square 1, by chance 1 ± 0.02)"),
        ({"chi_square": 1.25}, "good", "12 % larger than"),
        ({"chi_square": 1.45}, "odd", "20 % larger than"),
        ({"chi_square": 2.3}, "bad", "does not explain"),
        ({"chi_square": 0.6}, "odd", "closer to the data"),
        ({"chi_square": 0.6, "fitted": 2000.0}, "odd", "the method fits it, as most do with few --steps"),
        ({"chi_square": 0.6, "fitted": 2000.0}, "odd", "by about 25 % if the noise is right"),  # sqrt(2000 / 3600)
        ({"chi_square": 0.6, "of_samples": False}, "good", "1 or less is right"),
        ({"chi_square": 1.45, "count": 30}, "good", "by chance 1 ± 0.26"),
        ({"chi_square": 0.6, "count": 30}, "good", "23 % smaller"),
        ({"chi_square": 1.9, "count": 30}, "good", "38 % larger"),
        ({"chi_square": 2.1, "count": 30}, "odd", "45 % larger"),
        ({"chi_square": 3.9, "known": "assumed"}, "good", "assumed noise"),
        ({"chi_square": 0.1, "known": "assumed"}, "good", "assumed noise"),
        ({"chi_square": 5, "known": "assumed"}, "odd", "--noise"),
        ({"chi_square": 17, "known": "assumed"}, "bad", "--noise"),
        ({"peak": 6.5}, "good", ""),
        ({"peak": 8}, "odd", "up to 8 times the stated noise, 3 % of their range (row 1, column 2)"),
        ({"peak": 8, "known": "assumed"}, "good", ""),
        ({"chi_square": None, "peak": None, "misfit": 0.009}, "good", "0.9 % of their range"),
        ({"chi_square": None, "peak": None, "misfit": 0.02}, "odd", "2 % of their range"),
        ({"chi_square": None, "peak": None, "misfit": 0.2}, "bad", "Do not rely on it"),
    ],
)
def test_words(changes, word, text):
    verdict = judge(replace(FIT, **changes))
    assert verdict.word == word and text in verdict.text


@pytest.mark.parametrize("count", [8, 100, 1000])
def test_right_samples_are_seldom_called_odd(count):
    """Residuals of unit normals: of a thousand right results at most one in fifty may be doubted."""
    white = np.random.default_rng(0).standard_normal((1000, count))
    fits = [
        replace(FIT, chi_square=float((row**2).mean()), peak=float(abs(row).max()), count=count) for row in white
    ]
    assert sum(judge(fit).word != "good" for fit in fits) <= 20


def test_a_wrong_noise_level_is_seen_where_the_data_can_show_it():
    """Noise stated a factor 1.4 too small, or too large."""
    white = np.random.default_rng(0).standard_normal((50, 1000))
    for factor in (1.4, 1 / 1.4):
        fits = [replace(FIT, chi_square=float((factor**2 * row**2).mean()), count=1000) for row in white]
        assert all(judge(fit).word != "good" for fit in fits)


HASTY = ("--method", "dps", "--steps", 2, "--samples", 2)


@pytest.fixture
def labels(monkeypatch) -> list[str]:
    """The row labels of the overviews that are drawn."""
    found, draw = [], pictures.overview
    monkeypatch.setattr(
        pictures, "overview", lambda path, labels, rows: found.extend(labels) or draw(path, labels, rows)
    )
    return found


@pytest.mark.parametrize("noise", [0, 0.001])
def test_a_bad_fit_cannot_be_missed(noise, recon_command, picture, tiny, tmp_path, labels):
    """Two steps of dps explain nothing: terminal, record, report, overview and result say so."""
    recon_command("simulate", picture, "--operator", "inpaint", "--keep", 0.5, "--noise", noise, "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, *HASTY, "-o", "out")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert done.code == 0 and record["verdict"] == ["bad"]
    (note,) = (line for line in done.err.splitlines() if "Do not rely on it" in line)
    assert note.removeprefix("note: ") in record["notes"]
    assert labels == ["m.h5\ndoes not fit the data"]
    assert 'class="bad"' in (tmp_path / "out/report.html").read_text()
    assert "fit to the data  bad" in recon_command("info", "out").out


def test_one_note_for_many_items(recon_command, tiny, tmp_path):
    data.write_images(tmp_path / "set.h5", np.random.default_rng(0).random((6, 1, 16, 16), np.float32), "[0,1]")
    recon_command("simulate", "set.h5", "--operator", "inpaint", "--keep", 0.5, "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, *HASTY, "-o", "out")
    assert done.err.count("Do not rely on it") == 1 and "6 of 6 items" in done.err
    assert len(json.loads((tmp_path / "out/run.json").read_text())["verdict"]) == 6


def test_the_numbers_behind_the_verdict(recon_command, picture, tmp_path):
    """Half of the image is only padding and counts as nothing; the largest residual is found where it is."""
    words = ["--operator", "inpaint", "--keep", 0.5, "--noise", 0.1, "--seed", 3]
    recon_command("simulate", picture, *words, "-o", "m.h5")
    record = json.loads(recon_command("reconstruct", "m.h5", "--method", "tv", "-o", "out", "--json").out)
    m, x = data.read_measurement(tmp_path / "m.h5"), data.read_result(tmp_path / "out/result.h5").mean
    mask = m.operator["parameters"]["mask"]
    residual = np.where(mask, m.y - x, 0)[0, 0]
    row, column = np.unravel_index(np.abs(residual).argmax(), residual.shape)
    (largest,) = record["largest_residual"]
    assert largest["place"] == f"row {row}, column {column}"
    assert largest["sigmas"] == pytest.approx(np.abs(residual).max() / 0.1, rel=1e-4)
    seen = m.y[0, 0][mask]
    assert largest["share"] == pytest.approx(np.abs(residual).max() / (seen.max() - seen.min()), rel=1e-4)
    assert record["chi_square"][0] == pytest.approx((residual[mask] ** 2).mean() / 0.01, rel=1e-4)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (16, 65535)])
def test_a_bare_picture_has_the_noise_of_its_rounding(bits, white, recon_command, tmp_path, tiny):
    from PIL import Image

    values = np.random.default_rng(0).random((16, 16))
    Image.fromarray((values * white).round().astype(f"uint{bits}")).save(tmp_path / "p.png")
    words = ["p.png", "--operator", "inpaint", "--box", "0,0,2,2", "--method", "tv"]
    record = json.loads(recon_command("reconstruct", *words, "-o", "out", "--json").out)
    level, assumed = record["noise"].split()
    assert float(level) == pytest.approx(1 / (white * sqrt(12)), rel=1e-3) and assumed == "(assumed)"
    stated = json.loads(recon_command("reconstruct", *words, "--noise", 0.01, "-o", "b", "--json").out)
    assert stated["noise"] == "0.01"


@pytest.mark.parametrize(("widest", "high", "end"), [(4.2, 1.0, "≥ 1"), (0.7, 0.7, "0.7")])
def test_a_map_of_widths_ends_at_the_range_of_the_prior(widest, high, end):
    drawn = pictures.spread("width90", "Width", np.full((1, 2, 2), widest), largest=1.0)
    assert (drawn.high, drawn.end) == (high, end)


def test_the_page_says_what_few_samples_are_worth(recon_command, scan, tiny, tmp_path):
    recon_command("reconstruct", scan, "--prior", tiny, "--steps", 2, "--samples", 2, "-o", "out")
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("from 2 samples") == 1  # under the standard deviation
    assert re.search(r"2 samples, \d+\.?\d* std", page)  # under the width of the interval
    assert "Data and prior decide together" in page and "share scatters" in page and "only on average" in page
