"""The package itself: light to import, its samples documented, its ranges checked."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import data
from data.samples import FOLDER


def test_import_is_light():
    program = (
        "import sys, time; t = time.perf_counter(); import data; data.InputRefused; data.bundled_samples();"
        "print(time.perf_counter() - t);"
        "print(sorted({'torch', 'skimage', 'h5py', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    best = min(float(run(program)[0]) for _ in range(3))
    assert best < 0.15 and run(program)[1] == "[]"


def test_reading_never_loads_torch():
    program = (
        "import sys, data; data.read_images(data.sample_path('headct-1'));"
        "[data.prior_header(p) for p in data.bundled_priors().values()];"
        "print(sorted({'torch', 'recon', 'operators', 'skimage'} & set(sys.modules)))"
    )
    assert run(program) == ["[]"]


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split("\n")[:-1]


def test_every_public_name_is_there():
    for name in data.__all__:
        assert getattr(data, name).__doc__ or name.isupper()
    with pytest.raises(AttributeError, match="no_such"):
        data.no_such  # noqa: B018


def test_samples(refuses):
    samples = data.bundled_samples()
    assert {"headct-1", "headct-2", "headct-3", "mri-brain", "ct-chest", "photo-rocks"} == set(samples)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    for name, path in samples.items():
        image = data.read_image(data.sample_path(name))
        assert image.path == path and image.notes == () and image.unit == "[0,1]" and image.values.std() > 0.1
        info = data.sample_info(name)
        assert info["file"] == path.name and info["taken_from"]["subset"] == "validation"
        assert all(
            info[key]
            for key in ("source", "licence", "licence_url", "attribution", "changes", "shows", "values")
        )
        assert (
            name in (FOLDER / "LICENSES.md").read_text()
            and info["licence"] in (FOLDER / "LICENSES.md").read_text()
        )
    for name in ("headct-1", "headct-2", "headct-3"):
        assert data.read_image(samples[name]).values.shape == (1, 64, 64)
    with refuses("E-SAMPLE", 2, "did you mean headct-1"):
        data.sample_path("headct1")


@pytest.mark.parametrize(
    "low, high, unit, words",
    [
        (0, 255, "[0,1]", "divide by 255"),
        (0, 4095, "[0,1]", "divide by 4095"),
        (0, 65535, "[0,1]", "divide by 65535"),
        (-1024, 3000, "[0,1]", "Hounsfield"),
        (-1, 1, "[0,1]", "(x + 1) / 2"),
        (-1e9, 1e9, "[0,1]", "scale the values"),
        (0, 65535, "HU", "convert the values to HU"),
    ],
)
def test_values_in_another_unit_are_refused_with_the_conversion(refuses, low, high, unit, words):
    with refuses("E-RANGE", 3, f"{low:.6g} .. {high:.6g}", words, "a.npy"):
        data.check_range(np.linspace(low, high, 100), unit, "a.npy")


@pytest.mark.parametrize(
    "low, high, unit", [(0, 1, "[0,1]"), (-0.05, 1.08, "[0,1]"), (-1024, 3071, "HU"), (-9e9, 9, "?")]
)
def test_values_in_range_pass(low, high, unit):
    data.check_range(np.linspace(low, high, 100), unit, "a.npy")
