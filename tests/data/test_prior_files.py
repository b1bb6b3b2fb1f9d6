"""Prior files: whatever can carry code is named and not run; what is broken or no prior says so."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

import data
from data.priors import KEYS

HEADER = {
    "format": 1, "name": "toy", "network": {"name": "unet", "arguments": {}}, "sde": {"name": "vp"},
    "shape": [1, 8, 8], "units": {"scale": 0.5, "shift": 0.5, "name": "[0,1]"}, "data_std": 0.25,
    "sha256": "0" * 64,
}  # fmt: skip
TENSORS = {"weight": np.arange(12, dtype=np.float32)}


def prior(header=HEADER, **metadata):
    text = header if isinstance(header, str) else json.dumps(header)
    return save(
        TENSORS, {"recon": text, "recon_sha256": hashlib.sha256(text.encode()).hexdigest(), **metadata}
    )


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def dangerous(kind, canary):
    """A file of a kind that can carry code, with the canary in it."""
    if kind.startswith("pickle"):
        return pickle.dumps({"weights": Canary(canary)}, protocol=int(kind[-1]))
    names = {
        "pt": ["archive/data.pkl", "archive/version"],
        "torchscript": ["model/data.pkl", "model/constants.pkl", "model/code/__torch__.py", "model/version"],
        "pt2": ["archive_format", "data/weights/weights_config.json", "models/model.json"],
        "old pt2": ["serialized_exported_program.json", "version", "serialized_state_dict.pt"],
    }[kind]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, pickle.dumps(Canary(canary)) if name.endswith("pkl") else b"1")
    return stream.getvalue()


KINDS = [*(f"pickle {protocol}" for protocol in range(6)), "pt", "torchscript", "pt2", "old pt2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.pkl", "a.pt", "a.pt2", "a.safetensors"])
def test_code_is_refused_and_never_run(tmp_path, refuses, kind, name):
    (tmp_path / name).write_bytes(dangerous(kind, tmp_path / "canary"))
    with refuses("E-UNSAFE", 7, name, "not opened", "safetensors"):
        data.prior_header(tmp_path / name)
    for read in (data.read_image, data.read_images, data.read_measurement):
        with refuses("E-UNSAFE", 7, name):
            read(tmp_path / name)
    assert not (tmp_path / "canary").exists() and len(list(tmp_path.iterdir())) == 1


def test_the_canary_sings_when_unpickled(tmp_path):
    pickle.loads(dangerous("pickle 2", tmp_path / "canary"))["weights"].close()
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_files_of_torch_itself(tmp_path, refuses, legacy):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    with refuses("E-UNSAFE", 7, "weights_only=True" if not legacy else "safetensors"):
        data.prior_header(tmp_path / "a.pt")


def test_a_whole_prior(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(prior())
    assert data.prior_header(tmp_path / "a.safetensors") == HEADER


@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.99])
def test_truncated(tmp_path, refuses, share):
    content = prior()
    (tmp_path / "a.safetensors").write_bytes(content[: int(share * len(content))])
    with refuses("E-PRIOR", 3, f"{int(share * len(content))} bytes"):
        data.prior_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize("key", KEYS)
def test_missing_keys_are_named(tmp_path, refuses, key):
    header = {k: v for k, v in HEADER.items() if k != key}
    (tmp_path / "a.safetensors").write_bytes(prior(header))
    with refuses("E-PRIOR", 3, f"without {key}", *header):
        data.prior_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content, words",
    [
        (save(TENSORS), "no keys"),
        (save(TENSORS, {"format": "pt"}), "the key 'recon'"),
        (prior(recon_sha256="0" * 64), "does not match its hash"),
        (prior("{"), "no JSON"),
        (prior("[1]"), "type list"),
        (prior({**HEADER, "format": 2}), "format 2"),
        (prior({}), "format None"),
        (prior().replace(b"toy", b"boy"), "does not match its hash"),
        (b"<html><body>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "0 bytes"),
    ],
)
def test_what_is_no_prior(tmp_path, refuses, content, words):
    (tmp_path / "a.safetensors").write_bytes(content)
    with refuses("E-PRIOR", 3, words):
        data.prior_header(tmp_path / "a.safetensors")


def test_images_and_measurements_are_no_priors(tmp_path, refuses):
    with refuses("E-PRIOR", 3, "PNG"):
        data.prior_header(data.sample_path("headct-1"))
    data.write_images(tmp_path / "a.h5", np.zeros((1, 1, 4, 4)))
    with refuses("E-PRIOR", 3, "HDF5"):
        data.prior_header(tmp_path / "a.h5")


def test_by_name_by_file_by_folder(tmp_path, refuses):
    for name, path in data.bundled_priors().items():
        assert data.prior_path(name) == path and data.prior_header(path)["name"]
    (tmp_path / "prior.safetensors").write_bytes(prior())
    assert data.prior_path(tmp_path) == data.prior_path(tmp_path / "prior.safetensors")
    with refuses("E-PRIOR", 3, "no-such", "recon train"):
        data.prior_path("no-such")
    with refuses("E-FILE", 3, "did you mean", "prior.safetensors"):
        data.prior_path(tmp_path / "prior.safetensor")
