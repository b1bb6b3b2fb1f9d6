"""Measurement files: bit for bit there and back; everything that is wrong in one is said at once."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import data

RNG = np.random.default_rng(0)
ANGLES = np.linspace(0, np.pi, 23, endpoint=False)
CT = {"name": "ct", "parameters": {"shape": [16, 20], "angles": ANGLES, "detectors": 27, "spacing_mm": 1.0}}
GAUSSIAN = {"model": "gaussian", "sigma": 0.02}


def ct_data(items=2, dtype=np.float32):
    return RNG.standard_normal((items, 1, 23, 27)).astype(dtype), RNG.random((items, 1, 16, 20)).astype(dtype)


@pytest.fixture
def scan(tmp_path):
    y, x = ct_data()
    data.write_measurement(tmp_path / "scan.h5", y, CT, GAUSSIAN, x, "[0,1]", {"seed": 1})
    return tmp_path / "scan.h5"


def edit(path, change):
    with h5py.File(path, "a") as file:
        change(file)


def same(a, b):
    """Equal in value, type and structure, arrays bit for bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ct_round_trip_bit_for_bit(tmp_path, dtype):
    y, x = ct_data(dtype=dtype)
    attrs = {
        "seed": 0,
        "source": "a.png",
        "nested": {"list": [1, 2.5, None, True, "x"], "array": np.arange(3)},
    }
    data.write_measurement(tmp_path / "a.h5", y, CT, GAUSSIAN, x, "[0,1]", attrs)
    found = data.read_measurement(tmp_path / "a.h5")
    assert same(found.y, y) and same(found.x, x) and same(found.operator, CT) and same(found.noise, GAUSSIAN)
    assert found.unit == "[0,1]" and same(found.attrs, attrs) and found.notes == ()
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"] and data.is_measurement(tmp_path / "a.h5")


