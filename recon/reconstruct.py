"""From a measurement and a prior to a posterior: units, chunks, seeds and the count of network calls."""

from __future__ import annotations

import difflib
import inspect
import time
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from recon.general import refuse_special
from recon.labels import LogProbability, checked, told
from recon.likelihood import Measurement
from recon.noise import CounterNoise
from recon.posterior import Posterior
from recon.presets import DEFAULT_METHOD, DEFAULT_STEPS, METHODS, WHOLE, solve
from recon.prior import Prior
from recon.ranges import refuse_outside
from recon.sampling import sample

Progress = Callable[[float], None]


class CallCounter:
    """Counts the calls of a prior's denoiser, and the backpropagations through them; all else is the prior's own."""

    def __init__(self, prior: Prior) -> None:
        self.prior, self.calls, self.backpropagations = prior, 0, 0

    def denoise(self, x: Tensor, sigma: float, *label: Tensor) -> Tensor:
        self.calls += 1
        x0 = self.prior.denoise(x, sigma, *label)
        if x0.requires_grad:
            x0.register_hook(self._backpropagated)
        return x0

    def _backpropagated(self, gradient: Tensor) -> None:
        self.backpropagations += 1

    def __getattr__(self, name: str) -> object:
        return getattr(self.prior, name)


def check_fit(measurement: Measurement, prior: Prior) -> None:
    """Raise a ValueError unless the prior can make images of the measurement's shape."""
    image, event = measurement.image_shape[1:], prior.shape
    if prior.any_size:
        fits = len(image) == 3 and image[0] == event[0] and not (image[1] % prior.multiple or image[2] % prior.multiple)
        expected = f"({event[0]}, H, W) with H and W multiples of {prior.multiple}"
    else:
        fits, expected = tuple(image) == tuple(event), str(tuple(event))
    if not fits:
        raise ValueError(
            f"got a measurement of images {tuple(image)} for a prior of {expected}; "
            "choose another prior, or an operator of that size"
        )


