"""Checks of the output name and the column names that need no file to be opened."""

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
    """Return the problems with the output name and the column names given to an extraction, one message each.

    :param output: value of ``-o``
    :param column: values of ``--column``
    :param keep: values of ``--keep``
    :param documents: whether the output has the columns of documents × questions
    :param snippet: whether the output has the column ``snippet``
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
