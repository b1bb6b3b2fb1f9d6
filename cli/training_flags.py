"""The flags of `recon train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import options as o

VALUES = "What the numbers mean"

Images = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder of images, of a subfolder for each class, of DICOM or NIfTI volumes; or HDF5 with `images`.",
    ),
]
Sde = Annotated[Literal["vp", "ve", "subvp"] | None, typer.Option(help="Diffusion process; default vp.")]
Size = Annotated[
    int | None, typer.Option(min=8, help="Bring central squares to SIZE x SIZE; default: only where images need it.")
]
Hours = Annotated[float | None, typer.Option(help="Stop after this long.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after this many steps.")]
Name = Annotated[str | None, typer.Option(help="Name in the prior's header; default: the output folder's.")]
Labels = Annotated[
    bool, typer.Option("--labels", help="Learn the classes of the data too, for --label (mirroring then needs care).")
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW:HIGH",
        help="Values that the prior is to cover, in their unit: -1000:1000 for a CT in HU.",
        rich_help_panel=VALUES,
    ),
]
Clip = Annotated[
    bool,
    typer.Option("--clip", help="End values outside --range there instead of refusing them.", rich_help_panel=VALUES),
]
Unit = Annotated[
    str | None, typer.Option(help="Unit of the values, where the files do not say it.", rich_help_panel=VALUES)
]
Rescale = Annotated[
    str | None,
    typer.Option(
        metavar="SLOPE,INTERCEPT",
        help="value = SLOPE * stored + INTERCEPT, where the files do not say it; 1,-1024 for HU + 1024.",
        rich_help_panel=VALUES,
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of the run.", rich_help_panel=o.RUNNING)]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an earlier run in the same folder.")]
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Curves and pictures to OUTPUT/tensorboard too.", rich_help_panel=o.OUTPUT),
]
Settings = Annotated[
    Path | None,
    typer.Option(
        help="TOML file of training settings; flags win. Without one the data choose network and noise levels.",
        rich_help_panel=o.RUNNING,
    ),
]
