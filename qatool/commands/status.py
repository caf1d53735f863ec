"""``qatool status``: show how far an extraction is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qatool.errors import InputError, UsageError
from qatool.extraction.runs.state import RunState, read_state
from qatool.files.output.targets import beside, parse_target, run_folder
from qatool.files.storage.locations import check_readable, is_there
from qatool.names import SUMMARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.files.storage.locations import Location
    from qatool.options import StatusOptions


_COMMAND = "extract"


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far an extraction is; what is not known is ``None``."""

    output: str
    state: Literal["running", "stopped", "done"]
    examples: int | None
    """Examples that are done."""
    total: int | None
    share: float | None
    answered: int | None
    rejected: int | None
    shards: int | None
    examples_per_second: float | None
    windows_per_second: float | None
    seconds_left: float | None
    process: int | None = None
    host: str | None = None
    since: str | None = None
    exit_code: int | None = None
    """Exit code of the last run that ended."""
    reason: str | None = None
    """Why it ended."""


def run(options: StatusOptions) -> Status:
    """Return the state of the extraction into ``options.output``.

    :raises UsageError: the output is standard output, for which no state is kept
    :raises InputError: there is no such extraction, or its files cannot be read
    """
    target = parse_target(options.output, label="OUTPUT")
    if target.kind == "stdout":
        raise UsageError("OUTPUT -: standard output has no state; name the output of an extraction")
    path = target.path
    state = read_state(run_folder(path)) if path.name else None
    # Looked for afterwards: a run that ends meanwhile has written its output by the time its folder is gone.
    written = bool(path.name) and is_there(path)
    is_open = state is not None and bool(state.shards) and not state.finished
    if state is not None and (state.running or is_open or not written):
        if state.command not in {None, _COMMAND}:
            raise InputError(
                f"{options.output}: is the work of qatool {state.command}, of which status tells nothing; "
                + ("it shows its own progress" if state.running else "the same command continues it")
            )
        return _unfinished(options.output, state)
    summary = _summary(beside(path, SUMMARY_SUFFIX)) if written else None
    if summary is None:
        raise InputError(f"{options.output}: no extraction into it has been started here; check the path")
    return _done(options.output, summary)


def _unfinished(output: str, state: RunState) -> Status:
    examples = state.counts.get("examples", 0)
    ended = {} if state.running or state.ended is None else state.ended
    return Status(
        output=output,
        state="running" if state.running else "stopped",
        examples=examples,
        total=state.total,
        share=round(examples / state.total, 4) if state.total else None,
        answered=state.counts.get("answered", 0),
        rejected=state.counts.get("rejected", 0),
        shards=state.shards,
        examples_per_second=_rounded(state.examples_per_second),
        windows_per_second=_rounded(state.windows_per_second),
        seconds_left=_rounded(state.seconds_left),
        process=state.owner.get("pid"),
        host=state.owner.get("host"),
        since=state.owner.get("since"),
        exit_code=ended.get("exit_code"),
        reason=ended.get("reason"),
    )


def _summary(path: Location) -> dict[str, Any] | None:
    """Return the summary beside a finished output, ``None`` if extract wrote none.

    :raises InputError: its permissions do not allow reading it
    """
    check_readable(path)
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and "answer_fingerprint" in summary else None


def _done(output: str, summary: Mapping[str, Any]) -> Status:
    """Return the state of a finished extraction, from its summary."""
    examples = summary.get("examples")
    same = ("answered", "rejected", "shards", "examples_per_second", "windows_per_second", "exit_code")
    return Status(
        output=output,
        state="done",
        examples=examples,
        total=examples,
        share=1.0,
        seconds_left=0.0,
        **{key: summary.get(key) for key in same},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
