"""The local engine: one process, which prepares the next unit while it works on this one.

A part is durable before the next unit is finished, so a kill costs only the unit in hand and whatever has been
prepared of the next one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from qatool.jobs.prefetch import prefetched
from qatool.jobs.work import Finished, P, U, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.jobs.engines.monitor import RunMonitor
    from qatool.jobs.work import Store


@dataclass(frozen=True)
class _Ready(Generic[U, P]):
    unit: U
    prepared: P


def run_local(work: Work[U, P], store: Store, monitor: RunMonitor) -> None:
    """Do all the work in this process."""
    stages = monitor.totals.stages

    def units() -> Iterator[_Ready[U, P] | Finished]:
        for unit in work.units():
            marker = store.finished(unit)
            if marker is not None:
                yield Finished(unit.index, marker)
                continue
            started = time.monotonic()
            prepared = work.prepare(unit)
            stages["prepare"] += time.monotonic() - started
            yield _Ready(unit, prepared)

    def checked(amount: int = 0) -> None:
        monitor.check()
        monitor.tick(amount)

    with prefetched(units(), poll=checked) as items:
        for item in items:
            checked()
            if isinstance(item, Finished):
                monitor.resumed(item)
                continue
            started = time.monotonic()
            part = work.finish(item.prepared, checked)
            read = time.monotonic()
            store.commit(item.unit, part)
            written = time.monotonic()
            stages["read"] += read - started
            stages["write"] += written - read
            monitor.committed(item.unit.index, part)
