"""Whether a result explains its data: one word and one sentence for each item.

A noise level is seldom known better than to a fifth, and approximate samplers err as much: residuals within a factor of
1.2 of the noise are good, more where chance asks for it (the band that holds the chi-square of m data in 99.73 % of all
cases, about 1 -+ 3 sqrt(2 / m)). Beyond 1.5, chi-square 2.25, noise of that size explains them no longer. A level that
nobody stated, the rounding of a picture, is right to a factor of 2 at best. Chi-square is an average, which a small
structure that was measured but not drawn hardly moves; so no single residual may exceed what one in a thousand such
data sets would show, sqrt(2 ln(1000 m)) standard deviations, by more than that factor. Data without noise have to be
met: 1 % of their range is what an eye would pass over.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

GOOD, ODD, BAD = "good", "odd", "bad"
CLOSE, ROUGH = (1.2, 1.5), (2.0, 4.0)  # factors between residuals and noise that end "good" and begin "bad"
FACTORS = {"stated": CLOSE, "estimated": CLOSE, "assumed": ROUGH}  # by how the noise level is known
MET, MISSED = 0.01, 0.1  # the same for data without noise, in shares of their range
LABELS = {GOOD: "fits the data", ODD: "odd fit to the data", BAD: "does not fit the data"}


@dataclass(frozen=True)
class Fit:
    """How a result fits the data of one item.

    Args:
        chi_square: mean squared residual over the noise variance; None for data without noise.
        misfit: largest residual as a share of the data's range.
        peak: largest residual over its noise; None for data without noise.
        place: where in the data that is, in words.
        count: how many data there are.
        of_samples: whether these are the residuals of posterior samples. Truth and samples are exchangeable under the
            posterior, so their chi-square is 1 on average; a best estimate's is lower by the share of noise it fits.
        known: how the noise level is known: stated, estimated or assumed.
        fitted: degrees of freedom of the data that the samples spend on them; None where there are no such samples.
    """

    chi_square: float | None
    misfit: float
    peak: float | None
    place: str
    count: int
    of_samples: bool
    known: str
    fitted: float | None = None

    @property
    def band(self) -> tuple[float, float]:
        """Where the chi-square of right samples lies by chance."""
        from recon.posterior import chi_square_band

        return chi_square_band(self.count)

    @property
    def outside(self) -> bool:
        """Whether the chi-square of samples is not there."""
        low, high = self.band
        return self.of_samples and self.chi_square is not None and not low <= self.chi_square <= high


@dataclass(frozen=True)
class Verdict:
    """"good", "odd" or "bad", and the sentence that says why."""

    word: str
    text: str

    @property
    def label(self) -> str:
        return LABELS[self.word]


def judge(fit: Fit) -> Verdict:
    """Does the result explain the data?"""
    if fit.chi_square is None or fit.peak is None:
        return without_noise(fit)
    return with_noise(fit, fit.chi_square, fit.peak)


def without_noise(fit: Fit) -> Verdict:
    """The verdict on data that should be met exactly."""
    found = f"The data are stated to be without noise; they are missed by up to {largest(fit)}"
    if fit.misfit <= MET:
        return Verdict(GOOD, f"{found}: they are explained.")
    word = BAD if fit.misfit > MISSED else ODD
    reliance = " Do not rely on it." if word == BAD else ""
    fix = "More --steps or another --method may help; if they carry noise, state it (--noise)."
    return Verdict(word, f"{found}. {fix}{reliance}")


def with_noise(fit: Fit, chi_square: float, peak: float) -> Verdict:
    """The verdict on data with noise, by chi-square and by the largest residual."""
    near, far = FACTORS[fit.known]
    chance, (lowest, highest) = sqrt(2 / fit.count), fit.band
    level = f"{fit.known} noise"
    whose = "samples" if fit.of_samples else "estimate"
    found = f"The residuals of the {whose} are {compared(chi_square)} the {level} (chi-square {chi_square:.3g}, " + (
        f"by chance 1 ± {chance:.2f})" if fit.of_samples else "1 or less is right: an estimate fits part of the noise)"
    )
    if chi_square > max(far**2, highest):
        return Verdict(BAD, f"{found}: the result does not explain the data. {reasons(fit)} Do not rely on it.")
    if chi_square > max(near**2, highest):
        return Verdict(ODD, f"{found}. {reasons(fit)}")
    if fit.of_samples and fit.known != "assumed" and chi_square < min(near**-2, lowest):
        why = f"The noise may be smaller than {fit.known}, or the method fits it, as most do with few --steps"
        text = f"{found}: closer to the data than the noise allows. {why}; the interval map is then too narrow"
        return Verdict(ODD, f"{text}{lacking(fit, chi_square)}.")
    if peak > near * sqrt(2 * log(1000 * fit.count)):
        far_off = f"some data are missed by up to {peak:.0f} times the {level}, {largest(fit)}"
        lost = "What was measured there may have been drawn away: compare the samples with the data."
        return Verdict(ODD, f"{found}, but {far_off}. {lost}")
    if not fit.outside:
        return Verdict(GOOD, f"{found}: to within that, the data are explained.")
    known = f"no more than such a level is uncertain (a factor of {near:g})" if fit.known != "assumed" else "no misfit"
    return Verdict(GOOD, f"{found}: beyond chance, but {known}; the data are explained.")


def lacking(fit: Fit, chi_square: float) -> str:
    """How much narrower than the posterior samples are if only that puts them too close to the data, in words.

    About the right mean, samples of a spread that uses up `fitted` data where the posterior uses f have the chi-square
    1 - (f - fitted) / count.
    """
    if fit.fitted is None:
        return ""
    posterior = fit.fitted + fit.count * (1 - chi_square)
    return f", by about {100 * (1 - sqrt(fit.fitted / posterior)):.0f} % if the noise is right"


def largest(fit: Fit) -> str:
    """The largest residual in words."""
    return f"{100 * fit.misfit:.2g} % of their range ({fit.place})"


def compared(chi_square: float) -> str:
    """The size of residuals next to the noise, in words that go before it: "8 % larger than"."""
    ratio = sqrt(chi_square)
    if ratio > 2:
        return f"{ratio:.3g} times"
    share = round(100 * abs(ratio - 1))
    return f"{share} % {'larger' if ratio > 1 else 'smaller'} than" if share else "as large as"


def reasons(fit: Fit) -> str:
    """Why residuals may be larger than the noise."""
    noise = {
        "assumed": "noise of the picture may be more than its rounding (state it: --noise)",
        "estimated": "noise may be larger than estimated (state it: --noise)",
        "stated": "noise may be larger than stated",
    }[fit.known]
    own = "the image is unlike those of the prior, the sampler took too few --steps" if fit.of_samples else (
        "the method does not aim to fit the data so closely"
    )
    return f"The {noise}, {own}, or the operator is not the true one."
