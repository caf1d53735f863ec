"""When to stop before the end: a signal, or the time that was granted."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qatool.errors import Interrupted, OutOfTime, Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Asked often whether to go on; raises when not.

    :param max_duration: seconds from now, ``None`` for no limit
    """

    def __init__(self, *, max_duration: float | None = None, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self._deadline = None if max_duration is None else clock() + max_duration
        self._max_duration = max_duration
        self._signal: int | None = None

    def check(self, *, may_run_out: bool = True) -> None:
        """Return when the work may go on.

        :param may_run_out: whether the time limit counts here; at least one unit is finished whatever it says
        :raises Interrupted: SIGINT came
        :raises Terminated: SIGTERM came
        :raises OutOfTime: the time is over
        """
        if self._signal == signal.SIGINT:
            raise Interrupted("interrupted; the same command continues")
        if self._signal == signal.SIGTERM:
            raise Terminated("terminated; the same command continues")
        if may_run_out and self._deadline is not None and self._clock() >= self._deadline:
            raise OutOfTime(f"--max-duration {self._max_duration:g}s: is over; the same command continues")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for SIGINT and SIGTERM; the first asks to stop, the second ends the process at once.

        Elsewhere than in the main thread nothing can listen, and the caller's own handling stays.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._received) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _received(self, number: int, _frame: object) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
