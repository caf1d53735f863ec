"""The state of an extraction as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.errors import EXIT_DONE, RowsRejected
from qatool.wording import counted, duration

if TYPE_CHECKING:
    from qatool.commands.status import Status


def status_lines(state: Status) -> list[str]:
    """Return the state of an extraction as lines of text."""
    count = counted(state.examples, "example") if state.examples is not None else "an unknown number of examples"
    if state.state == "done":
        answered = "" if state.answered is None else f", {state.answered:,} answered"
        rejected = f", {state.rejected:,} rejected" if state.rejected else ""
        return [f"{state.output}: done, {count}{answered}{rejected}"]
    if state.total and state.share is not None:
        count = f"{state.examples:,} of {counted(state.total, 'example')} ({100 * state.share:.1f} %)"
    told = [f"{state.output}: {state.state}, {count} in {counted(state.shards or 0, 'shard')}"]
    if state.rejected:
        told.append(f"{counted(state.rejected, 'row')} rejected")
    if state.examples_per_second:
        pace = f"{state.examples_per_second:,.1f} examples/s, {state.windows_per_second:,.1f} windows/s"
        left = "" if state.seconds_left is None else f", {duration(state.seconds_left)} left"
        told.append(f"{pace}{left}")
    if state.state == "running":
        told.append(f"process {state.process} on {state.host} since {state.since}")
    elif state.exit_code in {EXIT_DONE, RowsRejected.exit_code}:
        told.append("the last start finished, but its output is gone; the same command makes it again")
    elif state.exit_code is not None:
        reason = state.reason or "an internal error; its traceback is in log.jsonl in the run folder"
        told.append(f"the last start ended with exit code {state.exit_code}: {reason}")
    else:
        told.append("the last start was killed; the same command continues")
    return told
