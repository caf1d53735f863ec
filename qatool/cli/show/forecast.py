"""The forecast of a run as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qatool.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping


def forecast_lines(told: Mapping[str, Any]) -> list[str]:
    """Return a forecast as lines of text.

    :param told: result of :func:`qatool.commands.extract.forecast`
    """
    about = "" if told["exact"] else "about "
    lines = [f"{counted(told['examples'], 'example')} in {counted(told['shards'], 'shard')}"]
    if told["done_shards"]:
        lines.append(f"{told['done_examples']:,} of them, in {counted(told['done_shards'], 'shard')}, are done")
    if told["taken_over"]:
        lines.append(f"{told['taken_over']:,} of them are taken over from earlier answers")
    if told["rejected"]:
        lines.append(f"{counted(told['rejected'], 'bad row')}; the first: {told['first_reject']}")
    lines += [f"--keep {name}: no row has this column" for name in told["unseen_columns"]]
    lines.append(f"{about}{counted(told['windows'], 'window')}, {counted(told['tokens'], 'token')} to read")
    if told["seconds"] is not None:
        lines.append(f"about {duration(told['seconds'])} on {_devices(told)}")
    lines.append(f"about {told['memory_bytes'] / 1e9:.1f} GB of memory")
    if told["disk_bytes"] is not None:
        lines.append(f"about {told['disk_bytes'] / 1e6:,.1f} MB of disk while running, half of it after")
    return lines


def _devices(told: Mapping[str, Any]) -> str:
    if told["workers"] is None:
        return f"one {told['device']} like this machine's, to be shared by the cluster's workers"
    return f"{told['device']} x {told['workers']}" if told["workers"] > 1 else str(told["device"])
