"""Priors as files: one safetensors file, whose metadata holds one JSON header. Nothing here can execute code.

A flipped bit anywhere in the file is refused: the header stores the SHA-256 of the tensors and is itself hashed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from data.errors import InputRefused
from data.outputs import atomic_file
from data.priors import FORMAT, prior_header, prior_path, stored_header
from recon.networks import NETWORKS
from recon.prior import Prior, ScorePrior, Units
from recon.sde import SDES


@contextmanager
def plainly(kind: type[Exception]) -> Iterator[None]:
    """A refusal of the file readers as the plain exception that this package promises, in the same words."""
    try:
        yield
    except InputRefused as refusal:
        raise kind(refusal.sentence) from None


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Save tensors and a JSON header as one safetensors file, atomically, with hashes of both."""
    tensors = {
        name: tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = {"format": FORMAT, **header, "sha256": fingerprint(tensors)}
    text = json.dumps(header, sort_keys=True)
    content = save(tensors, {"recon": text, "recon_sha256": hashlib.sha256(text.encode()).hexdigest()})
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Load what `write_tensors` saved; ValueError when the file is not whole and unaltered."""
    with plainly(ValueError):
        header = stored_header(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if fingerprint(tensors) != header.get("sha256"):
        raise ValueError(f"got {path} with altered weights; expected its stored hash; copy the file again")
    return tensors, header


def save_prior(path: str | Path, prior: ScorePrior, *, half: bool = True) -> None:
    """Write a prior: weights (half precision unless told otherwise) and the header that rebuilds it."""
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in prior.network.state_dict().items()
    }
    sde = {
        "name": next(name for name, kind in SDES.items() if isinstance(prior.sde, kind)),
        **dataclasses.asdict(prior.sde),
    }
    write_tensors(
        Path(path),
        tensors,
        {
            **prior.header,
            "name": prior.name,
            "shape": list(prior.shape),
            "data_std": prior.data_std,
            "sde": sde,
            "units": dataclasses.asdict(prior.units),
        },
    )


def load_prior(name: str | Path, device: torch.device | str = "cpu") -> Prior:
    """A prior by its bundled name, its file, or the folder that `recon train` wrote; ready to use, not training.

    Raises:
        FileNotFoundError: there is no such prior; the message lists the bundled names.
        ValueError: the file is altered, truncated, of another kind, or does not fit the network it names.
    """
    with plainly(FileNotFoundError):
        path = prior_path(name)
    with plainly(ValueError):
        prior_header(path)
    tensors, header = read_tensors(path)
    network = NETWORKS[header["network"]["name"]](**header["network"]["arguments"])
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except RuntimeError as error:
        raise ValueError(f"got {path}, whose weights do not fit its network: {error}; copy the file again") from None
    sde = dict(header["sde"])
    prior = ScorePrior(
        network,
        tuple(header["shape"]),
        SDES[sde.pop("name")](**sde),
        header["data_std"],
        Units(**header["units"]),
        header.get("name", path.stem),
        header,
    )
    return prior.to(device).eval().requires_grad_(False)
