"""Pictures for documentation, made small: few colours take few bytes."""

from __future__ import annotations

import os
from pathlib import Path

from data.outputs import atomic_file


def reduce_colours(source: Path, target: str | os.PathLike[str], colours: int) -> None:
    """Writes a picture again as a PNG of at most `colours` colours, 2 to 256, the nearest to its own."""
    from PIL import Image

    with Image.open(source) as image, atomic_file(Path(target)) as temporary:
        image.convert("RGB").quantize(colours).save(temporary, format="PNG", optimize=True)
