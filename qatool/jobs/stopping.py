"""Stop a run before its end, at a signal or when its time is up."""

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
    """Raised by the signal handler; a ``BaseException``, so that no ``except Exception`` on the way catches it."""


class Stop:
    """Decides whether a run goes on; it is checked often, and raises when the run is to stop.

    :param max_duration: seconds from now, ``None`` for no limit
    :param label: the limit as the user wrote it
    :param remedy: what the user can do when the work was stopped
    :param clock: returns seconds since some fixed moment
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
        """Raise if the work is to stop.

        :param may_run_out: whether the time limit applies; engines let a run finish one unit regardless of the limit
        :raises Interrupted: SIGINT was received
        :raises Terminated: SIGTERM or SIGHUP was received
        :raises OutOfTime: the time is up
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
        """Handle SIGINT, SIGTERM and SIGHUP: the first signal asks to stop, a second ends the process at once.

        A signal that is ignored stays ignored (SIGINT for jobs in the background, SIGHUP under nohup). Only the main
        thread can handle signals: in any other, the caller's own handling stays.

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
        """Let a signal stop the block at once, wherever the main thread is, instead of at the next check.

        It is for long calls into code that is not ours, such as loading a model, and only where stopping in between
        leaves nothing half done.

        :raises Interrupted: SIGINT was received
        :raises Terminated: SIGTERM or SIGHUP was received
        """
        before = self._at_once
        try:
            self._at_once = True
            self.check(may_run_out=False)
            yield
        except _StopNow:
            self.check()
            raise
        finally:
            self._at_once = before

    def _received(self, number: int, _frame: object) -> None:
        if self._signal is not None:
            if number == signal.SIGHUP:
                return  # The shell and the system each send one when a terminal is closed.
            with suppress(OSError):
                if os.isatty(_STDERR):  # a progress bar there has hidden the cursor
                    os.write(_STDERR, _SHOW_CURSOR)
            os._exit(128 + number)
        self._signal = number
        if self._at_once:
            raise _StopNow
