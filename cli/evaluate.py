"""`recon evaluate`: a result against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o

Truth = Annotated[Path | None, typer.Option(help="Image, NPY, HDF5 with `images`, or a measurement file.")]
Calibration = Annotated[
    bool, typer.Option("--calibration", help="Ranks, coverage at all levels, CRPS, reliability, over all items.")
]
Folder = Annotated[
    Path | None, typer.Option("-o", "--output", help="With --calibration: folder for its figure and numbers.")
]
OF_TRUTH = ("items", "subset", "to_gray", "max_pixels")


def evaluate(
    context: typer.Context,
    result: Annotated[Path, typer.Argument(help="Folder or result.h5 that `recon reconstruct` wrote.")],
    truth: Truth = None, items: o.Items = None, subset: o.Subset = None, to_gray: o.ToGray = False,
    max_pixels: o.MaxPixels = o.MANY, calibration: Calibration = False, output: Folder = None,
    overwrite: o.Overwrite = False, json: o.Json = False, config: o.Config = None,
) -> None:
    """Score a result, or all results in a folder: PSNR, SSIM, residual chi-square, coverage by the interval.

    Examples:

    recon evaluate out/ --truth slice.png

    recon evaluate out/ --calibration -o calibration/
    """
    import data
    from cli import calibrate
    from cli import output as out
    from cli.config import refuse_idle
    from cli.images import Selection, note_without, reference
    from cli.run_record import Run, show
    from cli.scores import scores, table

    if truth is None:
        refuse_idle(context, OF_TRUTH, "the truth that a result stores is taken whole")
    if not calibration:
        refuse_idle(context, ("output", "overwrite"), "only --calibration writes files")
    run = Run("evaluate", {"result": result, "truth": truth, "items": items, "subset": subset})
    found, lines, pairs, without = {}, [], [], []
    for name, path in (data.result_files(result) or {"": result / "result.h5"}).items():
        stored = data.read_result(path)
        true = reference(truth, Selection(items, subset, to_gray, max_pixels), stored, run)
        if true is None:
            without.append(path)
            continue
        peak, chi_square = float(stored.attrs["data_range"]), stored.attrs.get("chi_square")
        own = scores(stored.reconstruction, true, peak, stored.samples, chi_square)
        found[name] = {"result": str(path), "truth": str(truth or "stored"), **own}
        lines += [name, table(own)] if name else [table(own)]
        pairs.append((stored.samples, true))
    note_without(without, len(found), run)
    record = found[""] if "" in found else {"results": found, "notes": run.notes}
    if calibration:
        whole = calibrate.calibrated(pairs, result)
        record = {**record, "calibration": calibrate.record(whole)}
        lines += calibrate.words(whole)
        if output is not None:
            with out.folder(output, overwrite, [result]) as folder:
                calibrate.write(folder, whole, record["calibration"])
            lines += [output / name for name in calibrate.WRITTEN]
    show(record, json, lines)
