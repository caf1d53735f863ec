"""Options of ``qatool report``."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.errors import UsageError
from qatool.options.checks import least_problems, rename_problems
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.shared import resample_problems


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of ``qatool report``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    answers: str = argument(Flag("Output of extract.", "Input", metavar="ANSWERS"))
    output: str = required(Flag("The page to write, .html.", "Output", short="-o", metavar="PAGE"))
    corpus: str | None = option(
        Flag("The input the answers were found in, to show their contexts.", "Input", metavar="INPUT")
    )
    references: str | None = option(Flag("Labelled rows, to tell right from wrong.", "Input", metavar="REF"))
    column: tuple[str, ...] = option(
        Flag("Read column OLD of corpus and references as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    partial: bool = option(
        Flag("With references: go on when ids are missing on either side.", "Input"), default=False
    )
    most: int = option(Flag("Show at most N answers of each kind.", "Output", metavar="N"), default=100)
    resamples: int = option(Flag("Resamples of the bootstrap, for intervals.", "Output", metavar="N"), default=2000)

    def __post_init__(self) -> None:
        settle(self)
        problems = [
            *least_problems(self, 1, "most"),
            *resample_problems(self.resamples),
            *rename_problems(self.column),
        ]
        if not self.output.lower().endswith((".html", ".htm")):
            problems.append(f"-o {self.output}: is no name of a page; end it in .html")
        if self.partial and self.references is None:
            problems.append("--partial: has no meaning without --references; drop it")
        if problems:
            raise UsageError(*problems)
