"""`recon train`: images to a prior."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import options as o

Images = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images, or HDF5 with `images`.")]
Sde = Annotated[Literal["vp", "ve", "subvp"] | None, typer.Option(help="Diffusion process; default vp.")]
Size = Annotated[int | None, typer.Option(min=8, help="Resize square images to SIZE x SIZE.")]
Hours = Annotated[float | None, typer.Option(help="Stop after this long.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after this many steps.")]
Name = Annotated[str | None, typer.Option(help="Name in the prior's header; default: the output folder's.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of the run.", rich_help_panel=o.RUNNING)]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an earlier run in the same folder.")]
Settings = Annotated[
    Path | None, typer.Option(help="TOML file of training settings; flags win.", rich_help_panel=o.RUNNING)]


def train(
    images: Images, output: o.Output, sde: Sde = None, size: Size = None, hours: Hours = None,
    steps: Steps = None, name: Name = None, batch_size: o.BatchSize = None, seed: Seed = None,
    to_gray: o.ToGray = False, max_pixels: o.MaxPixels = o.MANY, resume: Resume = False,
    overwrite: o.Overwrite = False, json: o.Json = False, config: Settings = None,
) -> None:
    """Train a prior on images: writes prior.safetensors, a log, and a state to resume from.

    Example: recon train data/ -o prior/ --sde vp --size 64 --hours 1
    """
    from cli import dataset, signals, training
    from cli import output as out
    from cli.progress import bar
    from cli.run_record import Run, save, show

    flags = {"sde": sde, "hours": hours, "steps": steps, "batch_size": batch_size, "seed": seed}
    settings, own = training.settings(config, {**flags, "size": size, "name": name})
    run = Run("train", {"data": images, **own, **settings.model_dump(), "resume": resume, "output": output})
    with out.claimed(output, overwrite, [images, config], resume=resume) as folder, run.hearing():
        multiple = training.multiple(settings, config)
        if own.get("size") is not None:
            training.refuse_size(own["size"], multiple, "--size")
        found = dataset.load(images, own.get("size"), to_gray, max_pixels, run)
        training.refuse_images(found, multiple)
        run.begin()
        print("\n".join(dataset.lines(found)), file=sys.stderr)
        with signals.noticed() as interrupted, run.clock("training"), bar("training") as advance:
            path = training.start(
                found, settings, folder, own.get("name", output.name), resume, training.shown(advance), interrupted
            )
            if interrupted():
                run.note("stopped after a checkpoint; the same command with --resume goes on from there")
        names = [path.name, "log.jsonl", "state.safetensors", "run.json"]
        record = run.record(data=found.provenance, outputs=names)
        save(folder, record)
    show(record, json, [path])
