"""What a prior is: a denoiser x = x0 + sigma n -> E[x0 | x] that knows the units of its images.

`denoise(x, sigma)` takes x of shape (B, *shape) and sigma of shape () or (B,). The score of the smoothed density
follows by Tweedie's formula, score = (denoise(x, sigma) - x) / sigma^2 (Efron, 2011; Vincent, 2011).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
import torch._functorch.config
from torch import Tensor, nn

from recon.parametrisation import estimate
from recon.sde import SDE
from recon.spectrum import ErrorSpectrum

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Units:
    """value = scale * x + shift: how the prior's normalised x reads in the user's units.

    Args:
        scale, shift: the affine map; the same for all channels.
        name: the unit of a value: "[0,1]", "HU", "1/mm".
        spacing_mm: edge of a pixel where the prior has one.
    """

    scale: float = 1.0
    shift: float = 0.0
    name: str = ""
    spacing_mm: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0 and math.isfinite(self.shift)):
            raise ValueError(
                f"got scale={self.scale}, shift={self.shift}; expected a positive scale and a finite shift "
                "with value = scale * x + shift"
            )


def per_item(value: Tensor | float, x: Tensor) -> Tensor:
    """A number or a (B,) tensor as one that broadcasts over x (B, ...), in x's dtype and on its device."""
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] != x.shape[0]):
        raise ValueError(
            f"got one value of shape {tuple(value.shape)} for a batch of {x.shape[0]}; expected shape () or "
            f"({x.shape[0]},)"
        )
    return value.reshape(value.shape + (1,) * (x.ndim - 1)) if value.ndim else value


