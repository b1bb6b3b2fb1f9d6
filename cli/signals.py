"""Ctrl-C and SIGTERM for work that ends at a point of its own choosing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.errors import Terminated

HEARD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Inside the body a first signal is only remembered, for the work to ask after; a second one ends it at once.

    After the body, a signal that came stops the command as it would have without this.
    """
    came: list[int] = []

    def hear(number: int, frame: object) -> None:
        if came:
            os._exit(128 + number)
        came.append(number)

    before = {number: signal.signal(number, hear) for number in HEARD}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise Terminated if came[0] == signal.SIGTERM else KeyboardInterrupt
