"""Whether posteriors keep their promises: samples of many items beside their truths.

If the truth is one more draw from the posterior, then

    its rank among the S samples of a pixel is uniform on 0 .. S (Talagrand's histogram; simulation-based calibration),
    the interval of level p covers it with probability p,
    (1 + 1/S) times the variance of the samples is the mean squared error of their mean, also among pixels of alike std.

The pixels of an image err together, so nothing here takes them for independent: every number is first found for each
item, and its error and test come from how it differs between items (Student's t of items - 1 degrees of freedom). Items
must be independent: neighbouring slices of one patient are not, and make the tests too sure.

Two contrasts of the histogram are tested, its slope and its curvature, as biased and too narrow or too wide posteriors
show in these; a test of all bins at once would need more items than bins.

Reference: Hamill, "Interpretation of rank histograms for verifying ensemble forecasts", 2001; Talts et al., "Validating
Bayesian inference algorithms with simulation-based calibration", 2018, arXiv:1804.06788; Jolliffe and Primo,
"Evaluating rank histograms using decompositions of the chi-square test statistic", 2008 (the contrasts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student_t
from torch import Tensor

from recon.metrics import crps
from recon.posterior import Posterior

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
GROUPS = 10  # of pixels by their std
FEWEST = 5  # items that a test needs


@dataclass(frozen=True)
class Estimate:
    """A mean over items and what it is worth: its 95 % interval and the p-value of the ideal; NaN for too few items."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """What samples of N items say of their truths, arrays float64.

    Args:
        samples: S.
        ranks: (N, S + 1) share of an item's pixels with the truth above 0 .. S of its samples.
        coverage: (N, levels) share of an item's pixels with the truth in the interval of each of `LEVELS`.
        spread, error: (N,) sqrt((1 + 1/S) mean variance), and root mean squared error of the mean of the samples.
        crps, mae: (N,) score of the samples, and mean absolute error of their mean (the score of that image alone).
        reliability: (3, N, groups) of `reliability`; None of S < 4.
    """

    samples: int
    ranks: np.ndarray
    coverage: np.ndarray
    spread: np.ndarray
    error: np.ndarray
    crps: np.ndarray
    mae: np.ndarray
    reliability: np.ndarray | None

    @property
    def slope(self) -> Estimate:
        """Mean rank, scaled to -1 .. 1: 0 if right, above where samples are too low, below where they are too high."""
        return compared(self.ranks @ np.linspace(-1, 1, self.samples + 1), 0.0)

    @property
    def curvature(self) -> Estimate:
        """Mean squared scaled rank over that of uniform ranks, less 1: above 0 (a U) for too narrow samples."""
        square = np.linspace(-1, 1, self.samples + 1) ** 2
        return compared(self.ranks @ square / square.mean() - 1, 0.0)

    @property
    def p(self) -> float:
        """Probability of a slope or curvature this far from 0 if the posteriors are right (Bonferroni over the two)."""
        return float(min(1.0, 2 * min(self.slope.p, self.curvature.p)))

    @property
    def covered(self) -> list[Estimate]:
        """Coverage at each of `LEVELS`, beside the level itself."""
        return [compared(share, level) for share, level in zip(self.coverage.T, LEVELS, strict=True)]

    @property
    def bins(self) -> list[Estimate]:
        """The rank histogram, beside 1 / (S + 1)."""
        return [compared(share, 1 / (self.samples + 1)) for share in self.ranks.T]

    @property
    def spread_over_error(self) -> np.ndarray:
        """(N,) 1 if right, less if too sure."""
        return self.spread / self.error

    @property
    def groups(self) -> list[tuple[float, float, Estimate]]:
        """For pixels grouped by std: predicted and actual root mean squared error, and the square of their ratio.

        The ratio is that of the sums over items, its error that of a ratio estimator whose units are the items.
        """
        if self.reliability is None:
            return []
        found = []
        for count, predicted, actual in self.reliability.transpose(2, 0, 1):
            ratio = predicted.sum() / actual.sum()
            own = compared(ratio + (predicted - ratio * actual) / actual.mean(), 1.0)
            spread, error = (float(np.sqrt(v.sum() / count.sum())) for v in (predicted, actual))
            found.append((spread, error, own))
        return found

    @property
    def total_spread_over_error(self) -> float:
        """Root of the mean squared spread of all items over that of their errors."""
        return float(np.sqrt(np.square(self.spread).mean() / np.square(self.error).mean()))


def compared(values: np.ndarray, ideal: float) -> Estimate:
    """The mean of independent values, its 95 % interval, and the p-value of `ideal`, by Student's t."""
    count, mean = len(values), float(values.mean())
    if count < FEWEST:
        return Estimate(mean, np.nan, np.nan, np.nan)
    error = float(values.std(ddof=1) / np.sqrt(count))
    half = float(student_t.ppf(0.975, count - 1) * error)
    distance = abs(mean - ideal) / error if error > 0 else (0.0 if mean == ideal else np.inf)
    return Estimate(mean, mean - half, mean + half, float(2 * student_t.sf(distance, count - 1)))


