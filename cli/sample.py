"""`recon sample`: images from a prior alone."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from cli import options as o


def sample(
    output: o.Output, prior: o.Prior = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=4096, help="How many images.")] = 16,
    steps: o.Steps = None, seed: o.Seed = 0, device: o.Device = None, overwrite: o.Overwrite = False, json: o.Json = False,
    config: o.Config = None,
) -> None:
    """Draw images from a prior: what it has learnt, before any data.

    Example: recon sample --prior headct-64 -n 16 -o samples/
    """
    from cli import output as out
    from cli import pictures, priors, restore
    from cli.run_record import Run, bar, save

    path = priors.find(prior)
    run = Run("sample", {"prior": prior, "count": count, "steps": steps, "seed": seed, "device": device, "output": output})
    with out.folder(output, overwrite, [path, config]) as folder:
        import data
        import recon

        where = restore.choose_device(device)
        network = priors.load(path, where)
        run.hash_inputs([path])
        with run.clock("sampling"), bar("sampling") as progress:
            asked = {} if steps is None else {"steps": steps}
            images = recon.sample_prior(network, count, seed=seed, progress=progress, **asked).cpu().numpy()
        low, high = priors.value_range(network)
        columns = max(1, round(count**0.5))
        sheet = pictures.image("samples", f"Samples of {network.name}", pictures.grid(images, columns), (low, high), network.unit)
        sheet.save(folder)
        data.write_images(folder / "samples.h5", images, unit=network.unit, attrs={"seed": seed, "prior": network.name})
        record = run.record(scales={"samples": sheet.scale()}, outputs=["samples.png", "samples.h5", "run.json"])
        save(folder, record)
    print(jsonlib.dumps(record, indent=2) if json else "\n".join(str(output / name) for name in record["outputs"]))
