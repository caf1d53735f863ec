"""Options of ``qatool inspect``."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.errors import UsageError
from qatool.options.checks import least_problems, rename_problems
from qatool.options.flags import Flag, argument, option, settle


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Options of ``qatool inspect``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    path: str = argument(
        Flag("A folder of features that prep made, or answers that extract wrote.", "Input", metavar="PATH")
    )
    corpus: str | None = option(
        Flag("For answers: the input they were found in, to show their contexts.", "Input", metavar="INPUT")
    )
    column: tuple[str, ...] = option(
        Flag("Read column OLD of the corpus as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    row: int | None = option(
        Flag(
            "Show the example in this row, from 0 [default: the first one; in features, the first with a label].",
            "Example",
            metavar="N",
        )
    )
    id: str | None = option(Flag("Show the first example with this id.", "Example", metavar="ID"))

    def __post_init__(self) -> None:
        settle(self)
        problems = [*least_problems(self, 0, "row"), *rename_problems(self.column)]
        if self.column and self.corpus is None:
            problems.append("--column: names columns of --corpus; name that too")
        if self.row is not None and self.id is not None:
            problems.append("--row and --id: use one of them; either names the example")
        if problems:
            raise UsageError(*problems)
