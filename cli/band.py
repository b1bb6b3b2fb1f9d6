"""`recon band`: what is usual for a prior, measured on held-out images and stored with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

Images = Annotated[Path, typer.Argument(metavar="IMAGES", help="Held-out images, ten or more: folder, NPY or HDF5.")]
NewPrior = Annotated[
    Path, typer.Option("-o", "--output", help="Prior file to write (.safetensors).", rich_help_panel=o.OUTPUT)
]


def refuse_few(count: int, where: str) -> None:
    """Refuses fewer images than a band can be made of."""
    from data.errors import InputRefused
    from recon.typicality import FEWEST_IMAGES

    if count < FEWEST_IMAGES:
        raise InputRefused("E-LAYOUT", "too few images for a band", where, f"{count} images",
                           f"{FEWEST_IMAGES} images or more", "more held-out ones (--items, --subset)")  # fmt: skip


def band(
    images: Images, output: NewPrior, prior: o.Prior = None, items: o.Items = None, subset: o.Subset = "validation",
    to_gray: o.ToGray = False, max_pixels: o.MaxPixels = o.MANY, overwrite: o.Overwrite = False, json: o.Json = False,
    config: o.Config = None,
) -> None:
    """Copy a prior with the band of its held-out images, by which unlike ones are told; `recon train` stores it too.

    Example: recon band slices.h5 --prior old.safetensors -o new.safetensors
    """
    import data
    from cli import fit, priors
    from cli import output as out
    from cli.errors import INPUT, refusing
    from cli.images import Selection, sources
    from cli.images import images as pictures
    from cli.run_record import Run, show

    path = priors.find(prior)
    run = Run("band", {"images": images, "prior": prior, "items": items, "subset": subset, "output": output})
    data.output_file(output, overwrite, [file for file in (images, path, config) if file], out.ROOM)
    given = pictures(images, Selection(items, subset, to_gray, max_pixels), run)
    run.hash_inputs([*sources(images), path])
    refuse_few(len(given.values), str(images))
    values = fit.whole_images(given, priors.load(path, "cpu"), images.name, run)
    run.begin()

    import recon

    with refusing("E-LAYOUT", "no band of these images", str(images), INPUT):
        found = recon.add_band(path, values, output)
    middle, usual, limit = found.quantiles()
    run.note(f"distances of {len(found.log_power)} images: median {middle:.2f}, 95 % {usual:.2f}, 99 % {limit:.2f}")
    show(run.record(output=output, median=middle, quantile95=usual, usual_up_to=limit), json, [output])
