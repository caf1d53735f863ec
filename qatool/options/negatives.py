"""Options of the commands that make unanswerable examples from answerable ones."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.options.flags import Flag, option
from qatool.options.shared import WindowOptions

_GROUP = "Unanswerable examples to make"
NEGATIVES = ("other_contexts", "cut_contexts", "altered_questions")


@dataclass(frozen=True, kw_only=True)
class NegativeOptions(WindowOptions):
    """Unanswerable examples to make, as shares of the answerable ones; shared by ``prep`` and ``finetune``."""

    other_contexts: float = option(
        Flag(
            "Share of the answerable questions, 0 to 1, also asked of another context nearby that lacks the answer.",
            _GROUP,
            metavar="R",
        ),
        default=0.0,
    )
    cut_contexts: float = option(
        Flag("Share also asked of their own context with the sentences of the answer removed.", _GROUP, metavar="R"),
        default=0.0,
    )
    altered_questions: float = option(
        Flag("Share also asked with a name, a number or an English word changed.", _GROUP, metavar="R"),
        default=0.0,
    )

    @property
    def negatives(self) -> dict[str, float]:
        """The shares, by field."""
        return {name: getattr(self, name) for name in NEGATIVES}

    def _negative_problems(self) -> list[str]:
        """Return a problem for each share that is not between 0 and 1."""
        return [
            f"--{name.replace('_', '-')} {share}: is a share; give a number from 0 to 1"
            for name, share in self.negatives.items()
            if not 0 <= share <= 1
        ]
