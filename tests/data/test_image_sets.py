"""Sets of pictures: folders, arrays and HDF5, their subsets, and the fingerprint that says what they are."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest
from PIL import Image

import data

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 256, (20, 8, 10), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures, named so that plain sorting would put 10 before 2."""
    for number, picture in enumerate(STACK):
        Image.fromarray(picture).save(tmp_path / f"slice{number}.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    return tmp_path


def hdf5(path, images, **more):
    with h5py.File(path, "w") as file:
        file["images"] = images
        for key, value in more.items():
            file[key] = value
    return path


def test_folder_in_the_order_of_its_numbers(folder):
    found = data.read_images(folder)
    assert np.array_equal(found.values, STACK[:, None]) and found.values.dtype == np.uint8
    assert (found.value_max, found.unit) == (255, "[0,1]") and np.array_equal(found.index, np.arange(20))
    assert found.notes == (f"1 other files and folders in {folder} passed over",)


def test_held_out_tenth_is_the_last_and_noted(folder):
    train, held = (data.read_images(folder, subset=name) for name in ("train", "validation"))
    assert np.array_equal(train.values, STACK[:18, None]) and np.array_equal(held.values, STACK[18:, None])
    assert list(held.index) == [18, 19] and "the last 2 of 20" in train.notes[0] == held.notes[0]
    assert not data.has_subsets(folder)


def test_subfolders_are_subsets(folder):
    for name, numbers in {"train": (3, 4, 5), "validation": (6,)}.items():
        (folder / name).mkdir()
        for number in numbers:
            Image.fromarray(STACK[number]).save(folder / name / f"{number}.png")
    assert data.has_subsets(folder)
    assert np.array_equal(data.read_images(folder, subset="train").values, STACK[3:6, None])
    assert np.array_equal(data.read_images(folder, subset="validation").values, STACK[6:7, None])


def test_hdf5_subset(tmp_path):
    subset = np.array([0, 1] * 10, np.uint8)
    path = hdf5(tmp_path / "a.h5", STACK, subset=subset)
    with h5py.File(path, "a") as file:
        file.attrs["licence"] = "CC0"
    held = data.read_images(path, subset="validation")
    assert data.has_subsets(path) and held.attrs == {"licence": "CC0"} and held.notes == ()
    assert np.array_equal(held.values, STACK[1::2, None]) and np.array_equal(held.index, np.arange(1, 20, 2))
    assert np.array_equal(data.read_images(path, subset="train").values, STACK[::2, None])
    assert np.array_equal(data.read_images(path).values, STACK[:, None])


@pytest.mark.parametrize(
    "subset", [np.zeros(20, int), np.zeros(19, int), np.ones(20), np.zeros((20, 1), int)]
)
def test_hdf5_subset_that_does_not_fit(tmp_path, refuses, subset):
    path = hdf5(tmp_path / "a.h5", STACK, subset=subset)
    with refuses("E-LAYOUT", 3, "/subset", "0 train, 1 validation"):
        data.read_images(path, subset="validation")


def test_hdf5_without_subsets_holds_out_the_last(tmp_path):
    held = data.read_images(hdf5(tmp_path / "a.h5", STACK), subset="validation")
    assert np.array_equal(held.values, STACK[18:, None]) and "the last 2 of 20" in held.notes[0]


@pytest.mark.parametrize(
    "dtype, top, unit",
    [
        (np.uint8, 255, "[0,1]"),
        (np.uint16, 65535, "[0,1]"),
        (">u2", 65535, "[0,1]"),
        (np.float32, 1, "raw"),
        (np.int16, 1, "raw"),
    ],
)
def test_type_and_unit(tmp_path, dtype, top, unit):
    found = data.read_images(hdf5(tmp_path / "a.h5", STACK.astype(dtype)))
    assert (found.value_max, found.unit) == (top, unit) and np.array_equal(found.values[:, 0], STACK)
    assert found.values.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("shape", [(4, 8, 10, 3), (4, 3, 8, 10)])
def test_colour_stacks(tmp_path, refuses, shape):
    colour = RNG.integers(0, 256, shape, dtype=np.uint8)
    path = hdf5(tmp_path / "a.h5", colour)
    expected = colour if shape[1] == 3 else np.moveaxis(colour, -1, 1)
    assert np.array_equal(data.read_images(path).values, expected)
    assert np.array_equal(data.read_images(path, channels=3).values, expected)
    grey = data.read_images(path, to_gray=True)
    assert np.allclose(grey.values[:, 0], np.tensordot([0.2125, 0.7154, 0.0721], expected, (0, 1)), atol=1e-4)
    assert grey.value_max == 255 and "luminance" in grey.notes[0]
    with refuses("E-CHANNELS", 3, "--to-gray"):
        data.read_images(path, channels=1)


def test_one_picture_is_a_set_of_one(tmp_path, refuses):
    found = data.read_images(data.sample_path("photo-rocks"))
    assert found.values.shape == (1, 3, 256, 256) and found.values.dtype == np.uint8
    with refuses("E-LAYOUT", 3, "at least 2"):
        data.read_images(data.sample_path("photo-rocks"), subset="validation")
    with pytest.raises(ValueError, match="'train', 'validation'"):
        data.read_images(tmp_path, subset="test")


def test_values_over_value_max_equal_read_image(tmp_path):
    for name in data.bundled_samples():
        found, image = data.read_images(data.sample_path(name)), data.read_image(data.sample_path(name))
        assert found.unit == image.unit
        assert np.allclose(found.values[0] / found.value_max, image.values, atol=1e-7)


def test_pictures_that_differ_are_refused_unless_brought_to_one_size(folder, refuses):
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(folder / "slice99.png")
    with refuses("E-LAYOUT", 3, "20 of 8 x 10", "1 of 30 x 20", "slice99.png", "to one size"):
        data.read_images(folder)
    found = data.read_images(folder, size=8)
    assert found.values.shape == (21, 1, 8, 8) and np.array_equal(found.values[:20, 0], STACK[:, :, 1:9])
    with refuses("E-SIZE", 3, "8 x 10", "--size 8"):
        data.read_images(folder, size=9)


def test_other_types_and_channels_are_refused(folder, refuses):
    Image.fromarray(STACK[0].astype(np.uint16)).save(folder / "slice99.png")
    with refuses("E-LAYOUT", 3, "uint8", "uint16"):
        data.read_images(folder)
    Image.new("RGB", (10, 8)).save(folder / "slice99.png")
    with refuses("E-LAYOUT", 3, "3 channels", "--to-gray"):
        data.read_images(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_size_averages_a_plane_without_shift_or_gain(tmp_path, dtype):
    top = np.iinfo(dtype).max if dtype != np.float32 else 1.0
    rows, columns = np.mgrid[:64, :96]
    plane = ((rows + columns) / 160 * top).astype(dtype)
    np.save(tmp_path / "a.npy", plane)
    small = data.read_images(tmp_path / "a.npy", size=16).values[0, 0]
    centre = (np.arange(16) + 0.5) * 4 - 0.5
    expected = (centre[:, None] + centre[None, :] + 16) / 160 * top
    assert small.dtype == dtype
    assert np.abs(small.astype(float) - expected)[2:-2, 2:-2].max() < 0.007 * top  # one step of 8 bits


def test_size_does_not_alias(tmp_path):
    Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).save(tmp_path / "a.png")
    small = data.read_images(tmp_path / "a.png", size=16).values
    assert np.abs(small.astype(int) - 128).max() <= 3


def test_empty_folders(tmp_path, refuses):
    (tmp_path / "HeadCT").mkdir()
    with refuses("E-LAYOUT", 3, "HeadCT", "no pictures"):
        data.read_images(tmp_path)


def test_a_broken_picture_in_a_folder_is_named(folder, refuses):
    (folder / "slice7.png").write_bytes((folder / "slice7.png").read_bytes()[:50])
    with refuses("E-FORMAT", 3, "slice7.png"):
        data.read_images(folder)


def test_not_finite_in_a_set(tmp_path, refuses):
    values = STACK.astype(np.float32)
    values[4, 3, 2] = np.inf
    with refuses("E-VALUES", 3, "0 NaN and 1 infinite", "(4, 0, 3, 2)"):
        data.read_images(hdf5(tmp_path / "a.h5", values))


def test_fingerprint(folder):
    found = data.fingerprint(data.read_images(folder))
    assert found["count"] == 20 and (found["channels"], found["height"], found["width"]) == (1, 8, 10)
    assert found["min"] == STACK.min() and found["max"] == STACK.max() and found["dtype"] == "uint8"
    assert found["mean"] == pytest.approx(STACK.mean()) and found["std"] == pytest.approx(STACK.std())
    assert found["sha256"] == hashlib.sha256(STACK.tobytes()).hexdigest()


def test_write_images_round_trip(tmp_path):
    for shape in [(5, 1, 8, 10), (5, 3, 8, 10)]:
        images = RNG.random(shape).astype(np.float32)
        data.write_images(tmp_path / "a.h5", images, unit="[0,1]", attrs={"seed": 3, "prior": "headct-64"})
        found = data.read_images(tmp_path / "a.h5")
        assert np.array_equal(found.values, images) and (found.unit, found.value_max) == ("[0,1]", 1)
        assert found.attrs == {"seed": 3, "prior": "headct-64", "unit": "[0,1]"}
    with pytest.raises(ValueError, match="got shape"):
        data.write_images(tmp_path / "b.h5", images[:, :2])
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
