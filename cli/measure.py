"""What is to be reconstructed: a measurement from a file, or from a degraded image and flags that say how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import data
from cli import catalogue, noises, spec
from cli.errors import INPUT, USAGE, refusing, usage
from cli.images import Pictures, Selection, chosen, images
from cli.run_record import Run
from data.errors import InputRefused

if TYPE_CHECKING:
    from torch import Tensor

    from operators import LinearOperator, Operator
    from recon import Measurement

MEASUREMENT = 2**32 - 1  # the sample number of measurement noise
STATED, ASSUMED, ESTIMATED = "stated", "assumed", "estimated"  # how the noise level is known
AUTO = "auto"
UNESTIMATED = {  # operators whose data do not show their noise, and why
    "mosaic": "neighbours have different colours",
    "clip": "its ends cut the noise off",
    "quantise": "its steps are no Gaussian noise",
    "mri": "neighbours in k-space are not alike",
    "phase_retrieval": "neighbours in a diffraction pattern are not alike",
}
UNSTATED = {"ct": {"projector": "strip"}, "ct_fan": {"projector": "strip"}}  # what older files were measured with
FLAT = 0.02  # share of the range of a picture within which values count as one


@dataclass(frozen=True)
class Task:
    """A measurement and what belongs to it but not to the mathematics.

    Args:
        measurement: operator, y (B, ...) and noise.
        truth: (B, C, H, W) where the file stores it.
        unit: unit of the image's values, "" if unknown.
        window: (top, left, height, width) of the image inside the padded one, or None.
        known: how the noise level is known: stated, assumed (the rounding of a picture) or estimated from the data.
    """

    measurement: Measurement
    truth: np.ndarray | None
    unit: str
    window: tuple[int, int, int, int] | None = None
    known: str = STATED

    def crop(self, images: np.ndarray) -> np.ndarray:
        """(..., H, W) without the padding."""
        if self.window is None:
            return images
        top, left, height, width = self.window
        return images[..., top : top + height, left : left + width]

    @property
    def corner(self) -> tuple[int, int]:
        """Where the picture begins in data that were padded as the image was."""
        operator = self.measurement.operator
        padded = self.window is not None and operator.in_shape[-2:] == operator.out_shape[-2:]
        return self.window[:2] if padded else (0, 0)

    def crop_data(self, y: np.ndarray) -> np.ndarray:
        """Data without the padding."""
        return y if self.corner == (0, 0) else self.crop(y)


def from_file(path: Path, noise: str | None, items: str | None, run: Run) -> Task:
    """The measurement of an HDF5 file, which is enough to reconstruct from."""
    import torch

    import recon
    from operators import NOISES, OPERATORS

    stored = data.read_measurement(path)
    name = stored.operator["name"]
    if name not in OPERATORS:
        raise InputRefused(
            "E-OPERATOR", "unknown operator", f"{path}:/operator", name, ", ".join(OPERATORS), "update recon"
        )
    for note in stored.notes:
        run.note(note)
    wanted = chosen(items, len(stored.y))
    y, x = (None if part is None else torch.from_numpy(part[wanted]) for part in (stored.y, stored.x))
    with refusing("E-OPERATOR", "operator cannot be built", f"{path}:/operator", INPUT):
        built = OPERATORS[name](**{**UNSTATED.get(name, {}), **stored.operator["parameters"]})
    levels = {key: value for key, value in stored.noise.items() if key != "model"}
    model = stored.noise["model"]
    if noise is not None:
        key = noises.level_of(model, path)
        level = estimated(y, built, model, run) if noise == AUTO else noises.sigma(noise, full_value(y, built))
        levels = {key: level}
        run.note(f"noise level {level:g} from --noise replaces that of {path.name}")
    each = model != "correlated"  # whose factor has no items
    levels = {key: torch.from_numpy(v[wanted] if each and v.ndim == y.ndim and len(v) == len(stored.y) else v)
              if isinstance(v, np.ndarray) else v for key, v in levels.items()}  # fmt: skip
    with refusing("E-GEOMETRY", "measurement does not fit its operator", f"{path}:/y", INPUT):
        grey = len(built.in_shape) == 2  # other operators have the channels among the axes that they act on
        if grey and each:  # levels for each item get the channel axis that y gets
            levels = {key: with_channel(v, y.ndim - 1) if y.ndim == 3 and np.ndim(v) == 3 else v
                      for key, v in levels.items()}  # fmt: skip
        y = with_channel(y, len(built.out_shape)) if grey else y
        measurement = recon.Measurement(built, y, NOISES[model](**levels))
    known = ESTIMATED if noise == AUTO else STATED
    return Task(measurement, None if x is None else with_channel(x, 2).float().numpy(), stored.unit, known=known)


def full_value(y: Tensor, operator: Operator) -> float:
    """What a share like 1% of noise refers to: the largest value of the data, of k-space that of its image.

    The middle of k-space is the sum of the image, far above all else; with A^H y / |A|^2, zero where nothing was
    sampled, the same share means about the same level here and where images are measured.
    """
    from operators import operator_norm

    if operator.spec["name"] != "mri":
        return float(y.abs().max())
    return float(operator.adjoint(y).abs().max()) / operator_norm(operator) ** 2


def for_method(task: Task, method: str | None, run: Run) -> Task:
    """Photon counts as line integrals with normal noise of each count's own level, for methods that need such noise."""
    from operators import TransmissionCT
    from recon.general import GENERAL
    from recon.presets import DEFAULT_METHOD

    measurement = task.measurement
    if not isinstance(measurement.noise, TransmissionCT) or (method or DEFAULT_METHOD) in GENERAL:
        return task
    y, noise = measurement.noise.logarithmic(measurement.y)
    run.note(f"{method} needs Gaussian noise: counts are taken as line integrals log(I0 / y), each with its own level")
    return replace(task, measurement=replace(measurement, y=y, noise=noise))


