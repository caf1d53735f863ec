"""The kinds of failures, with their exit codes.

Every class has its exit code and a line that documents it; the table in ``docs/exit-codes.md`` is generated from
them. A message says what happened, where (``path:line`` or row) and what to do.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from qatool.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_DONE = 0


def reason_of(error: BaseException) -> str:
    """Return the first line of the message of a library's error or, if that is empty, the name of its class."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class QatoolError(Exception):
    """Base class of all failures that qatool reports; any other exception that surfaces is a bug (exit code 1).

    :param problems: messages, shown one per line; credentials in them are redacted
    """

    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "internal error (a bug: traceback in the log, one line on the screen)"
    is_failure: ClassVar[bool] = True
    """Whether somebody should look into it; other ends are ordinary, and the same command continues."""
    is_logged = False
    """Whether the log says already how the command ended."""

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(redacted(problem) for problem in problems)
        super().__init__("\n".join(self.problems))

    def lines(self) -> list[str]:
        """Return the messages to show, one per line."""
        return list(self.problems)


class UsageError(QatoolError):
    """An option's value, or a combination of options, is invalid; names every problem found."""

    exit_code = 2
    meaning = "usage: an option's value or combination"


class InputError(QatoolError):
    """The input cannot be used: missing, unreadable, without a needed column, or holding a bad row."""

    exit_code = 3
    meaning = (
        "input cannot be used: path missing, unreadable, missing column, bad row with `--on-error fail`, "
        "more than `--max-errors`"
    )


class EnvironmentUnfitError(QatoolError):
    """This machine or installation cannot do what is asked for: model, extra or device is missing."""

    exit_code = 4
    meaning = "the environment cannot do it: model does not load, extra not installed, device absent"


class RowsRejected(QatoolError):
    """Everything was done, but some rows were rejected (``--on-error skip``)."""

    exit_code = 5
    is_failure = False
    meaning = (
        "done, but some rows were rejected (`--on-error skip`; `prep` and `finetune` reject bad labels without it)"
    )


class ResumeRefusedError(QatoolError):
    """The run folder belongs to other work: another model or tokenizer, or another option that changes answers."""

    exit_code = 6
    meaning = "resume refused: the run folder belongs to other work"


class LockedError(QatoolError):
    """Another live run is working on the same output."""

    exit_code = 7
    meaning = "another live run holds the lock (says which process, host and since when)"


class OutOfTime(QatoolError):
    """``--max-duration`` was reached; starting the same command again continues."""

    exit_code = 8
    is_failure = False
    meaning = "`--max-duration` reached; the same command continues"


class OutputError(QatoolError):
    """The output cannot be written: disk full, no permission, reader gone."""

    exit_code = 9
    meaning = "output cannot be written: disk full, no permission"


class QualityGateError(QatoolError):
    """A quality gate that the user set was not reached."""

    exit_code = 10
    meaning = "a quality gate failed (`export`, `--min-f1` of `evaluate` and `finetune`)"


class Interrupted(QatoolError):
    """The user pressed Ctrl-C (SIGINT)."""

    exit_code = 130
    is_failure = False
    meaning = "interrupted (SIGINT); the same command continues, or starts over"


class Terminated(QatoolError):
    """The process was asked to end (SIGTERM), or its terminal was closed (SIGHUP)."""

    exit_code = 143
    is_failure = False
    meaning = "terminated (SIGTERM, SIGHUP); the same command continues, or starts over"


def failure_behind(error: BaseException) -> QatoolError | None:
    """Return the failure that an exception of a library stands for, ``None`` for one that is a bug.

    A signal or a time limit may be hidden behind what goes wrong while everything ends, such as a bar that draws on a
    terminal that was closed.
    """
    hidden = error.__context__
    while hidden is not None:
        if isinstance(hidden, Interrupted | Terminated | OutOfTime):
            return hidden
        hidden = hidden.__context__
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in _NO_MEMORY)
    ):
        what = f" ({reason_of(error)})" if str(error) else ""
        return EnvironmentUnfitError(
            f"out of memory{what}; lower --shard-rows, --batch-tokens or --workers, whichever the command has, or "
            "give it more"
        )
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = error.filename or "output"
        return OutputError(f"{where}: cannot be written ({error.strerror}); make room and start again")
    return None


@contextmanager
def naming_failures() -> Iterator[None]:
    """Raise the failure that an exception of the block stands for, see :func:`failure_behind`; pass on a bug.

    :raises QatoolError: a library failed
    """
    try:
        yield
    except QatoolError:
        raise
    except Exception as error:
        if (failure := failure_behind(error)) is None:
            raise
        raise failure from error


_NO_MEMORY = ("can't start new thread", "failed to map segment", "cannot allocate")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def exit_code_table() -> list[tuple[int, str]]:
    """Return every exit code with its meaning, in ascending order."""
    rows = {EXIT_DONE: "done", QatoolError.exit_code: QatoolError.meaning}
    rows.update({kind.exit_code: kind.meaning for kind in QatoolError.__subclasses__()})
    return sorted(rows.items())
