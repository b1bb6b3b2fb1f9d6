"""Whatever the bytes are, a reader returns or refuses: no other exception, nothing written, nothing run."""

from __future__ import annotations

import hashlib
import io
import json

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

import data

READS = [
    data.sniff, data.read_image, data.read_images, lambda path: data.read_mask(path, (16, 16)),
    data.read_measurement, data.read_result, data.is_measurement, data.has_subsets, data.prior_header,
]  # fmt: skip
HEADS = [
    b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0", b"MM\0*", b"\x93NUMPY\x01\0v\0",
    b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x04", b"(dp0\n", b"RIFF",
    b"\x40\0\0\0\0\0\0\0{",
]  # fmt: skip
SOFT = settings(max_examples=40, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture])


def seeds():
    """One small whole file of every kind that is read, by name."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    found = {}
    for kind in ("png", "jpeg", "tiff"):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, kind)
        found[kind] = stream.getvalue()
    stream = io.BytesIO()
    tifffile.imwrite(stream, picture.astype(np.float32), compression="zlib")
    found["tiff float"] = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(picture).convert("P").save(stream, "png", transparency=3)
    found["palette"] = stream.getvalue()
    for kind, write in {"npy": np.save, "npz": np.savez_compressed}.items():
        stream = io.BytesIO()
        write(stream, picture)
        found[kind] = stream.getvalue()
    text = json.dumps({"format": 1})
    digest = hashlib.sha256(text.encode()).hexdigest()
    found["safetensors"] = save({"w": picture}, {"recon": text, "recon_sha256": digest})
    return found


SEEDS = seeds()


def try_all(path):
    """Every reader on one file; the folder is as before."""
    before = path.read_bytes()
    for read in READS:
        try:
            read(path)
        except data.InputRefused as error:
            assert str(error).count("\n") >= 4 and "Traceback" not in str(error)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


@SOFT
@given(head=st.sampled_from(HEADS), body=st.binary(max_size=300))
def test_random_bytes_behind_every_signature(tmp_path, head, body):
    (tmp_path / "a.bin").write_bytes(head + body)
    try_all(tmp_path / "a.bin")


@SOFT
@given(kind=st.sampled_from(sorted(SEEDS)), share=st.floats(0, 1))
def test_truncations(tmp_path, kind, share):
    content = SEEDS[kind]
    (tmp_path / "a.bin").write_bytes(content[: int(share * len(content))])
    try_all(tmp_path / "a.bin")


@SOFT
@given(kind=st.sampled_from(sorted(SEEDS)), draw=st.data())
def test_altered_bytes(tmp_path, kind, draw):
    content = bytearray(SEEDS[kind])
    for _ in range(draw.draw(st.integers(1, 4))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    (tmp_path / "a.bin").write_bytes(content)
    try_all(tmp_path / "a.bin")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The bytes of a whole measurement file."""
    path = tmp_path_factory.mktemp("scan") / "a.h5"
    operator = {"name": "ct", "parameters": {"shape": [4, 4], "angles": np.arange(3.0)}}
    y, x = np.ones((1, 1, 3, 5), np.float32), np.ones((1, 1, 4, 4), np.float32)
    data.write_measurement(path, y, operator, {"model": "gaussian", "sigma": 0.1}, x)
    return path.read_bytes()


@SOFT
@given(share=st.floats(0, 0.999))
def test_truncated_measurements(tmp_path, scan, share):
    (tmp_path / "a.h5").write_bytes(scan[: int(share * len(scan))])
    try_all(tmp_path / "a.h5")


@SOFT
@given(where=st.integers(0, 10**6), value=st.integers(0, 255))
def test_altered_measurements(tmp_path, scan, where, value):
    content = bytearray(scan)
    content[where % len(content)] = value
    (tmp_path / "a.h5").write_bytes(content)
    try_all(tmp_path / "a.h5")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@SOFT
@given(
    parameters=st.dictionaries(
        st.sampled_from(["shape", "angles", "mask", "detectors", "$dataset"]), VALUES, max_size=4
    ),
    name=st.sampled_from(["ct", "inpaint", "blur", ""]),
    sigma=st.floats() | st.text(st.characters(exclude_characters="\0"), max_size=3),  # HDF5 ends texts there
    shape=st.lists(st.integers(0, 4), max_size=4),
)
def test_measurements_of_odd_content(tmp_path, parameters, name, sigma, shape):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["recon_format"] = 1
        file["y"] = np.ones(shape, np.float32)
        file["angles"] = np.ones(2)
        file.create_group("operator").attrs.update({"name": name, "parameters": json.dumps(parameters)})
        file.create_group("noise").attrs.update({"model": "gaussian", "sigma": sigma})
    try_all(tmp_path / "a.h5")
