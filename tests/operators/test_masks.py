"""Sampling masks: how many points, where the centre is, and what the density is."""

from __future__ import annotations

import numpy as np
import pytest

from operators import sampling_mask
from operators.masks import MASKS, centre

LINES = ["random", "equispaced", "gaussian"]


@pytest.mark.parametrize("width, share, expected", [
    (8, 0.25, [3, 4]), (8, 0.375, [3, 4, 5]), (9, 0.34, [3, 4, 5]), (9, 0.2, [4, 5]), (8, 0.125, [4]), (9, 0.1, [4]),
    (320, 0.08, list(range(147, 173))), (368, 0.04, list(range(177, 192))),
])
def test_the_centre_holds_the_origin_where_fastmri_has_it(width, share, expected):
    assert list(range(width))[centre(width, share)] == expected
    assert width // 2 in expected


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("width, acceleration, share", [(320, 4, 0.08), (321, 8, 0.04), (50, 2.5, 0.1), (40, 1, 0.5)])
def test_lines_are_counted(kind, width, acceleration, share):
    mask = sampling_mask((6, width), acceleration, share, kind, seed=3)
    assert mask.shape == (6, width) and mask.dtype == bool
    assert (mask == mask[0]).all(), "whole columns"
    assert mask[0, centre(width, share)].all()
    slack = 1 if kind == "equispaced" else 0
    assert abs(int(mask[0].sum()) - round(width / acceleration)) <= slack


@pytest.mark.parametrize("kind", MASKS)
def test_a_seed_is_a_mask(kind):
    first, again, other = (sampling_mask((48, 64), 4, 0.08, kind, seed) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_equispaced_lines_are_evenly_apart():
    for seed in range(5):
        lines = np.flatnonzero(sampling_mask((1, 320), 4, 0.08, "equispaced", seed)[0])
        for gaps in (np.diff(lines[lines < 147]), np.diff(lines[lines > 172])):
            assert gaps.max() - gaps.min() <= 1 and gaps.mean() == pytest.approx(294 / 54, rel=0.02)


def test_random_lines_are_alike_and_gaussian_ones_thin_out():
    chance = {kind: np.mean([sampling_mask((1, 100), 4, 0.04, kind, s)[0] for s in range(600)], axis=0)
              for kind in LINES}
    outside = np.r_[0:48, 52:100]
    for kind in ("random", "equispaced"):
        assert np.abs(chance[kind][outside] - 21 / 96).max() < 0.09, kind  # five standard errors
    gaussian = chance["gaussian"]
    assert gaussian[40:48].mean() > 3 * gaussian[10:18].mean() > 9 * gaussian[:6].mean()
    assert abs(gaussian[:48].mean() - gaussian[52:].mean()) < 0.01, "the same on both sides"


@pytest.mark.parametrize("shape", [(64, 64), (60, 81)])
def test_poisson_points_are_counted_and_keep_apart(shape):
    mask = sampling_mask(shape, 6, 0.1, "poisson", seed=0)
    assert int(mask.sum()) == round(mask.size / 6)
    middle = centre(shape[0], 0.1), centre(shape[1], 0.1)
    assert mask[middle].all()
    points = np.argwhere(mask)
    far = np.hypot(*((points - np.array(shape) // 2) / (np.array(shape) // 2)).T)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    outer, inner = gaps.min(axis=1)[far > 0.9], gaps.min(axis=1)[(far > 0.2) & (far < 0.5)]
    assert outer.min() > 2 and outer.mean() > 1.3 * inner.mean()
    quadrants = [mask[: shape[0] // 2].sum(), mask[shape[0] // 2 :].sum()]
    assert abs(quadrants[0] - quadrants[1]) < 0.15 * mask.sum()


@pytest.mark.parametrize("kind", MASKS)
def test_no_acceleration_is_full_sampling(kind):
    assert sampling_mask((6, 9), 1, 0.1, kind).all()


@pytest.mark.parametrize("arguments, message", [
    (dict(acceleration=0.5), "acceleration: got 0.5; expected one finite number of at least 1"),
    (dict(acceleration=float("nan")), "acceleration"),
    (dict(center_fraction=-0.1), "center_fraction: got -0.1"),
    (dict(center_fraction=8), "divide a percentage by 100"),
    (dict(acceleration=4, center_fraction=0.5), "center_fraction: got 0.5, 20 samples; expected at most 10 of 40"),
    (dict(kind="spiral"), "kind: got 'spiral'; expected 'random' or"),
    (dict(shape=(4,)), "shape: got"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        sampling_mask(**{"shape": (4, 40), **arguments})
