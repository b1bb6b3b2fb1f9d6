"""One command for each operator that shows what it does to a bundled image; the documentation page runs them."""

from __future__ import annotations

SAMPLES = "data/samples"  # where the images lie in a clone; `recon info` says where else
COLOUR, GREY = "photo-rocks", "headct-1"

OF_COLOUR = ("mosaic", "grey")
WORDS = {  # what is typed beside --operator
    "inpaint": ["--keep", "0.4"],
    "blur": ["--std", "2"],
    "downsample": ["--factor", "4"],
    "ct": ["--angles", "15"],  # few, and few rows below: singular vectors, of which the page tells, take time
    "ct_fan": ["--angles", "15", "--set", "source_mm=570", "--set", "detector_mm=1040"],
    "random_projection": ["--set", "ratio=0.1"],
    "clip": ["--set", "gain=2"],
    "quantise": ["--set", "bits=2", "--noise", "0"],
}


def sample(operator: str) -> str:
    """The bundled image that an operator is shown on."""
    return COLOUR if operator in OF_COLOUR else GREY


def words(operator: str, image: str, output: str) -> list[str]:
    """The command line, without `recon`, that measures the image at the path `image`."""
    return ["simulate", image, "--operator", operator, *WORDS.get(operator, []), "-o", output]


def command(operator: str) -> str:
    """The command line as it is typed in a clone."""
    return " ".join(["recon", *words(operator, f"{SAMPLES}/{sample(operator)}.png", f"{operator}.h5")])
