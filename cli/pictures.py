"""Arrays to PNG files of known scale: every picture carries the values of its first and last colour."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import data

GREY, HEAT = "gray", "magma"


@dataclass(frozen=True)
class Picture:
    """One image (C, H, W) and the values shown as its first and last colour."""

    name: str
    title: str
    values: np.ndarray
    low: float
    high: float
    colours: str = GREY
    unit: str = ""
    caption: str = ""

    def save(self, folder: Path) -> Path:
        """Writes `name.png`, one pixel per value; values outside the scale take its end colours."""
        path = folder / f"{self.name}.png"
        data.write_image(path, *self.pixels())
        return path

    def pixels(self) -> tuple[np.ndarray, float, float]:
        """What to draw and between which values: grey and colour images as they are, maps in colour."""
        if self.colours == GREY:
            return self.values, self.low, self.high
        from matplotlib import colormaps

        span = (self.high - self.low) or 1.0
        coloured = colormaps[self.colours]((self.values.mean(0) - self.low) / span)[..., :3]
        return np.moveaxis(coloured, -1, 0).astype(np.float32), 0.0, 1.0

    @property
    def end(self) -> str:
        """The value of the last colour as text; it says so where that stands for larger ones too."""
        return ("≥ " if self.colours == HEAT and self.values.max() > self.high else "") + f"{self.high:.3g}"

    def scale(self) -> dict[str, object]:
        return {
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "unit": self.unit,
            "colours": self.colours,
        }

    @property
    def stretched(self) -> bool:
        """Whether it is shown as a square although it is none: few angles would give a thin stripe."""
        return self.values.shape[2] > 2 * self.values.shape[1]

    def gradient(self) -> str:
        """The colour bar as CSS."""
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        stops = ", ".join(to_hex(colormaps[self.colours](x)) for x in np.linspace(0, 1, 9))
        return f"linear-gradient(to right, {stops})"


def image(
    name: str, title: str, values: np.ndarray, scale: tuple[float, float], unit: str = "", caption: str = ""
) -> Picture:
    """An image on a scale that it shares with others."""
    return Picture(name, title, values, *scale, GREY, unit, caption)


def spread(
    name: str, title: str, values: np.ndarray, largest: float, unit: str = "", caption: str = ""
) -> Picture:
    """A map that begins at zero; its scale ends where one in 500 pixels is above, at `largest` if that is less."""
    end = float(np.quantile(values, 1 - 1 / 500)) or float(values.max()) or 1.0
    return Picture(name, title, values, 0.0, min(end, largest), HEAT, unit, caption)


def full_range(values: np.ndarray) -> tuple[float, float]:
    """The scale from the smallest to the largest value."""
    return float(values.min()), float(values.max())


def data_uri(path: Path) -> str:
    """A PNG file as text that a page can hold."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """(N, C, H, W) side by side, `columns` in a row, one pixel between, as one (C, h, w)."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full(
        (channels, rows * (height + 1) - 1, columns * (width + 1) - 1), images.max(), images.dtype
    )
    for k, picture in enumerate(images):
        top, left = (k // columns) * (height + 1), (k % columns) * (width + 1)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


def overview(path: Path, labels: list[str], rows: list[list[Picture]]) -> Path:
    """One figure: a labelled row of pictures per item, each with its title and caption."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(len(row) for row in rows)
    figure = Figure(figsize=(2.1 * width, 2.5 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), width, squeeze=False)
    for line, label, row in zip(axes, labels, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        where = {"transform": line[0].transAxes, "rotation": 90, "ha": "right", "va": "center", "fontsize": 8}
        line[0].text(-0.06, 0.5, label, multialignment="center", **where)
        for axis, picture in zip(line, row, strict=False):
            values, low, high = picture.pixels()
            shown = np.clip((np.moveaxis(values, 0, -1) - low) / ((high - low) or 1), 0, 1).squeeze()
            axis.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect="auto" if picture.stretched else "equal")
            scale = f"0 to {picture.end}" if picture.colours == HEAT else ""
            below = ", ".join(filter(None, (picture.caption, scale)))
            axis.set_title("\n".join(filter(None, (picture.title, below))), fontsize=8)
    figure.savefig(path, dpi=150)
    return path
