"""Whether an image is like those of a prior: how the denoiser errs on it, beside how it errs on held-out images.

At each level of a short ladder one noise n, the same for every image, is added, and the error D(x + sigma n) - x is
split into bands of frequency. Its log powers are the features; the score of an image is their distance from those of
the held-out images, d^2 = z^T C^-1 z / (number of features), C their covariance with its diagonal raised by a share. So
an image that is easier than the held-out ones is as unusual as one that is harder, which a density alone cannot say:
smooth images of any kind have high densities.

The limit is a quantile of the held-out images' own scores, each from a mean and a covariance that its neighbours had no
part in: neighbours are often slices of one patient.

Reference: errors at several levels as features are those of Graham et al., Denoising diffusion models for
out-of-distribution detection, 2023, arXiv:2211.07740; that high density does not mean in-domain is Nalisnick et al.,
2019, arXiv:1810.09136. Splitting by frequency and the correction for noise are ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from recon.checkpoint import bundled_priors, load_prior, read_tensors, write_tensors
from recon.noise import CounterNoise
from recon.prior import Prior
from recon.spectrum import radius

LEVELS, LOW, HIGH = 6, 0.2, 0.3  # the ladder: from LOW standard deviations of a value to HIGH spreads
EDGES = (0.05, 0.2)  # cycles a pixel, between the bands of frequency
RIDGE, FOLDS, MOST = 0.3, 5, 256  # MOST: held-out images that are used
LIMIT = 0.99  # quantile of the held-out images' scores beyond which an image is unusual
FEWEST, FEWEST_IMAGES = 3, 2 * FOLDS  # features that a judgement needs, images that a band needs


@lru_cache(maxsize=32)
def _bands(height: int, width: int) -> Tensor:
    """Weights (bands, H, W // 2 + 1) that average the power of rfft2 over each band that has a frequency, float64."""
    f = radius(height, width)
    whole = torch.full_like(f, 2.0)  # rfft2 leaves out mirror images
    whole[:, 0] = 1
    if width % 2 == 0:
        whole[:, -1] = 1
    place = torch.bucketize(f, torch.tensor(EDGES, dtype=f.dtype), right=True)
    masks = [whole * (place == k) for k in range(len(EDGES) + 1) if bool((place == k).any())]
    return torch.stack([mask / mask.sum() for mask in masks])


def error_powers(prior: Prior, x: Tensor, sigmas: tuple[float, ...], batch_size: int = 32) -> Tensor:
    """Mean power of D(x + sigma n, sigma) - x in each band of frequency, (B, levels, bands), float64.

    Args:
        x: (B, C, H, W), normalised.
        sigmas: noise levels; level k adds the k-th noise, the same to every image.
        batch_size: images in one network call.
    """
    weights, levels = _bands(*x.shape[-2:]).to(x.device), []
    for k, sigma in enumerate(sigmas):
        noise, parts = CounterNoise(0, [k], [0])(x[:1]), []
        for part in x.split(batch_size):
            with torch.no_grad():
                error = prior.denoise(part + sigma * noise, part.new_full((len(part),), sigma)) - part
            power = torch.fft.rfft2(error.double(), norm="ortho").abs().square().mean(1)
            parts.append(torch.einsum("bhw,khw->bk", power, weights))
        levels.append(torch.cat(parts))
    return torch.stack(levels, 1)


def windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Windows (B, N, C, *size) that cover images (B, C, H, W), evenly spread, overlapping where they have to."""
    starts = []
    for length, side in zip(x.shape[-2:], size, strict=True):
        count = -(-length // side)
        starts.append([round(k * (length - side) / max(1, count - 1)) for k in range(count)])
    return torch.stack([x[..., a : a + size[0], b : b + size[1]] for a, b in product(*starts)], 1)


def _distances(known: Tensor, asked: Tensor) -> Tensor:
    """Root of the mean squared deviation of features (N, F) from the mean of the known ones, whitened, (N,)."""
    apart = known - known.mean(0)
    covariance = apart.T @ apart / max(1, len(known) - 1)
    floor = 1e-6 * torch.ones_like(known[0])  # features that do not vary
    inverse = torch.linalg.inv(covariance + torch.diag(RIDGE * covariance.diagonal() + floor))
    z = asked - known.mean(0)
    return torch.einsum("nf,fg,ng->n", z, inverse, z).div(known.shape[1]).sqrt()


def _held_out_distances(features: Tensor) -> Tensor:
    """The scores (N,) of images that are in turn left out, a run of neighbours at a time."""
    runs = torch.arange(len(features)).chunk(FOLDS)
    rest = [torch.cat([features[: int(run[0])], features[int(run[-1]) + 1 :]]) for run in runs]
    return torch.cat([_distances(known, features[run]) for known, run in zip(rest, runs, strict=True)])


@dataclass(frozen=True, eq=False)
class Typicality:
    """How unusual B images are.

    Args:
        scores: (B,) distance from the held-out images, about 1 for one of them.
        limit: the score that one in a hundred of them exceeds.
        features: how many log powers were compared.
    """

    scores: Tensor
    limit: float
    features: int

    @property
    def unusual(self) -> Tensor:
        """(B,) bool: whether an image is farther off than nearly all held-out images."""
        return self.scores > self.limit


@dataclass(frozen=True)
class Band:
    """What held-out images give, in the prior's header under "typicality".

    Args:
        sigmas: noise levels, rising, normalised units.
        size: height and width of the held-out images.
        log_power: for each image, level and band of frequency the log of the error's mean power; neighbours beside
            each other.
    """

    sigmas: tuple[float, ...]
    size: tuple[int, int]
    log_power: tuple[tuple[tuple[float, ...], ...], ...]

    def __post_init__(self) -> None:
        table = torch.tensor(self.log_power, dtype=torch.float64)
        bands = len(_bands(*self.size))
        fits = table.shape[1:] == (len(self.sigmas), bands) and len(table) >= FEWEST_IMAGES
        if not fits or not bool(table.isfinite().all()):
            raise ValueError(
                f"got a table of shape {tuple(table.shape)}; expected finite numbers, (images, {len(self.sigmas)}, "
                f"{bands}) with at least {FEWEST_IMAGES} images; measure it again on more held-out images"
            )

    def quantiles(self, shares: tuple[float, ...] = (0.5, 0.95, LIMIT)) -> tuple[float, ...]:
        """Scores of the held-out images at these shares, each image left out of what it is compared with."""
        features = torch.tensor(self.log_power, dtype=torch.float64).flatten(1)
        return tuple(_held_out_distances(features).quantile(torch.tensor(shares, dtype=torch.float64)).tolist())

    def judge(self, powers: Tensor, noise: float = 0.0) -> Typicality:
        """The scores of images by their error powers (B, levels, bands), see `error_powers`.

        White noise of standard deviation s in an image adds s^2 (1 - 2 r) to the error's power, r the share of the
        level's noise that the denoiser leaves: that is taken off, and what would drown in it is not compared.

        Args:
            powers: of the image as it is, with its noise.
            noise: standard deviation of the white noise in it, normalised units.

        Raises:
            ValueError: the noise leaves nothing to compare.
        """
        known = torch.tensor(self.log_power, dtype=torch.float64, device=powers.device)
        sigmas = torch.tensor(self.sigmas, dtype=torch.float64, device=powers.device)[:, None]
        expected = known.mean(0).exp()
        used = (expected >= noise**2) & (sigmas >= 3 * noise)
        if int(used.sum()) < FEWEST:
            raise ValueError(
                f"got images with noise of {noise:.3g}, normalised; expected less, {FEWEST} errors of the denoiser "
                "that exceed it; judge the reconstruction instead"
            )
        added = noise**2 * (1 - 2 * expected / sigmas.square())
        features = (powers - added).clamp(min=max(0.1 * noise**2, 1e-30)).log()
        known = known[:, used]
        limit = float(_held_out_distances(known).quantile(LIMIT))
        return Typicality(_distances(known, features[:, used]), limit, int(used.sum()))


def ladder(prior: Prior) -> tuple[float, ...]:
    """The noise levels of a band: from the texture of the images to what they show, clear of the process's ends."""
    low = max(prior.sde.sigma_min, LOW * prior.data_std)
    high = min(prior.sde.sigma_max, max(HIGH * prior.spread, 2 * low))
    return tuple(low * (high / low) ** (k / (LEVELS - 1)) for k in range(LEVELS))


def _check_images(prior: Prior, values: Tensor) -> None:
    if len(prior.shape) != 3 or values.ndim != 4 or values.shape[1] != prior.shape[0]:
        expected = f"(B, {prior.shape[0]}, H, W)" if len(prior.shape) == 3 else "a prior of images (C, H, W)"
        raise ValueError(f"got {tuple(values.shape)} for a prior of {tuple(prior.shape)}; expected {expected}")
    if any(found < least for found, least in zip(values.shape[-2:], prior.shape[-2:], strict=True)):
        sizes = [" x ".join(map(str, shape[-2:])) for shape in (values.shape, prior.shape)]
        raise ValueError(f"got images of {sizes[0]}; expected {sizes[1]} or more, the size that the prior knows")


def measure_band(prior: Prior, images: Tensor) -> Band:
    """The band of a prior from held-out images (N, C, H, W) in its values; no more than 256 of them are used.

    Args:
        prior: the band is that of its images' size; of larger ones the middle is taken.
        images: never trained on; neighbours (slices of one patient) beside each other.

    Raises:
        ValueError: images of other channels or smaller ones, or fewer than ten.
    """
    _check_images(prior, images)
    height, width = prior.shape[-2:]
    top, left = ((found - size) // 2 for found, size in zip(images.shape[-2:], (height, width), strict=True))
    some = images[torch.linspace(0, len(images) - 1, min(MOST, len(images))).long()]
    some = some[..., top : top + height, left : left + width].to(prior.device, prior.dtype)
    sigmas = ladder(prior)
    found = error_powers(prior, prior.from_value(some), sigmas).clamp(min=1e-30).log()
    table = tuple(tuple(tuple(round(v, 4) for v in level) for level in image) for image in found.tolist())
    return Band(sigmas, (height, width), table)


def band_of(prior: Prior) -> Band | None:
    """The band in a prior's header, None where there is none."""
    stored = getattr(prior, "header", {}).get("typicality")
    if stored is None:
        return None
    table = tuple(tuple(tuple(level) for level in image) for image in stored["log_power"])
    return Band(tuple(stored["sigmas"]), tuple(stored["size"]), table)


def judge(prior: Prior, values: Tensor, noise: float = 0.0) -> Typicality | None:
    """How unusual images (B, C, H, W), in the prior's values, are for it; None where the prior has no band.

    Larger images are judged by the median over windows of the size that the band is of.

    Args:
        prior: with a band in its header, see `measure_band` and `add_band`.
        values: the images; the score of one does not depend on the others.
        noise: standard deviation of the white noise in them, in values.

    Raises:
        ValueError: images of other channels or smaller than the prior's, or too noisy ones.
    """
    band = band_of(prior)
    if band is None:
        return None
    _check_images(prior, values)
    parts = windows(prior.from_value(values.to(prior.device, prior.dtype)), band.size)
    found = band.judge(error_powers(prior, parts.flatten(0, 1), band.sigmas), noise / prior.scale)
    scores = found.scores.reshape(parts.shape[:2]).quantile(0.5, dim=1)
    return Typicality(scores.cpu(), found.limit, found.features)


def add_band(path: str | Path, images: Tensor, out: str | Path | None = None) -> Band:
    """Measures the band of a prior's file and writes it into its header; weights and all else stay as they are.

    Args:
        path: bundled name or file, see `recon.load_prior`.
        images: held-out images, see `measure_band`.
        out: file to write; default: the prior's own, replaced in one step.
    """
    source = bundled_priors().get(str(path), Path(path))
    source = source / "prior.safetensors" if source.is_dir() else source
    band = measure_band(load_prior(source), images)
    tensors, header = read_tensors(source)
    write_tensors(Path(out or source), tensors, {**header, "typicality": asdict(band)})
    return band
