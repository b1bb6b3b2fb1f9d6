"""The board of real measurements, on a scan whose truth is known."""

from __future__ import annotations

import pytest
import torch

from recon.classical import CLASSICAL
from tests.benchmarks.real_data import best, judged, show, tomography
from tests.scans import CENTRE, attenuation, scan, write


def test_the_truth_predicts_what_was_held_out_to_its_noise(tmp_path):
    case = tomography(write(tmp_path / "scan.h5", scan(beam=0.8)), 1, "6", None, "none")
    operator = case.task.measurement.operator
    assert case.held_out[3::6].all() and int(case.held_out[:, 0].sum()) == 10
    assert case.seen.y.shape[-2] == 50 and operator.geometry.detector_centre == pytest.approx(CENTRE, abs=0.2)
    factor = float(next(note for note in case.notes if "multiplied" in note).split(":")[0].split()[-1])
    truth = factor * torch.from_numpy(attenuation())[None, None].float()
    perfect = judged(case, truth, truth)
    assert perfect["held_out"] == pytest.approx(1.0, abs=0.3) and perfect["chi_square"] == pytest.approx(1.0, abs=0.3)
    blurred = judged(case, *(CLASSICAL["fbp"](part, "hann") for part in (case.task.measurement, case.seen)))
    assert blurred["held_out"] > 1.2 * perfect["held_out"]
    rows = [{"data": "a", "method": "fbp", "settings": name, "seconds": 1.0, **scores}
            for name, scores in (("truth", perfect), ("hann", blurred))]  # fmt: skip
    assert [row["settings"] for row in best(rows)] == ["truth"] and "| a | fbp | truth |" in show(rows)
