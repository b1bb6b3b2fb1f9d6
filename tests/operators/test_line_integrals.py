"""Line integrals of counts: exact where nothing is lost, level, stripes, noise and rotation centre found again."""

from __future__ import annotations

import numpy as np
import pytest

from operators.line_integrals import air_beside, count_noise, interpolated, line_integrals, stripes
from operators.rotation_centre import opposite_views, rotation_centre
from tests.scans import BINS, CENTRE, sinogram


def test_counts_give_the_line_integrals_back():
    rng = np.random.default_rng(0)
    flat, dark, lines = rng.uniform(500, 900, (2, 9)), rng.uniform(5, 9, (2, 9)), rng.uniform(0, 3, (4, 2, 9))
    found = line_integrals(dark + (flat - dark) * np.exp(-lines), flat, dark)
    np.testing.assert_allclose(found.values, lines, atol=1e-12)
    assert found.counted.all() and not found.dead.any()


def test_what_was_not_counted_is_interpolated_and_has_no_weight():
    lines = np.tile(np.arange(8.0) / 10, (3, 1, 1))
    counts, flat = 1000 * np.exp(-lines), np.full((1, 8), 1000.0)
    counts[:, 0, 4] = 0  # a dead pixel
    counts[1, 0, 2] = -3  # a view that starved there
    flat[0, 0] = 0  # the flat has nothing here
    found = line_integrals(counts, flat, np.zeros((1, 8)))
    expected = lines.copy()
    expected[..., 0] = expected[..., 1]  # continued
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    assert np.argwhere(found.dead).tolist() == [[0, 0], [0, 4]] and (~found.counted).sum() == 3 + 3 + 1
    sigma = count_noise(found.transmitted, found.counted, 2.0)
    np.testing.assert_allclose(sigma[0, 0, 1], np.sqrt(2 / counts[0, 0, 1]))
    np.testing.assert_allclose(sigma[~found.counted], 100 * sigma[found.counted].max())


def test_a_row_without_counts_is_refused():
    with pytest.raises(ValueError, match="row 1 of view 0"):
        line_integrals(np.array([[[5.0, 5], [1, 1]]]), np.full((2, 2), 9.0), np.ones((2, 2)))
    values = np.arange(4.0)[None]
    np.testing.assert_array_equal(interpolated(values, np.ones((1, 4), bool)), values)


def test_the_air_of_a_beam_that_turns_is_found():
    rng = np.random.default_rng(1)
    slope = np.linspace(-0.1, 0.1, 50)[:, None, None] * np.linspace(-1, 1, 40)
    values = 0.4 + slope + np.zeros((50, 2, 40))
    inner = values.copy()
    inner[..., 10:30] += 1.0  # the object
    np.testing.assert_allclose(air_beside(inner, 6), values, atol=5e-4)
    still = 0.4 + 0.02 * rng.standard_normal((50, 2, 40))
    level = air_beside(still, 6)
    assert (level - level.mean(0)).std() < 0.5 * 0.02 / np.sqrt(6)  # noise of the ends is no change of the beam


def test_stripes_are_found_and_an_object_is_none():
    rng = np.random.default_rng(2)
    clean = sinogram(np.linspace(0, np.pi, 90))[:, None]
    own = 0.02 * rng.standard_normal((1, BINS))
    left = {share: (own - stripes(share * clean + own, 9)).std() / own.std() for share in (0.0, 0.1, 1.0)}
    assert left[0.0] < 0.35 and left[0.1] < 0.5 and left[1.0] < 0.8  # on a slope the median sees less of them
    assert np.abs(stripes(clean, 9)).max() < 0.04 * clean.max()


@pytest.mark.parametrize("centre", [CENTRE, 31.5, 26.85, 40.0])
def test_rotation_centre_from_opposite_views(centre):
    angles = np.linspace(0, np.pi, 31)
    first, others, beyond = opposite_views(angles)
    assert (first, others) == (0, [30]) and beyond == pytest.approx([0])
    lines = sinogram(angles, centre)[:, None]
    assert rotation_centre(lines[first], lines[others], beyond) == pytest.approx(centre, abs=0.15)


def test_rotation_centre_where_the_end_of_the_turn_is_left_out():
    angles = np.linspace(0, np.pi, 60, endpoint=False)
    first, others, beyond = opposite_views(angles)
    assert first == 0 and others == [59, 58, 57]
    lines = sinogram(angles)[:, None]
    assert rotation_centre(lines[first], lines[others], beyond) == pytest.approx(CENTRE, abs=0.15)
    nearest_alone = rotation_centre(lines[first], lines[others[:1]])
    assert abs(nearest_alone - CENTRE) > 0.0


def test_views_that_cannot_be_matched_are_refused():
    with pytest.raises(ValueError, match="half a turn apart"):
        opposite_views(np.deg2rad(np.arange(90.0)))
    with pytest.raises(ValueError, match="nothing to match them by"):
        rotation_centre(np.zeros((1, 16)), np.zeros((1, 1, 16)))
