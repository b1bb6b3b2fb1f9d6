"""Result files: bit for bit there and back, never with NaN."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import data

RNG = np.random.default_rng(0)
MEAN = RNG.random((2, 1, 6, 7)).astype(np.float32)


@pytest.mark.parametrize("samples", [None, RNG.random((4, 2, 1, 6, 7)).astype(np.float32)])
@pytest.mark.parametrize("std", [None, MEAN / 3])
def test_round_trip(tmp_path, samples, std):
    attrs = {"method": "pigdm", "nfe": 50, "seconds": 1.5, "chi_square": np.array([1.1, 0.9]),
             "nothing": None, "not a number": float("nan")}  # fmt: skip
    data.write_result(tmp_path / "r.h5", MEAN + 1, MEAN, std, samples, attrs)
    found = data.read_result(tmp_path / "r.h5")
    for name, array in {"reconstruction": MEAN + 1, "mean": MEAN, "std": std, "samples": samples}.items():
        stored = getattr(found, name)
        assert (stored is None) if array is None else (stored.tobytes() == array.tobytes())
    assert np.array_equal(found.attrs.pop("chi_square"), attrs.pop("chi_square"))
    assert repr(found.attrs) == repr(attrs)
    with h5py.File(tmp_path / "r.h5") as file:
        assert [axis.label for axis in file["mean"].dims] == ["item", "channel", "row", "column"]


@pytest.mark.parametrize(
    "spoil",
    [
        {"mean": np.full_like(MEAN, np.nan)},
        {"std": np.full_like(MEAN, np.inf)},
        {"samples": MEAN},
        {"reconstruction": MEAN[:1]},
        {"mean": MEAN[0]},
    ],
)
def test_nothing_wrong_is_written(tmp_path, spoil):
    parts = {"reconstruction": MEAN, "mean": MEAN, "std": MEAN, "samples": MEAN[None], **spoil}
    with pytest.raises(ValueError, match="got .*; expected"):
        data.write_result(tmp_path / "r.h5", **parts)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path, refuses):
    data.write_images(tmp_path / "a.h5", MEAN)
    with refuses("E-LAYOUT", 3, "images", "reconstruction, mean"):
        data.read_result(tmp_path / "a.h5")
    data.write_result(tmp_path / "r.h5", MEAN, MEAN)
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file["attributes"].attrs["parameters"] = "{"
    with refuses("E-LAYOUT", 3, "/attributes"):
        data.read_result(tmp_path / "r.h5")


def test_results_of_a_file_a_folder_and_a_folder_of_folders(tmp_path):
    for place in ("one", "many/b", "many/a"):
        data.write_result(tmp_path / place / "result.h5", MEAN, MEAN)
    (tmp_path / "many/c").mkdir()
    one = tmp_path / "one/result.h5"
    assert data.result_files(one) == data.result_files(tmp_path / "one") == {"": one}
    found = data.result_files(tmp_path / "many")
    assert list(found.items()) == [(name, tmp_path / "many" / name / "result.h5") for name in "ab"]
    assert data.result_files(tmp_path / "many/c") == {}
    assert data.result_files(tmp_path / "none.h5") == {"": tmp_path / "none.h5"}  # the reader says what is wrong
