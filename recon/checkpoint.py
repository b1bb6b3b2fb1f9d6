"""Priors as files: one safetensors file, whose metadata holds one JSON header. Nothing here can execute code.

A flipped bit anywhere in the file is refused: the header stores the SHA-256 of the tensors and is itself hashed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from recon.foreign import diffusers_folder, load_diffusers
from recon.networks import NETWORKS
from recon.prior import Prior, ScorePrior, Units
from recon.sde import SDES

FORMAT = 1
BUNDLED = Path(__file__).resolve().parent.parent / "data" / "priors"


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, then replace: the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)  # the only way to read it
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Save tensors and a JSON header as one safetensors file, atomically, with hashes of both."""
    tensors = {
        name: tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = {"format": FORMAT, **header, "sha256": fingerprint(tensors)}
    text = json.dumps(header, sort_keys=True)
    write_atomically(path, save(tensors, {"recon": text, "recon_sha256": hashlib.sha256(text.encode()).hexdigest()}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Load what `write_tensors` saved; ValueError when the file is not whole and unaltered."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(
            f"got {path}, which is no whole safetensors file ({error}); expected a prior written by "
            "`recon train`; copy the file again from where it came"
        ) from None
    if "recon" not in metadata:
        raise ValueError(
            f"got {path} with metadata keys {sorted(metadata)}; expected the key 'recon'; "
            "only priors written by this toolkit are read"
        )
    text = metadata["recon"]
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get("recon_sha256"):
        raise ValueError(f"got {path} with an altered header; expected its stored hash; copy the file again")
    header = json.loads(text)
    if header["format"] != FORMAT:
        raise ValueError(f"got {path} in format {header['format']}; expected format {FORMAT}; update recon")
    if fingerprint(tensors) != header["sha256"]:
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


def bundled_priors() -> dict[str, Path]:
    """Names and files of the priors that come with the package."""
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors"))}


def load_prior(name: str | Path, device: torch.device | str = "cpu", precision: str = "float32") -> Prior:
    """A prior by its bundled name, its file, or the folder that `recon train` wrote; ready to use, not training.

    A folder of the library diffusers is one too, see `recon.foreign.load_diffusers`, which takes more settings.

    Args:
        name: bundled, or a path.
        device: where its network computes.
        precision: what it computes in, "float32" or "bfloat16": faster where the device is made for it.

    Raises:
        FileNotFoundError: there is no such prior; the message lists the bundled names.
        ValueError: the file is altered, truncated, of another kind, or does not fit the network it names; or the
            precision is unknown.
    """
    path = bundled_priors().get(str(name), Path(name))
    if (foreign := diffusers_folder(path)) is not None:
        return load_diffusers(foreign, precision=precision).to(device)
    path = path / "prior.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"got prior {str(name)!r}; expected a file, a folder with prior.safetensors or of diffusers, or one "
            f"of {sorted(bundled_priors())}"
        )
    if path.suffix != ".safetensors":
        raise ValueError(f"got {path}; expected a .safetensors file; other formats can execute code and are not opened")
    tensors, header = read_tensors(path)
    missing = {"network", "sde", "units", "shape", "data_std"} - set(header)
    if missing:
        raise ValueError(
            f"got {path} without {sorted(missing)} in its header; expected a prior, not another checkpoint"
        )
    kind, *arguments = header["network"]["name"], header["network"]["arguments"]
    network = NETWORKS[kind](**arguments[0])
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
        precision,
    )
    return prior.to(device).eval().requires_grad_(False)
