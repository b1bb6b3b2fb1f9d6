"""The words that `recon info` says without torch are those of the code."""

from __future__ import annotations

import inspect
from dataclasses import fields

import recon
from cli import catalogue, parameters
from cli.demo import demo
from cli.errors import FLAGS, accepted
from cli.reconstruct import reconstruct
from cli.simulate import simulate
from cli.spec import SHORTHANDS, OperatorFlags
from operators import OPERATORS
from recon.classical import CLASSICAL
from recon.presets import DEFAULT_METHOD, DEFAULT_STEPS


def test_every_name_is_described_and_exists():
    assert set(catalogue.OPERATORS) == set(OPERATORS)
    assert set(catalogue.METHODS) == set(recon.METHODS)
    assert set(catalogue.CLASSICAL) == set(CLASSICAL)
    assert set(catalogue.SOLVERS) == set(recon.STEPS)
    assert set(catalogue.SDES) == set(recon.SDES)


def test_defaults_are_those_of_the_code():
    assert catalogue.STEPS == DEFAULT_STEPS
    assert next(iter(catalogue.METHODS)) == DEFAULT_METHOD  # help says: the first


def test_library_arguments_that_errors_call_flags_are_flags():
    assert set(FLAGS) <= set(inspect.signature(reconstruct).parameters)
    assert set(SHORTHANDS) <= set(FLAGS)


def test_help_says_what_a_share_of_noise_refers_to_and_which_methods_there_are():
    assert "largest noiseless |A x|" in accepted(simulate, "noise")
    assert "largest |y|, noise included" in accepted(reconstruct, "noise")
    assert all(name in accepted(reconstruct, "method") for name in [*catalogue.METHODS, *catalogue.CLASSICAL])
    assert "tv" not in accepted(demo, "method")


def test_every_operator_flag_is_a_parameter_of_some_operator():
    parameters = {name for factory in OPERATORS.values() for name in inspect.signature(factory).parameters}
    assert set(SHORTHANDS) <= parameters
    assert {field.name for field in fields(OperatorFlags)} - {"set"} == set(SHORTHANDS)


def test_every_parameter_of_an_operator_is_explained():
    for name in OPERATORS:
        for parameter, words in parameters.table(name).items():
            assert len(words.split("; ")[-1]) > 8, (name, parameter, words)
