"""Methods that alternate a prediction and Langevin correctors on a grid of constant ratio: annealed Langevin dynamics
and the predictor-corrector samplers.
"""

from __future__ import annotations

from torch import Tensor

from recon import consistency, guidance
from recon.condition import Denoise, guided
from recon.grids import geometric_levels, noise_damping
from recon.jacobian import norms
from recon.likelihood import Measurement
from recon.moves import CorrectorName, Move, corrector, langevin, on_state
from recon.noise import Noise
from recon.prior import Prior
from recon.ranges import Count, NotNegative, Positive, Share
from recon.sampling import Method
from recon.sde import VE
from recon.steps import Step, hold, predictor


def with_likelihood(denoise: Denoise, measurement: Measurement, gamma: Tensor) -> Denoise:
    """x0 + sigma^2 A^H (y - A x) / (sigma_y^2 + (gamma sigma)^2): the score of the state's own Gaussian likelihood."""
    operator = measurement.operator

    def conditioned(x: Tensor, sigma: float) -> Tensor:
        weight = sigma**2 / (measurement.sigma**2 + (gamma * sigma) ** 2)
        return denoise(x, sigma) + weight * operator.adjoint(measurement.residual(x))

    return conditioned


def annealing_share(ratio: float, repeats: int) -> float:
    """The share e / sigma^2 of Langevin steps, K = `repeats` a level, that brings noise of a level to the next one.

    From a level `ratio` times higher, noise ends with the variance (1 - a)^(2 K) (ratio^2 - 2 / (2 - a)) + 2 / (2 - a)
    in units of sigma^2; a is chosen for the least, which is the nearest to 1.

    Reference: Song and Ermon, Improved techniques, 2020, proposition 3 and technique 4, arXiv:2006.09011.
    """

    def variance(a: float) -> float:
        return (1 - a) ** (2 * repeats) * (ratio**2 - 2 / (2 - a)) + 2 / (2 - a)

    return min((i / 1000 for i in range(1, 1000)), key=variance)


def csgm(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    gamma: NotNegative = 1.0,
    repeats: Count = 3,
    share: Share | None = None,
    move: CorrectorName = "langevin",
) -> Method:
    """Annealed Langevin dynamics on prior and likelihood: `repeats` moves a level, the state carried on.

    The paper's gamma_t is gamma |A| sigma here, |A| being 1 there; its released code scales the two terms to each other
    by their norms instead. The size of a move is Song and Ermon's for the grid, which has few levels where theirs has
    thousands; `share` sets it. `move` is one of `recon.moves.CORRECTORS`.

    Reference: Jalal et al., Robust compressed sensing MRI, 2021, equation 4, arXiv:2108.01368.
    """
    chosen = corrector(move)
    levels = geometric_levels(prior, 1 + (steps - 1) // (repeats * chosen.calls))
    share = share or annealing_share(levels[0] / (levels[1] or levels[0]), repeats)
    size = norms(measurement.operator, measurement.y.new_empty(measurement.image_shape))
    estimate = with_likelihood(prior.denoise, measurement, gamma * size)
    return Method(estimate, levels, hold, (chosen.make((share / 2) ** 0.5),) * repeats)


def ve_predictor(prior: Prior) -> Step:
    """Song's predictor on a VE process that holds the prior's grid."""
    return predictor(VE(prior.sigma_end / 2, 2 * prior.sigma_start))


def _predicted_and_corrected(prior: Prior, steps: int, snr: float, pull: Move) -> Method:
    moves = (pull, langevin(snr), pull)
    return Method(prior.denoise, geometric_levels(prior, max(1, steps // 2)), ve_predictor(prior), moves)


def song2022(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    relaxation: Positive = 1.0,
    snr: Positive = 0.16,
    damping: NotNegative | None = None,
) -> Method:
    """Song et al. for CT and MRI: predictor and Langevin corrector, the state pulled to noised data after each."""
    damping = noise_damping(measurement, prior) if damping is None else damping
    pull = on_state(consistency.pinv(measurement, relaxation, damping))
    return _predicted_and_corrected(prior, steps, snr, pull)


def score_mri(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    relaxation: Positive = 1.0,
    snr: Positive = 0.16,
    noised: Share = 0.0,
) -> Method:
    """Score-MRI: as song2022 with one adjoint step on the data, as they are, in place of the inverse.

    The paper pulls noisy states to data without their noise, which understates the spread; `noised` = 1 gives the data
    the noise of the state's level.
    """
    return _predicted_and_corrected(prior, steps, snr, on_state(consistency.landweber(measurement, relaxation), noised))


def predictor_corrector(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    snr: Positive = 0.16,
    move: CorrectorName = "langevin",
    tolerance: Positive = 0.1,
) -> Method:
    """Song's predictor and a corrector on the default's guided estimate, so that both follow the posterior's score.

    `move` is one of `recon.moves.CORRECTORS`.

    Reference: Song et al., 2021, algorithm 1 and section 5, arXiv:2011.13456.
    """
    chosen = corrector(move)
    levels = geometric_levels(prior, 1 + (steps - 1) // (1 + chosen.calls))
    guide = guidance.spectral(measurement, prior, tolerance, levels)
    return Method(guided(prior.denoise, guide), levels, ve_predictor(prior), (chosen.make(snr),))
