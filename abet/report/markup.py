"""Tables as text that others set: GitHub Markdown, CSV, LaTeX with booktabs; and what their special characters become.

Cells of Markdown and LaTeX are markup already: whoever fills them passes names through `markdown_text`, `latex_text`.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from abet.text import printable

_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "[": "{[}",  # after the end of a row it would begin an option
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "·": r"\textperiodcentered{}",
    **{char: f"\\{char}" for char in "{}$&#%_"},
}


def latex_text(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> latex_text("max_logit · 50%")
    'max\\_logit \\textperiodcentered{} 50\\%'
    """
    return "".join(_LATEX.get(char, char) for char in printable(text, limit=1000))


def markdown_text(text: str) -> str:
    r"""Text as GitHub prints it, in a cell of a table too; an underscore inside a word needs no care.

    >>> markdown_text("max_logit |*_")
    'max_logit \\|\\*\\_'
    """
    return re.sub(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", printable(text, limit=1000))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    """A table whose first ``left`` columns are words, and the others figures, set to the right."""
    line = ["---"] * left + ["---:"] * (len(header) - left)
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, line, *rows))


def latex_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, columns: str) -> str:
    """A tabular of the package booktabs: lines of its head (complete, with ``\\\\``), rows of cells, column letters."""
    body = (" & ".join(row) + r" \\" for row in rows)
    begin, end = rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    lines = (r"% needs \usepackage{booktabs}", begin, r"\toprule", *head, r"\midrule", *body, r"\bottomrule", end)
    return "\n".join(lines) + "\n"


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Columns in this order, numbers with every digit; what is None or absent is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