def with_channel(images: Tensor, axes: int) -> Tensor:
    """(B, 1, ...) where a file of grey images leaves the channel out; `axes`: how many axes follow it."""
    return images[:, None] if images.ndim == axes + 1 else images


def simulated(
    x: np.ndarray, operator: str, flags: spec.OperatorFlags, noise: noises.NoiseFlags, seed: int, unit: str
) -> tuple[Task, dict[str, Any]]:
    """Measures images (B, C, H, W): the task, and the arguments of `data.write_measurement` that keep it.

    The noise is that of a sample number which no sampler reaches, so it never repeats as a sampler's noise.
    """
    import torch

    import recon
    from recon.noise import CounterNoise

    images = torch.from_numpy(x)
    own, of_noise = noises.split(flags, noise.model)
    built = spec.build(operator, own, x.shape[-2:], seed)
    refuse_channels(x, built)
    clean = built(images)
    refuse_overflow(clean, operator)
    # the largest value of k-space is the sum of the image, far above all others: its noise is compared with the image
    largest = images if operator == "mri" else clean
    model = noises.noise(noise, of_noise, float(largest.abs().max()))
    draw = CounterNoise(seed, range(len(x)), [MEASUREMENT] * len(x))
    with refusing("E-RANGE", "such data cannot be", f"--noise-model {noise.model or 'gaussian'}", INPUT):
        y = model.sample(clean, *(draw(clean) for _ in range(model.draws)))
        y = y if built.measured is None else y * built.measured
        measurement = recon.Measurement(built, y, model)
    stored = {
        "y": y.numpy(),
        "operator": built.spec,
        "noise": noises.stored_noise(model),
        "x": x,
        "unit": unit,
        "attrs": {"seed": seed},
    }
    return Task(measurement, x, unit), stored


def refuse_overflow(clean: Tensor, operator: str) -> None:
    """Refuses noiseless data beyond single precision."""
    if not bool(clean.isfinite().all()):
        raise InputRefused("E-RANGE", "such data cannot be", f"--operator {operator}",
                           "values beyond single precision, 3.4e38", "finite values",
                           "smaller values of the image or of the operator's --set")  # fmt: skip


def refuse_channels(x: np.ndarray, operator: LinearOperator) -> None:
    """Refuses images (B, C, H, W) of other channels than the operator acts on."""
    wanted = operator.in_shape[:-2]
    if wanted and x.shape[1:-2] != wanted:
        name = operator.spec["name"]
        raise InputRefused(
            "E-CHANNELS",
            "channels do not fit the operator",
            f"--operator {name}",
            f"images of {x.shape[1]} channel(s)",
            f"{wanted[0]} channels for {name}",
            "measure colour images with it" if wanted[0] == 3 else "choose other --set of it, or other images",
        )


