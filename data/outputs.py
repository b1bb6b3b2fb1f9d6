"""Where results go: checked before any work starts, written so that a crash leaves no half file."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import InputRefused
from data.paths import listing

PathLike = str | os.PathLike[str]
FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


def output_folder(
    path: PathLike,
    overwrite: bool = False,
    resume: bool | None = None,
    inputs: Iterable[PathLike] = (),
    needed_bytes: int = 0,
) -> Path:
    """The folder for results, if it may be written: new, empty, or taken on purpose. Nothing is created.

    Args:
        overwrite: results in it may be replaced (other files stay).
        resume: it holds an earlier run that goes on; None for results of which no run can go on.
        inputs: files and folders that are read; none of them may be the output, or lie in what is replaced.
        needed_bytes: room that the results will take.

    Raises:
        InputRefused: E-OUTPUT, exit 2 when it is taken or is an input, 3 when there is nothing to resume, 5
            when it is read-only; E-DISK (exit 5) when the disk is too small.
    """
    path = Path(path)
    inputs = list(inputs)
    refuse_inputs(path, inputs)
    if overwrite:
        refuse_held(path, inputs)
    if path.exists() and not path.is_dir():
        raise refused("the output is a file", path, "a file", "a folder", "choose another -o")
    filled = path.is_dir() and any(path.iterdir())
    if resume and not filled:
        found = "an empty folder" if path.is_dir() else "no folder"
        raise refused("nothing to resume", path, found, "an earlier run", "start anew without --resume", 3)
    if filled and not (overwrite or resume):
        going_on = "" if resume is None else "--resume to go on, "
        raise refused(
            "the output folder is not empty",
            path,
            f"a folder holding {listing(path) or 'hidden files'}",
            "a new or empty folder",
            f"--overwrite to replace results in it, {going_on}or another -o",
        )
    refuse_closed(path, needed_bytes)
    return path


def output_file(
    path: PathLike, overwrite: bool = False, inputs: Iterable[PathLike] = (), needed_bytes: int = 0
) -> Path:
    """The file for a result, if it may be written; arguments and errors as for `output_folder`."""
    path = Path(path)
    refuse_inputs(path, inputs)
    if path.is_dir():
        raise refused("the output is a folder", path, "a folder", "a file", f"-o {path / 'result.h5'}")
    if path.exists() and not path.is_file():
        raise refused("the output is no file", path, "a device or pipe", "a file", "choose another -o")
    if path.exists() and not overwrite:
        found = f"a file of {path.stat().st_size} bytes"
        raise refused("the output exists", path, found, "a new file", "--overwrite, or another -o")
    refuse_closed(path, needed_bytes)
    return path


@contextmanager
def atomic_file(path: PathLike) -> Iterator[Path]:
    """A temporary path beside `path`: it becomes `path` when the body succeeds, and goes when it fails.

    Folders above are made. File and folder are flushed to the disk: not even a power cut leaves half a file.

    Raises:
        InputRefused: E-DISK when the disk is full, E-OUTPUT when nothing may be written there (exit 5).
    """
    path = Path(path)
    # the suffix tells writers the format
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        begin(temporary)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as problem:
        if problem.errno in FULL:
            raise disk_full(path, str(problem)) from problem
        if problem.errno in CLOSED:
            raise closed(path, str(problem)) from problem
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def begin(path: Path) -> None:
    """Makes the folders and an empty file, so that a place where none can be made shows before any work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.touch()
    except FileNotFoundError as problem:  # /proc and its like deny new files in these words
        raise PermissionError(errno.EACCES, problem.strerror, str(path)) from problem


def flush(path: Path) -> None:
    """Waits until the file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_inputs(path: Path, inputs: Iterable[PathLike]) -> None:
    """Refuses an output that is one of the inputs, by whatever name."""
    for source in map(Path, inputs):
        if path.resolve() == source.resolve() or (
            path.exists() and source.exists() and path.samefile(source)
        ):
            raise refused(
                "the output is the input",
                path,
                f"{source}, which is read",
                "another place",
                "choose another -o",
            )


def refuse_held(path: Path, inputs: Iterable[PathLike]) -> None:
    """Refuses to replace what is in a folder that holds an input: a result might be of its name."""
    for source in map(Path, inputs):
        if source.resolve().is_relative_to(path.resolve()):
            raise refused("the output folder holds the input", path, f"{source}, which is read",
                          "another folder", "choose another -o, or leave out --overwrite")  # fmt: skip


def refuse_closed(path: Path, needed_bytes: int) -> None:
    """Refuses a place that cannot be written or has too little room."""
    place = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    folder = place.parent if place == path.absolute() and place.is_file() else place
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise closed(path, f"{folder} cannot be written")
    disk = shutil.disk_usage(folder)
    if not disk.total:
        raise closed(path, f"{folder} is no place on a disk")
    if disk.free < needed_bytes:
        raise disk_full(path, f"{disk.free} bytes free, {needed_bytes} needed")


def disk_full(path: Path, found: str) -> InputRefused:
    fix = "free some space, or choose another -o"
    return InputRefused("E-DISK", "the disk is too small", str(path), found, "room for the result", fix, 5)


def closed(path: Path, found: str) -> InputRefused:
    return refused(
        "nothing can be written there", path, found, "a place that may be written", "another -o", 5
    )


def refused(title: str, path: Path, found: str, expected: str, fix: str, exit_code: int = 2) -> InputRefused:
    return InputRefused("E-OUTPUT", title, str(path), found, expected, fix, exit_code)
