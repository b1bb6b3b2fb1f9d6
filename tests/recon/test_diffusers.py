"""Diffusers models give the library's own eps: against what it stored, and against itself where it is installed."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

import recon
from recon.diffusers_network import betas
from recon.parametrisation import convert
from tests.recon.foreign_models import CASES, REFERENCE, SMALL, images, library, model_of, reference, steps, weights
from tests.recon.foreign_models import write_folder as write

DDPM = {"_class_name": "DDPMScheduler"}


def folder_of(case, path, bare=False):
    return write(case, path / case, weights(reference(case)[0]), bare)


def eps_of(prior, case, sigmas):
    """The prior's eps at levels, shown what the library's model was shown."""
    seen = images(case).to(prior.dtype)
    found = []
    for sigma in sigmas:
        x = seen * (float(sigma) if case.startswith("edm") else (1 + float(sigma) ** 2) ** 0.5)
        found.append((x - prior.denoise(x, float(sigma))) / float(sigma))
    return torch.stack(found)


def apart(found, expected):
    """Relative distance, the worst of the levels."""
    return float(((found - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)).max())


@pytest.mark.parametrize("case", CASES)
def test_eps_is_the_one_that_the_library_has_stored(case, tmp_path):
    _, sigmas, expected = reference(case)
    prior = recon.load_prior(folder_of(case, tmp_path)).double()
    assert apart(eps_of(prior, case, sigmas), torch.from_numpy(expected)) < 1e-6
    if not case.startswith("edm"):
        found = prior.sde.sigma(torch.tensor(steps(case), dtype=torch.float64))
        assert torch.allclose(found, torch.from_numpy(sigmas), rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_eps_is_the_one_of_the_library_itself(case, tmp_path):
    """Its own `save_pretrained` writes the folder; float64 shows the formulas, float32 the same order of operations."""
    diffusers = pytest.importorskip("diffusers", reason="the stored reference is compared instead")
    model = model_of(case)
    model.save_pretrained(tmp_path / "unet")
    getattr(diffusers, CASES[case][1]["_class_name"]).from_config(CASES[case][1]).save_pretrained(
        tmp_path / "scheduler"
    )
    prior = recon.load_prior(tmp_path)
    x, t = images(case).float(), torch.full((2,), 5.0)
    with torch.no_grad():
        assert apart(prior.network.unet(x, t)[None], model(x, t).sample[None]) < 1e-6
    sigmas, expected = library(case, model.double())
    assert apart(eps_of(prior.double(), case, sigmas), expected) < 1e-11


@pytest.mark.parametrize("case", ["ddpm", "edm"])
def test_an_exported_folder_opens_in_the_library(case, tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="the round trip through our own reader is tested below")
    prior = recon.load_prior(folder_of(case, tmp_path))
    recon.export_diffusers(prior, tmp_path / "out")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline.scheduler).__name__ == CASES[case][1]["_class_name"]
    sigmas, expected = library(case, pipeline.unet.double())
    assert apart(eps_of(prior.double(), case, sigmas), expected) < 1e-11


def test_single_precision_keeps_the_steps(tmp_path):
    """A level in float32 is a step's own: the network's output is that of the whole step, to rounding."""
    prior = recon.load_prior(folder_of("ddpm", tmp_path))
    _, sigmas, expected = reference("ddpm")
    for sigma, eps in zip(sigmas, torch.from_numpy(expected), strict=True):
        c = torch.full((2,), math.log(sigma) / 4)
        assert torch.equal(prior.network.time(c), prior.network.time(c).round())
        assert apart(prior.network(images("ddpm").float(), c)[None], eps[None]) < 2e-6


def test_between_the_steps_time_is_linear_in_log_sigma(tmp_path):
    prior = recon.load_prior(folder_of("ddpm", tmp_path)).double()
    a, b = prior.sde.sigmas[300:302]
    c = torch.tensor([math.log(a**0.75 * b**0.25) / 4, 50.0, -50.0], dtype=torch.float64)
    assert prior.network.time(c).tolist() == pytest.approx([300.25, 999, 0], rel=1e-12)
    x = images("ddpm")
    eps = [convert(prior.network(x, c[:1].expand(2)), x, torch.ones(1), "eps", "eps")]
    assert apart(torch.stack(eps), prior.network.unet(x, torch.full((2,), 300.25))[None]) < 1e-11


def test_what_a_prior_knows_of_itself(tmp_path):
    prior = recon.load_prior(folder_of("colour-v", tmp_path))
    assert (prior.name, prior.shape, prior.unit, prior.multiple) == ("colour-v", (3, 8, 12), "[0,1]", 4)
    assert prior.to_value(torch.tensor([-1.0, 1.0])).tolist() == [0, 1]
    assert (prior.data_std, prior.input_std, prior.predicts) == (0.5, 1, "v")
    assert not prior.training and not any(p.requires_grad for p in prior.parameters())
    assert recon.load_diffusers(tmp_path / "colour-v", data_std=0.3).data_std == 0.3
    edm = recon.load_prior(folder_of("edm", tmp_path))
    assert (edm.data_std, edm.sde, edm.predicts) == (0.6, recon.VE(0.002, 40.0), "edm")
    with pytest.raises(ValueError, match=r"got data_std=0.3 .* expected 0.6"):
        recon.load_diffusers(tmp_path / "edm", data_std=0.3)
    with pytest.raises(ValueError, match="got data_std=-1"):
        recon.load_diffusers(tmp_path / "colour-v", data_std=-1)
    with pytest.raises(ValueError, match="got an image of 8x10; expected height and width to be multiples of 4"):
        prior.denoise(torch.zeros(1, 3, 8, 10), 1.0)


def test_first_models_lie_in_one_folder_with_old_names(tmp_path):
    """Before version 0.15 attention had names of its own; weights may also be named directly, or be half precision."""
    expected = recon.load_prior(folder_of("ddpm", tmp_path))
    bare = folder_of("ddpm", tmp_path / "bare", bare=True)
    path = bare / "diffusion_pytorch_model.safetensors"
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(path)
    for new, old in names.items():
        tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, path)
    for given in (bare, path, tmp_path / "ddpm/unet/diffusion_pytorch_model.safetensors"):
        found = recon.load_prior(given)
        assert found.name == "ddpm"
        assert all(map(torch.equal, found.state_dict().values(), expected.state_dict().values()))
    save_file({name: tensor.half() for name, tensor in tensors.items()}, path)
    assert recon.load_prior(bare).dtype == torch.float32


@pytest.mark.parametrize("case", ["colour-v", "edm-v"])
def test_round_trips(case, tmp_path):
    """A folder from a folder, and a file of our own that holds the same prior."""
    prior = recon.load_prior(folder_of(case, tmp_path))
    written = recon.export_diffusers(prior, tmp_path / "again" / case)
    assert sorted(path.relative_to(tmp_path / "again" / case).as_posix() for path in written) == [
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    recon.save_prior(tmp_path / "own.safetensors", prior, half=False)
    x = images(case).float()
    for found in (recon.load_prior(tmp_path / "again" / case), recon.load_prior(tmp_path / "own.safetensors")):
        assert (found.name, found.shape, found.sde, found.units) == (prior.name, prior.shape, prior.sde, prior.units)
        assert torch.equal(found.denoise(x, 0.7), prior.denoise(x, 0.7))


def test_a_loaded_prior_draws_and_reconstructs(tmp_path):
    prior = recon.load_prior(folder_of("ddpm", tmp_path))
    assert recon.sample_prior(prior, 2, 3, 0, step="predictor").shape == (2, 1, 8, 8)
    assert recon.sample_prior(prior, 2, 3, 0, step="euler_maruyama").isfinite().all()


def test_only_networks_of_the_layout_are_exported(tmp_path):
    with pytest.raises(ValueError, match="got prior 'headct-64' with the network 'unet'; expected a UNet2DModel"):
        recon.export_diffusers(recon.load_prior("headct-64"), tmp_path / "out")
    with pytest.raises(ValueError, match="network 'GaussianPrior'"):
        recon.export_diffusers(recon.GaussianPrior(torch.zeros(2), torch.eye(2)), tmp_path / "out")
    prior = recon.load_prior(folder_of("ddpm", tmp_path))
    prior.predicts = "v"
    with pytest.raises(ValueError, match="predicts v .* with a DDPMScheduler for eps"):
        recon.export_diffusers(prior, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_process_of_steps_solves_the_moment_equations():
    """d mean / dt = f mean, d var / dt = 2 f var + g^2 within a step, by the midpoint rule; beta as in DDPM's steps."""
    sde = recon.Discrete(recon.load_prior("headct-64").sde.sigma(torch.linspace(0.01, 1, 60)).tolist())
    t, h = torch.arange(0.3, 59, 1.0, dtype=torch.float64), 1e-4
    (s0, d0), (s, d), (s1, d1) = (sde.marginal(t + k * h) for k in (-1, 0, 1))
    f, g = sde.drift_rate(t), sde.diffusion(t)
    assert torch.allclose((s1 - s0) / (2 * h), f * s, rtol=1e-6)
    assert torch.allclose((d1**2 - d0**2) / (2 * h), 2 * f * d**2 + g**2, rtol=1e-6)
    assert torch.allclose(s**2 + d**2, torch.ones_like(s), rtol=1e-14)
    assert torch.allclose(sde.time(sde.sigma(t)), t, rtol=1e-12)
    assert (float(sde.time(0.0)), float(sde.time(1e9)), sde.t_max) == (0, 59, 59)
    fine = recon.Discrete(recon.load_prior("headct-64").sde.sigma(torch.linspace(0.01, 1, 1000)).tolist())
    rate = float(torch.expm1(-2 * fine.scale(torch.tensor([500.0, 501.0])).log().diff()))
    assert float(fine.diffusion(500.5)) ** 2 == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("sigmas", [(1.0,), (1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (1.0, math.inf), (1.0, math.nan)])
def test_processes_of_wrong_levels_are_refused(sigmas):
    with pytest.raises(ValueError, match="expected two or more, each above the one before"):
        recon.Discrete(sigmas)


@pytest.mark.parametrize(
    ("unet", "scheduler", "words"),
    [
        ({**SMALL, "_class_name": "UNet2DConditionModel"}, DDPM, "the model 'UNet2DConditionModel'"),
        ({**SMALL, "num_class_embeds": 10}, DDPM, "num_class_embeds=10.*class-conditional networks are not"),
        ({**SMALL, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}, DDPM, "CrossAttnDownBlock2D"),
        ({**SMALL, "down_block_types": ["AttnSkipDownBlock2D", "DownBlock2D"]}, DDPM, "AttnSkipDownBlock2D"),
        ({**SMALL, "resnet_time_scale_shift": "spatial"}, DDPM, "resnet_time_scale_shift='spatial'"),
        ({**SMALL, "time_embedding_type": "learned"}, DDPM, "time_embedding_type='learned'"),
        ({**SMALL, "sample_size": None}, DDPM, "sample_size"),
        ({**SMALL, "something_new": 3}, DDPM, "something_new=3"),
        ({**SMALL, "up_block_types": ["UpBlock2D"]}, DDPM, "2 block_out_channels, 2 down_block_types and 1 up"),
        ({**SMALL, "out_channels": 2}, DDPM, "in_channels=1, out_channels=2"),
        ({**SMALL, "norm_num_groups": 3}, DDPM, r"\[4, 8\] with norm_num_groups=3"),
        ({**SMALL, "attention_head_dim": 16}, DDPM, "attention_head_dim=16 for 8 channels"),
        ({**SMALL, "layers_per_block": 10**9}, DDPM, "layers_per_block=1000000000"),
        ({**SMALL, "block_out_channels": [4, 16]}, DDPM, "do not fit its config.json"),
        (SMALL, {"_class_name": "ScoreSdeVeScheduler"}, "the scheduler 'ScoreSdeVeScheduler'"),
        (SMALL, {}, "the scheduler None"),
        (SMALL, {**DDPM, "prediction_type": "flow"}, "prediction_type='flow'"),
        (SMALL, {**DDPM, "beta_schedule": "fast"}, "beta_schedule='fast'"),
        (SMALL, {**DDPM, "beta_start": -1}, "beta_start=-1"),
        (SMALL, {**DDPM, "num_train_timesteps": 10**12}, "num_train_timesteps=1000000000000"),
        (SMALL, {**DDPM, "trained_betas": "lots"}, "trained_betas=lots"),
        (SMALL, {"_class_name": "EDMEulerScheduler", "prediction_type": "sample"}, "prediction_type='sample'"),
        (SMALL, {"_class_name": "EDMEulerScheduler", "sigma_data": 0}, "sigma_data=0"),
        ({**SMALL, "time_embedding_type": "fourier"}, {"_class_name": "EDMEulerScheduler"}, "have no logarithm"),
    ],
)
def test_what_is_not_rebuilt_is_refused_by_name(unet, scheduler, words, tmp_path):
    folder = folder_of("ddpm", tmp_path)
    (folder / "unet/config.json").write_text(json.dumps(unet))
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    with pytest.raises(ValueError, match=words) as caught:
        recon.load_prior(folder)
    assert str(caught.value).count(";") >= 2 and "expected" in str(caught.value)


def test_missing_and_broken_files_are_refused(tmp_path):
    folder = folder_of("ddpm", tmp_path)
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        recon.load_prior(folder)
    path.rename(folder / "unet/diffusion_pytorch_model.fp16.safetensors")
    path.with_name("diffusion_pytorch_model.safetensors.index.json").write_text("{}")
    (folder / "unet/diffusion_pytorch_model.other.safetensors").write_bytes(whole)
    with pytest.raises(ValueError, match="2 files of weights"):
        recon.load_prior(folder)
    for place in ("unet/config.json", "scheduler/scheduler_config.json"):
        for text, words in (("{", "which is no JSON"), ("[1]", "holding a list"), ("[" * 10**5, "which is no JSON")):
            (folder / place).write_text(text)
            with pytest.raises(ValueError, match=words):
                recon.load_prior(folder)
        (folder / place).unlink()
        with pytest.raises(ValueError, match=f"got no .*{place}"):
            recon.load_prior(folder)
        (folder / place).write_text(json.dumps(CASES["ddpm"][place.startswith("sch")]))


def test_weights_that_can_hold_code_are_refused_unopened(tmp_path):
    folder = folder_of("ddpm", tmp_path)
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="with no weights; expected"):
        recon.load_prior(folder)

    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was opened",)

    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"model.bin; expected .*can execute code and are not opened"):
        recon.load_prior(folder)


def test_betas_are_the_published_ones():
    """DDPM's linear ones from 1e-4 to 0.02; the cosine ones leave cos^2 of the signal."""
    table = betas(DDPM)
    assert (len(table), float(table[0]), float(table[-1])) == (1000, pytest.approx(1e-4), pytest.approx(0.02))
    cosine = torch.cumprod(1 - betas({**DDPM, "beta_schedule": "squaredcos_cap_v2"}).double(), 0)
    expected = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 501)]
    assert float(cosine[500]) == pytest.approx(expected[1] / expected[0], rel=1e-4)
    assert REFERENCE.stat().st_size < 100_000
