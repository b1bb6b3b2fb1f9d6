"""Priors as files: the whole prior comes back, and nothing else than a whole prior does."""

from __future__ import annotations

import json
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

import recon
from recon.checkpoint import fingerprint, read_tensors, save_prior, write_atomically, write_tensors
from recon.networks import UNet
from recon.prior import ScorePrior, Units

ARGUMENTS = {"channels": 1, "widths": [4], "blocks": 1, "attention": [], "unshuffle": 2, "dropout": 0.0, "embedding": 8}


def small_prior() -> ScorePrior:
    torch.manual_seed(0)
    network = UNet(**ARGUMENTS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    header = {
        "network": {"name": "unet", "arguments": ARGUMENTS},
        "provenance": {"licence": "CC0"},
        "spread": 3.25,
        "error_spectrum": {"sigmas": [0.1, 1.0], "frequencies": [0.0, 0.2], "power": [[0.01, 0.02], [0.1, 0.2]]},
    }
    return ScorePrior(
        network, (1, 8, 8), recon.VE(0.01, 20.0), 0.4, Units(2.0, -1.0, "HU", 0.5), "small", header
    ).eval()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.safetensors"
    save_prior(path, small_prior(), half=False)
    return path


def test_round_trip(saved):
    prior, loaded = small_prior(), recon.load_prior(saved)
    assert (loaded.shape, loaded.sde, loaded.units, loaded.name) == (prior.shape, prior.sde, prior.units, prior.name)
    assert (loaded.data_std, loaded.spread, loaded.sigma_start, loaded.sigma_end) == (
        prior.data_std,
        prior.spread,
        prior.sigma_start,
        prior.sigma_end,
    )
    assert loaded.header["provenance"] == {"licence": "CC0"}
    assert loaded.error_spectrum == prior.error_spectrum
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    x, sigma = torch.randn(2, 1, 8, 12), torch.tensor([0.3, 5.0])
    assert torch.equal(loaded.denoise(x, sigma), prior.denoise(x, sigma))


def test_round_trip_in_half_precision(tmp_path):
    """The default for shipping: float16 weights, used in float32."""
    prior = small_prior()
    save_prior(tmp_path / "p.safetensors", prior)
    loaded = recon.load_prior(str(tmp_path / "p.safetensors"))
    for (name, ours), theirs in zip(prior.network.named_parameters(), loaded.network.parameters(), strict=True):
        assert theirs.dtype == torch.float32
        assert torch.equal(theirs, ours.half().float()), name


def test_a_folder_of_a_training_run_is_a_prior(tmp_path):
    save_prior(tmp_path / "prior.safetensors", small_prior())
    assert recon.load_prior(tmp_path).name == "small"


def test_any_flipped_bit_is_refused(saved):
    """200 places at random, and each byte of the length at the beginning."""
    content, generator = saved.read_bytes(), random.Random(0)
    places = (
        [generator.randrange(len(content)) for _ in range(120)]
        + [generator.randrange(3000) for _ in range(72)]
        + list(range(8))
    )
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1 << generator.randrange(8)
        saved.write_bytes(bytes(altered))
        with pytest.raises(ValueError, match="expected") as caught:
            recon.load_prior(saved)
        assert "copy the file again" in str(caught.value) or "only priors written by this toolkit" in str(
            caught.value
        ), place


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        recon.load_prior(saved)


def test_a_longer_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="no whole safetensors file"):
        recon.load_prior(saved)


class Trap:
    """Unpickling it would fail the test."""

    def __reduce__(self) -> tuple:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize("name", ["prior.pt", "prior.ckpt", "prior.pkl", "prior.bin", "prior"])
def test_pickles_are_refused_unopened(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(
        ValueError, match=r"expected a .safetensors file; other formats can execute code and are not opened"
    ):
        recon.load_prior(path)


def test_a_pickle_by_another_name_is_refused_unopened(tmp_path):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="no whole safetensors file"):
        recon.load_prior(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="no whole safetensors file"):
        recon.load_prior(path)


def test_a_missing_prior_names_what_there_is():
    with pytest.raises(
        FileNotFoundError, match=r"got prior 'no-such-prior'; expected a file, a folder .*, or one of \["
    ):
        recon.load_prior("no-such-prior")


def test_files_of_other_makers_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"metadata keys \[\]; expected the key 'recon'"):
        recon.load_prior(path)
    save_file({"weight": torch.zeros(3)}, path, {"recon": json.dumps({"format": 1})})
    with pytest.raises(ValueError, match="altered header"):
        recon.load_prior(path)


def test_checkpoints_of_another_kind_or_network_are_refused(tmp_path):
    path, prior = tmp_path / "p.safetensors", small_prior()
    write_tensors(path, {"weight": torch.zeros(3)}, {"step": 3})
    assert read_tensors(path)[1]["step"] == 3
    with pytest.raises(ValueError, match=r"without \['data_std', 'network', 'sde', 'shape', 'units'\] in its header"):
        recon.load_prior(path)
    prior.header["network"] = {"name": "unet", "arguments": {**ARGUMENTS, "widths": [8]}}
    save_prior(path, prior)
    with pytest.raises(ValueError, match="whose weights do not fit its network"):
        recon.load_prior(path)


def test_a_later_format_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "p.safetensors"
    monkeypatch.setattr("recon.checkpoint.FORMAT", 2)
    save_prior(path, small_prior())
    monkeypatch.undo()
    with pytest.raises(ValueError, match="in format 2; expected format 1; update recon"):
        recon.load_prior(path)


def test_fingerprint_sees_names_types_shapes_and_values():
    base = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    others = [
        {"c": torch.arange(6.0), "b": torch.zeros(2)},
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)},
        {"a": torch.arange(6.0), "b": -torch.zeros(2)},
        {"a": torch.arange(6.0), "b": torch.zeros(2).int()},
        {"a": torch.arange(6.0)},
    ]
    assert fingerprint(base) == fingerprint(dict(reversed(base.items())))
    assert len({fingerprint(tensors) for tensors in [base, *others]}) == 6


def test_writing_replaces_whole_files_only(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_bundled_priors_say_where_they_are_from_and_are_small():
    """Each has its origin, licence, recipe, validation loss, error spectrum and band; all together below 40 MB."""
    files = [*recon.bundled_priors().values(), *recon.bundled_classifiers().values()]
    assert sum(path.stat().st_size for path in files) < 40e6
    for name, path in recon.bundled_priors().items():
        header = read_tensors(path)[1]
        assert header["name"] == name
        assert {"source", "licence"} <= set(header["provenance"])
        assert {"config", "steps", "seconds", "validation"} <= set(header["training"])
        assert {"error_spectrum", "typicality"} <= set(header)
        assert path.with_suffix(".toml").is_file()
        prior = recon.load_prior(name)
        noise = 0.1 * torch.randn(prior.shape, generator=torch.Generator().manual_seed(0))
        backgrounds = (torch.full((1, *prior.shape), grey) for grey in (-1.0, -0.8))  # each has learnt one of them
        assert min(float((prior.denoise(b + noise, 0.1) - b).square().mean()) for b in backgrounds) < 0.15 * 0.1**2
