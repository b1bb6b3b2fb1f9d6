"""The state of a training run on disk: weights, averaged weights, optimiser, step; one safetensors file, never
pickle. The state before it stays beside it, should the file be damaged later.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from recon.checkpoint import read_tensors, write_tensors

MAY_CHANGE = ("steps", "hours", "save_minutes")  # settings that a resumed run may have otherwise


def save(
    path: Path, parts: dict[str, nn.Module], optimiser: torch.optim.Optimizer, config: dict, progress: dict
) -> None:
    """Write networks by name, the optimiser, the settings and how far the run has come, atomically and with hashes.

    What stood there before is kept under the name that `earlier` gives.
    """
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    for index, entry in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in entry.items()}
    if path.exists():
        second(path, earlier(path))
    write_tensors(path, tensors, {"config": config, **progress})


def earlier(path: Path) -> Path:
    """Where the state before that of `path` is kept."""
    return path.with_stem(f"{path.stem}-before")


def second(path: Path, name: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)


def read_last_good(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and header of a state, or where it is damaged, with a warning, of the one before it."""
    try:
        return read_tensors(path)
    except ValueError as problem:
        if not earlier(path).is_file():
            raise
        tensors, header = read_tensors(earlier(path))
        warnings.warn(f"{problem}; going on from the state before it, at step {header['step']}", stacklevel=3)
        return tensors, header


def restore(
    path: Path, parts: dict[str, nn.Module], optimiser: torch.optim.Optimizer, config: dict, defaults: dict
) -> dict:
    """Load what `save` wrote into the same objects; returns its header with the progress.

    A setting that the file does not know, being older, counts as its value in `defaults`; a part that it does not have
    stays as it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is altered and none is left from before, or its settings differ from `config` in more than
            `MAY_CHANGE`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"got resume, but {path} does not exist; expected the folder of an earlier run; train without resume"
        )
    tensors, header = read_last_good(path)
    known = {**defaults, **header["config"]}
    was, now = ({k: v for k, v in json.loads(json.dumps(c)).items() if k not in MAY_CHANGE} for c in (known, config))
    differing = sorted(k for k in was.keys() | now.keys() if was.get(k) != now.get(k))
    if differing:
        raise ValueError(
            f"got settings {differing} other than those of {path}; expected the same ones but for {list(MAY_CHANGE)}; "
            "train anew into another folder"
        )

    def under(prefix: str) -> dict[str, Tensor]:
        return {key[len(prefix) + 1 :]: value for key, value in tensors.items() if key.startswith(prefix + ".")}

    for name, part in parts.items():
        if found := under(name):
            part.load_state_dict(found)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in under("optimiser").items():
        index, entry = key.split(".", 1)
        state.setdefault(int(index), {})[entry] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return header


def append(path: Path, record: dict) -> None:
    """Add one line of JSON to a log."""
    with path.open("a") as stream:
        stream.write(json.dumps(record) + "\n")


def lines(path: Path) -> list[dict]:
    """The records of a log; a last line that a killed process has torn is left out."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def skipped_steps(path: Path, last: int) -> list[int]:
    """The steps up to `last` that a log says were skipped."""
    return sorted({entry["step"] for entry in lines(path) if entry.get("skipped") and entry["step"] <= last})
