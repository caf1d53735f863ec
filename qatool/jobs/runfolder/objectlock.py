"""A lock that allows one run at a time in an object store: an object that its owner keeps alive.

The object is made by a put that fails where there is one already (``If-None-Match``), and put again every minute. A
lock that was not put again for ten minutes, or whose owner is known to be dead, may be taken over. As with other
locks, an owner checks that the token in it is still its own before it makes anything visible.
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
"""How long releasing the lock waits for a heartbeat that is in progress."""
_SETTLE_S = 1.0
"""How long a run waits after it has taken over the lock of a dead run: of two runs that do so within this time, both
then see whose claim stands."""


class ObjectLock(OwnedLock):
    """The lock of a run folder in a store, as a context manager.

    :param path: the object that is the lock
    :param command: the command that the owner runs
    :raises LockedError: another live run holds the lock
    :raises OutputError: the object cannot be written
    """

    path: ObjectPath

    def __init__(self, path: ObjectPath, *, command: str = "") -> None:
        super().__init__(path, command=command)
        self._data = b""

    def __enter__(self) -> Self:
        self._data = self._claim()
        with reporting(self.path):
            # A put whose answer was lost is tried again, and may then find the object that it has itself made.
            if not self.path.create(self._data) and not self.is_ours():
                self._take_over()
        self._heart = threading.Thread(target=self._beat, name="qatool-lock", daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        # A heartbeat in progress would put the lock back after it is removed.
        self._heart.join(_LAST_BEAT_S)
        with suppress(OSError):
            if self.is_ours():
                self.path.unlink(missing_ok=True)

    def owner(self) -> dict[str, Any]:
        """Return what the lock says of its owner; empty when it says nothing.

        :raises OSError: the store does not answer, or refuses the request
        """
        try:
            found = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def is_held(self) -> bool:
        """Return whether a live run holds the lock, as far as that can be known.

        Where the lock looks stale by this machine's clock, which may be wrong, the store's clock is asked. That takes
        a write: without permission to write, this machine's clock decides.
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
        """Return the time, in seconds since the epoch, by the clock that stamps the lock."""
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
