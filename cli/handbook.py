"""The documentation page of operators, noise models and methods, written from the code and from real measurements."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import data
from cli import catalogue, examples, method_table, parameters, pictures, showing
from cli.pictures import Picture
from cli.spec import PICTURES
from data.palette import reduce_colours
from data.rules import event_labels

if TYPE_CHECKING:
    from torch import Tensor

    from cli.measure import Task
    from operators import Operator

PAGE = "operators.md"
COLOURS = 64  # of a stored picture
HEAD = """# Operators, noise models, methods

Written by `recon info --write-docs {folder}`; do not edit. Each picture shows an image, its data, and what
the adjoint makes of these, read from the file that the command below it wrote. Defaults and meanings of the parameters
are those of the code; any of them is set by `--set NAME=VALUE`.
"""
NEEDS = """What a method needs of the operator: H its adjoint, G its `gram_solve` (which every linear operator has, by
iteration where there is no closed form), S singular vectors, M that it is a mask. Calls are those of the network at a
level; the error is that of the posterior covariance on a Gaussian vector of 4 unknowns and 2 data at 50 calls.
"""


def write(folder: Path) -> list[Path]:
    """Writes the page and a picture for each operator; files of these names are replaced."""
    data.output_folder(folder, overwrite=(folder / PAGE).is_file())
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {name: example(name) for name in catalogue.OPERATORS}
    made = [draw(name, task, folder / f"{name}.png") for name, task in tasks.items()]
    with data.atomic_file(folder / PAGE) as temporary:
        temporary.write_text(page({name: task.measurement.operator for name, task in tasks.items()}), encoding="utf-8")
    return [folder / PAGE, *made]


def example(operator: str) -> Task:
    """What the operator's command writes, read back and built again."""
    from cli.main import execute
    from cli.measure import from_file
    from cli.run_record import Run

    said = io.StringIO()
    with tempfile.TemporaryDirectory() as place, redirect_stdout(said), redirect_stderr(said):
        path = Path(place) / "m.h5"
        code = execute(examples.words(operator, str(data.sample_path(examples.sample(operator))), str(path)))
        if code:
            raise RuntimeError(f"got exit code {code} from `{examples.command(operator)}`; expected 0; "
                               f"mend the example in cli/examples.py: {said.getvalue()}")
        return from_file(path, None, None, Run("info", {}))


def draw(name: str, task: Task, path: Path) -> Path:
    """The picture of an operator: image, data, and the way back where it is linear."""
    A, y = task.measurement.operator, task.measurement.y
    scale, data_of = (0.0, 1.0), y[0].numpy()
    title, values, caption = ("data", data_of, "") if name in PICTURES else showing.data(data_of, A.spec)
    shown = [
        pictures.image("image", "image", task.truth[0], scale),
        pictures.image("data", title, values, scale if name in PICTURES else pictures.full_range(values), "", caption),
        *back(A, y),
    ]
    with tempfile.TemporaryDirectory() as place:
        drawn = pictures.overview(Path(place) / "drawn.png", [name], [shown])
        reduce_colours(drawn, path, COLOURS)
    return path


def back(A: Operator, y: Tensor) -> list[Picture]:
    """The adjoint of the data, on a scale of its own; nothing of a nonlinear operator."""
    from operators import LinearOperator

    if not isinstance(A, LinearOperator):
        return []
    values = A.adjoint(y)[0].numpy()
    return [pictures.image("back", "adjoint of the data", values, pictures.full_range(values))]


def page(operators: dict[str, Operator]) -> str:
    """The page, of operators as their examples build them."""
    parts = [HEAD.format(folder="data/docs"), "## Operators\n"]
    parts += [section(name, A) for name, A in operators.items()]
    parts += ["## Noise models\n", *noises(), "## Methods\n", NEEDS, methods()]
    return "\n".join(parts)


def section(name: str, A: Operator) -> str:
    """One operator."""
    settings = parameters.table(name)
    return "\n".join([
        f"### {name}\n", f"{catalogue.OPERATORS[name]}\n", f"![{name}]({name}.png)\n",
        f"```\n{examples.command(name)}\n```\n", f"{facts(A)}\n",
        *([table(["parameter", "flag, default, meaning"], ((f"`{key}`", text) for key, text in settings.items()))]
          if settings else []),
    ])  # fmt: skip


def facts(A: Operator) -> str:
    """Sizes of the example, and what of linear algebra there is in closed form."""
    from operators import LinearOperator

    names = event_labels(A.spec["name"], A.spec["parameters"])
    axes = ", ".join(names) if len(names) == len(A.out_shape) else "values"
    sizes = f"{by(A.in_shape)} to {by(A.out_shape)} ({axes})"
    if not isinstance(A, LinearOperator):
        return f"Here {sizes}; nonlinear: methods that take any likelihood."
    solve = "in closed form" if A.closed_form else "by iteration"
    return f"Here {sizes}; linear; `gram_solve` {solve}; singular vectors: {'yes' if has_svd(A) else 'no'}."


def has_svd(A: Operator) -> bool:
    """Whether singular vectors are cheap; an operator without says so by an error."""
    try:
        A.svd()
    except ValueError:
        return False
    return True


def noises() -> Iterable[str]:
    """The noise models with their parameters."""
    from operators import NOISES

    for name, model in NOISES.items():
        yield f"### {name}\n\n{catalogue.NOISES[name]}\n"
        yield table(["parameter", "meaning"], ((f"`{key}`", text) for key, text in parameters.arguments(model).items()))


def methods() -> str:
    """The table of `recon info methods`, and what each is."""
    heads = ["method", "what", *method_table.HEADING.split(" | ")]
    rows = [(f"`{name}`", what, *method_table.row(name).split(" | ")) for name, what in catalogue.METHODS.items()]
    empty = [""] * (len(heads) - 2)
    return table(heads, [*rows, *((f"`{name}`", what, *empty) for name, what in catalogue.CLASSICAL.items())])


def by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def table(heads: list[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"
