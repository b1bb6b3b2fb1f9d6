"""Where results go: an output is new, or replaced on purpose; one process at a time; nothing is left behind by a failure."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import RESOURCES, USAGE
from data.errors import InputRefused

LOCK = ".recon.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` against other recon processes; the lock goes with the process, however that ends."""
    path = folder / LOCK
    stream = path.open("a+")
    try:
        if not take(stream):
            raise InputRefused(
                "E-LOCKED",
                "another recon process writes here",
                str(folder),
                f"lock {path} is held",
                "an output of one process",
                "wait for it to end, or choose another -o",
                exit_code=RESOURCES,
            )
        yield
        path.unlink(missing_ok=True)
    finally:
        stream.close()


def take(stream) -> bool:
    """Whether the lock file could be locked; where the system has no such locks it always can."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def file(path: Path, overwrite: bool, inputs: list[Path]) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` when the body succeeds, and goes when it fails."""
    check_file(path, overwrite, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".recon-", dir=path.parent))
    try:
        yield beside / path.name
        os.replace(beside / path.name, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_file(path: Path, overwrite: bool, inputs: list[Path]) -> None:
    """Refuses an output file that exists, is an input, is a folder, or lies where nothing may be written."""

    def refuse(title: str, found: str, fix: str) -> InputRefused:
        return InputRefused("E-OUTPUT", title, f"-o {path}", found, "a new file", fix, exit_code=USAGE)

    if any(path.resolve() == source.resolve() for source in inputs):
        raise refuse(
            "the output is the input", "the same file", "choose another -o; inputs are never modified"
        )
    if path.is_dir():
        raise refuse("the output is a folder", "a folder", f"-o {path / 'scan.h5'}")
    if path.exists() and not overwrite:
        raise refuse(
            "the output exists", f"a file of {path.stat().st_size} bytes", "--overwrite, or another -o"
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise refuse(
            "nothing can be written there", f"{parent} is read-only or no folder", "choose another -o"
        )
