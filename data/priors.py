"""Priors as files: which come with the package, and what a file says of itself, without loading a network.

A prior is a safetensors file, which holds numbers and text and cannot hold code. Whatever can hold code
(pickles, `.pt`, `.pt2`, TorchScript) is recognised by its bytes and never handed to what would run it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from data.errors import InputRefused, first_line
from data.foreign import is_model_folder, model_header, model_weights
from data.kinds import DANGEROUS, describe, sniff
from data.paths import existing_file, nearest

FOLDER = Path(__file__).parent / "priors"
FORMAT = 1
KEYS = ("name", "network", "sde", "units", "shape", "data_std", "sha256")
RECIPES = {
    "pickle": "load it in the repository it is from, and save its weights with safetensors.torch.save_file",
    "torch": "torch.load(file, weights_only=True) where it was made, then safetensors.torch.save_file",
    "torchscript": "take the weights from the training code that made it, and save them with safetensors",
    "pt2": "take the weights from the training code that made it, and save them with safetensors",
}


def bundled_priors() -> dict[str, Path]:
    """Names and files of the priors that come with the package."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def prior_path(name: str | os.PathLike[str]) -> Path:
    """The file of a prior: a bundled name, a file, the folder that a training run wrote, or one of diffusers.

    Raises:
        InputRefused: E-PRIOR when a name is not known (the nearest are given); E-FILE for a path to nowhere.
    """
    bundled, path = bundled_priors(), Path(name)
    if str(name) in bundled:
        return bundled[str(name)]
    if path.is_dir():
        if is_model_folder(path):
            return model_weights(path)
        return existing_file(path / "prior.safetensors")
    if path.exists() or path.suffix or len(path.parts) > 1:
        return existing_file(path)
    close = nearest(str(name), bundled)
    known = ", ".join(bundled) or "none in this installation"
    raise InputRefused(
        "E-PRIOR",
        "no such prior",
        str(name),
        "neither the name of a bundled prior nor a file",
        f"a .safetensors file, or one of: {known}",
        f"did you mean {' or '.join(close)}?" if close else "choose one of these, or train one: recon train",
    )


def prior_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a prior file: network, SDE, units, shape, provenance, training. Its weights are not read.

    Raises:
        InputRefused: E-UNSAFE (exit 7) for files that can carry code, nothing of them is run; E-PRIOR for
            what is no prior, is truncated or altered, or misses keys; E-FILE when there is no such file.
    """
    path = existing_file(path)
    kind = sniff(path)
    if kind in DANGEROUS:
        raise InputRefused(
            "E-UNSAFE",
            "this prior can carry code and was not opened",
            str(path),
            describe(kind, path),
            "a safetensors file, which holds numbers only",
            RECIPES[kind],
            exit_code=7,
        )
    if kind != "safetensors":
        raise refused(
            path, describe(kind, path), "a safetensors file", "check that this is the prior you meant"
        )
    if path.name.startswith("diffusion_pytorch_model") and (path.parent / "config.json").exists():
        return model_header(path.parent)
    header = stored_header(path)
    missing = [key for key in KEYS if key not in header]
    if missing:
        raise refused(
            path,
            f"a header without {', '.join(missing)} (it has {', '.join(sorted(header)) or 'nothing'})",
            "a header with " + ", ".join(KEYS),
            "use a prior that recon train has written",
        )
    return header


def stored_header(path: Path) -> dict[str, Any]:
    """The JSON header that recon stores in the metadata of its safetensors files, its hash and format verified.

    Raises:
        InputRefused: E-PRIOR for what is no such file, is truncated or altered, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    again = "copy or download the file again"
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as problem:
        found = f"{path.stat().st_size} bytes; the reader says: {first_line(problem)}"
        raise refused(
            path, found, "a whole safetensors file", f"{again}; it is cut off or altered"
        ) from problem
    if "recon" not in metadata:
        found = "safetensors metadata with " + (", ".join(sorted(metadata)[:20]) or "no keys")
        raise refused(path, found, "the key 'recon'", "use a prior that recon train has written")
    text = metadata["recon"]
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get("recon_sha256"):
        raise refused(path, "a header that does not match its hash", "an unaltered file", again)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise refused(
            path, f"a header that is no JSON: {first_line(problem)}", "a JSON header", again
        ) from problem
    if not isinstance(header, dict):
        raise refused(path, f"a header of type {type(header).__name__}", "a JSON object", again)
    if header.get("format") != FORMAT:
        found = f"format {header.get('format')!r}"
        raise refused(path, found, f"format {FORMAT}", "update recon, or train the prior again")
    return header


def refused(path: Path, found: str, expected: str, fix: str) -> InputRefused:
    return InputRefused("E-PRIOR", "not a usable prior", str(path), found, expected, fix)
