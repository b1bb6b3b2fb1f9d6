"""`recon reconstruct`: a measurement file, or a degraded image, to a posterior."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

Input = Annotated[
    Path,
    typer.Argument(metavar="INPUT", help="Measurement file; raw k-space or projections; or image with --operator."),
]
OF_SAMPLERS = (
    "prior", "steps", "samples", "label", "label_weight", "classifier", "batch_size", "device", "precision",
    "compiled",
)


def reconstruct(
    context: typer.Context,
    measured: Input, output: o.Output, prior: o.Prior = None, method: o.Method = None,
    option: o.MethodOptions = None, steps: o.Steps = None, samples: o.Samples = 8, label: o.Label = None,
    label_weight: o.LabelWeight = 1.0, classifier: o.Classifier = None, seed: o.Seed = 0,
    operator: o.Operator = None, noise: o.NoiseInData = None, angles: o.Angles = None,
    detectors: o.Detectors = None, keep: o.Keep = None, mask: o.Mask = None, box: o.Box = None,
    std: o.Std = None, kernel: o.Kernel = None, motion: o.Motion = None, boundary: o.Boundary = None,
    factor: o.Factor = None, set: o.Settings = None, items: o.Items = None, to_gray: o.ToGray = False,
    max_pixels: o.MaxPixels = o.MANY, axes: o.Axes = None, scale: o.Scale = None, air: o.Air = None,
    stripes: o.Stripes = None, device: o.Device = None, precision: o.Precision = "float32",
    compiled: o.Compiled = False, batch_size: o.BatchSize = None, overwrite: o.Overwrite = False, json: o.Json = False,
    config: o.Config = None,
) -> None:
    """Draw from the posterior: mean, spread, samples, and a report that says what to trust.

    Examples:

    recon reconstruct scan.h5 --prior headct-64 -o out/

    recon reconstruct raw.h5 --items 50 --air 8 --stripes 9 --method fbp -o out/

    recon reconstruct photo.png --operator inpaint --mask mask.png --prior headct-64 -o out/
    """
    from cli import catalogue, fit, labelling, measure, methods, priors, restore, results, source, spec
    from cli import output as out
    from cli.config import refuse_idle
    from cli.images import Selection
    from cli.raw import RawFlags
    from cli.run_record import Run, show

    if method is not None:
        spec.known("method", method, [*catalogue.METHODS, *catalogue.CLASSICAL])
    classical = method in catalogue.CLASSICAL
    if classical:
        refuse_idle(context, OF_SAMPLERS, f"{method} draws no samples and takes no prior")
    kind = source.kind_of(measured, operator, context)
    path = None if classical else priors.find(prior, "or --method fbp, tv or pinv, which need none")
    flags = spec.OperatorFlags(angles, detectors, keep, mask, box, std, kernel, motion, boundary, factor, set)
    wanted = Selection(items, None, to_gray, max_pixels)
    run = Run("reconstruct", {
        "input": measured, "prior": prior, "method": method, "label": label, "label_weight": label_weight,
        "classifier": classifier, "operator": operator,
        **flags.given(), "noise": noise, "items": items, "output": output})
    with out.folder(output, overwrite, [measured, mask, config]) as folder, run.hearing():
        run.hash_inputs([measured, mask, path])
        read = source.task(
            kind, measured, noise, operator, flags, RawFlags(axes, scale, air, stripes, angles, set), seed, wanted, run
        )
        task = measure.for_method(read, method, run)
        if classical:
            chosen = methods.options(method, option or [])
            run.begin(options=chosen)
            result, header = restore.classical(task, method, chosen), None
            shown = results.own_scale(task, result.estimate)
        else:
            plan = restore.plan(method, steps, samples, seed, batch_size, device, option or [])
            network = priors.load(path, plan.device, precision, compiled)
            task = fit.for_prior(task, network, measured.name, run)
            header, shown = priors.facts(network.header), fit.value_range(network)
            run.begin(**asdict(plan), precision=precision, compiled=compiled, trained_on=header.get("trained on"))
            told = labelling.asked(label, label_weight, classifier, network)
            result = restore.posterior(task, network, plan, told)
        done = results.Finished(task, result, shown, measured.name)
        record = results.publish(folder, f"Reconstruction of {measured.name}", [done], header, run)
    show(record, json, [output / name for name in record["outputs"][:4]])
