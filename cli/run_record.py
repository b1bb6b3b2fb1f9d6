"""What one command did: settings, inputs, times, notes; shown on stderr as it goes, kept in `run.json`."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data.outputs import atomic_file

PACKAGES = ("recon", "torch", "numpy", "scipy", "scikit-image", "h5py", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


class Run:
    """The record of one command.

    Args:
        command: the verb.
        settings: the resolved settings, plain values only.
    """

    def __init__(self, command: str, settings: dict[str, Any]) -> None:
        self.command = command
        self.settings = {key: plain(value) for key, value in settings.items() if value is not None}
        self.inputs: dict[str, str] = {}
        self.notes: list[str] = []
        self.timings: dict[str, float] = {}
        self.started = time.time()

    def begin(self, **resolved: Any) -> None:
        """Adds settings that became known only now, and shows them all before long work, on a terminal."""
        self.settings |= {key: plain(value) for key, value in resolved.items() if value not in (None, {})}
        if sys.stderr.isatty():
            shown = " · ".join(f"{key} {value}" for key, value in self.settings.items())
            print(f"recon {self.command}: {shown}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Something the user should know: on stderr now, in the record later."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}", file=sys.stderr)

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """What the library warns of inside the body becomes a note."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", RuntimeWarning)
            warnings.showwarning = lambda message, *place: self.note(str(message))
            yield

    def hash_inputs(self, paths: Iterable[Path | None]) -> None:
        """Keeps the SHA-256 of every file that the result depends on."""
        from data import sha256

        self.inputs |= {str(path): sha256(path) for path in paths if path is not None}

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Adds the wall-clock seconds of its body to `timings[name]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = round(self.timings.get(name, 0.0) + time.perf_counter() - start, 3)

    def record(self, **results: Any) -> dict[str, Any]:
        """Everything known about the run, ready for JSON."""
        canonical = json.dumps({"command": self.command, **self.settings}, sort_keys=True)
        return {
            "command": self.command,
            "arguments": sys.argv[1:],
            "settings": self.settings,
            "settings_sha256": hashlib.sha256(canonical.encode()).hexdigest(),
            "inputs_sha256": self.inputs,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started)),
            "seconds": round(time.time() - self.started, 3),
            "timings_s": self.timings,
            "peak_memory_mb": peak_memory_mb(),
            "versions": versions(),
            "machine": {
                "system": platform.platform(),
                "processor": platform.machine(),
                "cores": os.cpu_count(),
            },
            "notes": self.notes,
            **{key: plain(value) for key, value in results.items()},
        }


def save(folder: Path, record: dict[str, Any]) -> None:
    """Writes `run.json` into `folder`."""
    with atomic_file(folder / "run.json") as temporary:
        temporary.write_text(document(record) + "\n")


def document(record: dict[str, Any]) -> str:
    """A record as JSON, which knows no infinity: such a number is null, and `not_finite` says where and what it was."""
    lost: dict[str, str] = {}
    whole = finite(record, "", lost)
    return json.dumps({**whole, "not_finite": lost} if lost else whole, indent=2, allow_nan=False)


def finite(value: Any, place: str, lost: dict[str, str]) -> Any:
    """`value` with None for every number that is not finite; `lost` gets its place, "scores/mean/psnr", and the number.

    Args:
        value: as JSON knows it, but for such numbers.
        place: of the value in the whole.
        lost: is filled.
    """
    if isinstance(value, dict):
        return {key: finite(item, f"{place}/{key}".lstrip("/"), lost) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item, f"{place}/{index}", lost) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        lost[place] = str(value)
        return None
    return value


def show(record: dict[str, Any], as_json: bool, lines: list[object]) -> None:
    """A command's result on stdout: the whole record as JSON, or the lines that a person wants."""
    print(document(record) if as_json else "\n".join(str(line) for line in lines))


def plain(value: Any) -> Any:
    """`value` as JSON knows it: paths and devices as text, arrays as lists."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def peak_memory_mb() -> float | None:
    """Largest resident size of this process, where the system tells."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
