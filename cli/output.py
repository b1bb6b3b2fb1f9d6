"""Where results go: one process at a time, all files at once, and a failure leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import data
from cli.errors import RESOURCES
from data.errors import InputRefused

LOCK, STAGE = ".recon.lock", ".recon.part"
RECORD = "run.json"
ROOM = 2**25  # bytes that a small result with its report takes


@contextmanager
def folder(path: Path, overwrite: bool, inputs: list[Path | None]) -> Iterator[Path]:
    """A folder to write results into, which become those of `path` when the body succeeds and vanish when it fails.

    Arguments as for `claimed`.
    """
    with claimed(path, overwrite, inputs):
        stage = path / STAGE
        stage.mkdir()
        try:
            yield stage
            settle(stage, path)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def settle(stage: Path, path: Path) -> None:
    """Moves the new files to their place, the record last; files of the run that they replace are removed."""
    new = [file.relative_to(stage) for file in sorted(stage.rglob("*")) if file.is_file()]
    for old in set(recorded(path)) - set(new):
        with suppress(OSError):  # a folder that holds something stays
            (path / old).unlink()
            (path / old).parent.rmdir()
    for name in sorted(new, key=lambda name: name == Path(RECORD)):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage / name, path / name)


def recorded(path: Path) -> list[Path]:
    """The files that an earlier run has written into this folder, as its record says; none that lie outside of it."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        names = [Path(name) for name in json.loads((path / RECORD).read_text()).get("outputs", [])]
        return [name for name in names if (path / name).resolve().is_relative_to(path.resolve())]
    return []


@contextmanager
def claimed(path: Path, overwrite: bool, inputs: list[Path | None], resume: bool | None = None) -> Iterator[Path]:
    """The output folder, checked, made and locked; if the body fails, folders made here go again where empty.

    Args:
        overwrite, resume: whether a filled folder is taken; `resume` is None where no run can go on.
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
    """Refuses a folder in which another process works; what a process that died has left is removed."""
    lock = path / LOCK
    if lock.is_file():
        with lock.open("a") as stream:
            if not take(stream):
                raise locked(path)
            shutil.rmtree(path / STAGE, ignore_errors=True)
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
