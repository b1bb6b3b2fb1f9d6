"""Masks: white is kept, black is lost, and nothing in between is decided behind the user's back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import data

KEPT = np.random.default_rng(0).random((9, 12)) > 0.4


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_black_and_white_in_every_mode(tmp_path, mode):
    picture = Image.fromarray(KEPT.astype(np.uint8) * 255)
    if mode == "I;16":
        picture = Image.fromarray(KEPT.astype(np.uint16) * 65535)
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "m.png")
    mask = data.read_mask(tmp_path / "m.png", (9, 12))
    assert mask.dtype == bool and np.array_equal(mask, KEPT)


def test_jpeg_noise_is_tolerated(tmp_path):
    blocks = np.kron(np.array([[1, 0], [0, 1]], np.uint8), np.ones((16, 16), np.uint8)).astype(bool)
    Image.fromarray(blocks.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=95)
    assert np.array_equal(data.read_mask(tmp_path / "m.jpg", (32, 32)), blocks)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(9, 12), (1, 9, 12)])
def test_arrays_of_zeros_and_ones(tmp_path, dtype, shape):
    np.save(tmp_path / "m.npy", KEPT.astype(dtype).reshape(shape))
    assert np.array_equal(data.read_mask(tmp_path / "m.npy", (9, 12)), KEPT)


def test_zero_and_one_in_an_8_bit_image(tmp_path):
    Image.fromarray(KEPT.astype(np.uint8)).save(tmp_path / "m.png")
    assert np.array_equal(data.read_mask(tmp_path / "m.png", (9, 12)), KEPT)


def test_all_white_keeps_all_and_all_black_is_refused(tmp_path, refuses):
    Image.new("L", (12, 9), 255).save(tmp_path / "w.png")
    assert data.read_mask(tmp_path / "w.png", (9, 12)).all()
    Image.new("L", (12, 9), 0).save(tmp_path / "b.png")
    with refuses("E-MASK", 3, "nothing would be kept", "invert"):
        data.read_mask(tmp_path / "b.png", (9, 12))


def test_shades_are_refused_with_their_number(tmp_path, refuses):
    soft = KEPT.astype(np.uint8) * 255
    soft[0, :5] = [20, 60, 128, 200, 240]
    Image.fromarray(soft).save(tmp_path / "m.png")
    with refuses("E-MASK", 3, "5 of 108 pixels", "hard brush"):
        data.read_mask(tmp_path / "m.png", (9, 12))
    np.save(tmp_path / "m.npy", KEPT - 0.5)
    with refuses("E-MASK", 3, "between black and white"):
        data.read_mask(tmp_path / "m.npy", (9, 12))


def test_colours_and_transparency_are_refused(tmp_path, refuses):
    red = np.stack([KEPT * 255, KEPT * 0, KEPT * 0], -1).astype(np.uint8)
    Image.fromarray(red).save(tmp_path / "red.png")
    with refuses("E-MASK", 3, "colours"):
        data.read_mask(tmp_path / "red.png", (9, 12))
    holes = np.stack([np.full((9, 12), 255), KEPT * 255], -1).astype(np.uint8)
    Image.fromarray(holes, "LA").save(tmp_path / "holes.png")
    with refuses("E-MASK", 3, "transparency"):
        data.read_mask(tmp_path / "holes.png", (9, 12))


def test_another_shape_names_both_and_the_turn_that_fits(tmp_path, refuses):
    Image.fromarray(KEPT).save(tmp_path / "m.png")
    with refuses("E-GEOMETRY", 3, "(9, 12)", "(12, 9)", "turned by 90 degrees"):
        data.read_mask(tmp_path / "m.png", (12, 9))
    with refuses("E-GEOMETRY", 3, "(9, 12)", "(64, 64)"):
        data.read_mask(tmp_path / "m.png", (64, 64))


def test_not_finite_or_not_real(tmp_path, refuses):
    np.save(tmp_path / "m.npy", np.where(KEPT, 1.0, np.nan))
    with refuses("E-VALUES", 3, "NaN"):
        data.read_mask(tmp_path / "m.npy", (9, 12))
    np.save(tmp_path / "c.npy", KEPT.astype(complex))
    with refuses("E-FORMAT", 3, "complex"):
        data.read_mask(tmp_path / "c.npy", (9, 12))
