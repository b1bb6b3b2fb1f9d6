"""Is this operator right, and if not, what is wrong with it?

`check` puts random images and data through an operator. An adjoint that does not match is compared with what people
write by mistake: scaled, shifted, mirrored, not conjugated, the inverse instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from operators.linear import LinearOperator, Operator
from operators.suspects import suspicion

EXACT = {torch.float64: 1e-10, torch.float32: 1e-4}
SINGLE = 1e-5  # errors up to here in float64 are those of single precision inside
SINGLE_INSIDE = "something inside is single precision: keep constants in float64"
STEP = {False: 1e-5, True: 1e-2}  # of finite differences: without and with single precision inside
SLOPE = {False: 1e-5, True: 1e-3}  # relative error that these have


@dataclass(frozen=True)
class Diagnosis:
    """What `check` found.

    Args:
        passed: Names of the tests that were passed.
        problems: What is wrong, one text for each test that was failed: got, expected, what to do.
    """

    passed: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        lines = [f"wrong: {problem}" for problem in self.problems] + [f"passed: {', '.join(self.passed) or 'nothing'}"]
        return "\n".join(lines)


def check(A: Operator, seed: int = 0) -> Diagnosis:
    """Tests any operator, also one made of your own functions: print(check(A)).

    Shapes and dtypes, repeatability, batches and derivatives; for linear operators also linearity, the adjoint (dot
    test) and padding. Takes about fifty applications of A. Nothing is raised: what A raises is reported.

    Args:
        A: The operator, on the device where its constants are.
        seed: Of the random images and data.

    Returns:
        A `Diagnosis`; its text says what is wrong with the suspected cause.
    """
    probe = Probe(A, seed)
    passed, problems = [], []
    for name, test in (LINEAR if isinstance(A, LinearOperator) else ANY).items():
        try:
            found = test(probe)
        except Exception as error:  # whatever the user's code raises is a finding
            found = f"got {type(error).__name__}: {error}; expected a result"
        if found is None:
            passed.append(name)
            continue
        problems.append(f"{name}: {found}")
        if test in ESSENTIAL:
            break
    return Diagnosis(tuple(passed), tuple(problems))


class Probe:
    """An operator, and random images and data for it."""

    def __init__(self, A: Operator, seed: int) -> None:
        self.A = A
        self.device = next(A.buffers(), torch.empty(0)).device
        self.generator = torch.Generator().manual_seed(seed)

    def image(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return self._draw((*batch, *self.A.in_shape), dtype)

    def data(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return self._draw((*batch, *self.A.out_shape), dtype)

    def single(self) -> bool:
        """Whether A rounds float64 to float32: then what float32 cannot tell apart gives one result."""
        x = self.image(2)
        with torch.no_grad():
            return torch.equal(self.A(x), self.A(x.float().double()))

    def _draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.device, dtype)

    def directions(self) -> Iterator[tuple[str, Callable, Callable, tuple, tuple]]:
        """(name, map, draw of an argument, shape before, shape after) of A and, where there is one, its adjoint."""
        yield "A(x)", self.A, self.image, self.A.in_shape, self.A.out_shape
        if isinstance(self.A, LinearOperator):
            yield "A.adjoint(y)", self.A.adjoint, self.data, self.A.out_shape, self.A.in_shape


def shapes_and_dtypes(probe: Probe) -> str | None:
    for name, apply, draw, _, after in probe.directions():
        for dtype in (torch.float64, torch.float32):
            result = apply(draw(2, dtype=dtype))
            if not isinstance(result, Tensor):
                return f"got {type(result).__name__} from {name}; expected a tensor; return torch.as_tensor(...)"
            if tuple(result.shape) != (2, *after):
                return (f"got shape {tuple(result.shape)} from {name} on a batch of 2; expected {(2, *after)}; "
                        "act on the last axes only and keep those in front")
            if result.dtype != dtype:
                return (f"got {result.dtype} from {name} of {dtype}; expected the dtype of the argument; "
                        "convert constants with .to(x)")
            if not bool(result.isfinite().all()):
                return f"got NaN or infinite values from {name}; expected finite ones; look for a division by zero"
    return None


def repeatable(probe: Probe) -> str | None:
    for name, apply, draw, _, _ in probe.directions():
        x = draw(2)
        before = x.clone()
        first = apply(x).clone()
        if not torch.equal(x, before):
            return f"got an argument changed by {name}; expected it untouched; copy before working in place"
        if not torch.equal(apply(x), first):
            return f"got another result from {name} when called again; expected the same; draw random parts only once"
    return None


def batches(probe: Probe) -> str | None:
    for name, apply, draw, before, after in probe.directions():
        x = draw(2, 3)
        together = apply(x)
        if tuple(together.shape) != (2, 3, *after):
            return f"got shape {tuple(together.shape)} from {name} of (2, 3, *{before}); expected (2, 3, *{after})"
        alone = torch.stack([apply(x[i, j]) for i in range(2) for j in range(3)]).reshape(together.shape)
        gap = _gap(together, alone)
        if gap > EXACT[torch.float64]:
            likely = SINGLE_INSIDE if gap <= SINGLE and probe.single() else (
                "statistics (mean, norm, largest value) must be taken for each image by itself")
            return f"got {name} of a batch {gap:.1e} away from that of its images one by one; expected equal; {likely}"
    return None


def derivatives(probe: Probe) -> str | None:
    x, direction = probe.image(2).requires_grad_(), probe.image(2)
    result = probe.A(x)
    if not result.requires_grad:
        return ("got a result that autograd knows nothing about; expected a differentiable one; compute in torch "
                "without .detach(), .data or numpy, or use operators.from_functions, which needs only the adjoint")
    weights = probe.data(2)
    (gradient,) = torch.autograd.grad(result, x, weights, allow_unused=True)
    found = 0.0 if gradient is None else (gradient * direction).sum().item()
    single = probe.single()
    step = STEP[single]
    with torch.no_grad():
        change = (probe.A(x + step * direction) - probe.A(x - step * direction)) / (2 * step)
    expected, scale = (change * weights).sum().item(), (change.norm() * weights.norm()).item()
    if abs(found - expected) > SLOPE[single] * max(scale, 1e-30):
        return (f"got a directional derivative of {found:.6g}; expected {expected:.6g} from finite differences; where "
                "the adjoint is wrong and gives the gradients, mend the adjoint first")
    return None


def linear(probe: Probe) -> str | None:
    for name, apply, draw, _, _ in probe.directions():
        x, z = draw(2), draw(2)
        scale = apply(x).norm() + apply(z).norm()
        offset = apply(torch.zeros_like(x)).norm()
        if offset > EXACT[torch.float64] * scale:
            return (f"got {name} = {offset:.1e} (norm) for zeros; expected zeros; subtract the constant part from A "
                    "and from the data")
        gap = (apply(2.0 * x - 3.0 * z) - 2.0 * apply(x) + 3.0 * apply(z)).norm() / scale
        if gap > SINGLE:
            return (f"got {name} of a sum {gap:.1e} away from the sum; expected a linear map; if it is meant to be "
                    "nonlinear, derive from operators.Operator")
    return None


def matching_adjoint(probe: Probe) -> str | None:
    x, y = probe.image(4), probe.data(4)
    Ax, By = probe.A(x), probe.A.adjoint(y)
    axes = tuple(range(1, Ax.ndim)), tuple(range(1, By.ndim))
    left, right = (Ax * y).sum(axes[0]), (x * By).sum(axes[1])
    gap = ((left - right).abs() / (Ax.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1)).clamp_min(1e-300)).max().item()
    if gap <= EXACT[torch.float64]:
        return None
    if gap <= SINGLE:
        return (f"got <A x, y> and <x, A^H y> {gap:.1e} |A x| |y| apart in float64; expected 1e-10; "
                f"{SINGLE_INSIDE}")
    return (f"got <A x, y> and <x, A^H y> {gap:.1e} |A x| |y| apart; expected equal; "
            f"{suspicion(probe.A, x, y)}")


def padding(probe: Probe) -> str | None:
    measured = probe.A.measured
    if measured is None:
        return None
    if measured.dtype != torch.bool:
        return f"got measured of {measured.dtype}; expected torch.bool; compare it with zero"
    outside = probe.A(probe.image(2)).masked_fill(measured, 0.0)
    if bool((outside != 0).any()):
        return "got values of A(x) where `measured` is False; expected zeros; mask the result, or the mask is inverted"
    return None


def _gap(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm().clamp_min(1e-300)).item()


ANY = {"shapes and dtypes": shapes_and_dtypes, "repeatable": repeatable, "batches": batches, "derivatives": derivatives}
LINEAR = {"shapes and dtypes": shapes_and_dtypes, "repeatable": repeatable, "batches": batches, "linear": linear,
          "adjoint": matching_adjoint, "derivatives": derivatives, "padding": padding}
ESSENTIAL = (shapes_and_dtypes,)  # without these the others would only repeat the complaint
