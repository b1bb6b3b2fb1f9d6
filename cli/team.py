"""A command that `torchrun` runs in several processes: the first one owns the output and speaks, the others follow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path

import typer

from cli.errors import INTERRUPTED, RESOURCES, TERMINATED, Terminated
from data.errors import InputRefused

PATIENCE = 20.0  # seconds that a follower gives the leader to say what is wrong, before torchrun ends them all
LOST = ("Connection closed", "Connection reset", "Broken pipe", "timed out", "recvValue failed")


def leads() -> bool:
    """Whether this is the only process, or the first of a team."""
    return int(os.environ.get("RANK", 0)) == 0


def output(path: Path, claim: AbstractContextManager[Path]) -> AbstractContextManager[Path]:
    """The leader's claim on an output folder; followers use the folder without one."""
    return claim if leads() else nullcontext(path)


@contextmanager
def following() -> Iterator[None]:
    """Inside, followers print nothing, and leave to the leader to say what it meets as well.

    That is: refusals, signals, and that the others are gone. What fails in a follower alone is not held back.
    """
    if leads():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        except InputRefused as refusal:
            time.sleep(PATIENCE)
            raise typer.Exit(refusal.exit_code) from None
        except KeyboardInterrupt as signal:
            raise typer.Exit(TERMINATED if isinstance(signal, Terminated) else INTERRUPTED) from None
        except RuntimeError as problem:
            if any(words in str(problem) for words in LOST):
                raise typer.Exit(RESOURCES) from None
            raise
