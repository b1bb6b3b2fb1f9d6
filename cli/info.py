"""`recon info`: what is here, or what a file is; fast, without torch."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from cli import options as o


def info(
    topic: Annotated[
        str | None, typer.Argument(help="operators, methods, priors, sdes, the name of one of them, or a file.")] = None,
    json: o.Json = False,
) -> None:
    """Show versions, bundled priors, operators and methods; or describe one of them, or a file.

    Examples: recon info, recon info priors, recon info headct-64, recon info scan.h5
    """
    from cli import describe

    found = describe.everything() if topic is None else describe.topic(topic)
    print(jsonlib.dumps(found, indent=2) if json else "\n".join(describe.lines(found)))
