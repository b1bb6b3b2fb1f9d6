"""Score matching: the loss and its weight, the noise levels, the average of weights, resuming, and what stops a run."""

from __future__ import annotations

import json
import math

import pytest
import torch
from law import dense_stationary, spectrum
from pydantic import ValidationError
from torch import Tensor

import recon
from recon.batches import centred, crop, draw_batch, warp
from recon.checkpoint import read_tensors
from recon.levels import LEVELS
from recon.networks import UNet
from recon.objectives import score_matching_loss
from recon.prior import ScorePrior, Units
from recon.untrained import new_prior
from recon.validation import Kept, steps_between, validation_losses

TINY = {
    "widths": (8,),
    "attention": (),
    "unshuffle": 2,
    "batch_size": 8,
    "learning_rate": 5e-3,
    "warmup": 0,
    "steps": 20,
}

EASY = {**TINY, "steps": 40, "batch_size": 16, "learning_rate": 1e-2, "ema": 8}


def images(count: int = 24, size: int = 8, seed: int = 0) -> Tensor:
    """Easy ones: each of one grey, uint8."""
    grey = torch.randint(0, 256, (count, 1, 1, 1), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return grey.expand(count, 1, size, size).contiguous()


def test_loss_of_the_exact_denoiser_of_a_gaussian_is_its_closed_form():
    """lambda(sigma) tr cov(x0 | x) / n with lambda = (sigma^2 + s^2) / (sigma s)^2; for white images it is 1.

    The error of a linear denoiser is linear in x0 and in the noise: its mean square is the sum over the columns of
    their roots.
    """
    for values in (spectrum(4, 6), torch.full((4, 6), 0.3, dtype=torch.float64)):
        prior, n = recon.GaussianPrior(torch.zeros(1, 4, 6, dtype=torch.float64), values), 24
        units, nothing = (
            torch.eye(n, dtype=torch.float64).reshape(n, 1, 4, 6),
            torch.zeros(n, 1, 4, 6, dtype=torch.float64),
        )
        C = dense_stationary(values)
        for sigma in (0.1, 1.0, 5.0):
            level = torch.full((n,), sigma, dtype=torch.float64)
            found = float(
                (
                    score_matching_loss(prior, prior.sample(units), level, nothing)
                    + score_matching_loss(prior, nothing, level, units)
                ).sum()
            )
            s2 = float(C.trace()) / n
            left = torch.linalg.inv(torch.linalg.inv(C) + torch.eye(n, dtype=torch.float64) / sigma**2)
            expected = (sigma**2 + s2) / (sigma**2 * s2) * float(left.trace()) / n
            assert found == pytest.approx(expected, rel=1e-9)
            if float(values.std()) == 0:
                assert found == pytest.approx(1.0, rel=1e-9)


def test_loss_is_that_of_the_network_on_a_target_of_unit_weight():
    """Karras et al., 2022, equation 8: |F(c_in x) - (x0 - c_skip x) / c_out|^2, one sigma an image."""
    torch.manual_seed(1)
    network, s = UNet(1, widths=(8,), attention=(), unshuffle=2), 0.3
    torch.nn.init.normal_(network.head.weight)
    prior = ScorePrior(network, (1, 8, 8), recon.VP(), s).double()
    x0, noise = torch.randn(2, 3, 1, 8, 8, dtype=torch.float64)
    sigma = torch.tensor([0.05, 0.5, 8.0], dtype=torch.float64)
    for i, found in enumerate(score_matching_loss(prior, x0, sigma, noise)):
        v = float(sigma[i])
        x = x0[i : i + 1] + v * noise[i : i + 1]
        target = (x0[i : i + 1] - s**2 / (v**2 + s**2) * x) / (v * s / math.sqrt(v**2 + s**2))
        output = network(x / math.sqrt(v**2 + s**2), sigma[i : i + 1].log() / 4)
        assert float(found.detach()) == pytest.approx(float((output - target).square().mean().detach()), rel=1e-6)


@pytest.mark.parametrize("sde", [recon.VP(), recon.VE(0.05, 4.0), recon.SubVP()], ids=["vp", "ve", "subvp"])
def test_noise_levels_are_log_normal_inside_the_range_of_the_process(sde):
    """Stratified: the i-th of n sorted levels lies in the i-th n-th of the truncated distribution."""
    config, n = recon.TrainConfig(log_sigma_mean=-0.7, log_sigma_std=1.2), 500
    levels = LEVELS["lognormal"](config, sde, n, torch.Generator().manual_seed(3)).double().sort().values
    normal = torch.distributions.Normal(torch.tensor(-0.7, dtype=torch.float64), 1.2)
    low, high = (normal.cdf(torch.tensor(math.log(v), dtype=torch.float64)) for v in (sde.sigma_min, sde.sigma_max))
    share = (normal.cdf(levels.log()) - low) / (high - low)
    edges = torch.arange(n, dtype=torch.float64) / n
    assert bool((share >= edges - 1e-5).all() and (share <= edges + 1 / n + 1e-5).all())
    assert float(levels[0]) >= sde.sigma_min * (1 - 1e-4) and float(levels[-1]) <= sde.sigma_max * (1 + 1e-4)


def test_batches_are_normalised_and_only_mirrored():
    ramp = torch.arange(24, dtype=torch.uint8).reshape(2, 1, 3, 4)
    handed = Units(127.5, 127.5)
    batch, _ = draw_batch(ramp, handed, recon.TrainConfig(batch_size=64), torch.Generator().manual_seed(0))
    wanted = [(image.float() - 127.5) / 127.5 for image in ramp]
    wanted += [image.flip(-1) for image in wanted]
    kinds = [next(k for k, image in enumerate(wanted) if torch.allclose(item, image, atol=1e-7)) for item in batch]
    assert set(kinds) == {0, 1, 2, 3}
    batch, _ = draw_batch(ramp, handed, recon.TrainConfig(batch_size=64, flip=False), torch.Generator().manual_seed(0))
    assert all(any(torch.allclose(item, image, atol=1e-7) for image in wanted[:2]) for item in batch)


@pytest.mark.parametrize("sde", [recon.VP(), recon.VE(0.05, 4.0), recon.SubVP()], ids=["vp", "ve", "subvp"])
@pytest.mark.parametrize("name", ["uniform_time", "cosine", "discrete"])
def test_other_noise_levels_follow_their_distribution(name, sde):
    """The share of levels below a level is that of the times, of atan sigma, or of the ladder's rungs."""
    config, n = recon.TrainConfig(level_count=6), 600
    levels = LEVELS[name](config, sde, n, torch.Generator().manual_seed(3)).double().sort().values
    assert float(levels[0]) >= sde.sigma_min * (1 - 1e-4) and float(levels[-1]) <= sde.sigma_max * (1 + 1e-4)
    if name == "discrete":
        rungs, counts = levels.unique(return_counts=True)
        ratios = rungs[1:] / rungs[:-1]
        assert len(rungs) == 6 and counts.tolist() == [100] * 6
        assert torch.allclose(ratios, ratios[:1].expand(5), rtol=1e-4)
        return
    place = sde.time if name == "uniform_time" else torch.atan
    ends = torch.tensor([sde.sigma_min, sde.sigma_max], dtype=torch.float64)
    if name == "uniform_time" and sde.t_min:
        ends[0] = float(sde.sigma(1e-3))
    low, high = place(ends)
    share = (place(levels) - low) / (high - low)
    edges = torch.arange(n, dtype=torch.float64) / n
    assert bool((share >= edges - 1e-3).all() and (share <= edges + 1 / n + 1e-3).all())


def test_crops_are_windows_of_their_images():
    ramp = torch.arange(2 * 100, dtype=torch.float32).reshape(2, 1, 10, 10)
    index = torch.tensor([0, 1] * 40)
    windows = crop(ramp, index, 8, torch.Generator().manual_seed(0))
    corners = [(int(w[0, 0, 0]) % 100 // 10, int(w[0, 0, 0]) % 10) for w in windows]
    assert set(corners) == {(i, j) for i in range(3) for j in range(3)}
    for i, window, (top, left) in zip(index, windows, corners, strict=True):
        assert torch.equal(window, ramp[i, :, top : top + 8, left : left + 8])
    assert torch.equal(centred(ramp, 8), ramp[..., 1:9, 1:9]) and centred(ramp, None) is ramp


def test_warps_turn_and_scale_about_the_centre():
    """Of a plane a i + b j only the gradient turns and shrinks; the middle of a non-square image stays."""
    i, j = torch.meshgrid(torch.arange(21.0) - 10, torch.arange(31.0) - 15, indexing="ij")
    plane = (2 * i + 3 * j).expand(64, 1, 21, 31)
    warped = warp(plane, 30.0, 0.0, torch.Generator().manual_seed(1))
    assert float(warped[:, 0, 10, 15].abs().max()) < 1e-4
    down, right = warped[:, 0, 11, 15] - warped[:, 0, 10, 15], warped[:, 0, 10, 16] - warped[:, 0, 10, 15]
    assert torch.allclose((down**2 + right**2).sqrt(), torch.full((64,), 13**0.5), rtol=1e-4)
    turned = torch.atan2(right, down) - math.atan2(3, 2)
    assert 0.4 < float(turned.max()) <= math.radians(30) + 1e-4
    assert -math.radians(30) - 1e-4 <= float(turned.min()) < -0.4
    scaled = warp(plane, 0.0, 0.25, torch.Generator().manual_seed(1))
    factors = (scaled[:, 0, 11, 15] - scaled[:, 0, 10, 15]) / 2
    assert torch.allclose((scaled[:, 0, 10, 16] - scaled[:, 0, 10, 15]) / 3, factors, rtol=1e-3)
    assert 1 / 1.25 - 1e-4 <= float(factors.min()) < 0.85 and 1.18 < float(factors.max()) <= 1.25 + 1e-4
    assert torch.equal(warp(plane, 0.0, 0.0, torch.Generator()).round(decimals=3), plane)


def test_a_batch_in_parts_has_the_same_gradient(tmp_path):
    weights = []
    for accumulate in (1, 3):
        config = recon.TrainConfig(**{**TINY, "steps": 1, "learning_rate": 1e-2}, accumulate=accumulate)
        recon.train(images(), images(0), config, tmp_path / str(accumulate))
        weights.append(read_tensors(tmp_path / str(accumulate) / "state.safetensors")[0])
    changed = [k for k in weights[0] if k.startswith("optimiser") and k.endswith("exp_avg")]
    assert changed and all(torch.allclose(weights[0][k], weights[1][k], rtol=1e-4, atol=1e-8) for k in changed)


@pytest.mark.parametrize(
    "settings",
    [{"predicts": "eps"}, {"predicts": "v", "weighting": "min_snr"}, {"objective": "sliced"},
     {"weighting": "likelihood"}, {"crop": 8, "rotate": 10.0, "zoom": 0.1}, {"precision": "bfloat16"},
     {"levels": "discrete", "level_count": 4}],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_every_choice_of_settings_trains_and_comes_back(settings, tmp_path):
    """A loss that is finite and falls, and a prior that is read back with what it predicts."""
    losses = []
    config = recon.TrainConfig(**{**EASY, **settings})
    path = recon.train(
        images(24, 12 if "crop" in settings else 8), images(4, 12 if "crop" in settings else 8, 1), config, tmp_path,
        progress=lambda record: losses.append(record["loss"]),
    )
    assert all(map(math.isfinite, losses))
    prior = recon.load_prior(path)
    assert prior.predicts == config.predicts and prior.shape == (1, 8, 8)
    x0 = prior.from_value(images(16, seed=1).float() / 255)
    noise = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    error = float((prior.denoise(x0 + 0.5 * noise, 0.5) - x0).square().mean())
    assert error < 0.25 * 0.9, error  # less than the noise


def test_a_crop_larger_than_the_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got crop=16 for images of 8x8; expected at most the shorter side"):
        recon.train(images(), images(0), recon.TrainConfig(**TINY, crop=16), tmp_path)


def test_validation_reports_the_psnr_of_a_known_error():
    """An error of 0.1 on a range of 2: 10 log10(4 / 0.01) dB in every band."""

    class Known(ScorePrior):
        def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
            return torch.full_like(x, 0.6)

    prior = Known(torch.nn.Identity(), (1, 4, 4), recon.VP(), 0.5, Units(0.5, 0.5))
    found = validation_losses(prior, torch.full((10, 1, 4, 4), 0.75))  # 0.5 in normalised units
    bands = {key: value for key, value in found.items() if key.startswith("psnr")}
    assert len(bands) == 5
    assert all(value == pytest.approx(10 * math.log10(400), abs=1e-3) for value in bands.values())


def test_loss_falls_on_an_easy_set(tmp_path):
    losses = []
    path = recon.train(
        images(),
        images(6, seed=1),
        recon.TrainConfig(**EASY),
        tmp_path,
        name="easy",
        provenance={"licence": "CC0"},
        progress=lambda record: losses.append(record["loss"]),
    )
    assert len(losses) == 40
    prior = recon.load_prior(path)
    x0 = prior.from_value(images(16, seed=1).float() / 255)
    sigma, noise = torch.logspace(-1, 0, 16), torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    trained = float(score_matching_loss(prior, x0, sigma, noise).mean())
    with torch.no_grad():
        prior.network.head.weight.zero_(), prior.network.head.bias.zero_()  # as it began
    began = float(score_matching_loss(prior, x0, sigma, noise).mean())
    assert trained < 0.7 * began, (trained, began)
    assert (prior.scale, prior.shift, prior.unit, prior.name, prior.shape) == (0.5, 0.5, "[0,1]", "easy", (1, 8, 8))
    training = prior.header["training"]
    assert (training["steps"], training["images_seen"], training["training_images"], training["validation_images"]) == (
        40,
        640,
        24,
        6,
    )
    assert prior.header["provenance"] == {"licence": "CC0"}
    assert prior.data_std == pytest.approx(float(((images().float() - 127.5) / 127.5).std()), rel=1e-5)
    # the leading direction of images of one grey is the constant one
    greys = (images()[:, 0, 0, 0].float() - 127.5) / 127.5
    assert prior.spread == pytest.approx(8 * float(greys.std(correction=0)), rel=1e-4)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["final"] and records[-1]["step"] == 40


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, monkeypatch, dropout):
    monkeypatch.setattr(recon.training, "steps_between", lambda images, batch: 2)
    config = recon.TrainConfig(**{**TINY, "steps": 10}, dropout=dropout, save_minutes=1e-9)  # saves after every step

    def stop(record: dict) -> None:
        if record["step"] == 6:
            raise Interrupted

    recon.train(images(), images(2), config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        recon.train(images(), images(2), config, tmp_path / "parts", progress=stop)
    assert read_tensors(tmp_path / "parts" / "state.safetensors")[1]["step"] == 5
    torch.rand(7)  # the state of the global generator must not matter
    steps = []
    recon.train(
        images(),
        images(2),
        config,
        tmp_path / "parts",
        resume=True,
        progress=lambda record: steps.append(record["step"]),
    )
    assert steps == list(range(6, 11))
    whole, parts = (read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    whole, parts = (read_tensors(tmp_path / name / "prior.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def vee(monkeypatch, best: int) -> None:
    """Checks every other step find a loss that is least at one step."""
    found = iter(range(2, 1000, 2))
    monkeypatch.setattr(recon.training, "steps_between", lambda images, batch: 2)
    monkeypatch.setattr(
        recon.training, "validation_losses", lambda prior, images: {"loss": 1.0 + abs(next(found) - best)}
    )


@pytest.mark.parametrize("keep, step, loss", [("best", 4, 1.0), ("last", 9, 7.0)])
def test_the_prior_is_that_of_the_least_validation_loss(tmp_path, monkeypatch, keep, step, loss):
    vee(monkeypatch, 4)
    told = []
    config = recon.TrainConfig(**{**TINY, "steps": 9}, keep=keep)
    path = recon.train(images(), images(2), config, tmp_path / "whole", written=lambda _, entry: told.append(entry))
    vee(monkeypatch, 4)
    seen: list[dict] = []
    stop = {"interrupted": lambda: len(seen) == step, "progress": seen.append}
    recon.train(images(), images(2), config, tmp_path / "part", **stop)
    there = read_tensors(tmp_path / "part" / "state.safetensors")[0]
    kept = read_tensors(path)[0]
    assert all(torch.equal(kept[key], there[f"average.{key}"].half()) for key in kept)
    training = recon.load_prior(path).header["training"]
    assert (training["steps"], training["kept_step"]) == (9, step)
    assert training["validation"] == {"loss": loss} and told[-1]["kept"]["step"] == step


def test_a_loss_that_is_no_number_is_never_the_best():
    prior = recon.load_prior("digits-32")
    kept = Kept(prior, recon.TrainConfig())
    for step, loss in enumerate([math.nan, 3.0, math.nan, 2.0, math.inf, 2.5]):
        kept.offer(prior, step, {"loss": loss})
    assert (kept.step, kept.losses) == (3, {"loss": 2.0})


def test_checks_take_a_twentieth_of_the_time():
    """256 images at 5 levels are 1280 passes, as many as 427 images in training: a twentieth of 534 steps of 16."""
    held = torch.zeros(400, 1, 64, 64)
    assert steps_between(held, 16) == math.ceil(256 * 5 / 3 / 0.05 / 16) == 534
    assert steps_between(held[:2], 16) == 50 == steps_between(held[:0], 16)


def test_a_damaged_state_is_told_of_and_the_one_before_it_taken(tmp_path):
    config = recon.TrainConfig(**{**TINY, "steps": 10}, save_minutes=1e-9)
    for name in ("whole", "parts"):
        seen: list[dict] = []
        stop = 6 if name == "parts" else 99
        recon.train(images(), images(0), config, tmp_path / name, progress=seen.append,
                    interrupted=lambda stop=stop, seen=seen: len(seen) == stop)  # fmt: skip
    states = [tmp_path / "parts" / name for name in ("state.safetensors", "state-before.safetensors")]
    assert read_tensors(states[1])[1]["step"] == 6  # saved after the step, and again when interrupted
    states[0].write_bytes(states[0].read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match="altered weights.*going on from the state before it, at step 6"):
        recon.train(images(), images(0), config, tmp_path / "parts", resume=True)
    whole, parts = (read_tensors(tmp_path / name / "prior.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    for state in states:
        state.write_bytes(state.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="altered weights"):
        recon.train(images(), images(0), config, tmp_path / "parts", resume=True)


def kept_for_the_backward_pass(config: recon.TrainConfig) -> tuple[int, dict[str, torch.Tensor]]:
    """Bytes of activations that the graph of a loss holds, and the gradient."""
    prior = new_prior(config, images(), recon.Units(0.5, 0.5), recon.Units(127.5, 127.5), "", {}).train()
    torch.nn.init.normal_(prior.network.head.weight, generator=torch.Generator().manual_seed(0))
    held: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    torch.manual_seed(1)  # of the dropout
    x = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = prior.denoise(x, 0.5).square().mean()
    loss.backward()
    return sum(held.values()), {name: p.grad for name, p in prior.network.named_parameters() if p.grad is not None}


def test_checkpointing_keeps_less_and_gives_the_same_gradient():
    settings = {**TINY, "dropout": 0.3}
    (much, one), (little, two) = (
        kept_for_the_backward_pass(recon.TrainConfig(**settings, checkpointing=value)) for value in (False, True)
    )
    assert little < 0.6 * much
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_a_compiled_network_trains_alike(tmp_path):
    losses = []
    for compiled in (False, True):
        config = recon.TrainConfig(**{**TINY, "steps": 8}, compiled=compiled)
        seen: list[dict] = []
        recon.train(images(), images(0), config, tmp_path / str(compiled), progress=seen.append)
        losses.append([record["loss"] for record in seen])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_an_interrupted_run_ends_after_its_step_and_goes_on_from_there(tmp_path):
    config, steps = recon.TrainConfig(**{**TINY, "steps": 10}), []
    recon.train(images(), images(0), config, tmp_path / "whole")
    arguments = (images(), images(0), config, tmp_path / "parts")
    recon.train(*arguments, progress=lambda r: steps.append(r["step"]), interrupted=lambda: len(steps) == 4)
    assert steps == [1, 2, 3, 4] and not (tmp_path / "parts" / "prior.safetensors").exists()
    recon.train(*arguments, resume=True)
    whole, parts = (read_tensors(tmp_path / name / "prior.safetensors")[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)


def test_average_of_weights(tmp_path):
    """a <- d a + (1 - d) w with d = 2^(-batch / h), h the half-life in images: at most 0.1 seen + 1."""
    states = []

    def look(record: dict) -> None:
        if record["step"] > 1:
            tensors = read_tensors(tmp_path / "state.safetensors")[0]
            states.append(
                {
                    part: torch.cat(
                        [v.flatten() for k, v in tensors.items() if k.startswith(part) and "frequencies" not in k]
                    )
                    for part in ("network", "average")
                }
            )

    recon.train(
        images(),
        images(0),
        recon.TrainConfig(**{**TINY, "steps": 10}, ema=5, save_minutes=1e-9),
        tmp_path,
        progress=look,
    )
    for i, (before, after) in enumerate(zip(states, states[1:], strict=False)):
        seen = (i + 2) * 8
        d = 0.5 ** (8 / min(5, 0.1 * seen + 1))
        assert torch.allclose(
            after["average"], d * before["average"] + (1 - d) * after["network"], rtol=1e-5, atol=1e-7
        )
        assert not torch.allclose(after["average"], after["network"], rtol=1e-5, atol=1e-5)


def test_ve_reaches_the_largest_distance_of_two_images(tmp_path):
    """Song and Ermon, 2020, technique 1: greys a and b of 8x8 pixels are 8 |a - b| / 127.5 apart when normalised."""
    path = recon.train(images(), images(0), recon.TrainConfig(**{**TINY, "steps": 1}, sde="ve"), tmp_path)
    grey = images()[:, 0, 0, 0].double()
    assert recon.load_prior(path).sde.sigma_high == pytest.approx(float(grey.max() - grey.min()) / 127.5 * 8, abs=0.006)


def test_units_of_images_that_are_no_bytes(tmp_path):
    """value = scale x + shift: float images in their own unit."""
    given = 100.0 + 40.0 * torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    path = recon.train(
        given, given[:4], recon.TrainConfig(**{**TINY, "steps": 1}), tmp_path, units=Units(80.0, 100.0, "HU", 0.5)
    )
    prior = recon.load_prior(path)
    assert prior.data_std == pytest.approx(float(given.std()) / 80, rel=1e-5)
    assert prior.units == Units(80.0, 100.0, "HU", 0.5)


def test_weights_can_start_from_another_prior(tmp_path):
    first = recon.train(
        images(), images(0), recon.TrainConfig(**TINY), tmp_path / "first", name="a", provenance={"licence": "free"}
    )
    still = {**TINY, "steps": 1, "learning_rate": 1e-12}
    second = recon.train(images(), images(0), recon.TrainConfig(**still, initial=str(first)), tmp_path / "second")
    for a, b in zip(
        recon.load_prior(first).network.parameters(), recon.load_prior(second).network.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    assert recon.load_prior(second).header["started_from"] == {"name": "a", "licence": "free"}


def test_five_losses_in_a_row_that_are_not_finite_stop_the_run(tmp_path, monkeypatch):
    config = recon.TrainConfig(**TINY, save_minutes=1e-9)
    losses, kept = [], {}

    def poison(record: dict) -> None:
        losses.append(record["loss"])
        if record["step"] == 3:
            monkeypatch.setattr(
                "recon.training.score_matching_loss",
                lambda prior, x0, *others: score_matching_loss(prior, x0 * torch.nan, *others),
            )
            kept.update(read_tensors(tmp_path / "state.safetensors")[0])

    with pytest.raises(FloatingPointError, match="got five losses in a row that are not finite, the last at step 7"):
        recon.train(images(), images(0), config, tmp_path, progress=poison)
    assert len(losses) == 7 and all(map(math.isnan, losses[3:]))
    weights = read_tensors(tmp_path / "state.safetensors")[0]
    assert all(bool(weights[k].isfinite().all()) for k in weights if weights[k].is_floating_point())


def test_settings_are_checked(tmp_path):
    for wrong in ({"learning_rat": 1e-3}, {"sde": "vpp"}, {"batch_size": 0}, {"dropout": 1.0}, {"hours": 0.0}):
        with pytest.raises(ValidationError):
            recon.TrainConfig(**wrong)
    with pytest.raises(FileNotFoundError, match="expected the folder of an earlier run; train without resume"):
        recon.train(images(), images(0), recon.TrainConfig(**TINY), tmp_path, resume=True)
    recon.train(images(), images(0), recon.TrainConfig(**{**TINY, "steps": 2}), tmp_path)
    with pytest.raises(ValueError, match=r"got settings \['learning_rate'\] other than"):
        recon.train(images(), images(0), recon.TrainConfig(**{**TINY, "learning_rate": 1e-4}), tmp_path, resume=True)
    longer = recon.train(images(), images(0), recon.TrainConfig(**{**TINY, "steps": 4}), tmp_path, resume=True)
    assert recon.load_prior(longer).header["training"]["steps"] == 4
