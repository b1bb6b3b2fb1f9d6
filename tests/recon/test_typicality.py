"""The band of a prior: its errors, that scores are alone, scaled and calibrated, and its place in the file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch

import recon
from recon.checkpoint import read_tensors
from recon.networks import NETWORKS
from recon.prior import ScorePrior, Units
from recon.typicality import EDGES, Band, _bands, band_of, error_powers, judge, ladder, windows

SIZE = (16, 16)


def field(units: Units | None = None) -> recon.GaussianPrior:
    """A smooth Gaussian field, whose denoiser is exact."""
    f = sum(g.square() for g in torch.meshgrid(*map(torch.fft.fftfreq, SIZE), indexing="ij")).sqrt().double()
    return recon.GaussianPrior(torch.zeros(1, *SIZE, dtype=torch.float64), (1e-3 + 20 * (-f / 0.06).exp()), units=units)


def draws(prior: recon.GaussianPrior, count: int, seed: int) -> torch.Tensor:
    noise = torch.randn(count, 1, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return prior.to_value(prior.sample(noise))


@pytest.fixture(scope="module")
def known() -> recon.GaussianPrior:
    """The field with a band from 200 draws, in values 3 x + 1."""
    prior = field(Units(3.0, 1.0))
    prior.header = {"typicality": json.loads(json.dumps(asdict(recon.measure_band(prior, draws(prior, 200, 1)))))}
    return prior


def test_powers_of_a_known_error():
    """A denoiser that returns its input errs by sigma n, of power sigma^2 in every band; zero errs by -x."""
    prior = field()
    x = torch.full((1, 1, 64, 64), 0.5, dtype=torch.float64)
    prior.denoise = lambda x, sigma: x
    found = error_powers(prior, x, (0.5, 2.0))[0]
    modes = torch.tensor([32, 480, 3584])  # about as many values lie in the three bands
    for row, sigma in zip(found, (0.5, 2.0), strict=True):
        assert ((row / sigma**2 - 1).abs() < 4 * (2 / modes).sqrt()).all()
    prior.denoise = lambda x, sigma: torch.zeros_like(x)
    low, *rest = error_powers(prior, x, (1.0,))[0, 0].tolist()
    assert max(rest) < 1e-20 and low > 0.25 * 64  # 64^2 times a constant's power over at most 64 modes


@pytest.mark.parametrize("shape", [(8, 12), (7, 9), (32, 32), (64, 48)])
def test_bands_are_means_over_rings_of_the_whole_transform(shape):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half, whole = (fft(image, norm="ortho").abs().square() for fft in (torch.fft.rfft2, torch.fft.fft2))
    f = sum(g.square() for g in torch.meshgrid(*map(torch.fft.fftfreq, shape), indexing="ij")).sqrt()
    rings = [f < EDGES[0], (f >= EDGES[0]) & (f < EDGES[1]), f >= EDGES[1]]
    expected = [float(whole[ring].mean()) for ring in rings if bool(ring.any())]
    assert [float((weights * half).sum()) for weights in _bands(*shape)] == pytest.approx(expected, rel=1e-12)


def test_one_in_a_hundred_images_of_the_prior_is_unusual_and_others_are_all(known):
    fresh = draws(known, 400, 2)
    share = float(judge(known, fresh).unusual.double().mean())
    assert share <= 0.03  # 0.01 and three times its standard deviation, that of the limit included
    assert 0.5 < float(judge(known, fresh).scores.median()) < 1.2
    rough = known.to_value(torch.randn(40, 1, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    for other in (rough, 1 + 0.3 * (fresh[:40] - 1), 1 + 3 * (fresh[:40] - 1), torch.ones(2, 1, *SIZE)):
        assert judge(known, other).unusual.all()


def test_an_image_is_independent_of_those_beside_it(known):
    fresh = draws(known, 40, 2)
    whole = judge(known, fresh).scores
    assert torch.allclose(judge(known, fresh[-1:]).scores[0], whole[-1], rtol=1e-12)
    assert torch.allclose(judge(known, fresh.flip(0)).scores.flip(0), whole, rtol=1e-12)


def test_stated_noise_does_not_make_an_image_unusual(known):
    """With the noise stated the scores stay those of clean images; without, most are unusual; too much says nothing."""
    clean = draws(known, 200, 4)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    level = known.scale * ladder(known)[2] / 3
    noisy = clean + level * noise
    silent, told = judge(known, noisy), judge(known, noisy, noise=level)
    assert float(told.unusual.double().mean()) < 0.05 < 0.5 < float(silent.unusual.double().mean())
    assert told.features < silent.features
    flat = torch.ones(4, 1, *SIZE, dtype=torch.float64) + level * noise[:4]
    assert judge(known, flat, noise=level).unusual.all()
    with pytest.raises(ValueError, match="judge the reconstruction instead"):
        judge(known, noisy, noise=100 * known.scale)


@pytest.mark.parametrize("shape, count", [((16, 16), 1), ((17, 16), 2), ((40, 33), 9), ((32, 48), 6)])
def test_windows_cover_an_image(shape, count):
    x = torch.arange(math.prod(shape), dtype=torch.float64).reshape(1, 1, *shape)
    found = windows(x, SIZE)
    assert found.shape == (1, count, 1, *SIZE)
    assert len(found.unique()) == math.prod(shape)


def test_larger_images_are_judged_by_their_windows(known):
    tiles = draws(known, 4, 6)
    wide = torch.cat([torch.cat([tiles[0], tiles[1]], 2), torch.cat([tiles[2], tiles[3]], 2)], 1)[None]
    found, alone = judge(known, wide), judge(known, tiles).scores
    assert float(found.scores[0]) == pytest.approx(float(alone.quantile(0.5)), rel=1e-12)


def test_the_limit_is_that_of_images_left_out():
    """Features of pure chance: with as many of them as images, a band judged on itself would see nothing unusual."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(40, 6, 3, generator=generator, dtype=torch.float64)
    band = Band(tuple(0.1 * 2.0**k for k in range(6)), (64, 64), tuple(table.tolist()))
    fresh = torch.randn(2000, 6, 3, generator=generator, dtype=torch.float64)
    found = band.judge(fresh.exp())
    assert float(found.unusual.double().mean()) < 0.05
    middle, usual, limit = band.quantiles()
    assert middle < usual < limit == pytest.approx(found.limit)
    assert float(band.judge(table.exp()).scores.max()) < found.limit


