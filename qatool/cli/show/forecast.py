"""The forecast of a run as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.wording import counted, duration

if TYPE_CHECKING:
    from qatool.extraction.runs.forecast import Forecast


def forecast_lines(work: Forecast) -> list[str]:
    """Return a forecast as lines of text."""
    about = "" if work.exact else "about "
    lines = [f"{counted(work.examples, 'example')} in {counted(work.shards, 'shard')}"]
    if work.done_shards:
        lines.append(f"{work.done_examples:,} of them, in {counted(work.done_shards, 'shard')}, are done")
    if work.taken_over:
        lines.append(f"{work.taken_over:,} of them are taken over from earlier answers")
    if work.rejected:
        lines.append(f"{counted(work.rejected, 'bad row')}; the first: {work.first_reject}")
    lines += [f"--keep {name}: no row has this column" for name in work.unseen_columns]
    lines.append(f"{about}{counted(work.windows, 'window')}, {counted(work.tokens, 'token')} to read")
    if work.seconds is not None:
        lines.append(f"about {duration(work.seconds)} on {_devices(work)}")
    lines.append(f"about {work.memory_bytes / 1e9:.1f} GB of memory")
    if work.disk_bytes is not None:
        lines.append(f"about {work.disk_bytes / 1e6:,.1f} MB of disk while running, half of it after")
    return lines


def _devices(work: Forecast) -> str:
    if work.workers is None:
        return f"one {work.device} like this machine's, to be shared by the cluster's workers"
    return f"{work.device} x {work.workers}" if work.workers > 1 else str(work.device)
