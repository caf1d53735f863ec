"""One run at a time in a store: a lock that is an object, kept alive by its owner.

It is made by a put that fails where there is one already (``If-None-Match``), and put anew every minute. One that was
not for ten minutes, or whose owner is known to be dead, may be taken over. As everywhere, an owner checks that the
token in it is still its own before it makes anything visible.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.lock import HEARTBEAT_S, STALE_AFTER_S, OwnedLock, owner_is_dead

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qatool.files.storage.objects import ObjectPath

_LAST_BEAT_S = 30.0
"""How long leaving waits for a beat that is under way."""
_SETTLE_S = 1.0
"""Of two that take a dead run's lock over within this time, both see which of them stands."""


class ObjectLock(OwnedLock):
    """The lock of a run folder in a store, as a context manager.

    :param path: the lock's object
    :param command: what the owner is doing
    :raises LockedError: another live run holds it
    :raises OutputError: it cannot be written
    """

    path: ObjectPath

    def __init__(self, path: ObjectPath, *, command: str = "") -> None:
        super().__init__(path, command=command)
        self._data = b""

    def __enter__(self) -> Self:
        self._data = self._claim()
        with reporting(self.path):
            # A put that got through, but whose answer was lost, was tried again and found our own object.
            if not self.path.create(self._data) and not self.is_ours():
                self._take_over()
        self._heart = threading.Thread(target=self._beat, name="qatool-lock", daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        # A beat that is under way would put the lock back.
        self._heart.join(_LAST_BEAT_S)
        with suppress(OSError):
            if self.is_ours():
                self.path.unlink(missing_ok=True)

    def owner(self) -> dict[str, Any]:
        """Return what is said of the owner; empty when nothing is.

        :raises OSError: the store does not answer, or refuses
        """
        try:
            found = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def is_held(self) -> bool:
        """Whether a live run holds the lock, as far as that can be told.

        Where it looks stale by this machine's clock, which may be wrong, the store's is asked; whoever may not write
        there is left with his own.
        """
        if self._is_alive(now=time.time()):
            return True
        owner = self.owner()
        if not owner or owner_is_dead(owner):
            return False
        with suppress(OSError):
            return self._is_alive(now=self._stores_clock())
        return False

    def _take_over(self) -> None:
        if self._is_alive(now=self._stores_clock()):
            raise self._held()
        self.path.write_bytes(self._data)
        time.sleep(_SETTLE_S)
        if not self.is_ours():
            raise self._held()

    def _stores_clock(self) -> float:
        """Return the time by the clock that stamps the lock."""
        probe = self.path.with_name(f"{self.path.name}.{self._token[:8]}")
        try:
            probe.write_bytes(b"")
            return probe.stat().st_mtime
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)

    def _is_alive(self, *, now: float) -> bool:
        try:
            stamp = self.path.stat().st_mtime
        except FileNotFoundError:
            return False
        owner = self.owner()
        return bool(owner) and abs(now - stamp) < STALE_AFTER_S and not owner_is_dead(owner)

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT_S):
            with suppress(OSError):
                if self.is_ours():
                    self.path.write_bytes(self._data)
