"""CT numbers: attenuation in Hounsfield units, and back.

HU = 1000 (mu - water) / (water - air): -1000 for air, 0 for water. The attenuation of water depends on the X-rays'
energy; a scan's effective one is far below its tube voltage. At 40, 50, 60, 80 and 100 keV water attenuates 0.02683,
0.02269, 0.02059, 0.01837 and 0.01707 per mm; a value of the scanner's own calibration is better.

Reference: Hubbell and Seltzer, "Tables of X-ray mass attenuation coefficients", NIST, 1995.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from operators.checks import fault, finite_float


def to_hounsfield(mu_per_mm: Tensor | np.ndarray, water_per_mm: float, air_per_mm: float = 0.0) -> Tensor | np.ndarray:
    """1000 (mu - water) / (water - air).

    Args:
        mu_per_mm: Linear attenuation, of any shape.
        water_per_mm: That of water.
        air_per_mm: That of air, which is -1000 HU.

    Returns:
        HU, of the kind and dtype of `mu_per_mm`.

    Raises:
        ValueError: water does not attenuate more than air.
    """
    water, air = _references(water_per_mm, air_per_mm)
    return (mu_per_mm - water) * (1000.0 / (water - air))


def from_hounsfield(hu: Tensor | np.ndarray, water_per_mm: float, air_per_mm: float = 0.0) -> Tensor | np.ndarray:
    """water + HU (water - air) / 1000 [1/mm], the inverse of `to_hounsfield`.

    Args:
        hu: Of any shape, floating; below -1000 the attenuation comes out below that of air.
        water_per_mm, air_per_mm: As for `to_hounsfield`.

    Returns:
        Linear attenuation, of the kind and dtype of `hu`.
    """
    water, air = _references(water_per_mm, air_per_mm)
    return water + hu * ((water - air) / 1000.0)


def _references(water_per_mm: float, air_per_mm: float) -> tuple[float, float]:
    air = finite_float("air_per_mm", air_per_mm, low=0.0)
    water = finite_float("water_per_mm", water_per_mm)
    if water <= air:
        raise fault("water_per_mm", f"{water:g}", f"more than that of air, {air:g}",
                    "give the attenuation of water in 1/mm, about 0.02")
    return water, air
