"""``qatool prep``."""

from __future__ import annotations

import sys

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, tell_rejected
from qatool.logs import harmless
from qatool.options import PrepOptions
from qatool.wording import duration


def prep(options: PrepOptions) -> None:
    """Import what the work needs only now, so that help and errors come at once."""
    with at_work(options) as observer:
        from qatool.commands.prep import run
        from qatool.features.audit import audit_lines

        result = run(options, observer=observer)
    if not options.quiet:
        pace = result.audit["examples"] / max(result.seconds, 1e-9)
        lines = [
            *audit_lines(result.audit),
            f"features in {result.folder} after {duration(result.seconds)} ({pace:,.0f} examples/s)",
        ]
        sys.stderr.writelines(f"{harmless(line)}\n" for line in lines)
    tell_rejected(result.audit["rejected"], f"; see {result.rejects} for the reasons")


command = OptionsCommand(
    "prep",
    options_class=PrepOptions,
    callback=prep,
    help="""Cut labelled examples into windows a model can read, and label each window.

    FOLDER takes its name only when everything in it is whole. An audit says what the input holds and what
    became of it.
    """,
)
