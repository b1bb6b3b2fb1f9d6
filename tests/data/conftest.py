"""What every refusal must be: right code and exit code, quick in processor time, one form, no traceback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from data import InputRefused

FORM = ["error ", "  where     ", "  found     ", "  expected  ", "  fix       "]


@contextmanager
def refusal(code: str, exit_code: int, *words: str, seconds: float = 2.0) -> Iterator[None]:
    started = time.process_time()
    with pytest.raises(InputRefused) as caught:
        yield
    error = caught.value
    assert time.process_time() - started < seconds
    assert (error.code, error.exit_code) == (code, exit_code), str(error)
    lines = [line for line in str(error).splitlines() if not line.startswith(" " * 12)]
    assert [line[: len(start)] for line, start in zip(lines, FORM, strict=True)] == FORM
    assert "Traceback" not in str(error) and all(len(line) > 12 for line in lines)
    for word in words:
        assert word in str(error), f"{word!r} is not in\n{error}"


@pytest.fixture
def refuses():
    return refusal
