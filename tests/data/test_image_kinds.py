"""Pictures of different sizes, of classes, and of stated units; what a fingerprint says of them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import pdist

import data
from data.stacking import windows

RNG = np.random.default_rng(0)


def pictures(folder, *shapes):
    folder.mkdir(parents=True, exist_ok=True)
    made = [RNG.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    for k, picture in enumerate(made):
        Image.fromarray(picture).save(folder / f"{k}.png")
    return made


def hdf5(path, images, attrs=None, **more):
    with h5py.File(path, "w") as file:
        file["images"] = images
        file.attrs.update(attrs or {})
        for key, value in more.items():
            file[key] = value
    return path


def test_windows_cover_a_picture_and_are_as_few_as_can_be():
    picture = np.arange(7 * 10).reshape(1, 7, 10)
    cut = windows(picture, 4, 5)
    assert len(cut) == 4 and {w.shape for w in cut} == {(1, 4, 5)}
    assert set(np.concatenate([w.ravel() for w in cut])) == set(range(70))
    assert len(windows(picture, 7, 10)) == 1 and len(windows(picture, 3, 10)) == 3


def test_crop_cuts_different_sizes_into_windows_without_scaling(tmp_path, refuses):
    first, second, third = pictures(tmp_path, (10, 12), (20, 12), (10, 24))
    found = data.read_images(tmp_path, crop=8)
    assert found.values.shape == (5, 1, 10, 12) and list(found.index) == [0, 1, 1, 2, 2]
    expected = [first, second[:10], second[10:], third[:, :12], third[:, 12:]]
    assert np.array_equal(found.values[:, 0], expected) and "5 windows of 10 x 12" in found.notes[-1]
    with refuses("E-SIZE", 3, "0.png", "at least 11 x 11"):
        data.read_images(tmp_path, crop=11)


def test_small_pictures_can_be_left_out_with_a_note(tmp_path, refuses):
    pictures(tmp_path, (16, 20), (9, 40), (30, 16))
    found = data.read_images(tmp_path, size=16, at_least=16)
    assert list(found.index) == [0, 2] and "1 of 3 pictures" in found.notes[-1]
    with refuses("E-SIZE", 3, "at least 50"):
        data.read_images(tmp_path, size=50, at_least=50)


def test_sizes_are_those_of_the_files(tmp_path):
    shapes = [(10, 12), (20, 12), (10, 24)]
    pictures(tmp_path, *shapes)
    assert data.image_sizes(tmp_path) == shapes
    assert data.image_sizes(hdf5(tmp_path / "a.h5", np.zeros((3, 4, 5, 3), np.uint8))) == [(4, 5)] * 3
    np.save(tmp_path / "a.npy", np.zeros((6, 7)))
    assert data.image_sizes(tmp_path / "a.npy") == [(6, 7)]


def test_subfolders_are_classes_and_a_tenth_of_each_is_held_out(tmp_path):
    for name, count in (("dogs", 20), ("cats", 10)):
        pictures(tmp_path / name, *[(4, 4)] * count)
    found, train, held = (data.read_images(tmp_path, subset=name) for name in (None, "train", "validation"))
    assert found.class_names == train.class_names == held.class_names == ("cats", "dogs")
    assert list(found.labels) == [0] * 10 + [1] * 20 and list(held.labels) == [0, 1, 1]
    assert list(held.index) == [9, 28, 29] and held.labels.dtype == np.int64 and len(train.values) == 27
    assert np.array_equal(np.sort(np.r_[train.index, held.index]), np.arange(30))
    assert data.fingerprint(train)["classes"] == {"cats": 9, "dogs": 18}


def test_classes_inside_of_subsets_are_those_of_both(tmp_path):
    for name in ("train/b", "train/c", "validation/a", "validation/c"):
        pictures(tmp_path / name, (4, 4), (4, 4))
    train, held = (data.read_images(tmp_path, subset=name) for name in ("train", "validation"))
    assert train.class_names == held.class_names == ("a", "b", "c")
    assert list(train.labels) == [1, 1, 2, 2] and list(held.labels) == [0, 0, 2, 2]


def test_labels_of_hdf5_follow_the_subset(tmp_path, refuses):
    labels = np.array([7, 3, 3, 7, 9], np.uint8)
    path = hdf5(tmp_path / "a.h5", np.zeros((5, 4, 4), np.uint8), labels=labels, subset=[0, 1, 0, 1, 0])
    train, held = (data.read_images(path, subset=name) for name in ("train", "validation"))
    assert train.class_names == held.class_names == ("3", "7", "9")
    assert list(train.labels) == [1, 0, 2] and list(held.labels) == [0, 1]
    with h5py.File(path, "a") as file:
        file["labels"].attrs["class_names"] = ["a", "b", "c", "two"]
    assert data.read_images(path).class_names == ("two", "7", "9")
    assert data.read_images(hdf5(tmp_path / "b.h5", np.zeros((5, 4, 4), np.uint8))).labels is None
    with refuses("E-LAYOUT", 3, "/labels", "(5,) integers"):
        data.read_images(hdf5(tmp_path / "c.h5", np.zeros((5, 4, 4), np.uint8), labels=labels / 2))


@pytest.mark.parametrize(
    ("stored", "attrs", "unit", "expected", "kind"),
    [
        (np.uint16, {"unit": "HU", "rescale_intercept": -1024}, "HU", lambda v: v - 1024.0, np.int16),
        (np.uint16, {"unit": "HU"}, "HU", lambda v: v, np.int16),
        (np.uint8, {"rescale_slope": 0.5}, "raw", lambda v: v / 2, np.float32),
        (np.float32, {"unit": "mm", "rescale_slope": 2, "rescale_intercept": 1}, "mm", lambda v: 2 * v + 1, np.float32),
        (np.float32, {"unit": "[0,1]"}, "[0,1]", lambda v: v, np.float32),
    ],
)  # fmt: skip
def test_units_that_a_file_states(tmp_path, stored, attrs, unit, expected, kind):
    values = RNG.integers(0, 255, (3, 4, 5)).astype(stored)
    found = data.read_images(hdf5(tmp_path / "a.h5", values, attrs))
    assert (found.unit, found.value_max, found.values.dtype) == (unit, 1.0, kind)
    assert np.allclose(found.values[:, 0], expected(values.astype(float)), atol=1e-4)


def test_rescaling_by_the_caller_and_a_wrong_one(tmp_path, refuses):
    values = RNG.integers(0, 60000, (3, 4, 5)).astype(np.uint16)
    path = hdf5(tmp_path / "a.h5", values)
    found = data.read_images(path, rescaling=data.Rescaling("mm", 0.1, -3.0))
    assert found.unit == "mm" and np.allclose(found.values[:, 0], 0.1 * values - 3, atol=1e-2)
    with refuses("E-VALUES", 3, "slope 0"):
        data.read_images(hdf5(tmp_path / "b.h5", values, {"rescale_slope": 0}))
    with refuses("E-VALUES", 3, "'steep'"):
        data.read_images(hdf5(tmp_path / "c.h5", values, {"rescale_slope": "steep"}))


def test_fingerprint_says_percentiles_and_the_largest_distance_in_the_unit(tmp_path):
    values = RNG.integers(0, 256, (40, 8, 10), dtype=np.uint8)
    found = data.fingerprint(data.read_images(hdf5(tmp_path / "a.h5", values)))
    assert found["largest_distance"] == pytest.approx(pdist(values.reshape(40, -1).astype(float)).max() / 255, rel=1e-5)
    assert found["percentiles"]["99"] == pytest.approx(np.percentile(values, 99) / 255)
    assert found["classes"] == {}
