"""``qatool status``: how far an extraction is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qatool.errors import EXIT_DONE, InputError, RowsRejected, UsageError
from qatool.files.output.targets import parse_target, run_folder
from qatool.files.storage.locations import check_readable, is_there
from qatool.jobs.runfolder.state import RunState, read_state
from qatool.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.files.storage.locations import Location
    from qatool.options import StatusOptions


_COMMAND = "extract"


def run(options: StatusOptions) -> Mapping[str, Any]:
    """Return the state of the extraction into ``options.output``.

    Keys: ``output``; ``state``: ``running``, ``stopped`` or ``done``; ``examples``, ``total``, ``share``,
    ``answered``, ``rejected``, ``shards``; ``examples_per_second``, ``windows_per_second``, ``seconds_left``;
    ``process``, ``host``, ``since``; ``exit_code`` and ``reason`` of the last start that ended. Unknown is null.

    :raises UsageError: standard output has no state
    :raises InputError: there is no such extraction, or what tells of it may not be read
    """
    target = parse_target(options.output, label="OUTPUT")
    if target.kind == "stdout":
        raise UsageError("OUTPUT -: standard output has no state; name the output of an extraction")
    path = target.path
    written = bool(path.name) and is_there(path)
    state = read_state(run_folder(path)) if path.name else None
    is_open = state is not None and bool(state.shards) and not state.finished
    if state is not None and (state.running or is_open or not written):
        if state.command not in {None, _COMMAND}:
            raise InputError(
                f"{options.output}: is the work of qatool {state.command}, of which status tells nothing; "
                + ("it shows its own progress" if state.running else "the same command continues it")
            )
        return _unfinished(options.output, state)
    summary = _summary(path.with_name(path.name + ".summary.json")) if written else None
    if summary is None:
        raise InputError(f"{options.output}: no extraction into it has been started here; check the path")
    return _done(options.output, summary)


def as_json(state: Mapping[str, Any]) -> str:
    """Return the state as one line of JSON."""
    return json.dumps(state)


def lines(state: Mapping[str, Any]) -> list[str]:
    """Return the state in words."""
    count = (
        counted(state["examples"], "example") if state["examples"] is not None else "an unknown number of examples"
    )
    if state["state"] == "done":
        answered = "" if state["answered"] is None else f", {state['answered']:,} answered"
        rejected = f", {state['rejected']:,} rejected" if state["rejected"] else ""
        return [f"{state['output']}: done, {count}{answered}{rejected}"]
    if state["total"]:
        count = f"{state['examples']:,} of {counted(state['total'], 'example')} ({100 * state['share']:.1f} %)"
    told = [f"{state['output']}: {state['state']}, {count} in {counted(state['shards'], 'shard')}"]
    if state["rejected"]:
        told.append(f"{counted(state['rejected'], 'row')} rejected")
    if state["examples_per_second"]:
        pace = f"{state['examples_per_second']:,.1f} examples/s, {state['windows_per_second']:,.1f} windows/s"
        left = "" if state["seconds_left"] is None else f", {duration(state['seconds_left'])} left"
        told.append(f"{pace}{left}")
    if state["state"] == "running":
        told.append(f"process {state['process']} on {state['host']} since {state['since']}")
    elif state["exit_code"] in {EXIT_DONE, RowsRejected.exit_code}:
        told.append("the last start finished, but its output is gone; the same command makes it again")
    elif state["exit_code"] is not None:
        reason = state["reason"] or "an internal error; its traceback is in log.jsonl in the run folder"
        told.append(f"the last start ended with exit code {state['exit_code']}: {reason}")
    else:
        told.append("the last start was killed; the same command continues")
    return told


def _unfinished(output: str, state: RunState) -> dict[str, Any]:
    examples = state.counts.get("examples", 0)
    ended = {} if state.running or state.ended is None else state.ended
    return {
        "output": output,
        "state": "running" if state.running else "stopped",
        "examples": examples,
        "total": state.total,
        "share": round(examples / state.total, 4) if state.total else None,
        "answered": state.counts.get("answered", 0),
        "rejected": state.counts.get("rejected", 0),
        "shards": state.shards,
        "examples_per_second": _rounded(state.examples_per_second),
        "windows_per_second": _rounded(state.windows_per_second),
        "seconds_left": _rounded(state.seconds_left),
        "process": state.owner.get("pid"),
        "host": state.owner.get("host"),
        "since": state.owner.get("since"),
        "exit_code": ended.get("exit_code"),
        "reason": ended.get("reason"),
    }


def _summary(beside: Location) -> dict[str, Any] | None:
    """Return the summary beside a finished output, ``None`` when there is none that extract wrote.

    :raises InputError: it may not be read
    """
    check_readable(beside)
    try:
        summary = json.loads(beside.read_bytes())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and "answer_fingerprint" in summary else None


def _done(output: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the summary of a finished output tells."""
    examples = summary.get("examples")
    same = ("answered", "rejected", "shards", "examples_per_second", "windows_per_second", "exit_code")
    return {
        "output": output,
        "state": "done",
        "examples": examples,
        "total": examples,
        "share": 1.0,
        **{key: summary.get(key) for key in same},
        "seconds_left": 0.0,
        **dict.fromkeys(("process", "host", "since", "reason")),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