OPERATORS = {
    "inpaint": ({"shape": [9, 12], "mask": RNG.random((9, 12)) > 0.5}, (3, 1, 9, 12)),
    "blur": ({"shape": [9, 12], "kernel": RNG.random((5, 5)), "boundary": "zero"}, (1, 3, 9, 12)),
    "downsample": ({"shape": [8, 12], "factor": 4, "kernel": "average"}, (1, 1, 2, 3)),
    "dense": ({"matrix": RNG.random((4, 6)).astype(np.float32), "in_shape": [6]}, (5, 4)),
    "chain": ({"parts": [{"name": "blur", "parameters": {"kernel": RNG.random(3)}}]}, (5, 4)),
    "identity": ({"shape": [9, 12]}, (2, 1, 9, 12)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_round_trips(tmp_path, name):
    parameters, shape = OPERATORS[name]
    operator = {"name": name, "parameters": parameters}
    y = RNG.standard_normal(shape).astype(np.float32)
    for sigma in (0.0, 1e-300, np.full(shape, 0.5), RNG.random(shape[-1]).astype(np.float32)):
        data.write_measurement(tmp_path / "a.h5", y, operator, {"model": "gaussian", "sigma": sigma})
        found = data.read_measurement(tmp_path / "a.h5")
        assert same(found.operator, operator) and same(found.y, y) and same(found.noise["sigma"], sigma)
        assert found.x is None and found.unit == "" and found.attrs == {}


def test_layout_of_the_file(scan):
    with h5py.File(scan) as file:
        assert file.attrs["recon_format"] == 1
        assert [axis.label for axis in file["y"].dims] == ["item", "channel", "angle", "detector"]
        assert file["angles"].attrs["units"] == "rad" and np.array_equal(file["angles"], ANGLES)
        assert file["operator"].attrs["name"] == "ct" and file["noise"].attrs["model"] == "gaussian"
        stored = json.loads(file["operator"].attrs["parameters"])
        assert stored["detectors"] == 27 and stored["angles"] == {"$dataset": "/angles"}


def test_the_same_content_gives_the_same_bytes(tmp_path):
    y, x = ct_data()
    for name in "ab":
        data.write_measurement(tmp_path / name, y, CT, GAUSSIAN, x)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_written_by_hand_in_degrees(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["recon_format"] = 1
        file["y"] = np.arange(2 * 4 * 5).reshape(2, 4, 5)
        file["angles"] = [0.0, 45.0, 90.0, 135.0]
        file["angles"].attrs["units"] = "deg"
        file.create_group("operator").attrs.update({"name": "ct", "parameters": '{"shape": [3, 3]}'})
        file.create_group("noise").attrs.update({"model": "gaussian", "sigma": 1})
    found = data.read_measurement(tmp_path / "a.h5")
    assert np.allclose(found.operator["parameters"]["angles"], np.arange(4) * np.pi / 4, rtol=1e-15)
    assert found.y.dtype == np.float32 and np.array_equal(found.y.ravel(), np.arange(40))
    assert len(found.notes) == 2 and "degrees" in found.notes[1] and "int64" in found.notes[0]


def test_everything_wrong_is_said_at_once(scan, refuses):
    def spoil(file):
        file["y"][0, 0, 1, 2] = np.nan
        del file["x"], file["angles"]
        file["x"] = np.zeros((3, 1, 20, 16), np.float32)
        file["angles"] = np.r_[np.arange(20.0), 1.0]
        file["noise"].attrs["sigma"] = -0.5

    edit(scan, spoil)
    with refuses(
        "E-VALUES", 3, "1 of 1242 values of y", "(0, 0, 1, 2)", "3 items in x, 2 in y", "(3, 1, 20, 16)",
        "swap the last two axes of x", "sigma -0.5", "21 angles", "23 angles", "more than once",
        "units missing",
    ):  # fmt: skip
        data.read_measurement(scan)


def angles(values, units="rad"):
    def change(file):
        del file["angles"]
        file["angles"] = values
        if units:
            file["angles"].attrs["units"] = units

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (angles(ANGLES, ""), ["units missing", '"deg" or "rad"']),
        (angles(ANGLES, "grad"), ["units grad"]),
        (angles(np.rad2deg(ANGLES)), ["marked as radians", "deg"]),
        (angles(np.where(ANGLES > 3, np.nan, ANGLES)), ["1 angles are NaN"]),
        (angles(np.repeat(ANGLES, 2)[:23]), ["more than once"]),
        (angles(ANGLES[:20]), ["20 angles", "23 angles"]),
        (angles(np.linspace(0, 3, 27)), ["27 angles", "swap the last two axes"]),
        (angles(ANGLES[None]), ["(1, 23)"]),
    ],
)
def test_angles(scan, refuses, change, words):
    edit(scan, change)
    with refuses("E-GEOMETRY", 3, *words):
        data.read_measurement(scan)


def test_angles_missing(scan, refuses):
    def drop(file):
        del file["angles"]
        file["operator"].attrs["parameters"] = '{"shape": [16, 20]}'

    edit(scan, drop)
    with refuses("E-GEOMETRY", 3, "no angles", "/angles"):
        data.read_measurement(scan)
    edit(
        scan, lambda file: file["operator"].attrs.modify("parameters", '{"angles": {"$dataset": "/angles"}}')
    )
    with refuses("E-LAYOUT", 3, "/angles"):
        data.read_measurement(scan)


def test_swapped_axes_are_seen_by_their_labels(tmp_path, refuses):
    y, _ = ct_data()
    data.write_measurement(tmp_path / "a.h5", y, CT, GAUSSIAN)

    def swap(file):
        file["y"].dims[2].label, file["y"].dims[3].label = "detector", "angle"

    edit(tmp_path / "a.h5", swap)
    with refuses("E-GEOMETRY", 3, "(item, channel, detector, angle)", "(item, channel, angle, detector)"):
        data.read_measurement(tmp_path / "a.h5")


@pytest.mark.parametrize("sigma", [np.nan, np.inf, -1.0, np.full(27, -1.0)])
def test_noise_levels_that_are_none(scan, refuses, sigma):
    def change(file):
        del file["noise"].attrs["sigma"]
        if np.ndim(sigma):
            file["noise"]["sigma"] = sigma
        else:
            file["noise"].attrs["sigma"] = sigma

    edit(scan, change)
    with refuses("E-NOISE", 2, "sigma", "not negative"):
        data.read_measurement(scan)


def test_noise_models_that_are_not_known(scan, refuses):
    edit(scan, lambda file: file["noise"].attrs.modify("model", "cauchy"))
    with refuses("E-NOISE", 3, "cauchy", "gaussian", "poisson"):
        data.read_measurement(scan)


def test_detectors_and_sigma_that_do_not_fit(scan, refuses):
    def change(file):
        parameters = json.loads(file["operator"].attrs["parameters"])
        file["operator"].attrs["parameters"] = json.dumps({**parameters, "detectors": 31})
        del file["noise"].attrs["sigma"]
        file["noise"]["sigma"] = np.ones(5)

    edit(scan, change)
    with refuses("E-GEOMETRY", 3, "27 detector elements", "31", "(5,)"):
        data.read_measurement(scan)


@pytest.mark.parametrize("dtype", [np.complex64, "S3"])
def test_y_that_is_not_real(scan, refuses, dtype):
    def change(file):
        del file["y"]
        file["y"] = np.ones((2, 1, 23, 27)).astype(dtype)

    edit(scan, change)
    with refuses("E-FORMAT", 3, "y"):
        data.read_measurement(scan)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000, '{"a": {"$dataset": "/no"}}', "3"])
