"""When to stop before the end: a signal, or the time that was granted."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from qatool.errors import Interrupted, OutOfTime, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR, _SHOW_CURSOR = 2, b"\x1b[?25h"


class _StopNow(BaseException):
    """Raised by the signal handler itself; no ``except Exception`` on the way may take it for its own."""


class Stop:
    """Asked often whether to go on; raises when not.

    :param max_duration: seconds from now, ``None`` for no limit
    :param label: the limit as the user wrote it
    :param remedy: what the user can do when the work was stopped
    :param clock: seconds from some fixed moment
    """

    def __init__(
        self,
        *,
        max_duration: float | None = None,
        label: str = "",
        remedy: str = "the same command continues",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._deadline = None if max_duration is None else clock() + max_duration
        self._label = label
        self._remedy = remedy
        self._signal: int | None = None
        self._at_once = False

    def check(self, *, may_run_out: bool = True) -> None:
        """Return when the work may go on.

        :param may_run_out: whether the time limit counts here; at least one unit is finished whatever it says
        :raises Interrupted: SIGINT came
        :raises Terminated: SIGTERM came, or SIGHUP
        :raises OutOfTime: the time is over
        """
        if self._signal == signal.SIGINT:
            raise Interrupted(f"interrupted; {self._remedy}")
        if self._signal == signal.SIGTERM:
            raise Terminated(f"terminated; {self._remedy}")
        if self._signal == signal.SIGHUP:
            raise Terminated(f"terminated, as its terminal was closed (SIGHUP); {self._remedy}")
        if may_run_out and self._deadline is not None and self._clock() >= self._deadline:
            raise OutOfTime(f"--max-duration {self._label}: is over; {self._remedy}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for SIGINT, SIGTERM and SIGHUP; the first asks to stop, the second ends the process at once.

        A signal that is ignored stays so (SIGINT for jobs in the background, SIGHUP under nohup). Elsewhere than in
        the main thread nothing can listen, and the caller's own handling stays.

        :raises Interrupted: see :meth:`at_once`
        :raises Terminated: likewise
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        heard = [number for number in _SIGNALS if before[number] not in (signal.SIG_IGN, None)]
        for number in heard:
            signal.signal(number, self._received)
        try:
            yield
        except _StopNow:
            self.check()
            raise
        finally:
            for number in heard:
                signal.signal(number, before[number])

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal need not be asked for: it raises wherever the main thread is.

        For code that is long and not ours, such as loading a model. Only where nothing is left half done by it.

        :raises Interrupted: SIGINT came
        :raises Terminated: SIGTERM came
        """
        try:
            self._at_once = True
            self.check(may_run_out=False)
            yield
        except _StopNow:
            self.check()
            raise
        finally:
            self._at_once = False

    def _received(self, number: int, _frame: object) -> None:
        if self._signal is not None:
            if number == signal.SIGHUP:
                return  # The shell and the system each send one when a terminal is closed.
            with suppress(OSError):
                if os.isatty(_STDERR):  # whoever drew a bar there hid the cursor
                    os.write(_STDERR, _SHOW_CURSOR)
            os._exit(128 + number)
        self._signal = number
        if self._at_once:
            raise _StopNow
