"""The state of a training run on disk: weights, averaged weights, optimiser, step; one safetensors file, never
pickle.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from recon.checkpoint import read_tensors, write_tensors

MAY_CHANGE = ("steps", "hours", "save_minutes")  # settings that a resumed run may have otherwise


def save(
    path: Path, parts: dict[str, nn.Module], optimiser: torch.optim.Optimizer, config: dict, step: int, seconds: float
) -> None:
    """Write networks by name, the optimiser, the settings and how far the run has come, atomically and with hashes."""
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    for index, entry in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in entry.items()}
    write_tensors(path, tensors, {"config": config, "step": step, "seconds": seconds})


def restore(
    path: Path, parts: dict[str, nn.Module], optimiser: torch.optim.Optimizer, config: dict, defaults: dict
) -> tuple[int, float]:
    """Load what `save` wrote into the same objects; returns (step, seconds).

    A setting that the file does not know, being older, counts as its value in `defaults`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is altered, or its settings differ from `config` in more than `MAY_CHANGE`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"got resume, but {path} does not exist; expected the folder of an earlier run; train without resume"
        )
    tensors, header = read_tensors(path)
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
        part.load_state_dict(under(name))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in under("optimiser").items():
        index, entry = key.split(".", 1)
        state.setdefault(int(index), {})[entry] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return header["step"], header["seconds"]


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
