"""What a reconstruction is: draws from the posterior, and the statistics that follow from them.

A point estimate is `mean`; how sure it is says `std` or `interval`. With the S = 4 to 16 draws that are
affordable, the empirical 5 % and 95 % quantiles lie inside the draws' own range and cover far less than
90 % (with S = 4 the range itself covers a further draw with probability (S - 1) / (S + 1) = 60 %).
`interval` therefore is the interval that predicts one more draw, mean +- t std sqrt(1 + 1/S) with
Student's t of S - 1 degrees of freedom: the truth is, if the posterior is right, one more draw from it.
Its coverage is exact for a Gaussian posterior at every S >= 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import torch
from scipy.stats import chi2
from scipy.stats import t as student_t
from torch import Tensor

BAND = 0.9973  # of three standard deviations, were chi-square normal


def chi_square_band(count: int, level: float = BAND) -> tuple[float, float]:
    """Where chi-square over `count` data lies with probability `level` if operator, noise and posterior are right.

    A sample is then as good an image as the truth, whose chi-square is that of `count` real degrees of freedom; so the
    band is that of a sample, and of the average over samples, which varies less.

    Args:
        count: how many real data there are.
        level: in (0, 1).

    Returns:
        Lower and upper end of chi-square / count, about 1 -+ 3 sqrt(2 / count).
    """
    low, high = chi2.ppf(((1 - level) / 2, (1 + level) / 2), count)
    return float(low / count), float(high / count)


def fitted_degrees(deviations: Tensor) -> Tensor:
    """How many of the data's degrees of freedom a posterior spends on them: their variance over the samples, summed.

    tr(A C A^H) / sigma_y^2 for the posterior covariance C and white noise. The mean of S samples fits noise to that
    extent: chi-square of a right one is 1 - (1 - 1/S) fitted / count on average, and that of the samples 1.

    Args:
        deviations: (S, B, ...) residuals of samples over the noise, see `Measurement.deviations`; S >= 2.

    Returns:
        (B,) float64.
    """
    if len(deviations) < 2:
        raise ValueError(f"got {len(deviations)} sample; expected at least 2, spread needs pairs; draw more samples")
    return deviations.double().var(0).flatten(1).sum(1)


def interval_factor(count: int, level: float = 0.9) -> float:
    """2 t_{S-1} sqrt(1 + 1/S), the width of `Posterior.interval` in standard deviations of `count` samples.

    15.5 for 2 samples, 5.3 for 4, 4.0 for 8, 3.3 for many at 90 %: what few samples say of the spread is uncertain, by
    about 1 / sqrt(2 S - 2) of it.
    """
    return 2 * float(student_t.ppf((1 + level) / 2, count - 1)) * sqrt(1 + 1 / count)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from p(x | y) in value units, with what they cost.

    Only `samples` is held in memory, S times the size of the batch. `mean` and `std` are computed when
    first asked for and kept (one image each); `quantiles` sorts a copy of the samples at each call and
    keeps nothing; `interval` makes two images from mean and std. Everything lives on the device of the
    samples.

    Args:
        samples: (S, B, C, H, W), or (S, B, d) for plain vectors.
        nfe: network calls per sample; the call that finds the prior's mean, one a batch, is left out.
        backpropagations: vector-Jacobian products with the network per sample, each about the price of a call.
        seed: the run's seed; sample s of item b is made of noise drawn from (seed, b, s, step).
        seconds: wall-clock time of the sampling, all samples together.
        chi_square: (B,) mean squared whitened residual of the posterior mean over the measured elements,
            about 1 where the data are fitted to their noise; None where no data were involved or they are
            noiseless.
    """

    samples: Tensor = field(repr=False)
    nfe: int = 0
    backpropagations: int = 0
    seed: int | None = None
    seconds: float = 0.0
    chi_square: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.samples.ndim < 3 or 0 in self.samples.shape:
            raise ValueError(
                f"got samples of shape {tuple(self.samples.shape)}; expected (S, B, C, H, W) or (S, B, d), "
                "none of them 0; a single image needs its sample and batch axes, x[None, None]"
            )

    @property
    def count(self) -> int:
        """Number of samples S."""
        return self.samples.shape[0]

    @cached_property
    def mean(self) -> Tensor:
        """Mean over the samples, (B, C, H, W): the estimate of least squared error."""
        return self.samples.mean(0)

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation over the samples, unbiased variance (divisor S - 1), (B, C, H, W)."""
        self._need_two("std")
        return self.samples.std(0, correction=1)

    def quantiles(self, q: float | Sequence[float]) -> Tensor:
        """Empirical quantiles of the samples, linearly interpolated between order statistics.

        They describe the draws, not the truth: with few samples they are too narrow; use `interval` for a
        statement about the truth.

        Args:
            q: one or several probabilities in [0, 1].

        Returns:
            (len(q), B, C, H, W), or (B, C, H, W) for a single number.
        """
        wanted = torch.as_tensor(q, dtype=torch.float64)
        if not bool(((wanted >= 0) & (wanted <= 1)).all()):
            raise ValueError(f"got q={q}; expected probabilities in [0, 1]; 5 % is 0.05")
        # torch.quantile refuses more than 2^24 elements
        ordered = self.samples.sort(0).values
        place = wanted.flatten() * (self.count - 1)
        low = place.floor().long().clamp(max=max(self.count - 2, 0))
        part = (place - low).to(ordered).view(-1, *[1] * (ordered.ndim - 1))
        low = low.to(ordered.device)
        result = torch.lerp(ordered[low], ordered[(low + 1).clamp(max=self.count - 1)], part)
        return result if wanted.ndim else result[0]

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper end of the predictive interval mean +- t_{S-1} std sqrt(1 + 1/S).

        Covers the truth with probability `level` if the posterior is right and Gaussian, whatever S. (Of a
        right posterior that is not Gaussian only approximately; skewed ones have the misses on one side.)

        Args:
            level: probability to cover, in (0, 1).

        Returns:
            Two tensors (B, C, H, W), value units.

        Raises:
            ValueError: fewer than two samples, or a level outside (0, 1).

        Reference: Hahn, Meeker, "Statistical Intervals: A Guide for Practitioners", 1991, prediction
        interval of a single further normal observation.
        """
        half = self.width(level) / 2
        return self.mean - half, self.mean + half

    def width(self, level: float = 0.9) -> Tensor:
        """Map of the width of `interval(level)`, (B, C, H, W), value units."""
        self._need_two("an interval")
        if not 0 < level < 1:
            raise ValueError(f"got level={level}; expected a probability between 0 and 1, e.g. 0.9")
        return interval_factor(self.count, level) * self.std

    def coverage(self, truth: Tensor, level: float = 0.9) -> Tensor:
        """Share of an item's elements with the truth in `interval(level)`; `level` if the posterior is right.

        Args:
            truth: (B, C, H, W), value units.
            level: probability to cover, in (0, 1).

        Returns:
            (B,) in [0, 1], float64. Elements of one image err together: one item's coverage scatters far more
            than independent elements would; judge by the mean over items.
        """
        self._same_shape(truth)
        low, high = self.interval(level)
        return ((truth >= low) & (truth <= high)).double().flatten(1).mean(1)

    def spread_over_error(self, truth: Tensor) -> Tensor:
        """sqrt(mean(std^2) (1 + 1/S) / mean((mean - truth)^2)) per item; 1 if right, less if too sure.

        The factor 1 + 1/S is the error that the mean of S samples has of its own, so the ratio does not
        depend on S.

        Args:
            truth: (B, C, H, W), value units.

        Returns:
            (B,) float64.

        Reference: Fortin, Abaza, Anctil, Turcotte, "Why should ensemble spread match the RMSE of the
        ensemble mean?", 2014.
        """
        self._same_shape(truth)
        variance = self.std.double().square().flatten(1).mean(1) * (1 + 1 / self.count)
        return (variance / (self.mean - truth).double().square().flatten(1).mean(1)).sqrt()

    def _need_two(self, what: str) -> None:
        if self.count < 2:
            raise ValueError(f"got 1 sample; expected at least 2 for {what}; reconstruct with samples=8")

    def _same_shape(self, truth: Tensor) -> None:
        if truth.shape != self.samples.shape[1:]:
            raise ValueError(
                f"got truth of shape {tuple(truth.shape)}; expected {tuple(self.samples.shape[1:])}, that of "
                "one sample; choose the truth of these items"
            )
