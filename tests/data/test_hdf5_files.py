"""HDF5 files that are broken, point outside themselves, claim too much, or hold something else."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest

import data

READS = [
    data.read_image,
    data.read_images,
    data.read_measurement,
    data.read_result,
    data.is_measurement,
    data.has_subsets,
]
SECRET = b"root:x:0:0"


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated_files_name_both_sizes(tmp_path, refuses, libver, userblock, share):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (9, 32, 32), dtype=np.uint8)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    for read in READS:
        with refuses("E-FORMAT", 3, "truncated", f"{int(share * len(whole))} bytes", f"{len(whole)} bytes"):
            read(path)


@pytest.mark.parametrize("length", [8, 9, 20, 40])
def test_a_torn_superblock(tmp_path, refuses, length):
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["images"] = np.zeros((1, 4, 4))
    (tmp_path / "a.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:length])
    with refuses("E-FORMAT", 3, f"{length} bytes"):
        data.read_images(tmp_path / "a.h5")


def test_garbage_behind_the_signature(tmp_path, refuses):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    with refuses("E-FORMAT", 3):
        data.read_images(tmp_path / "a.h5")


def outside(path, where, kind):
    """Adds to a file something of a kind that points at `path`."""
    if kind == "external link":
        where["more/link"] = h5py.ExternalLink(str(path), "/images")
    elif kind == "external storage":
        where.create_dataset("more/raw", (10,), "u1", external=[(str(path), 0, 10)])
    else:
        layout = h5py.VirtualLayout((1, 4, 4), "u1")
        layout[:] = h5py.VirtualSource(str(path), "images", (1, 4, 4))
        where.create_virtual_dataset("more/virtual", layout)


@pytest.mark.parametrize("kind", ["external link", "external storage", "virtual dataset"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_files_that_point_outside_themselves(tmp_path, refuses, kind, libver):
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.full((1, 4, 4), 7, np.uint8)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["images"] = np.zeros((1, 4, 4), np.uint8)
        outside(tmp_path / ("secret" if kind == "external storage" else "other.h5"), file, kind)
    for read in READS:
        with refuses("E-UNSAFE", 7, "a.h5:/more/", "nothing read"):
            read(path)


@pytest.mark.parametrize("kind", ["external link", "virtual dataset"])
def test_the_images_themselves_lie_outside(tmp_path, refuses, kind):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.full((1, 4, 4), 7, np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        outside(tmp_path / "other.h5", file, kind)
        file.move("more/link" if kind == "external link" else "more/virtual", "images")
    with refuses("E-UNSAFE", 7, ":/images", "other.h5" if kind == "external link" else "virtual"):
        data.read_images(tmp_path / "a.h5")


def test_loops_and_dangling_soft_links_do_no_harm(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((1, 4, 4), np.uint8)
        file.create_group("g")["loop"] = file["/"]
        file["nowhere"] = h5py.SoftLink("/not/there")
        file["self"] = h5py.SoftLink("/self")
    assert data.read_images(tmp_path / "a.h5").values.shape == (1, 1, 4, 4)


def test_thousands_of_objects_are_not_walked(tmp_path, refuses):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        group = file.create_group("g")
        for i in range(2_001):
            group[f"s{i}"] = h5py.SoftLink("/x")
    with refuses("E-LIMIT", 7, "2000"):
        data.read_images(tmp_path / "a.h5")


def test_a_trillion_elements_in_two_kilobytes(tmp_path, refuses):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (10**6, 1000, 1000), "u1", chunks=(1, 100, 100))
    assert (tmp_path / "a.h5").stat().st_size < 4096
    for read in (data.read_image, data.read_images):
        with refuses("E-LIMIT", 7, "1000000000000", "--max-pixels"):
            read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["recon_format"] = 1
        file.create_dataset("y", (10**6, 1000, 1000), "f4", chunks=(1, 100, 100))
        file.create_group("operator"), file.create_group("noise")
    with refuses("E-LIMIT", 7, "b.h5:/y"):
        data.read_measurement(tmp_path / "b.h5")


def test_one_huge_chunk(tmp_path, refuses):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (1, 4, 4), "u1", maxshape=(None, 4, 4), chunks=(2**27, 4, 4))
    with refuses("E-LIMIT", 7):
        data.read_images(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "keys, closest, fix",
    [
        (("kspace", "reconstruction_rss"), "fastMRI", "images"),
        (("Images",), "", "rename 'Images' to 'images'"),
        (("image",), "", "rename 'image' to 'images'"),
        (("x_train", "y_train"), "deepinv", "images"),
        (("data",), "LoDoPaB", "images"),
        (("reconstruction", "mean"), "recon result", "use it where one is expected"),
        ((), "", "images"),
        (tuple(f"key{i:02}" for i in range(30)), "and 10 more", "images"),
    ],
)
def test_wrong_layout_names_the_keys_and_the_closest(tmp_path, refuses, keys, closest, fix):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key in keys:
            file[key] = np.zeros((2, 2))
    with refuses("E-LAYOUT", 3, ", ".join(sorted(keys)[:20]) or "none", closest, fix, "fastMRI"):
        data.read_images(tmp_path / "a.h5")
    with refuses("E-LAYOUT", 3, "y, operator, noise"):
        data.read_measurement(tmp_path / "a.h5")


def test_images_that_are_no_numbers(tmp_path, refuses):
    for name, value in {"a": "text", "b": np.array([b"x"]), "c": h5py.Empty("f4")}.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["images"] = value
        with refuses("E-FORMAT", 3, "/images"):
            data.read_images(tmp_path / f"{name}.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_group("images")
    with refuses("E-FORMAT", 3, "a group"):
        data.read_images(tmp_path / "d.h5")


def test_a_file_that_another_process_has_open_for_writing(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((1, 4, 4), np.uint8)
        file.flush()
        program = f"import data; print(data.read_images({str(tmp_path / 'a.h5')!r}).values.shape)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 1, 4, 4)", done.stderr
