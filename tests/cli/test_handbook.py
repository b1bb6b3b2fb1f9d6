"""The committed page of operators is what `recon info --write-docs` writes, from real commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cli import catalogue, handbook
from operators import OPERATORS

DOCS = Path(handbook.__file__).parent.parent / "data/docs"
REMEDY = "the page of operators is not that of the code: run `recon info --write-docs data/docs`"


@pytest.fixture(scope="module")
def tasks():
    return {name: handbook.example(name) for name in catalogue.OPERATORS}


def test_the_committed_page_is_that_of_the_code(tasks):
    text = handbook.page({name: task.measurement.operator for name, task in tasks.items()})
    assert (DOCS / handbook.PAGE).read_text(encoding="utf-8") == text, REMEDY


def test_every_operator_has_a_picture_on_the_page():
    page = (DOCS / handbook.PAGE).read_text(encoding="utf-8")
    for name in OPERATORS:
        assert f"### {name}\n" in page and f"]({name}.png)" in page and f"--operator {name} " in page
        assert Image.open(DOCS / f"{name}.png").size[0] > 600, REMEDY
    files = [handbook.PAGE, *(f"{name}.png" for name in OPERATORS)]  # of this page, not of others beside it
    assert sum((DOCS / name).stat().st_size for name in files) < 600_000


def test_pictures_are_the_same_each_time(tasks, tmp_path):
    first, again = (handbook.draw("mri", tasks["mri"], tmp_path / f"{n}.png") for n in "ab")
    assert first.read_bytes() == again.read_bytes()


def test_what_an_operator_has_is_asked_of_it():
    closed = OPERATORS["blur"](shape=(8, 8), std=1.0)
    iterated = OPERATORS["blur"](shape=(8, 8), std=1.0, boundary="zero")
    assert "in closed form; singular vectors: yes" in handbook.facts(closed)
    assert "by iteration; singular vectors: no" in handbook.facts(iterated)
    assert "nonlinear" in handbook.facts(OPERATORS["clip"](shape=(8, 8)))


def test_the_command_writes_the_page(recon_command, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "OPERATORS", {"inpaint": catalogue.OPERATORS["inpaint"]})
    done = recon_command("info", "--write-docs", "docs")
    assert done.code == 0 and done.out.split() == ["docs/operators.md", "docs/inpaint.png"], done.err
    page = (tmp_path / "docs/operators.md").read_text()
    assert "circular\\|zero" not in page and "| `keep` |" in page and "poisson" in page and "| `ddrm` |" in page


def test_an_example_that_fails_is_named(monkeypatch):
    monkeypatch.setitem(handbook.examples.WORDS, "blur", ["--std", "-1"])
    with pytest.raises(RuntimeError, match="--operator blur --std -1.*mend the example"):
        handbook.example("blur")
