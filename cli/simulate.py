"""`recon simulate`: an image to a measurement file, y = A x + noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

NoTruth = Annotated[bool, typer.Option("--no-truth", help="Leave the image itself out of the file.")]


def simulate(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF, NPY, or HDF5 with `images`.")],
    output: o.OutputFile, operator: o.Operator = None, noise: o.NoiseToAdd = "1%",
    noise_model: o.NoiseModel = None, photons: o.Photons = None, angles: o.Angles = None,
    detectors: o.Detectors = None, keep: o.Keep = None, mask: o.Mask = None, box: o.Box = None,
    std: o.Std = None, kernel: o.Kernel = None, motion: o.Motion = None, boundary: o.Boundary = None,
    factor: o.Factor = None, set: o.Settings = None, items: o.Items = None, subset: o.Subset = None,
    to_gray: o.ToGray = False,
    max_pixels: o.MaxPixels = o.MANY, seed: o.Seed = 0, no_truth: NoTruth = False,
    overwrite: o.Overwrite = False, json: o.Json = False, config: o.Config = None,
) -> None:
    """Measure an image: writes y = A x + noise and everything needed to reconstruct from it.

    Example: recon simulate slice.png --operator ct --angles 60 --noise 1% -o scan.h5
    """
    import data
    from cli import measure, noises, spec
    from cli import output as out
    from cli.config import refuse_idle
    from cli.images import Selection, images
    from cli.run_record import Run, show

    flags = spec.OperatorFlags(angles, detectors, keep, mask, box, std, kernel, motion, boundary, factor, set)
    if noise_model in noises.WITHOUT_LEVEL:
        refuse_idle(context, ["noise"], noises.WITHOUT_LEVEL[noise_model])
    run = Run("simulate", {
        "image": image, "operator": spec.named(operator), **flags.given(), "noise": noise,
        "noise_model": noise_model, "photons": photons, "seed": seed,
        "items": items, "subset": subset, "output": output})
    data.output_file(output, overwrite, [path for path in (image, mask, config) if path], out.ROOM)
    run.begin()
    found = images(image, Selection(items, subset, to_gray, max_pixels), run)
    values = found.values
    as_typed = noises.NoiseFlags(noise, noise_model, photons)
    task, stored = measure.simulated(values, operator, flags, as_typed, seed, found.unit)
    y, model = stored["y"], task.measurement.noise
    said = f"standard deviation {model.sigma:.6g} ({noise})" if noise_model is None else noises.noise_words(model)
    run.note(f"noise {said}; y lies in {y.min():.4g} .. {y.max():.4g}")
    data.write_measurement(output, **{**stored, "x": None if no_truth else values})
    record = run.record(output=output, items=len(values), image=values.shape[1:], y=y.shape[1:], noise=stored["noise"])
    show(record, json, [output])
