"""Where results go: refused before any work, nothing created by asking, never half a file."""

from __future__ import annotations

import errno
import os

import pytest

import data


def test_new_and_empty_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert data.output_folder(path) == path
    assert data.output_file(tmp_path / "a" / "r.h5") == tmp_path / "a" / "r.h5"
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]  # asking creates nothing


def test_a_filled_folder(tmp_path, refuses):
    (tmp_path / "old.png").touch()
    with refuses("E-OUTPUT", 2, "old.png", "--overwrite", "--resume"):
        data.output_folder(tmp_path, resume=False)
    with refuses("E-OUTPUT", 2, "fix       --overwrite to replace results in it, or another -o"):
        data.output_folder(tmp_path)  # of these results no run can go on
    assert (
        data.output_folder(tmp_path, overwrite=True) == data.output_folder(tmp_path, resume=True) == tmp_path
    )
    assert (tmp_path / "old.png").exists()
    (tmp_path / "old.png").rename(tmp_path / ".hidden")
    with refuses("E-OUTPUT", 2):
        data.output_folder(tmp_path)


def test_nothing_to_resume(tmp_path, refuses):
    for path in (tmp_path, tmp_path / "new"):
        with refuses("E-OUTPUT", 3, "nothing to resume", "without --resume"):
            data.output_folder(path, resume=True)


def test_an_existing_file(tmp_path, refuses):
    (tmp_path / "r.h5").write_text("abc")
    with refuses("E-OUTPUT", 2, "3 bytes", "--overwrite"):
        data.output_file(tmp_path / "r.h5")
    assert data.output_file(tmp_path / "r.h5", overwrite=True)
    with refuses("E-OUTPUT", 2, "a folder"):
        data.output_file(tmp_path, overwrite=True)
    with refuses("E-OUTPUT", 2, "a file"):
        data.output_folder(tmp_path / "r.h5", overwrite=True)


def test_the_output_is_the_input_by_whatever_name(tmp_path, refuses):
    scan = tmp_path / "scan.h5"
    scan.write_text("abc")
    (tmp_path / "link.h5").symlink_to(scan)
    os.link(scan, tmp_path / "hard.h5")
    for name in ("scan.h5", "link.h5", "hard.h5", "../" + tmp_path.name + "/scan.h5"):
        with refuses("E-OUTPUT", 2, "is the input"):
            data.output_file(tmp_path / name, overwrite=True, inputs=[scan])
    with refuses("E-OUTPUT", 2, "is the input"):
        data.output_folder(tmp_path, overwrite=True, inputs=[tmp_path])
    assert scan.read_text() == "abc"


def test_the_disk_is_too_small(tmp_path, refuses):
    with refuses("E-DISK", 5, "bytes free", f"{2**60} needed"):
        data.output_folder(tmp_path / "a" / "b", needed_bytes=2**60)
    with refuses("E-DISK", 5):
        data.output_file(tmp_path / "r.h5", needed_bytes=2**60)


def test_read_only(tmp_path, refuses, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser of a test may write anywhere
    with refuses("E-OUTPUT", 5, "cannot be written"):
        data.output_folder(tmp_path / "a")
    with refuses("E-OUTPUT", 5, "cannot be written"):
        data.output_file(tmp_path / "r.h5")


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc on this system")
def test_a_place_that_looks_open_but_takes_no_file(refuses):
    with refuses("E-OUTPUT", 5, "/proc/r.h5"), data.atomic_file("/proc/r.h5"):
        pytest.fail("the work began")


def test_below_a_file(tmp_path, refuses):
    (tmp_path / "file").touch()
    with refuses("E-OUTPUT", 5), data.atomic_file(tmp_path / "file" / "r.h5"):
        pass


def test_atomic_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "r.txt"
    with data.atomic_file(path) as temporary:
        temporary.write_text("first")
        assert temporary.parent == path.parent and temporary.suffix == ".txt" and not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(RuntimeError), data.atomic_file(path) as temporary:
        temporary.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first" and [p.name for p in path.parent.iterdir()] == ["r.txt"]


@pytest.mark.parametrize(
    "number, code", [(errno.ENOSPC, "E-DISK"), (errno.EDQUOT, "E-DISK"), (errno.EROFS, "E-OUTPUT")]
)
def test_the_disk_fills_while_writing(tmp_path, refuses, number, code):
    (tmp_path / "r.txt").write_text("old")
    with refuses(code, 5, "r.txt"), data.atomic_file(tmp_path / "r.txt") as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert [p.name for p in tmp_path.iterdir()] == ["r.txt"] and (tmp_path / "r.txt").read_text() == "old"


def test_a_folder_that_holds_an_input_is_not_overwritten(tmp_path, refuses):
    """A result could be of the input's name, or the record of an earlier run could list it as one to go."""
    (tmp_path / "d").mkdir()
    source = tmp_path / "d" / "mean.png"
    source.touch()
    with refuses("E-OUTPUT", 2, "holds the input", "another -o"):
        data.output_folder(tmp_path / "d", overwrite=True, inputs=[source])
    assert data.output_folder(tmp_path / "d", overwrite=True, inputs=[tmp_path / "x.png"]) == tmp_path / "d"
    assert data.output_folder(tmp_path / "d", resume=True, inputs=[source]) == tmp_path / "d"


def test_nothing_is_made_below_a_file(tmp_path, refuses):
    (tmp_path / "slice.png").touch()
    with refuses("E-OUTPUT", 5, "slice.png"):
        data.output_folder(tmp_path / "slice.png" / "out")
    with refuses("E-OUTPUT", 5, "slice.png"):
        data.output_file(tmp_path / "slice.png" / "out.h5")