def ranks(samples: Tensor, truth: Tensor, seed: int = 0) -> Tensor:
    """How many of the samples lie below the truth; among equal ones its place is drawn at random.

    Args:
        samples: (S, B, ...).
        truth: (B, ...), same unit.
        seed: of the places; item k has its own, seed + k.

    Returns:
        (B, ...) whole numbers 0 .. S, uniform if the truth is one more draw.
    """
    below, equal = (samples < truth).sum(0), (samples == truth).sum(0)
    draws = [torch.rand(truth.shape[1:], generator=torch.Generator().manual_seed(seed + k)) for k in range(len(truth))]
    return below + (torch.stack(draws).to(truth.device) * (equal + 1)).long().clamp(max=samples.shape[0])


def reliability(samples: Tensor, truth: Tensor, edges: Tensor | None = None) -> Tensor:
    """Pixels grouped by their std: how many there are, and the sums of their predicted and their actual squared error.

    One half of the samples forms the groups, the other half predicts and is judged, then the other way round: samples
    that by chance agree would otherwise be grouped as sure, and a right posterior would seem to be too sure there.

    Args:
        samples: (S, B, ...), S >= 4.
        truth: (B, ...).
        edges: std between the groups, see `group_edges`; default: those of these samples.

    Returns:
        (3, B, groups) float64; each sum is a mean only after division by the counts of all items: those of one item
        depend on its own samples.
    """
    half = samples.shape[0] // 2
    edges = group_edges(samples) if edges is None else edges
    sums = torch.zeros(3, len(truth), len(edges) + 1, dtype=torch.float64)
    for sorting, judged in ((samples[:half], samples[half:]), (samples[half:], samples[:half])):
        group = torch.bucketize(sorting.double().std(0).flatten(1), edges)
        predicted = judged.double().var(0).flatten(1) * (1 + 1 / len(judged))
        actual = (judged.double().mean(0) - truth.double()).square().flatten(1)
        for row, values in zip(sums, (torch.ones_like(actual), predicted, actual), strict=True):
            row.scatter_add_(1, group, values)
    return sums


def group_edges(samples: Tensor, groups: int = GROUPS) -> Tensor:
    """The std that part the pixels of all items into groups of the same size, (groups - 1,) float64."""
    half = samples.shape[0] // 2
    std = torch.cat([part.double().std(0).flatten() for part in (samples[:half], samples[half:])])
    shares = np.linspace(0, 1, groups + 1)[1:-1]
    return torch.from_numpy(np.unique(np.quantile(std.cpu().numpy(), shares)))


def calibration(pairs: Sequence[tuple[Tensor, Tensor]], seed: int = 0) -> Calibration:
    """Compares samples with truths, over all items of one or several posteriors.

    Args:
        pairs: samples (S, B, C, H, W) and truth (B, C, H, W) of each posterior, in one unit; sizes may differ. Where
            the numbers of samples differ, the first ones of each are taken, as many as the fewest.
        seed: of the ranks among equal values.

    Raises:
        ValueError: no posterior, fewer than two samples, or shapes that do not match.
    """
    if not pairs or (count := min(len(samples) for samples, _ in pairs)) < 2:
        raise ValueError("got no posterior, or one of fewer than 2 samples; expected at least 2; draw more samples")
    rows: dict[str, list[Tensor]] = {name: [] for name in ("ranks", "coverage", "spread", "error", "crps", "mae")}
    cut = [(samples[:count].double().cpu(), truth.double().cpu()) for samples, truth in pairs]
    first = 0
    for samples, truth in cut:
        posterior = Posterior(samples)
        rows["coverage"].append(torch.stack([posterior.coverage(truth, level) for level in LEVELS], 1))
        place = ranks(samples, truth, seed + first).flatten(1)
        rows["ranks"].append(torch.stack([(place == k).double().mean(1) for k in range(count + 1)], 1))
        wrong = (posterior.mean - truth).flatten(1)
        rows["error"].append(wrong.square().mean(1).sqrt())
        rows["spread"].append((posterior.std.square().flatten(1).mean(1) * (1 + 1 / count)).sqrt())
        rows["crps"].append(crps(samples, truth))
        rows["mae"].append(wrong.abs().mean(1))
        first += len(truth)
    found = {name: torch.cat(parts).numpy() for name, parts in rows.items()}
    return Calibration(count, reliability=_reliability(cut) if count >= 4 else None, **found)


def _reliability(pairs: list[tuple[Tensor, Tensor]]) -> np.ndarray:
    """(3, N, groups) with the same groups for all posteriors."""
    flat = torch.cat([samples.flatten(1) for samples, _ in pairs], 1)
    edges = group_edges(flat)
    return torch.cat([reliability(samples, truth, edges) for samples, truth in pairs], 1).numpy()
