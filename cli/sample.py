"""`recon sample`: images from a prior alone."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import catalogue
from cli import options as o

Step = Annotated[
    str, typer.Option(help=f"How to go from level to level: {catalogue.names(catalogue.SOLVERS)} (`recon info steps`).")
]
Count = Annotated[int, typer.Option("-n", "--count", min=1, max=4096, help="How many images.")]


def sample(
    output: o.Output, prior: o.Prior = None, count: Count = 16, steps: o.Steps = None,
    step: Step = "ancestral", seed: o.Seed = 0, device: o.Device = None, overwrite: o.Overwrite = False,
    json: o.Json = False, config: o.Config = None,
) -> None:
    """Draw images from a prior: what it has learnt, before any data.

    Example: recon sample --prior headct-64 -n 16 -o samples/
    """
    from cli import fit, pictures, priors, restore, spec
    from cli import output as out
    from cli.progress import bar
    from cli.run_record import Run, save, show

    path, step = priors.find(prior), spec.known("step", step, list(catalogue.SOLVERS))
    run = Run("sample", {"prior": prior, "count": count, "step": step, "seed": seed, "output": output})
    with out.folder(output, overwrite, [path, config]) as folder, run.hearing():
        import data
        import recon
        from recon.presets import DEFAULT_STEPS

        run.hash_inputs([path])
        steps, device = steps or DEFAULT_STEPS, restore.choose_device(device)
        network = priors.load(path, device)
        run.begin(steps=steps, device=device, trained_on=priors.facts(network.header).get("trained on"))
        with run.clock("sampling"), bar("sampling") as progress:
            images = recon.sample_prior(network, count, steps, seed, progress=progress, step=step).numpy()
        sheet = pictures.grid(images, round(count**0.5))
        sheet = pictures.image("samples", "Samples", sheet, fit.value_range(network), network.unit)
        sheet.save(folder)
        data.write_images(folder / "samples.h5", images, network.unit, {"prior": network.name, "seed": seed})
        names = ["samples.png", "samples.h5", "run.json"]
        record = run.record(scales={"samples": sheet.scale()}, outputs=names)
        save(folder, record)
    show(record, json, [output / name for name in record["outputs"]])
