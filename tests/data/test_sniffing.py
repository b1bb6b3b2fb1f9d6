"""Files that are not what their names say: what they are is named, and how to get the right one."""

from __future__ import annotations

import gzip
import os
import pickle

import h5py
import numpy as np
import pytest
from PIL import Image

import data
from data.kinds import DESCRIPTIONS, describe

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n"
ODD = {
    "webpage": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "web page"),
    "webpage-indented": (b"\xef\xbb\xbf\n  <HTML lang=en>", "web page"),
    "lfs": (POINTER, "git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s3018329--abc.h5\n", "git annex get"),
    "empty": (b"", "0 bytes"),
    "text": (b"not found\n", 'starting "not found"'),
    "pdf": (b"%PDF-1.7\n", "pdf"),
    "gif": (b"GIF89a\x01\0\x01\0", "PNG"),
    "bmp": (b"BM\x36\0\0\0", "PNG"),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "PNG"),
    "gzip": (gzip.compress(b"x" * 100), "gunzip"),
    "dicom": (bytes(128) + b"DICM" + bytes(20), "DICOM"),
    "nifti": (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(10), "NIfTI"),
    "noise": (bytes(range(128, 256)) * 4, "no known format"),
    "pickle": (pickle.dumps({"a": [1, 2]}), "run any code"),
    "pickle-0": (pickle.dumps({"a": [1, 2]}, protocol=0), "run any code"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("suffix", [".h5", ".png", ".npy", ".bin"])
def test_what_it_is_is_named(tmp_path, refuses, name, suffix):
    content, words = ODD[name]
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(content)
    code = ("E-UNSAFE", 7) if "pickle" in name else ("E-FORMAT", 3)
    reads = [data.read_image, data.read_images, data.read_measurement, data.read_result,
             lambda path: data.read_mask(path, (2, 2))]  # fmt: skip
    for read in reads:
        with refuses(*code, words, str(path)):
            read(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_bytes() == content


def test_kinds_of_whole_files(tmp_path):
    for kind, suffix in {"png": "png", "jpeg": "jpg", "tiff": "tif"}.items():
        Image.new("L", (4, 4)).save(tmp_path / f"a.{suffix}")
        assert data.sniff(tmp_path / f"a.{suffix}") == kind
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "a.npz", np.zeros(3))
    h5py.File(tmp_path / "a.h5", "w").close()
    assert [data.sniff(tmp_path / f"a.{kind}") for kind in ("npy", "npz", "h5")] == ["npy", "npz", "hdf5"]
    assert all(text.split()[0] in {"a", "an", "of"} for text in DESCRIPTIONS.values())


@pytest.mark.parametrize("block", [512, 2048])
def test_hdf5_behind_a_user_block(tmp_path, block):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=block) as file:
        file["images"] = np.zeros((1, 4, 4), np.uint8)
    assert data.sniff(tmp_path / "a.h5") == "hdf5"
    assert data.read_images(tmp_path / "a.h5").values.shape == (1, 1, 4, 4)


def test_a_description_gives_size_after_what_it_is(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    found = "a Python pickle, which can run any code when it is loaded (4 bytes)"
    assert describe(data.sniff(tmp_path / "a.pkl"), tmp_path / "a.pkl") == found


READS = [
    data.read_image,
    data.read_images,
    data.read_measurement,
    data.read_result,
    data.sniff,
    data.prior_header,
]


@pytest.mark.parametrize("read", READS)
def test_missing_file_gives_the_nearest_names(tmp_path, refuses, read):
    (tmp_path / "slice.png").touch()
    (tmp_path / "slice_01.png").touch()
    (tmp_path / "unrelated").touch()
    with refuses("E-FILE", 3, str(tmp_path / "slcie.png"), f"did you mean {tmp_path / 'slice.png'}"):
        read(tmp_path / "slcie.png")
    with refuses("E-FILE", 3, "holds slice.png, slice_01.png, unrelated"):
        read(tmp_path / "qqqqqq")


def test_missing_folder_names_the_part_that_is_missing(tmp_path, refuses):
    (tmp_path / "scans").mkdir()
    with refuses(
        "E-FILE", 3, f"nothing at {tmp_path / 'scnas'}", f"did you mean {tmp_path / 'scans' / 'a.png'}"
    ):
        data.read_image(tmp_path / "scnas" / "a.png")


def test_folder_instead_of_a_file(tmp_path, refuses):
    (tmp_path / "a.png").touch()
    with refuses("E-FILE", 3, "a folder holding a.png"):
        data.read_image(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path, refuses):
    (tmp_path / "a.png").touch(mode=0)
    with refuses("E-FILE", 3, "Permission denied"):
        data.read_image(tmp_path / "a.png")


def test_pipes_devices_and_impossible_names_do_not_hang(tmp_path, refuses):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with refuses("E-FILE", 3, "device or pipe"):
            data.read_image(path)
    for path in ("a\0b", "x" * 5000, ""):
        with refuses("E-FILE", 3):
            data.read_image(path)


def test_control_characters_in_names_are_not_shown(tmp_path, refuses):
    with refuses("E-FILE", 3, "?[31mred"):
        data.read_image(tmp_path / "\x1b[31mred")


def test_the_message_has_the_form_of_all_errors():
    error = data.InputRefused("E-X", "title", "a.h5:/y", "one\ntwo", "three", "", exit_code=7)
    assert str(error) == (
        "error E-X: title\n  where     a.h5:/y\n  found     one\n            two\n"
        "  expected  three\n  fix       -"
    )
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.exit_code == 7