def test_parameters_that_are_no_json_object(scan, refuses, text):
    def change(file):
        del file["operator"].attrs["parameters"]
        file["operator"].attrs["parameters"] = text[:60_000]

    edit(scan, change)
    with refuses("E-LAYOUT", 3, "/operator"):
        data.read_measurement(scan)


def test_formats_of_the_future_and_files_without_one(scan, refuses):
    edit(scan, lambda file: file.attrs.modify("recon_format", 2))
    with refuses("E-LAYOUT", 3, "recon_format = 2", "update recon"):
        data.read_measurement(scan)
    edit(scan, lambda file: file.attrs.pop("recon_format"))
    with refuses("E-LAYOUT", 3, "no attribute recon_format"):
        data.read_measurement(scan)


@pytest.mark.parametrize("key", ["y", "operator", "noise"])
def test_a_part_is_missing(scan, refuses, key):
    edit(scan, lambda file: file.pop(key))
    assert data.is_measurement(scan)
    with refuses("E-LAYOUT", 3, "y, operator, noise", "recon simulate"):
        data.read_measurement(scan)


def test_what_is_no_measurement(tmp_path):
    data.write_images(tmp_path / "a.h5", np.zeros((1, 1, 4, 4)))
    assert not data.is_measurement(tmp_path / "a.h5")
    assert not data.is_measurement(data.sample_path("headct-1"))
    result = np.zeros((1, 1, 4, 4))
    data.write_result(tmp_path / "r.h5", result, result)
    assert not data.is_measurement(tmp_path / "r.h5")


@pytest.mark.parametrize(
    "spoil, words",
    [
        ({"y": np.zeros((2, 1, 22, 27))}, "23 angles"),
        ({"y": np.full((2, 1, 23, 27), np.nan)}, "NaN"),
        ({"y": np.zeros((2, 1, 23, 27), complex)}, "complex128"),
        ({"x": np.zeros((1, 1, 16, 20))}, "1 items in x"),
        ({"noise": {"model": "gaussian", "sigma": -1.0}}, "sigma -1"),
        ({"noise": {"model": "gaussian"}}, "noise with model"),
        ({"operator": {"name": "ct", "parameters": {"angles": np.rad2deg(ANGLES)}}}, "radians"),
    ],
)
def test_nothing_wrong_is_written(tmp_path, spoil, words):
    y, x = ct_data()
    parts = {"y": y, "operator": CT, "noise": GAUSSIAN, "x": x, **spoil}
    with pytest.raises(ValueError, match=f"got .*{words}.*; expected"):
        data.write_measurement(tmp_path / "a.h5", **parts)
    assert not list(tmp_path.iterdir())


def test_parameters_that_cannot_be_stored(tmp_path):
    y, _ = ct_data()
    operator = {"name": "ct", "parameters": {**CT["parameters"], "odd": object()}}
    with pytest.raises(TypeError, match="got object for odd"):
        data.write_measurement(tmp_path / "a.h5", y, operator, GAUSSIAN)
    assert not list(tmp_path.iterdir())


MODELS = [
    {"model": "laplace", "scale": 0.1},
    {"model": "poisson", "gain": 100.0, "background": 0.0},
    {"model": "transmission", "I0": np.full((23, 27), 1e4), "electronic": 5.0},
    {"model": "rician", "sigma": 0.02},
    {"model": "correlated", "factor": np.tri(27) / 27, "axes": np.array([-1])},
]


