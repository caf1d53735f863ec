"""``qatool prep``."""

from __future__ import annotations

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, tell, tell_rejected
from qatool.options import PrepOptions
from qatool.wording import duration


def prep(options: PrepOptions) -> None:
    """Make features, and show the audit.

    :raises RowsRejected: the features are written, but examples were rejected
    :raises QatoolError: see :func:`qatool.commands.prep.run`
    """
    with at_work(options) as observer:
        from qatool.cli.show.audit import audit_lines
        from qatool.commands.prep import run

        result = run(options, observer=observer)
    audit = result.audit
    pace = audit["examples"] / max(result.seconds, 1e-9)
    done = f"features in {result.folder} after {duration(result.seconds)} ({pace:,.0f} examples/s)"
    tell(
        options,
        [*audit_lines(audit), done],
        **{name: value for name, value in audit.items() if isinstance(value, int)},
        seconds=round(result.seconds, 3),
        output=str(result.folder),
    )
    tell_rejected(result.audit["rejected"], f"; see {result.rejects} for the reasons")


command = OptionsCommand(
    "prep",
    options_class=PrepOptions,
    callback=prep,
    help="""Cut labelled examples into windows a model can read, and label each window.

    FOLDER gets its name only when everything in it is complete. An audit says what the input holds and what
    became of it.
    """,
)
