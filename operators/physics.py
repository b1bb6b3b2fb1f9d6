"""Forward models of deepinv, both ways.

`from_deepinv` asks an object for `A` and, if it is linear, `A_adjoint`; it need not come from deepinv, nor need deepinv
be installed. `to_deepinv` needs it. Noise models go both ways where the two libraries mean the same data.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from operators.checks import fault, shape_of
from operators.counts import Poisson
from operators.foreign import from_functions
from operators.linear import LinearOperator, Operator
from operators.magnitude import Rician
from operators.noise import Gaussian, Laplace

ADDITIVE = 1e-4  # relative: far above the rounding of float32, far below what nonlinear operators show
SAME = {  # noise models that mean the same data, and what their level is called here and there
    "GaussianNoise": (Gaussian, "sigma", "sigma"),
    "LaplaceNoise": (Laplace, "scale", "b"),
    "RicianNoise": (Rician, "sigma", "sigma"),
}
OTHERS = {  # those whose data must be changed first, and how
    "PoissonNoise": "divide y by its gain: that are counts, operators.Poisson(gain=1 / gain)",
    "LogPoissonNoise": "the counts N0 exp(-mu y) have operators.TransmissionCT(I0=N0), and mu * A in place of A",
}


class Physics(Operator):
    """y = physics.A(x), nonlinear, for batches of any number of axes; its gradients are autograd's.

    Args:
        physics: with `A`, from (B, *in_shape) to (B, *out_shape), in the dtype of x.
        in_shape: of an image, the channels among it.
        out_shape: of its data.
        working: the only dtype that `A` takes, or None if it takes any.
    """

    def __init__(
        self, physics: Any, in_shape: Sequence[int], out_shape: Sequence[int], working: torch.dtype | None = None
    ) -> None:
        super().__init__(in_shape, out_shape)
        self.physics, self.working = physics, working

    def _forward(self, x: Tensor) -> Tensor:
        return batched(self.physics.A, len(self.in_shape), self.working)(x)


def from_deepinv(physics: Any, in_shape: Sequence[int]) -> Operator:
    """A deepinv physics, or anything with its `A` and `A_adjoint`, as ours; its noise is left out.

    `A_adjoint` is taken for the gradients as well; print(operators.check(A)) says whether it is the adjoint. Where the
    object has constants in single precision, results are no more exact than that.

    Args:
        physics: `A` from (B, C, H, W), real tensors both ways.
        in_shape: (C, H, W) of an image.

    Returns:
        A `LinearOperator` where there is an `A_adjoint` and A is additive, else an `Operator`; from (..., C, H, W).

    Raises:
        TypeError: the object has no `A`.
        ValueError: it gives complex data or a list of data.
    """
    in_shape = shape_of("in_shape", in_shape, axes=3)
    if not callable(getattr(physics, "A", None)):
        raise TypeError(f"physics: got {type(physics).__name__} without A(x); expected a physics of deepinv; "
                        "use operators.from_functions for two functions")
    generator = torch.Generator().manual_seed(0)
    like = next(constants(physics), torch.empty(0))
    x = torch.rand((2, *in_shape), generator=generator).to(like.device)
    with torch.no_grad():
        y = physics.A(x)
    if not isinstance(y, Tensor) or y.is_complex():
        found = f"{y.dtype} data" if isinstance(y, Tensor) else type(y).__name__
        raise fault("physics", found, "one real tensor", "wrap A so that complex numbers are two channels; convert the "
                    "parts of a stacked physics and join them with operators.Stack")
    out_shape, working = tuple(y.shape[1:]), only_dtype(physics.A, x)
    if not callable(getattr(physics, "A_adjoint", None)) or not additive(physics.A, x, y):
        return Physics(physics, in_shape, out_shape, working)
    return from_functions(batched(physics.A, len(in_shape), working),
                          batched(physics.A_adjoint, len(out_shape), working), in_shape, out_shape)


def noise_from_deepinv(noise: Any) -> Gaussian | Laplace | Rician | Poisson:
    """The noise model of a deepinv physics, `physics.noise_model`, as ours.

    Args:
        noise: Gaussian, Laplace, Rician, Poisson that is not normalised, or none (`ZeroNoise`); of one level.

    Raises:
        ValueError: it means other data than ours do; the text says which change of the data makes them the same.
    """
    name = type(noise).__name__
    if name == "ZeroNoise":
        return Gaussian(0.0)
    if name == "PoissonNoise" and not bool(noise.normalize):
        return Poisson(gain=1.0 / level(noise, "gain"))
    if name not in SAME:
        raise fault("noise", name, ", ".join([*SAME, "PoissonNoise(normalize=False)", "ZeroNoise"]),
                    OTHERS.get(name, "choose the model of operators.NOISES that your data have"))
    model, ours, theirs = SAME[name]
    return model(**{ours: level(noise, theirs)})


def to_deepinv(A: Operator, noise: Gaussian | Laplace | Rician | Poisson | None = None) -> nn.Module:
    """A as a `LinearPhysics` (a `Physics` where it is nonlinear) of deepinv, on images (B, C, H, W).

    Args:
        A: an operator on (H, W), which then acts on each channel, or on (C, H, W).
        noise: what its `physics(x)` draws; none by default. Poisson without background.

    Raises:
        ImportError: deepinv is not installed.
        ValueError: deepinv has no such noise model.
    """
    try:  # by name, because it is optional: only this function needs it
        physics = importlib.import_module("deepinv.physics")
    except ImportError as error:
        raise ImportError("to_deepinv: got no module deepinv; expected it installed; "
                          "run pip install deepinv") from error
    drawn = physics.ZeroNoise() if noise is None else noise_to_deepinv(physics, noise)
    img_size = A.in_shape if len(A.in_shape) == 3 else (1, *A.in_shape)
    if not isinstance(A, LinearOperator):
        return physics.Physics(A=lambda x, **_: A(x), noise_model=drawn)
    return physics.LinearPhysics(A=lambda x, **_: A(x), A_adjoint=lambda y, **_: A.adjoint(y), img_size=img_size,
                                 noise_model=drawn)


def noise_to_deepinv(physics: Any, noise: Gaussian | Laplace | Rician | Poisson) -> Any:
    """The model of the module `deepinv.physics` that draws the same data."""
    if isinstance(noise, Poisson) and not torch.as_tensor(noise.background).any():
        return physics.PoissonNoise(gain=1.0 / float(noise.gain), normalize=False)
    for name, (model, ours, theirs) in SAME.items():
        if isinstance(noise, model):
            return getattr(physics, name)(**{theirs: getattr(noise, ours)})
    raise fault("noise", type(noise).__name__, "Gaussian, Laplace, Rician, or Poisson without background",
                "leave the noise out, and draw it with noise.sample(A(x), torch.randn_like(y))")


def batched(
    apply: Callable[[Tensor], Tensor], axes: int, working: torch.dtype | None
) -> Callable[[Tensor], Tensor]:
    """`apply`, which takes one batch axis and maybe one dtype, for any batch axes and any dtype."""

    def call(x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - axes]
        result = apply(x.reshape(-1, *x.shape[x.ndim - axes:]).to(working or x.dtype))
        return result.to(x.dtype).reshape(*lead, *result.shape[1:])

    return call


def only_dtype(apply: Callable[[Tensor], Tensor], x: Tensor) -> torch.dtype | None:
    """The dtype of x, if `apply` takes no other: deepinv's kernels and angles are float32 and mostly stay so."""
    try:
        with torch.no_grad():
            apply(x.double())
    except RuntimeError:
        return x.dtype
    return None


def additive(apply: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> bool:
    """Whether A(x1 - 2 x2) = A(x1) - 2 A(x2) for the two images x, whose data are y."""
    with torch.no_grad():
        together = apply((x[:1] - 2 * x[1:]).expand_as(x))[:1]
    return bool((together - y[:1] + 2 * y[1:]).norm() <= ADDITIVE * y.norm())


def constants(physics: Any) -> Any:
    """The tensors of an object, where it is a module."""
    if isinstance(physics, nn.Module):
        yield from physics.buffers()
        yield from physics.parameters()


def level(noise: Any, name: str) -> float:
    """A parameter of a noise model, which must be one number."""
    value = torch.as_tensor(getattr(noise, name))
    if value.numel() != 1:
        raise fault(name, f"shape {tuple(value.shape)}", "one level", "take the items of y one by one")
    return float(value)
