"""`recon logp`: how likely images are under a prior, and whether they are like its images at all."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

Images = Annotated[Path, typer.Argument(metavar="IMAGES", help="Image, folder of images, NPY, or HDF5 with `images`.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Folder for logp.csv and run.json, new or empty.", rich_help_panel=o.OUTPUT),
]
Probes = Annotated[
    int, typer.Option(min=2, max=10_000, help="Random probes of the trace an image; their scatter is its error.")
]
Exact = Annotated[bool, typer.Option("--exact", help="The trace itself, one backpropagation a value: small images.")]
Tolerance = Annotated[float, typer.Option(min=1e-8, max=1e-1, help="Error of a step of the ODE, normalised units.")]
Continuous = Annotated[
    bool, typer.Option("--continuous", help="Take the values of 8 and 16-bit files for exact, not for grey steps.")
]
Quick = Annotated[bool, typer.Option("--bound", help="Only the bound and the distance: 18 network calls, no ODE.")]


def logp(
    context: typer.Context,
    images: Images, prior: o.Prior = None, output: Output = None, probes: Probes = 4, exact: Exact = False,
    bound: Quick = False, tolerance: Tolerance = 1e-4, continuous: Continuous = False, items: o.Items = None,
    subset: o.Subset = None, to_gray: o.ToGray = False, max_pixels: o.MaxPixels = o.MANY, seed: o.Seed = 0,
    device: o.Device = None, batch_size: o.BatchSize = None, overwrite: o.Overwrite = False, json: o.Json = False,
    config: o.Config = None,
) -> None:
    """Log-density of images under a prior in nats and bits per dimension, a bound on it, and whether they are unusual.

    Example: recon logp slices/ --prior headct-64
    """
    from cli import densities, fit, priors, restore
    from cli import output as out
    from cli.config import refuse_idle
    from cli.images import Selection, sources
    from cli.images import images as pictures
    from cli.run_record import Run, save, show

    if exact or bound:
        refuse_idle(context, ("probes",), "without random probes there is nothing to set")
    if bound:
        refuse_idle(context, ("exact", "tolerance"), "the bound needs neither trace nor ODE")
    path = priors.find(prior)
    run = Run("logp", {"images": images, "prior": prior, "items": items, "subset": subset, "output": output})
    with ExitStack() as stack:
        folder = stack.enter_context(out.folder(output, overwrite, [images, config])) if output else None
        stack.enter_context(run.hearing())
        given = pictures(images, Selection(items, subset, to_gray, max_pixels), run)
        run.hash_inputs([*sources(images), path])
        device = restore.choose_device(device)
        network = priors.load(path, device)
        values = fit.whole_images(given, network, images.name, run)
        grey = None if continuous else given.step
        plan = densities.Plan(None if exact else probes, tolerance, seed, bound, grey, batch_size)
        run.begin(probes=plan.probes, tolerance=tolerance, seed=seed, bound=bound, grey_step=grey, device=device)
        with run.clock("densities"):
            found = densities.measured(values, network, plan, images.name, run)
        names = ["logp.csv", "run.json"] if folder else []
        record = run.record(**found, trained_on=priors.facts(network.header).get("trained on"), outputs=names)
        if folder:
            densities.write(folder / "logp.csv", found["items"])
            save(folder, record)
    show(record, json, [densities.table(found), *(output / name for name in names if output)])
