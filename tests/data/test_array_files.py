"""NPY and NPZ files: exact values, axes that are never guessed, nothing unpickled."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

import data

GREY = np.linspace(0, 1, 6 * 7, dtype=np.float32).reshape(6, 7)


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i4", ">i2", "<u4", "|i1", "<i8"])
def test_floats_and_signed_integers_are_raw_and_exact(tmp_path, dtype):
    values = (np.arange(42).reshape(6, 7) - (0 if dtype[1] == "u" else 20)).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    image = data.read_image(tmp_path / "a.npy", channels=1)
    assert image.unit == "raw" and image.values.dtype == np.float32 and image.values.dtype.isnative
    assert np.array_equal(image.values[0], values)


@pytest.mark.parametrize("dtype, top", [(np.uint8, 255), (np.uint16, 65535), (">u2", 65535), (bool, 1)])
def test_unsigned_8_and_16_bit_and_bool_are_scaled(tmp_path, dtype, top):
    values = (np.arange(42).reshape(6, 7) % (top + 1)).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    image = data.read_image(tmp_path / "a.npy")
    assert image.unit == "[0,1]" and np.array_equal(image.values[0], (values / top).astype(np.float32))


@pytest.mark.parametrize("shape", [(6, 7), (1, 6, 7), (6, 7, 1), (1, 1, 6, 7), (1, 6, 7, 1)])
def test_one_grey_picture_in_every_shape(tmp_path, shape):
    np.save(tmp_path / "a.npy", GREY.reshape(shape))
    assert np.array_equal(data.read_image(tmp_path / "a.npy").values, GREY[None])
    assert np.array_equal(data.read_images(tmp_path / "a.npy").values, GREY[None, None])


@pytest.mark.parametrize("shape", [(6, 7, 3), (3, 6, 7), (1, 3, 6, 7), (1, 6, 7, 3)])
def test_one_colour_picture_in_every_shape(tmp_path, shape):
    colour = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    np.save(tmp_path / "a.npy", (colour if 3 in shape[:2] else np.moveaxis(colour, 0, -1)).reshape(shape))
    assert np.array_equal(data.read_image(tmp_path / "a.npy").values, colour)


def test_fortran_order_is_kept_right(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(GREY))
    assert np.array_equal(data.read_image(tmp_path / "a.npy").values[0], GREY)


def test_stacks(tmp_path, refuses):
    stack = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    np.save(tmp_path / "a.npy", stack)
    assert np.array_equal(data.read_images(tmp_path / "a.npy").values, stack[:, None])
    with refuses("E-LAYOUT", 3, "(5, 6, 7)", "one picture"):
        data.read_image(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", stack[:3])
    with refuses("E-LAYOUT", 3, "(3, 6, 7)", "(1, 3, H, W)", "(3, 1, H, W)"):
        data.read_images(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", stack[:3, None])
    assert data.read_images(tmp_path / "c.npy").values.shape == (3, 1, 6, 7)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5, 6), (4, 5, 6, 7), (2, 3, 4, 3), (0, 5), ()])
def test_shapes_that_are_no_picture_are_refused(tmp_path, refuses, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    for read in (data.read_image, data.read_images):
        with refuses("E-LAYOUT", 3, str(shape)):
            read(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_where_real_is_expected(tmp_path, refuses, dtype):
    np.save(tmp_path / "a.npy", GREY.astype(dtype))
    for read in (data.read_image, data.read_images):
        with refuses("E-FORMAT", 3, str(np.dtype(dtype)), "numpy.abs"):
            read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "values", [np.array([["a", "b"]]), np.zeros((2, 2), "M8[s]"), np.zeros((2, 2), [("r", "f4")])]
)
def test_values_that_are_no_numbers(tmp_path, refuses, values):
    np.save(tmp_path / "a.npy", values)
    with refuses("E-FORMAT", 3, "type"):
        data.read_image(tmp_path / "a.npy")


def test_not_finite(tmp_path, refuses):
    values = np.stack([GREY, GREY])
    values[1, 2, 3] = np.nan
    np.save(tmp_path / "a.npy", values)
    with refuses("E-VALUES", 3, "1 NaN and 0 infinite of 84", "(1, 0, 2, 3)"):
        data.read_images(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", GREY.astype(np.float64) * 1e300)  # beyond single precision
    with refuses("E-VALUES", 3, "infinite"):
        data.read_image(tmp_path / "b.npy")


def test_pickled_objects_are_refused_and_not_run(tmp_path, refuses):
    canary = tmp_path / "canary"
    np.save(tmp_path / "a.npy", np.array([[Canary(canary)]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", image=np.array([[Canary(canary)]], dtype=object))
    for name in ("a.npy", "b.npz"):
        for read in (data.read_image, data.read_images, lambda path: data.read_mask(path, (1, 1))):
            with refuses("E-UNSAFE", 7, "pickle"):
                read(tmp_path / name)
    assert not canary.exists()


def test_huge_claims_are_refused_unread(tmp_path, refuses):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"shape": (10**6, 10**6), "fortran_order": False, "descr": "<f4"}
    )
    (tmp_path / "a.npy").write_bytes(stream.getvalue() + bytes(100))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("image.npy", stream.getvalue() + bytes(100))
    for name in ("a.npy", "b.npz"):
        with refuses("E-LIMIT", 7, "1000000000000", "--max-pixels"):
            data.read_image(tmp_path / name)
        with refuses("E-LIMIT", 7, "1000000000000", "--max-pixels"):
            data.read_images(tmp_path / name)


@pytest.mark.parametrize("cut", [4, 60, 100, 200])
def test_truncated_arrays(tmp_path, refuses, cut):
    np.save(tmp_path / "whole.npy", GREY)
    (tmp_path / "a.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:cut])
    with refuses("E-FORMAT", 3):
        data.read_image(tmp_path / "a.npy")


def test_truncation_names_both_sizes(tmp_path, refuses):
    np.save(tmp_path / "whole.npy", GREY)
    (tmp_path / "a.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:160])
    with refuses("E-FORMAT", 3, "truncated", "160 bytes", "168 bytes", "(6, 7)"):
        data.read_image(tmp_path / "a.npy")


def test_npz_of_one_or_of_a_known_name(tmp_path, refuses):
    np.savez_compressed(tmp_path / "a.npz", anything=GREY)
    assert np.array_equal(data.read_image(tmp_path / "a.npz").values[0], GREY)
    np.savez(tmp_path / "b.npz", image=GREY, spacing=np.ones(2))
    assert np.array_equal(data.read_image(tmp_path / "b.npz").values[0], GREY)
    np.savez(tmp_path / "c.npz", first=GREY, second=GREY)
    with refuses("E-LAYOUT", 3, "first, second", "image"):
        data.read_image(tmp_path / "c.npz")
