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
    step: Step = "ancestral", label: o.Label = None, label_weight: o.LabelWeight = 1.0,
    classifier: o.Classifier = None, seed: o.Seed = 0, device: o.Device = None,
    precision: o.Precision = "float32", compiled: o.Compiled = False, overwrite: o.Overwrite = False,
    json: o.Json = False, config: o.Config = None,
) -> None:
    """Draw images from a prior: what it has learnt, before any data.

    Examples:

    recon sample --prior headct-64 -n 16 -o samples/

    recon sample --prior digits-32 --label 7 -o sevens/
    """
    from cli import fit, labelling, pictures, priors, restore, spec
    from cli import output as out
    from cli.progress import bar
    from cli.run_record import Run, save, show

    path, step = priors.find(prior), spec.known("step", step, list(catalogue.SOLVERS))
    run = Run("sample", {
        "prior": prior, "count": count, "step": step, "label": label, "label_weight": label_weight,
        "classifier": classifier, "seed": seed, "output": output})
    with out.folder(output, overwrite, [path, classifier, config]) as folder, run.hearing():
        import data
        import recon
        from recon.presets import DEFAULT_STEPS

        run.hash_inputs([path])
        steps, device = steps or DEFAULT_STEPS, restore.choose_device(device)
        network = priors.load(path, device, precision, compiled)
        told = labelling.asked(label, label_weight, classifier, network)
        trained_on = priors.facts(network.header).get("trained on")
        run.begin(steps=steps, device=device, precision=precision, compiled=compiled, trained_on=trained_on)
        with run.clock("sampling"), bar("sampling") as progress:
            images = recon.sample_prior(network, count, steps, seed, progress=progress, step=step, **told).numpy()
        sheet = pictures.grid(images, round(count**0.5))
        sheet = pictures.image("samples", "Samples", sheet, fit.value_range(network), network.unit)
        sheet.save(folder)
        data.write_images(folder / "samples.h5", images, network.unit, {"prior": network.name, "seed": seed})
        names = ["samples.png", "samples.h5", "run.json"]
        record = run.record(scales={"samples": sheet.scale()}, outputs=names)
        save(folder, record)
    show(record, json, [output / name for name in record["outputs"]])
