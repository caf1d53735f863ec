"""One run at a time: a lock that dies with its owner.

On a local disk it is ``flock``, which the kernel releases with the process. Where the file system knows no
``flock`` it is a file whose owner touches it every minute; untouched for ten minutes it may be taken over.
Either way the file names its owner by a random token, and an owner checks that the token is still its own before
it makes anything visible: a paused run that wakes up after a take-over writes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from qatool.errors import LockedError
from qatool.files.atomic import reporting, temporary_name

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

STALE_AFTER_S = 600.0
HEARTBEAT_S = 60.0
_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Lock:
    """The lock of a run folder, as a context manager.

    :param path: the lock file; its folder exists
    :raises LockedError: another live run holds it
    :raises OutputError: the file cannot be written
    """

    def __init__(self, path: Path, *, clock: Any = time.time) -> None:
        self.path = path
        self._clock = clock
        self._token = secrets.token_hex(16)
        self._file: int | None = None
        self._beating = threading.Event()

    def __enter__(self) -> Self:
        with reporting(self.path):
            if not self._flock():
                self._take_heartbeat()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beating.set()
        if self._file is None:
            with suppress(OSError, LockedError):
                self.check()
                self.path.unlink()
        else:
            os.close(self._file)

    def check(self) -> None:
        """Make sure that the lock is still this run's.

        :raises LockedError: another run has taken it over
        """
        if _owner(self.path).get("token") != self._token:
            raise LockedError(
                f"{self.path}: this run was taken for dead and another took over; nothing more is written"
            )

    def _flock(self) -> bool:
        """Take the lock with ``flock``; ``False`` where there is none."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(file)
                if error.errno in _NO_FLOCK:
                    return False
                if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise self._held() from error
                raise
            if self._is_current(file):
                os.ftruncate(file, 0)
                os.pwrite(file, self._claim(), 0)
                self._file = file
                return True
            os.close(file)  # its owner finished and removed the file between our two steps

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _take_heartbeat(self) -> None:
        """Take the lock by writing our name over a stale or missing owner's, and keep touching it."""
        with suppress(FileNotFoundError):
            if self._clock() - self.path.stat().st_mtime < STALE_AFTER_S and _owner(self.path):
                raise self._held()
        mine = temporary_name(self.path)
        mine.write_bytes(self._claim())
        mine.replace(self.path)
        time.sleep(0.05)  # of two that replace at once, the later stands
        if _owner(self.path).get("token") != self._token:
            raise self._held()
        threading.Thread(target=self._beat, name="qatool-lock", daemon=True).start()

    def _beat(self) -> None:
        while not self._beating.wait(HEARTBEAT_S):
            with suppress(OSError):
                if _owner(self.path).get("token") == self._token:
                    os.utime(self.path)

    def _claim(self) -> bytes:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "token": self._token}
        return json.dumps(owner).encode()

    def _held(self) -> LockedError:
        owner = _owner(self.path)
        return LockedError(
            f"{self.path.parent}: another run is at work (process {owner.get('pid', '?')} on "
            f"{owner.get('host', '?')} since {owner.get('since', '?')}); wait for it or end it"
        )


def _owner(path: Path) -> dict[str, Any]:
    """Return what the lock file says of its owner; empty when it says nothing."""
    try:
        owner = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}
