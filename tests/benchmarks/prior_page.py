"""The page of the bundled priors: what each was trained on and how, how well it denoises, and samples of it.

    python -m tests.benchmarks.prior_page -o data/docs/priors [--only NAME ...]     # rewrites priors.md and NAME.png

The text is that of the priors' headers; a test holds the committed page to it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

import data
import recon
from cli import fit, pictures, priors
from data.palette import reduce_colours
from recon.checkpoint import bundled_priors

PAGE = "priors.md"
STEPS = 50  # network calls for each sample
COUNTS = {64: 16, 256: 4}  # samples of priors up to a side
HEAD = f"""# Bundled priors

Written by `python -m tests.benchmarks.prior_page -o data/docs/priors`; do not edit. Recipes, licences and data:
`data/priors/README.md`. The pictures are unconditional samples in {STEPS} network calls, not selected (seed 0).
Denoising PSNR in dB of held-out images, in values of -1 to 1 with a peak of 2, over bands of noise levels in those
values.
"""


def page(headers: dict[str, dict[str, Any]]) -> str:
    """The page, of the priors' headers by name."""
    return "\n".join([HEAD, *(section(name, header) for name, header in headers.items())])


def section(name: str, header: dict[str, Any]) -> str:
    """One prior."""
    training, facts = header["training"], priors.facts(header)
    bands = {key: value for key, value in training["validation"].items() if key.startswith("psnr_")}
    heads = [" to ".join(key.split("_")[1:]) for key in bands]
    lines = [f"- {key}: {value}" for key, value in facts.items() if key != "name"]
    lines += [
        f"- training: {training['steps']} steps, {training['images_seen']} images seen, {training['seconds'] / 60:.0f} "
        f"minutes, {training['threads']} thread(s)",
        f"- validation loss: {training['validation']['loss']:.4f}",
    ]
    table = ["| noise | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads),
             "| PSNR | " + " | ".join(f"{value:.2f}" for value in bands.values()) + " |"]  # fmt: skip
    return "\n".join([f"## {name}\n", f"![samples of {name}]({picture(name)})\n", *lines, "", *table, ""])


def picture(name: str) -> str:
    """The file of a prior's samples."""
    return f"{name}.png"


def draw(name: str, folder: Path) -> None:
    """The samples of a prior, as a PNG of few colours."""
    prior = recon.load_prior(name)
    count = next(count for side, count in COUNTS.items() if prior.shape[-1] <= side)
    label = torch.arange(count) % classes if (classes := getattr(prior.network, "classes", 0)) else None
    images = recon.sample_prior(prior, count, STEPS, 0, label=label).numpy()
    sheet = pictures.image("samples", "", pictures.grid(images, round(count**0.5)), fit.value_range(prior), prior.unit)
    with tempfile.TemporaryDirectory() as place:
        reduce_colours(sheet.save(Path(place)), folder / picture(name), 256 if prior.shape[0] == 3 else 64)


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="priors whose samples are drawn again; default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = bundled_priors()
    headers = {name: data.prior_header(path) for name, path in names.items()}
    (arguments.output / PAGE).write_text(page(headers), encoding="utf-8")
    for name in names if arguments.only is None else arguments.only:
        draw(name, arguments.output)


if __name__ == "__main__":
    main()
