"""The options that several commands share: one name, one meaning, one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import catalogue, config

OPERATOR, OUTPUT, RUNNING = "How the data were measured", "Output", "Running"
MANY = 100_000_000  # pixels of one image, the limit of the readers

Prior = Annotated[
    str | None, typer.Option(help="Name of a bundled prior (`recon info priors`) or a .safetensors file.")
]
Sampler = Annotated[
    str | None,
    typer.Option("--method", help=f"{catalogue.names(catalogue.METHODS)} (`recon info methods`); default: the first."),
]
Method = Annotated[
    str | None,
    typer.Option(
        help=f"Sampler: {catalogue.names(catalogue.METHODS)}; or without a prior: "
        f"{catalogue.names(catalogue.CLASSICAL)} (`recon info methods`); default: the first."
    ),
]
MethodOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="Setting of the method, like zeta=0.5 (`recon info METHOD`); repeatable."
    ),
]
Steps = Annotated[
    int | None, typer.Option(min=1, max=100_000, help=f"Network calls for each sample; default {catalogue.STEPS}.")
]
Samples = Annotated[int, typer.Option(min=1, help="Draws from the posterior for each item.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**64 - 1, help="Seed of every random number.", rich_help_panel=RUNNING)
]
Compiled = Annotated[
    bool,
    typer.Option(
        "--compiled", help="Compile the network first (torch.compile): a minute, worth it for many images on a GPU.",
        rich_help_panel=RUNNING,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="What the network computes in: float32, or bfloat16, faster where the device is made for it.",
        rich_help_panel=RUNNING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        envvar="RECON_DEVICE",
        help="cpu, cuda, cuda:1 ...; default: cuda if present.",
        rich_help_panel=RUNNING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1, max=2**31 - 1, help="Images in one network call; results do not depend on it.", rich_help_panel=RUNNING
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        callback=config.apply,
        is_eager=True,
        help="TOML file of settings; flags win.",
        rich_help_panel=RUNNING,
    ),
]

Label = Annotated[str | None, typer.Option(help="What the picture shows: a class of the prior, name or number.")]
LabelWeight = Annotated[
    float,
    typer.Option(min=-1e6, max=1e6, help="How strongly; 1 is Bayes' rule, others cost a second network call."),
]
Classifier = Annotated[
    Path | None, typer.Option(help="Take the label from this classifier, a file or digits-32, in place of the prior.")
]

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder, new or empty.", rich_help_panel=OUTPUT)]
OutputFile = Annotated[
    Path, typer.Option("-o", "--output", help="HDF5 file to write.", rich_help_panel=OUTPUT)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.", rich_help_panel=OUTPUT)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=OUTPUT)]

Operator = Annotated[
    str | None, typer.Option(help=f"{catalogue.names(catalogue.OPERATORS)}.", rich_help_panel=OPERATOR)
]
NoiseToAdd = Annotated[
    str,
    typer.Option(
        "--noise",
        help="Standard deviation in units of y, or a share like 1% of the largest noiseless |A x|, for mri of the "
        "largest |x|.",
        rich_help_panel=OPERATOR,
    ),
]
NoiseInData = Annotated[
    str | None,
    typer.Option(
        "--noise",
        help="Standard deviation in units of y, a share like 1% of the largest |y|, noise included (of k-space: of its "
        "image), or auto: estimated from the data; default: what the measurement file says, for an image the rounding "
        "of its values, for k-space auto.",
        rich_help_panel=OPERATOR,
    ),
]
NoiseModel = Annotated[
    str | None,
    typer.Option(
        help=f"{catalogue.names(catalogue.NOISES)} (`recon info noises`); default: the first.",
        rich_help_panel=OPERATOR,
    ),
]
Photons = Annotated[
    float | None,
    typer.Option(help="Counts for a value of 1 (poisson), or without a body (transmission).", rich_help_panel=OPERATOR),
]
Angles = Annotated[
    str | None,
    typer.Option(
        help="ct: count over a half turn (ct_fan: full turn), or START:STOP:COUNT in degrees.", rich_help_panel=OPERATOR
    ),
]
Detectors = Annotated[
    int | None,
    typer.Option(max=100_000, help="ct: detector elements; default: the diagonal.", rich_help_panel=OPERATOR),
]
Keep = Annotated[
    float | None, typer.Option(help="inpaint: share of pixels seen, at random.", rich_help_panel=OPERATOR)
]
Mask = Annotated[
    Path | None, typer.Option(help="inpaint, mri: image file, white = kept.", rich_help_panel=OPERATOR)
]
Box = Annotated[
    str | None, typer.Option(help="inpaint: hidden TOP,LEFT,HEIGHT,WIDTH.", rich_help_panel=OPERATOR)
]
Std = Annotated[float | None, typer.Option(help="blur: Gaussian width in pixels.", rich_help_panel=OPERATOR)]
Kernel = Annotated[
    str | None,
    typer.Option(
        help="blur: kernel image or NPY file; downsample: average or bicubic.", rich_help_panel=OPERATOR
    ),
]
Motion = Annotated[str | None, typer.Option(help="blur: LENGTH_PX,ANGLE_DEG.", rich_help_panel=OPERATOR)]
Boundary = Annotated[str | None, typer.Option(help="blur: circular or zero.", rich_help_panel=OPERATOR)]
Factor = Annotated[int | None, typer.Option(help="downsample: integer factor.", rich_help_panel=OPERATOR)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", rich_help_panel=OPERATOR,
        help="Parameter of the operator, like acceleration=4 (`recon info mri`); files for arrays; repeatable.",
    ),
]  # fmt: skip
Axes = Annotated[
    str | None,
    typer.Option(help="k-space: coil,row,column or slice,row,column where it is in doubt.", rich_help_panel=OPERATOR),
]
Scale = Annotated[
    str | None,
    typer.Option(
        help="k-space, raw projections: factor by which data are multiplied; auto (default): the image becomes about "
        "0 .. 1.",
        rich_help_panel=OPERATOR,
    ),
]
Air = Annotated[
    str | None,
    typer.Option(
        help="raw projections: where only air is seen, whose level is subtracted: 8 (pixels at both ends of each row), "
        "0:25 (rows), or 0:25,8.",
        rich_help_panel=OPERATOR,
    ),
]
Stripes = Annotated[
    int | None,
    typer.Option(
        min=3, help="raw projections: take out stripes that all views share, narrower than so many pixels.",
        rich_help_panel=OPERATOR,
    ),
]
ToGray = Annotated[bool, typer.Option("--to-gray", help="Turn a colour image to grey, drop alpha.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Larger images are refused before they are read.")]
Items = Annotated[str | None, typer.Option(help="Items of a file, START:STOP as in Python.")]
Subset = Annotated[str | None, typer.Option(help="train or validation, where the file says.")]
