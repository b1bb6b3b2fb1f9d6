"""Raw tomography: both layouts, stacks and single frames, and what is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from data import InputRefused
from data.projections import find_scan, is_projections, read_counts
from tests.scans import BINS, DARK, FLAT, ROWS, VIEWS, one_stack, scan, write

NAMES = {"exchange/data": "projections", "exchange/data_white": "flat", "exchange/data_dark": "dark",
         "exchange/theta": "angles_deg"}  # fmt: skip


@pytest.fixture
def parts() -> dict:
    return scan()


def test_both_layouts_hold_the_same_scan(parts, tmp_path):
    frames = {name: values.mean(0) if "data_" in name else values for name, values in parts.items()}
    plain = write(tmp_path / "plain.h5", {NAMES[name]: values for name, values in frames.items()})
    exchange = write(tmp_path / "exchange.h5", parts)
    found = [find_scan(path) for path in (exchange, plain)]
    assert [f.frames for f in found] == [(40, 2), (1, 1)] and all(map(is_projections, (exchange, plain)))
    for f in found:
        assert f.shape == (VIEWS, ROWS, BINS)
        np.testing.assert_allclose(f.angles_rad, np.linspace(0, np.pi, VIEWS), atol=1e-12)
    several, single = (read_counts(f, [0, 5], slice(1, 2)) for f in found)
    np.testing.assert_array_equal(several.projections, parts["exchange/data"][[0, 5], 1:2])
    np.testing.assert_allclose(several.flat, single.flat)
    most = [0, *range(3, VIEWS)]
    np.testing.assert_array_equal(read_counts(found[0], most).projections, parts["exchange/data"][most])
    assert several.flat.shape == (1, BINS) and several.flat.mean() == pytest.approx(FLAT + DARK, rel=1e-3)
    assert (several.dark == DARK).all()


@pytest.mark.parametrize(("units", "factor"), [("rad", np.pi / 180), (b"radians", np.pi / 180), ("degrees", 1.0)])
def test_stated_units_of_angles(units, factor, parts, tmp_path):
    path = write(tmp_path / "scan.h5", {**parts, "exchange/theta": factor * parts["exchange/theta"]})
    with h5py.File(path, "r+") as file:
        file["exchange/theta"].attrs["units"] = units
    np.testing.assert_allclose(find_scan(path).angles_rad, np.linspace(0, np.pi, VIEWS), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("exchange/theta", None, "E-LAYOUT", "--angles 0:180:COUNT"),
        ("exchange/data_white", None, "E-LAYOUT", "exchange/data_white"),
        ("exchange/data_dark", None, "E-LAYOUT", "zeros where the detector has none"),
        ("exchange/theta", np.linspace(0, np.pi, VIEWS), "E-GEOMETRY", "units'] = 'rad'"),
        ("exchange/theta", np.linspace(0, 180, ROWS), "E-GEOMETRY", "row axis first"),
        ("exchange/theta", np.full(VIEWS, np.nan), "E-VALUES", f"{VIEWS} of them"),
        ("exchange/data_white", np.ones((ROWS, BINS + 1)), "E-GEOMETRY", f"({ROWS}, {BINS + 1})"),
        ("exchange/data_dark", np.ones((2, BINS, ROWS)), "E-GEOMETRY", "exchange/data_dark"),
        ("exchange/data", np.ones((VIEWS, BINS)), "E-GEOMETRY", "(angle, row, column)"),
    ],
)
def test_scans_that_are_refused(name, value, code, said, parts, tmp_path):
    parts = {key: values for key, values in parts.items() if key != name}
    path = write(tmp_path / "scan.h5", parts if value is None else {**parts, name: value})
    with pytest.raises(InputRefused) as refused:
        find_scan(path)
    assert refused.value.code == code and said in str(refused.value)
    assert name in refused.value.where and all((refused.value.found, refused.value.expected, refused.value.fix))


def test_unknown_units_of_angles_are_refused(parts, tmp_path):
    path = write(tmp_path / "scan.h5", parts)
    with h5py.File(path, "r+") as file:
        file["exchange/theta"].attrs["units"] = "gon"
    with pytest.raises(InputRefused, match="units gon"):
        find_scan(path)


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        (np.full((VIEWS, ROWS, BINS), np.nan), "E-VALUES", "NaN"),
        (np.ones((VIEWS, ROWS, BINS), np.complex64), "E-FORMAT", "complex64"),
    ],
)
def test_counts_that_are_refused(value, code, said, parts, tmp_path):
    path = write(tmp_path / "scan.h5", {**parts, "exchange/data": value})
    with pytest.raises(InputRefused) as refused:
        read_counts(find_scan(path))
    assert refused.value.code == code and said in str(refused.value)


def test_more_counts_than_allowed_are_refused_unread(parts, tmp_path):
    found = find_scan(write(tmp_path / "scan.h5", parts))
    with pytest.raises(InputRefused, match="E-LIMIT"):
        read_counts(found, max_elements=1000)
    assert read_counts(found, slice(0, 2), slice(0, 1), max_elements=BINS * 40).projections.size == 2 * BINS


@pytest.mark.parametrize("entry", ["entry", "entry0000", "entry1/tomo_entry"])
def test_frames_of_one_stack_are_told_apart(entry, parts, tmp_path):
    exchange = find_scan(write(tmp_path / "exchange.h5", parts))
    found = find_scan(write(tmp_path / "nexus.nxs", one_stack(parts, entry)))
    assert is_projections(found.path) and found.shape == exchange.shape and found.frames == (40, 2)
    np.testing.assert_array_equal(found.angles_rad, exchange.angles_rad)
    assert found.beam is None and found.notes == ("1 frames are not valid by their image_key and left out",)
    for views in (slice(None), [0, 5, 6, 7, 40], np.arange(3, 20)):
        for whole, part in zip(*(vars(read_counts(one, views, slice(1, 3))).values() for one in (exchange, found)),
                               strict=True):  # fmt: skip
            np.testing.assert_array_equal(whole, part)


@pytest.mark.parametrize(
    ("monitor", "note"),
    [(np.linspace(500, 900, VIEWS), "0.5 .. 0.9"), (np.zeros(VIEWS), f"{VIEWS} of its values are not above zero"),
     (np.full(VIEWS, np.nan), "not above zero")],
)
def test_what_the_beams_monitor_says(monitor, note, parts, tmp_path):
    found = find_scan(write(tmp_path / "nexus.h5", one_stack(parts, beam=monitor)))
    assert note in found.notes[1] and (found.beam is None) == ("not used" in found.notes[1])
    if found.beam is not None:
        np.testing.assert_allclose(read_counts(found, [3, 9]).beam, monitor[[3, 9]] / 1000)


@pytest.mark.parametrize(
    ("name", "change", "code", "said"),
    [
        ("sample/rotation_angle", None, "E-LAYOUT", "--angles 0:180:COUNT"),
        ("sample/rotation_angle", lambda theta: theta[:-3], "E-GEOMETRY", "one for each view"),
        ("instrument/detector/image_key", None, "E-LAYOUT", "1 for flats"),
        ("instrument/detector/image_key", lambda keys: keys[:-1], "E-GEOMETRY", "0 for projections"),
        ("instrument/detector/image_key", lambda keys: keys + 0.5, "E-GEOMETRY", "float64"),
        ("instrument/detector/image_key", lambda keys: np.where(keys == 2, 3, keys), "E-LAYOUT", "a frame of zeros"),
        ("instrument/detector/image_key", lambda keys: np.where(keys == 1, 3, keys), "E-LAYOUT", "no flats"),
        ("instrument/detector/data", lambda counts: counts[:, 0], "E-GEOMETRY", "(angle, row, column)"),
    ],
)
def test_stacks_that_are_refused(name, change, code, said, parts, tmp_path):
    stored = one_stack(parts)
    values = stored.pop(f"entry/{name}")
    path = write(tmp_path / "nexus.h5", stored if change is None else {**stored, f"entry/{name}": change(values)})
    with pytest.raises(InputRefused) as refused:
        find_scan(path)
    assert refused.value.code == code and said in str(refused.value) and name in refused.value.where
