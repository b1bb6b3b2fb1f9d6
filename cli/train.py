"""`recon train`: images to a prior."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import options as o

Sde = Annotated[Literal["vp", "ve", "subvp"] | None, typer.Option(help="Diffusion process; default vp.")]
Settings = Annotated[Path | None, typer.Option(help="TOML file of training settings; flags win.", rich_help_panel=o.RUNNING)]


def train(
    images: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images, NPY, or HDF5 with `images`.")],
    output: o.Output, sde: Sde = None,
    size: Annotated[int | None, typer.Option(min=8, help="Resize square images to SIZE x SIZE.")] = None,
    hours: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in the prior's header; default: the output folder's.")] = None,
    batch_size: o.BatchSize = None, seed: Annotated[int | None, typer.Option(min=0, help="Seed of every random number.")] = None,
    to_gray: o.ToGray = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier run in the same folder.")] = False,
    overwrite: o.Overwrite = False, json: o.Json = False, config: Settings = None,
) -> None:
    """Train a prior on images: writes prior.safetensors, a log, and a state to resume from.

    Example: recon train data/ -o prior/ --sde vp --size 64 --hours 1
    """
    from cli import dataset, training
    from cli import output as out
    from cli.run_record import Run, save

    flags = {"sde": sde, "hours": hours, "steps": steps, "batch_size": batch_size, "seed": seed, "size": size, "name": name}
    settings, own = training.settings(config, {key: value for key, value in flags.items() if value is not None})
    run = Run("train", {"data": images, **own, **settings.model_dump(), "resume": resume, "output": output})
    with out.folder(output, overwrite, [images, config], resume=resume) as folder:
        found = dataset.load(images, own.get("size"), to_gray, run)
        print("\n".join(dataset.fingerprint(found)), file=sys.stderr)
        with run.clock("training"), training.bar() as progress:
            path = training.start(found, settings, folder, own.get("name") or folder.resolve().name, resume, progress)
        record = run.record(data=found.provenance, outputs=[path.name, "log.jsonl", "state.safetensors", "run.json"])
        save(folder, record)
    print(jsonlib.dumps(record, indent=2) if json else path)
