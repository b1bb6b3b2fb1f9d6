"""`recon export`: a prior in the layout of another library."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli import options as o

Source = Annotated[
    str, typer.Argument(metavar="PRIOR", help="Name of a bundled prior, a .safetensors file, or a folder of one.")
]
Layout = Annotated[Literal["diffusers"], typer.Option("--format", help="Whose layout.")]


def export(
    prior: Source, output: o.Output, layout: Layout = "diffusers", overwrite: o.Overwrite = False, json: o.Json = False,
) -> None:
    """Write a prior as a model that another library opens: diffusers, where the network is a UNet2DModel.

    Example: recon export prior/ -o model/ --format diffusers
    """
    from cli import output as out
    from cli import priors
    from cli.errors import USAGE, refusing
    from cli.run_record import Run, save, show

    path = priors.find(prior)
    run = Run("export", {"prior": prior, "format": layout, "output": output})
    with out.folder(output, overwrite, [path]) as folder, run.hearing():
        import recon

        run.hash_inputs([path])
        network = priors.load(path, "cpu")
        with refusing("E-EXPORT", "this prior has no such form", str(path), USAGE):
            written = recon.export_diffusers(network, folder)
        names = [str(file.relative_to(folder)) for file in written]
        record = run.record(outputs=[*names, "run.json"])
        save(folder, record)
    show(record, json, [output / name for name in names])