@pytest.mark.parametrize("noise", MODELS, ids=[noise["model"] for noise in MODELS])
def test_every_noise_model_round_trips(tmp_path, noise):
    y, x = ct_data()
    data.write_measurement(tmp_path / "a.h5", np.abs(y), CT, noise, x)
    found = data.read_measurement(tmp_path / "a.h5").noise
    assert same(dict(sorted(found.items())), dict(sorted(noise.items())))


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"model": "poisson", "gain": 0.0, "background": 0.0}, "gain 0.*above zero"),
        ({"model": "poisson", "gain": 1.0}, "noise with model"),
        ({"model": "poisson", "gain": 1.0, "background": 0.0}, "y from -"),
        ({"model": "transmission", "I0": np.ones(5), "electronic": 0.0}, r"\(5,\)"),
        ({"model": "rician", "sigma": np.nan}, "sigma nan"),
        ({"model": "correlated", "factor": np.ones((27, 27)), "axes": np.array([-1])}, "lower triangular"),
        ({"model": "correlated", "factor": np.eye(27), "axes": np.array([1])}, r"axes \[1\]"),
        ({"model": "correlated", "factor": np.eye(2), "axes": np.array([-4])}, "not of the items"),
        ({"model": "correlated", "factor": np.eye(5), "axes": np.array([-1])}, "27 rows"),
        ({"model": "correlated", "factor": np.eye(5)}, "noise with model"),
    ],
)
def test_noise_that_cannot_be(tmp_path, noise, words):
    y, x = ct_data()
    with pytest.raises(ValueError, match=words):
        data.write_measurement(tmp_path / "a.h5", y, CT, noise, x)


MRI = {"name": "mri", "parameters": {"shape": [6, 8], "image": "real", "mask": np.ones((6, 8), bool)}}
COILS = {"name": "mri", "parameters": {**MRI["parameters"], "coils": RNG.random((3, 6, 8)) + 1j}}
SPOKES = {"name": "mri", "parameters": {"shape": [6, 8], "image": "real", "trajectory": RNG.random((4, 16, 2)) - 0.5}}
SENSED = {"name": "hadamard", "parameters": {"shape": [6, 8], "rows": np.arange(10), "signs": np.ones((6, 8), int)}}
ACTING = {
    "mri": (MRI, (2, 1, 2, 6, 8), ["item", "channel", "part", "row", "column"]),
    "coils": (COILS, (2, 1, 3, 2, 6, 8), ["item", "channel", "coil", "part", "row", "column"]),
    "radial": (SPOKES, (2, 1, 2, 4, 16), ["item", "channel", "part", "shot", "sample"]),
    "hadamard": (SENSED, (2, 1, 10), ["item", "channel", "value"]),
}


@pytest.mark.parametrize("name", ACTING)
def test_operators_on_other_axes_round_trip_and_name_them(tmp_path, name):
    operator, shape, names = ACTING[name]
    y = RNG.standard_normal(shape).astype(np.float32)
    data.write_measurement(tmp_path / "a.h5", y, operator, GAUSSIAN)
    found = data.read_measurement(tmp_path / "a.h5")
    assert same(found.operator, operator) and same(found.y, y)
    with h5py.File(tmp_path / "a.h5") as file:
        assert [axis.label for axis in file["y"].dims] == names


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("mri", (2, 1, 6, 8), "part 2"),
        ("mri", (2, 1, 2, 8, 6), "row 6, column 8"),
        ("coils", (2, 1, 2, 2, 6, 8), "coil 3"),
        ("radial", (2, 1, 2, 16, 4), "shot 4, sample 16"),
        ("hadamard", (2, 1, 11), "value 10"),
    ],
)
def test_data_that_do_not_fit_their_operator(tmp_path, name, shape, words):
    with pytest.raises(ValueError, match=words):
        data.write_measurement(tmp_path / "a.h5", np.zeros(shape), ACTING[name][0], GAUSSIAN)


def test_coil_maps_of_another_size(tmp_path):
    operator = {"name": "mri", "parameters": {**COILS["parameters"], "coils": np.ones((3, 8, 6), complex)}}
    with pytest.raises(ValueError, match="swap the last two axes of coils"):
        data.write_measurement(tmp_path / "a.h5", np.zeros((2, 1, 3, 2, 6, 8)), operator, GAUSSIAN)
