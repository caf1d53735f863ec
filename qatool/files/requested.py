"""What names of outputs and columns say by themselves, before any file is opened."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qatool.errors import UsageError
from qatool.files.examples.fields import parse_columns
from qatool.files.output.targets import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence


def name_problems(
    output: str, column: Sequence[str], keep: Sequence[str], *, documents: bool, snippet: bool
) -> list[str]:
    """Return what is wrong with the names that an extraction was given.

    :param documents: the output has the columns of documents × questions
    :param snippet: the output has the column ``snippet``
    """
    problems: list[str] = []
    for look in (
        partial(parse_target, output),
        partial(parse_columns, column, keep, documents=documents, snippet=snippet),
    ):
        try:
            look()
        except UsageError as error:
            problems += error.problems
    return problems
