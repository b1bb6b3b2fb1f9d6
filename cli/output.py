"""Where results go: one process at a time, and a failure leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import data
from cli.errors import RESOURCES
from data.errors import InputRefused

LOCK = ".recon.lock"
ROOM = 2**25  # bytes that a small result with its report takes


@contextmanager
def folder(path: Path, overwrite: bool, inputs: list[Path | None], resume: bool = False) -> Iterator[Path]:
    """The output folder, checked, made and locked; if the body fails, folders made here go again where empty.

    Args:
        overwrite, resume: whether a filled folder is taken.
        inputs: files that are read (None: not given); none of them may be the output.
    """
    refuse_locked(path)
    data.output_folder(path, overwrite, resume, [source for source in inputs if source is not None], ROOM)
    made = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        with (path / LOCK).open("a") as stream:
            if not take(stream):
                raise locked(path)
            try:
                yield path
            finally:
                (path / LOCK).unlink(missing_ok=True)
    except BaseException:
        with suppress(OSError):  # a folder that holds something stays
            for place in made:
                place.rmdir()
        raise


def refuse_locked(path: Path) -> None:
    """Refuses a folder in which another process works; the lock of a process that died is removed."""
    lock = path / LOCK
    if lock.is_file():
        with lock.open("a") as stream:
            if not take(stream):
                raise locked(path)
            lock.unlink()


def take(stream: IO[str]) -> bool:
    """Whether the lock file could be locked; the system frees it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def locked(path: Path) -> InputRefused:
    return InputRefused(
        "E-LOCKED",
        "another recon process writes here",
        str(path),
        f"{LOCK} is held",
        "an output of one process",
        "wait for it to end, or choose another -o",
        exit_code=RESOURCES,
    )
