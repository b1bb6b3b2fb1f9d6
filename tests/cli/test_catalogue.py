"""The words that `recon info` says without torch are those of the code."""

from __future__ import annotations

import inspect
from dataclasses import fields

import recon
from cli import catalogue
from cli.spec import OperatorFlags
from operators import OPERATORS
from recon.classical import CLASSICAL


def test_every_name_is_described_and_exists():
    assert set(catalogue.OPERATORS) == set(OPERATORS)
    assert set(catalogue.METHODS) == set(recon.METHODS)
    assert set(catalogue.CLASSICAL) == set(CLASSICAL)
    assert set(catalogue.SDES) == set(recon.SDES)


def test_every_operator_flag_is_a_parameter_of_some_operator():
    parameters = {name for factory in OPERATORS.values() for name in inspect.signature(factory).parameters}
    assert {field.name for field in fields(OperatorFlags)} <= parameters
