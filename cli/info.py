"""`recon info`: what is here, or what a file is; fast, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

Topic = Annotated[
    str | None, typer.Argument(help="operators, methods, priors, sdes, steps, a name of these, or a file.")
]
WriteDocs = Annotated[
    Path | None,
    typer.Option(help="Write the page of operators, noise models and methods, with pictures, into this folder."),
]


def info(
    topic: Topic = None,
    write_docs: WriteDocs = None,
    json: o.Json = False,
) -> None:
    """Show versions, bundled priors, operators and methods; or describe one of them, or a file.

    Examples: recon info, recon info priors, recon info scan.h5
    """
    from cli import describe
    from cli.run_record import show

    if write_docs is not None:
        from cli import handbook

        made = handbook.write(write_docs)
        show({"written": [str(path) for path in made]}, json, made)
        return
    found = describe.everything() if topic is None else describe.topic(topic)
    show(found, json, describe.lines(found))
