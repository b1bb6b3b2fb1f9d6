"""`recon evaluate`: a result against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

Truth = Annotated[Path | None, typer.Option(help="Image, NPY, HDF5 with `images`, or a measurement file.")]


def evaluate(
    result: Annotated[Path, typer.Argument(help="Folder or result.h5 that `recon reconstruct` wrote.")],
    truth: Truth = None, items: o.Items = None, subset: o.Subset = None, to_gray: o.ToGray = False,
    max_pixels: o.MaxPixels = o.MANY, json: o.Json = False, config: o.Config = None,
) -> None:
    """Score a result: PSNR, SSIM, residual chi-square, coverage of the 90 % interval, per item and in total.

    Example: recon evaluate out/ --truth slice.png
    """
    import data
    from cli.images import Selection, reference
    from cli.run_record import Run, show
    from cli.scores import scores, table

    path = result / "result.h5" if result.is_dir() else result
    run = Run("evaluate", {"result": path, "truth": truth, "items": items, "subset": subset})
    stored = data.read_result(path)
    true = reference(truth, Selection(items, subset, to_gray, max_pixels), stored, path, run)
    peak, chi_square = float(stored.attrs["data_range"]), stored.attrs.get("chi_square")
    found = scores(stored.reconstruction, true, peak, stored.samples, chi_square)
    show({"result": str(path), "truth": str(truth or "stored"), **found}, json, [table(found)])
