"""The one error of this package: an input (or an output place) was refused, with what to do about it."""

from __future__ import annotations

LABELS = ("where", "found", "expected", "fix")


class InputRefused(Exception):
    """A refusal that a user can act on.

    Args:
        code: short stable name such as "E-FORMAT", for scripts and for searching.
        title: what is wrong, in a few words.
        where: file, and the object inside it.
        found, expected: what is there and what should be; several lines where there are several problems.
        fix: what to do next.
        exit_code: of the command line: 2 usage, 3 input, 5 resources, 7 safety.

    `str(error)` is the whole message as the command line shows it.
    """

    def __init__(
        self, code: str, title: str, where: str, found: str, expected: str, fix: str, exit_code: int = 3
    ) -> None:
        texts = [printable(text) for text in (code, title, where, found, expected, fix)]
        super().__init__(*texts, exit_code)
        self.code, self.title, self.where, self.found, self.expected, self.fix = texts
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [f"error {self.code}: {self.title}"]
        for label in LABELS:
            text = getattr(self, label) or "-"
            lines.append(f"  {label:<9} " + text.replace("\n", "\n" + 12 * " "))
        return "\n".join(lines)


def first_line(problem: Exception) -> str:
    """The first line of what another library says, short enough for a message."""
    return (str(problem).splitlines() or [type(problem).__name__])[0][:200]


def printable(text: object) -> str:
    """Text without control characters: a file name must not be able to steer the terminal it is shown on."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text))