def method_options(method: str, options: dict | None) -> dict:
    """The options of a preset, checked against its keywords."""
    if method not in METHODS:
        near = difflib.get_close_matches(method, METHODS, 1)
        raise ValueError(
            f"got method {method!r}; expected one of {', '.join(METHODS)}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    keywords = {name for name, p in inspect.signature(METHODS[method]).parameters.items() if p.kind is p.KEYWORD_ONLY}
    for name in options or {}:
        if name not in keywords:
            near = difflib.get_close_matches(name, keywords, 1)
            raise ValueError(
                f"got option {name!r} for method {method!r}; expected one of {sorted(keywords)}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    refuse_outside(METHODS[method], options or {})
    return dict(options or {})


def _chunks(items: int, samples: int, batch_size: int) -> list[list[tuple[int, int]]]:
    rows = [(item, s) for s, item in product(range(samples), range(items))]
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]


def _report(progress: Progress | None, done: float, share: float) -> Callable[[int, Tensor], None] | None:
    """A callback of the loop that reports the finished fraction of the run: `done` before it, `share` more a level."""
    return None if progress is None else (lambda level, _: progress(done + share * level))


def default_batch(image_shape: tuple[int, ...]) -> int:
    """Rows sampled together: about 2^18 values, at least one."""
    return max(1, 2**18 // max(1, int(torch.tensor(image_shape[1:]).prod())))


def reconstruct(
    measurement: Measurement,
    prior: Prior,
    method: str | None = None,
    steps: int | None = None,
    samples: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    options: dict | None = None,
    label: int | Sequence[int] | Tensor | None = None,
    label_weight: float = 1.0,
    classifier: LogProbability | None = None,
) -> Posterior:
    """Samples of p(x | y) for every item of a measurement.

    Args:
        measurement: operator, data (B, ...) and noise, in the units of the images' values.
        prior: see `recon.load_prior`; its units are applied here, once.
        method: name in `recon.METHODS`; default: the toolkit's own.
        steps: network calls that each sample may take; default 50.
        samples: S, posterior samples for each item.
        seed: of the run; sample s of item b is the same for any batch size and, but for `population`, any number of
            samples.
        batch_size: rows (item, sample) computed together; no influence on the result but rounding.
        device: where to compute; default: where the prior is.
        progress: called with the finished fraction of the run.
        options: keywords of the preset, for example {"zeta": 0.5}.
        label: what the images show, one for all or one an item, for a prior with classes.
        label_weight: how strongly; 1 is Bayes' rule, another one costs a second network call, see `recon.labels`.
        classifier: take the label from this classifier of noisy images instead, see `recon.classifier`.

    Returns:
        Posterior with samples (S, B, *event) in values, on the CPU.

    Raises:
        ValueError: method, options, shapes or units do not fit; the message says what would.
        FloatingPointError: the sampler diverged; the message says at which step.
    """
    method = method or DEFAULT_METHOD
    steps = DEFAULT_STEPS if steps is None else steps
    options = method_options(method, options)
    if steps < 1 or samples < 1:
        raise ValueError(f"got steps={steps} and samples={samples}; expected at least 1 of each")
    check_fit(measurement, prior)
    device = torch.device(device) if device is not None else prior.device
    prior = prior if prior.device == device else prior.to(device)
    labels = checked(label, prior, classifier, measurement.image_shape[0])
    refuse_special(method, measurement)
    normalised = measurement.to(device, prior.dtype).in_units_of(prior)
    normalised = normalised.whitened() if measurement.gaussian else normalised
    items, event = measurement.image_shape[0], measurement.image_shape[1:]
    chunks = _chunks(items, samples, batch_size or default_batch(measurement.image_shape))
    if method in WHOLE:
        chunks = [[(item, s) for s in range(samples)] for item in range(items)]
    result = torch.empty((samples, items, *event), dtype=prior.dtype)
    started, counts = time.monotonic(), []
    for number, rows in enumerate(chunks):
        counter, chosen = CallCounter(prior), [item for item, _ in rows]
        noise = CounterNoise(seed, chosen, [s for _, s in rows])
        used, price = told(counter, labels, chosen, label_weight, classifier)
        with torch.no_grad():
            plan = METHODS[method](normalised.rows(chosen), used, max(1, steps // price), noise, **options)
            like = torch.empty((len(rows), *event), dtype=prior.dtype, device=device)
            start = told(prior, labels, chosen, label_weight, classifier)[0].start(noise(like), plan.sigmas[0])
            x = sample(
                plan.denoise,
                start,
                plan.sigmas,
                plan.step,
                plan.moves,
                noise,
                _report(progress, number / len(chunks), 1 / (len(chunks) * (len(plan.sigmas) - 1))),
            )
        counts.append((counter.calls, counter.backpropagations))
        for (item, s), row in zip(rows, prior.to_value(x).cpu(), strict=True):
            result[s, item] = row
    mean = result.mean(0)
    given = measurement.to("cpu", prior.dtype)
    chi_square = None if given.noiseless else given.chi_square(mean)
    calls, backpropagations = max(counts)
    return Posterior(
        samples=result,
        nfe=calls,
        backpropagations=backpropagations,
        seed=seed,
        seconds=time.monotonic() - started,
        chi_square=chi_square,
    )


def sample_prior(
    prior: Prior,
    n: int,
    steps: int = 50,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress | None = None,
    shape: tuple[int, ...] | None = None,
    step: str = "ancestral",
    label: int | Sequence[int] | Tensor | None = None,
    label_weight: float = 1.0,
    classifier: LogProbability | None = None,
) -> Tensor:
    """n samples of the prior in values, (n, *event), in about `steps` network calls each.

    `shape` asks for another size than the prior's own; `step` is one of `recon.STEPS`. The label, one for all or one a
    sample, its weight and the classifier are those of `reconstruct`.
    """
    event = shape or prior.shape
    labels = checked(label, prior, classifier, n)
    batch_size, done = batch_size or default_batch((1, *event)), []
    for first in range(0, n, batch_size):
        rows = range(first, min(n, first + batch_size))
        noise = CounterNoise(seed, [0] * len(rows), rows)
        used, price = told(prior, labels, list(rows), label_weight, classifier)
        plan = solve(used.denoise, prior, max(1, steps // price), step)
        with torch.no_grad():
            like = torch.empty((len(rows), *event), dtype=prior.dtype, device=prior.device)
            start = used.start(noise(like), plan.sigmas[0])
            report = _report(progress, first / n, len(rows) / (n * (len(plan.sigmas) - 1)))
            x = sample(plan.denoise, start, plan.sigmas, plan.step, plan.moves, noise, report)
        done.append(prior.to_value(x).cpu())
    return torch.cat(done)