class Prior(nn.Module):
    """A distribution of images, known through its denoiser.

    Attributes:
        shape: one image's shape in normalised units, (C, H, W) or (d,).
        sde: the process that the noise levels are read off.
        units: the map to the user's units.
        name: what reports call it.
        classes: how many kinds of images it knows labels of.
        any_size: whether images of other heights and widths are taken (multiples of `multiple`).
        data_std: standard deviation of a normalised value.
        spread: standard deviation along the direction in which images differ most.
    """

    any_size: bool = False
    classes: int = 0
    multiple: int = 1
    data_std: float
    spread: float
    coarsest: float = 2.0
    finest: float = 2e-3

    def __init__(self, shape: tuple[int, ...], sde: SDE, units: Units | None = None, name: str = "") -> None:
        super().__init__()
        self.shape, self.sde, self.units, self.name = tuple(shape), sde, units or Units(), name

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x0 + sigma n = x], shape of x (B, *shape); sigma of shape () or (B,)."""

    def error_function(self, v: Tensor, sigma: float, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(C) v, C = the covariance of x0 given x at level sigma, averaged over x; v (B, *event).

        Here C = r^2 I with r^2 = sigma^2 s^2 / (sigma^2 + s^2), s = `data_std`, as if the prior were white; priors that
        know better say so.

        Args:
            function: f, of eigenvalues, element by element.
        """
        variance = sigma**2 * self.data_std**2 / (sigma**2 + self.data_std**2)
        return v * function(torch.as_tensor(variance, dtype=v.dtype, device=v.device))

    def error_filter(self, v: Tensor, sigma: float, power: float) -> Tensor:
        """C^power v for the C of `error_function`."""
        return self.error_function(v, sigma, lambda eigenvalues: eigenvalues**power)

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """grad log p_sigma(x) = (denoise(x, sigma) - x) / sigma^2."""
        return (self.denoise(x, sigma) - x) / per_item(sigma, x).square()

    @property
    def scale(self) -> float:
        return self.units.scale

    @property
    def shift(self) -> float:
        return self.units.shift

    @property
    def unit(self) -> str:
        return self.units.name

    def to_value(self, x: Tensor) -> Tensor:
        """Normalised x as values in the prior's unit."""
        return self.scale * x + self.shift

    def from_value(self, value: Tensor) -> Tensor:
        """Values in the prior's unit as normalised x."""
        return (value - self.shift) / self.scale

    def mean_image(self, shape: tuple[int, ...]) -> Tensor:
        """The mean of the images, (1, *shape): what is left of E[x0 | x] when noise hides everything."""
        start = torch.zeros((1, *shape), dtype=self.dtype, device=self.device)
        with torch.no_grad():
            return self.denoise(start, self.sde.sigma_max)

    def start(self, noise: Tensor, sigma: float) -> Tensor:
        """A draw from N(mean, S + sigma^2), S the images' covariance, from unit noise (B, *event): a state at sigma.

        S is what the error covariance C at that level says it is were the images Gaussian, C^-1 = S^-1 + sigma^-2; then
        S + sigma^2 = sigma^2 (1 - C / sigma^2)^-1. A sampler can so start where noise merely hides the images'
        differences.
        """
        return self.mean_image(tuple(noise.shape[1:])) + sigma * self.start_filter(noise, sigma)

    def start_filter(self, v: Tensor, sigma: float) -> Tensor:
        """(1 - C / sigma^2)^(-1/2) v for the C of `error_filter`."""
        return v * (1 + (self.data_std / sigma) ** 2) ** 0.5

    @property
    def sigma_start(self) -> float:
        """Noise level at which samplers start, see `start`: `coarsest` times the spread."""
        return min(self.sde.sigma_max, self.coarsest * self.spread)

    @property
    def sigma_end(self) -> float:
        """Last noise level before 0: `finest` times the standard deviation of a value."""
        return max(self.sde.sigma_min, self.finest * self.data_std)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that the prior computes in."""
        return next((t.dtype for t in self._tensors() if t.is_floating_point()), torch.float32)

    @property
    def device(self) -> torch.device:
        return next((t.device for t in self._tensors()), torch.device("cpu"))

    def _tensors(self) -> Iterator[Tensor]:
        return chain(self.parameters(), self.buffers())


def filtered(v: Tensor, gains: Tensor) -> Tensor:
    """Images (..., H, W) with each frequency of the real FFT multiplied by gains (H, W // 2 + 1)."""
    return torch.fft.irfft2(torch.fft.rfft2(v) * gains, s=v.shape[-2:])


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


class ScorePrior(Prior):
    """A trained network F: denoise = skip x + out F(x / (sigma^2 + data_std^2)^(1/2), log(sigma) / 4).

    Whatever the network was trained to predict (noise, image, score, v or a mixture; `header["predicts"]`), this is the
    one form in which it is used, see `recon.parametrisation`.

    Args:
        network: F(x, c), see `recon.networks`.
        data_std: standard deviation of the normalised images, sigma_data in the paper.
        header: everything that the checkpoint says of itself, see `recon.checkpoint`; a network that was trained with
            another scale of its input than data_std has it there as `input_std`.
        precision: of PRECISIONS, what the network computes in; in bfloat16 its weights and its output are rounded to
            eight bits, all else stays in the state's own type.
    """

    coarsest, finest = 1.0, 0.02  # found on validation slices: calls above and below change nothing there

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        sde: SDE,
        data_std: float,
        units: Units | None = None,
        name: str = "",
        header: dict | None = None,
        precision: str = "float32",
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"got precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
        super().__init__(shape, sde, units, name)
        self.network, self.data_std, self.header, self.precision = network, data_std, header or {}, precision
        self.predicts, self.input_std = self.header.get("predicts", "edm"), self.header.get("input_std", data_std)
        self.spread = self.header.get("spread", data_std * math.sqrt(math.prod(shape)))
        table = self.header.get("error_spectrum")
        self.error_spectrum = ErrorSpectrum(**{k: _tuples(v) for k, v in table.items()}) if table else None
        self.classes = getattr(network, "classes", 0)
        self.any_size, self.multiple = hasattr(network, "multiple"), getattr(network, "multiple", 1)

    def compile(self, **options: object) -> None:
        """Compile the network by torch.compile, with its options, for training and for every method.

        The first call at each size of batch takes a minute or so. From then on no network of this process reuses the
        buffers of its backpropagation, since guidance may go back through one call several times.
        """
        torch._functorch.config.donated_buffer = False
        self.network.compile(**options)

    def error_function(self, v: Tensor, sigma: float, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(C) v, C being stationary with the measured error spectrum; white where none was measured."""
        if self.error_spectrum is None:
            return super().error_function(v, sigma, function)
        return filtered(v, function(self.error_spectrum.gains(sigma, *v.shape[-2:])).to(v))

    def error_filter(self, v: Tensor, sigma: float, power: float) -> Tensor:
        if self.error_spectrum is None:
            return super().error_filter(v, sigma, power)
        return filtered(v, self.error_spectrum.power_of(sigma, power, v))

    def start_filter(self, v: Tensor, sigma: float) -> Tensor:
        if self.error_spectrum is None:
            return super().start_filter(v, sigma)
        hidden = (self.error_spectrum.gains(sigma, *v.shape[-2:]) / sigma**2).clamp(max=0.9)
        return filtered(v, (1 - hidden).rsqrt().to(v))

    def denoise(self, x: Tensor, sigma: Tensor | float, label: Tensor | None = None) -> Tensor:
        """E[x0 | x, label] at level sigma; label (B,) of a prior with classes, None where it is unknown."""
        if tuple(x.shape[1:2]) != self.shape[:1] or x.ndim != 1 + len(self.shape):
            raise ValueError(
                f"got x of shape {tuple(x.shape)}; expected (B, {self.shape[0]}, H, W); "
                "a prior takes images with its own number of channels"
            )
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        s = per_item(sigma, x)
        told = () if label is None else (label,)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = self.network(x / (s.square() + self.input_std**2).sqrt(), sigma.log() / 4, *told)
        return estimate(self.predicts, output.to(x.dtype), x, s, self.data_std)