def from_image(
    path: Path,
    noise: str | None,
    operator: str | None,
    flags: spec.OperatorFlags,
    seed: int,
    wanted: Selection,
    run: Run,
) -> Task:
    """A degraded image and flags: what the operator made of an unknown image is the image given."""
    import torch

    import recon
    from operators import Gaussian

    if operator is None:
        raise usage(
            "how was this image degraded?",
            str(path),
            "an image and no --operator",
            "a measurement file, or an image with --operator",
            "--operator inpaint --mask mask.png, or see `recon info operators`",
        )
    if operator not in spec.PICTURES and operator in catalogue.OPERATORS:
        words = " ".join(filter(None, [f"--operator {operator}", spec.example(operator), "--noise 1%"]))
        raise usage(
            f"{operator} data come in a measurement file",
            str(path),
            "an image",
            "HDF5 as `recon simulate` writes it",
            f"recon simulate {path.name} {words} -o scan.h5",
        )
    pictures = images(path, wanted, run)
    size = pictures.values.shape[-2:]
    factor = flags.text("factor") if operator == "downsample" else ""
    factor = max(1, int(factor)) if factor.isdigit() else 1  # another is refused by the operator
    built = spec.build(operator, flags, (size[0] * factor, size[1] * factor), seed)
    given = pictures.values.shape[-len(built.out_shape) :]
    if tuple(built.out_shape) != given:
        raise usage(
            "image is not what the operator gives",
            str(path),
            " x ".join(map(str, given)),
            " x ".join(str(n) for n in built.out_shape),
            "correct the operator's parameters",
        )
    y = torch.from_numpy(pictures.values)
    if operator == "inpaint":
        note_inverted(pictures.values, built.measured.numpy(), run)
        y = built(y)
    if noise == AUTO:
        least, known = pictures.rounding or 0.0, ESTIMATED
        level = max(least, estimated(y, built, "gaussian", run))
    elif noise is None:
        level, known = rounding(pictures, path, run), ASSUMED
    else:
        level, known = noises.sigma(noise, float(y.abs().max())), STATED
    with refusing("E-USAGE", "noise level cannot be used", "--noise", USAGE):
        return Task(recon.Measurement(built, y, Gaussian(level)), None, pictures.unit, known=known)


def estimated(y: Tensor, operator: LinearOperator, model: str, run: Run) -> float:
    """The noise level found in the data themselves, for `--noise auto`; a note says so, and where it is doubtful."""
    from data.rules import event_labels
    from recon.noise_level import estimate_noise

    name, where = operator.spec["name"], "--noise auto"
    labels = event_labels(name, operator.spec["parameters"])[-2:]
    smooth = labels in (("row", "column"), ("angle", "detector")) and name not in UNESTIMATED
    if model != "gaussian" or not smooth:
        why_not = f"{model} noise" if smooth else f"{name} data: {UNESTIMATED.get(name, 'values in no order')}"
        expected = "Gaussian noise in data whose neighbours are alike (pictures, sinograms), or a k-space file"
        raise usage("noise cannot be estimated here", where, why_not, expected, "state it: --noise 1%")
    seen = None if operator.measured is None else operator.measured.numpy()
    with refusing("E-USAGE", "noise cannot be estimated here", where, USAGE):
        found = estimate_noise(y.numpy(), seen, along_rows=labels[1] == "detector")
    run.note(f"noise level {found.sigma:.4g}, estimated from the data")
    if found.doubtful:
        run.note(
            f"this noise level is doubtful, rather too high: estimates differ by "
            f"{100 * (found.disagreement - 1):.0f} %; "
            "there may be detail everywhere. State the level if you know it (--noise)"
        )
    return found.sigma


def rounding(pictures: Pictures, path: Path, run: Run) -> float:
    """The noise level of a picture of which nothing is stated: that of the steps in which its values are stored."""
    if pictures.rounding is None:
        raise usage(
            "how noisy is this image?",
            str(path),
            "values that are stored without steps, and no --noise",
            "the standard deviation of their noise",
            "--noise 1%, or as much as it is",
        )
    run.note(f"no --noise given: sigma {pictures.rounding:.3g} is assumed, the rounding of the stored values")
    return pictures.rounding


def note_inverted(images: np.ndarray, kept: np.ndarray, run: Run) -> None:
    """Notes a mask that keeps one value and hides the picture: it may be the wrong way round.

    Args:
        images: (B, C, H, W).
        kept: (H, W), bool.
    """
    seen, hidden = images[..., kept], images[..., ~kept]
    if hidden.size and np.ptp(seen) <= FLAT * np.ptp(hidden):
        run.note("all that the mask keeps has one value, and the picture is hidden: is it inverted? White is kept.")
