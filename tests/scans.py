"""Synthetic scans of discs, as a detector would count them: a beam that has changed since the flats, stripes, noise."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

VIEWS, ROWS, BINS, CENTRE, GAIN, FLAT, DARK = 60, 3, 64, 33.4, 2.0, 20_000.0, 100.0
DISCS = ((0.0, 0.0, 20.0, 0.01), (-6.0, 4.0, 6.0, 0.015), (9.0, -3.0, 4.0, -0.01))  # x, y, radius, attenuation a pixel


def attenuation(size: int = BINS, fine: int = 4) -> np.ndarray:
    """Means over the pixels of the discs, (size, size); y goes up, the rotation centre is the middle."""
    places = (np.arange(size * fine) + 0.5) / fine - size / 2
    x, y = np.meshgrid(places, -places)
    image = sum(mu * ((x - a) ** 2 + (y - b) ** 2 < r**2) for a, b, r, mu in DISCS)
    return image.reshape(size, fine, size, fine).mean((1, 3))


def sinogram(angles: np.ndarray, centre: float = CENTRE, bins: int = BINS) -> np.ndarray:
    """Exact line integrals through the discs, (angles, bins)."""
    t = np.arange(bins) - centre
    total = np.zeros((len(angles), bins))
    for a, b, r, mu in DISCS:
        away = t - (a * np.cos(angles) + b * np.sin(angles))[:, None]
        total += 2 * mu * np.sqrt(np.clip(r**2 - away**2, 0, None))
    return total


def scan(beam: float = 1.0, tilt: float = 0.0, stripes: float = 0.0, turn: float = 180.0, seed: int = 0) -> dict:
    """A scan in the names of Data Exchange; the last row sees only air.

    Args:
        beam: its intensity over that of the flats.
        tilt: by how much the logarithm of the beam's ends changes through the scan.
        stripes: standard deviation of each pixel's own error in the flats.
        turn: degrees, both ends included.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, turn, VIEWS)
    lines = np.repeat(sinogram(np.deg2rad(angles))[:, None], ROWS, axis=1)
    lines[:, -1] = 0
    slope = np.linspace(-tilt, tilt, VIEWS)[:, None, None] * np.linspace(-1, 1, BINS)
    own = stripes * rng.standard_normal((ROWS, BINS))
    counts = rng.poisson(FLAT * beam * np.exp(-lines - slope - own) / GAIN) * GAIN + DARK
    flats = rng.poisson(FLAT / GAIN, (40, ROWS, BINS)) * GAIN + DARK
    return {
        "exchange/data": counts.astype(np.uint16), "exchange/data_white": flats.astype(np.uint16),
        "exchange/data_dark": np.full((2, ROWS, BINS), DARK, np.uint16), "exchange/theta": angles,
    }


def one_stack(parts: dict, entry: str = "entry", beam: np.ndarray | None = None) -> dict:
    """The same scan as NXtomo has it: darks, half of the flats, the views with one not valid, the other flats.

    Args:
        parts: as `scan` makes them.
        entry: the group that it lies in.
        beam: what the monitor counted in each view, the flats having 1000.
    """
    darks, flats, views = (parts[f"exchange/{name}"] for name in ("data_dark", "data_white", "data"))
    half, broken = len(flats) // 2, np.zeros_like(views[:1])
    stack = [darks, flats[:half], views[:7], broken, views[7:], flats[half:]]
    keys, turned = [2, 1, 0, 3, 0, 1], parts["exchange/theta"]
    after = np.full(len(flats) - half, 90.0)
    theta = [np.zeros(len(darks)), np.zeros(half), turned[:7], turned[7:8], turned[7:], after]
    found = {
        f"{entry}/instrument/detector/data": np.concatenate(stack),
        f"{entry}/instrument/detector/image_key": np.repeat(keys, [len(some) for some in stack]),
        f"{entry}/sample/rotation_angle": np.concatenate(theta),
    }
    if beam is not None:
        counted = [np.full(len(some), 1000.0) for some in stack]
        counted[2], counted[4] = beam[:7], beam[7:]
        found[f"{entry}/control/data"] = np.concatenate(counted)
    return found


def write(path: Path, parts: dict) -> Path:
    """The parts as a file."""
    with h5py.File(path, "w") as file:
        for name, values in parts.items():
            file[name] = values
    return path
