"""What each method needs of the operator, costs and errs by; `recon info methods` prints it, a test measures it."""

from __future__ import annotations

from dataclasses import dataclass

from cli import catalogue

HEADING = "paper | needs | calls a level | backpropagations a call | covariance error at 50 calls | in the limit"


@dataclass(frozen=True)
class Facts:
    """One row.

    Args:
        paper: arXiv number, or where it stands.
        needs: what the operator must have beside its forward map: H its adjoint, G its `gram_solve`, S its singular
            vectors, M that it is a mask.
        calls: of the network at a level, for each particle, at 50 calls and with the options' defaults.
        backpropagations: through the network for each call, at most.
        error: relative error of the posterior's covariance on a Gaussian vector of 4 unknowns and 2 data at 50 calls;
            None for methods that are not linear, whose law is not known exactly.
        exact: whether the error goes to 0 for Gaussian images as the calls grow, for particles as these grow as well.
    """

    paper: str
    needs: str
    calls: int = 1
    backpropagations: int = 0
    error: float | None = None
    exact: bool = False


FACTS: dict[str, Facts] = {
    "spectral": Facts("recon", "H", backpropagations=1, error=0.001, exact=True),
    "spectral_draw": Facts("recon", "H", error=0.001, exact=True),
    "pigdm": Facts("Song et al. 2023", "H G", backpropagations=1, error=0.103),
    "moment": Facts("2310.06721, 2405.13712", "H", backpropagations=5, error=0.111, exact=True),
    "lgd": Facts("Song et al. 2023, ICML", "H", backpropagations=1),
    "dps": Facts("2209.14687", "H", backpropagations=1),
    "mcg": Facts("2206.00941", "H G", backpropagations=1),
    "ddnm": Facts("2212.00490", "H G", error=0.330),
    "ddnm_plus": Facts("2212.00490", "S", error=0.163),
    "ddrm": Facts("2201.11793", "S", error=0.296),
    "dds": Facts("2303.05754", "H", error=0.201),
    "diffpir": Facts("2305.08995", "H G", error=0.354),
    "daps": Facts("2407.01521", "H G", calls=5, error=1.894),
    "pnpdm": Facts("2405.18782", "H G", calls=5, error=0.475),
    "csgm": Facts("2108.01368", "H", calls=3, error=1.104),
    "song2022": Facts("2111.08005", "H G", calls=2, error=0.367),
    "score_mri": Facts("2110.05243", "H", calls=2, error=0.386),
    "predictor_corrector": Facts("2011.13456", "H", calls=2, backpropagations=1, error=0.272, exact=True),
    "repaint": Facts("2201.09865", "M H G"),
    "smc": Facts("2308.07983", "S", exact=True),
    "tds": Facts("2306.17775", "G", backpropagations=1, exact=True),
    "population": Facts("recon", "H", exact=True),
    "reddiff": Facts("2305.04391", "H G"),
    "energy": Facts("recon", "H G", backpropagations=2),
}


def row(name: str) -> str:
    """The facts of a method in a line, in the order of the heading."""
    facts = FACTS[name]
    error = "not linear" if facts.error is None else f"{100 * facts.error:.1f} %"
    limit = "exact" if facts.exact else "biased"
    return " | ".join((facts.paper, facts.needs, str(facts.calls), str(facts.backpropagations), error, limit))


def rows() -> dict[str, str]:
    """All methods in the order of the catalogue, under the heading."""
    return {"": HEADING, **{name: row(name) for name in catalogue.METHODS}}