def small(tmp_path, **header: object):
    arguments = {"channels": 1, "widths": [8, 8], "blocks": 1, "attention": [], "unshuffle": 2, "dropout": 0.0}
    torch.manual_seed(0)
    prior = ScorePrior(
        NETWORKS["unet"](**arguments), (1, 16, 16), recon.VP(), 0.5, Units(0.5, 0.5, "[0,1]"), "small",
        {"network": {"name": "unet", "arguments": arguments}, "provenance": {"licence": "none"}, **header},
    )  # fmt: skip
    path = tmp_path / "small.safetensors"
    recon.save_prior(path, prior)
    return path


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_band_is_added_to_a_file_and_nothing_else_changes(elsewhere, tmp_path):
    path = small(tmp_path)
    before, content = read_tensors(path), path.read_bytes()
    images = torch.rand(12, 1, 18, 16, generator=torch.Generator().manual_seed(1))
    assert recon.judge(recon.load_prior(path), images) is None
    out = tmp_path / "new.safetensors" if elsewhere else path
    band = recon.add_band(path, images, out if elsewhere else None)
    tensors, header = read_tensors(out)
    assert all(torch.equal(tensors[k], before[0][k]) and tensors[k].dtype == before[0][k].dtype for k in before[0])
    assert tensors.keys() == before[0].keys() and header.pop("typicality") and header == before[1]
    assert band_of(recon.load_prior(out)) == band or asdict(band_of(recon.load_prior(out))) == asdict(band)
    assert not elsewhere or path.read_bytes() == content
    assert len(recon.judge(recon.load_prior(out), images).scores) == 12


@pytest.mark.parametrize(
    "images, words",
    [
        (torch.zeros(20, 1, 15, 16), "got images of 15 x 16; expected 16 x 16 or more"),
        (torch.zeros(20, 3, 16, 16), r"expected \(B, 1, H, W\)"),
        (torch.zeros(9, 1, 16, 16), "at least 10 images"),
    ],
)
def test_wrong_images_are_refused(images, words):
    with pytest.raises(ValueError, match=words):
        recon.measure_band(field(), images)


def test_points_have_no_band():
    with pytest.raises(ValueError, match="a prior of images"):
        recon.measure_band(recon.GaussianPrior(torch.zeros(2), torch.eye(2)), torch.zeros(20, 2))


def test_training_stores_a_band_where_enough_images_are_held_out(tmp_path):
    config = recon.TrainConfig(steps=2, batch_size=4, widths=(8,), attention=(), unshuffle=2, ema=1, seed=1)
    images = torch.randint(0, 256, (22, 1, 16, 16), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    for count in (10, 9):
        path = recon.train(images[:8], images[8 : 8 + count], config, tmp_path / str(count), device="cpu")
        found = recon.judge(recon.load_prior(path), images[8:10] / 255)
        assert (found is None) == (count < 10)
    fresh = recon.measure_band(recon.load_prior(tmp_path / "10/prior.safetensors"), images[8:18] / 255)
    stored = band_of(recon.load_prior(tmp_path / "10/prior.safetensors"))
    assert torch.allclose(torch.tensor(stored.log_power), torch.tensor(fresh.log_power), atol=0.02)  # half precision
