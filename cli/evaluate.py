"""`recon evaluate`: a result against the truth."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from cli import options as o


def evaluate(
    result: Annotated[Path, typer.Argument(help="Folder or result.h5 that `recon reconstruct` wrote.")],
    truth: Annotated[Path | None, typer.Option(help="Image, NPY, HDF5 with `images`, or measurement file with the truth.")] = None,
    items: o.Items = None, subset: o.Subset = None, to_gray: o.ToGray = False, json: o.Json = False, config: o.Config = None,
) -> None:
    """Score a result: PSNR, SSIM, residual chi-square, coverage of the 90 % interval, per item and in total.

    Example: recon evaluate out/ --truth slice.png
    """
    import data
    from cli import spec
    from cli.run_record import Run
    from cli.scores import scores, table

    path = result / "result.h5" if result.is_dir() else result
    run = Run("evaluate", {"result": path, "truth": truth, "items": items, "subset": subset})
    stored = data.read_result(path)
    reference = spec.truth(truth, items, subset, to_gray, stored, path, run)
    found = scores(stored.reconstruction, reference, float(stored.attrs["data_range"]), stored.samples,
                   stored.attrs.get("chi_square"))
    print(jsonlib.dumps({"result": str(path), "truth": str(truth or "stored"), **found}, indent=2) if json else table(found))
