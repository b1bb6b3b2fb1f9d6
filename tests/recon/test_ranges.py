"""Options of methods have the ranges that their signatures declare."""

from __future__ import annotations

import inspect

import pytest
import torch

import recon
from operators import OPERATORS, Gaussian
from recon.classical import CLASSICAL
from recon.presets import METHODS
from recon.ranges import Range, ranges, refuse_outside

ANY = {"energy": {"weight"}, "tv": {"lowest"}}  # numbers of either sign


@pytest.mark.parametrize(
    ("known", "inside", "outside", "words"),
    [
        (Range(0.0, above=True), (1e-9, 3), (0, -1, float("nan")), "above 0"),
        (Range(0.0), (0, 2.5), (-1e-9,), "0 or more"),
        (Range(0.0, 1.0), (0, 1), (1.01, -0.01), "0 to 1"),
    ],
)
def test_a_range_holds_its_ends_and_says_so(known, inside, outside, words):
    assert all(value in known for value in inside) and not any(value in known for value in outside)
    assert str(known) == words


@pytest.mark.parametrize("name", [*METHODS, *CLASSICAL])
def test_every_number_has_a_range_that_holds_its_default(name):
    function = {**METHODS, **CLASSICAL}[name]
    known = ranges(function)
    for p in inspect.signature(function).parameters.values():
        if p.default is inspect.Parameter.empty:
            continue
        if isinstance(p.default, int | float):
            assert p.name in ANY.get(name, ()) or p.default in known[p.name], f"{name} {p.name}"
        else:
            assert p.default is None or p.default in known[p.name], f"{name} {p.name}"


def test_python_and_lists_are_refused_alike():
    measurement = recon.Measurement(OPERATORS["identity"]((4, 4)), torch.zeros(1, 1, 4, 4), Gaussian(0.1))
    prior = recon.GaussianPrior(torch.zeros(1, 4, 4), torch.eye(16))
    with pytest.raises(ValueError, match=r"got zeta=-1.*expected above 0"):
        recon.reconstruct(measurement, prior, "dps", options={"zeta": -1})
    with pytest.raises(ValueError, match="expected 1 to 100000"):
        refuse_outside(METHODS["daps"], {"inner": 0})
    refuse_outside(METHODS["daps"], {"inner": None})
    with pytest.raises(ValueError, match="got step='best'; expected one of ancestral, ancestral2m, euler"):
        refuse_outside(METHODS["spectral"], {"step": "best"})
    with pytest.raises(ValueError, match="got penalty='best'; expected one of squared, tv, entropy"):
        refuse_outside(METHODS["energy"], {"penalty": "best"})
    refuse_outside(METHODS["energy"], {"penalty": torch.sum})


def test_data_of_numpy_are_told_how_to_become_a_tensor():
    with pytest.raises(ValueError, match=r"got y of type ndarray.*torch.as_tensor"):
        recon.Measurement(OPERATORS["identity"]((4, 4)), torch.zeros(1, 1, 4, 4).numpy(), Gaussian(0.1))
