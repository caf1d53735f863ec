"""One run at a time: a lock that dies with its owner.

On a local disk it is ``flock``, which the kernel releases with the process. Where the file system knows no
``flock`` it is a file whose owner touches it every minute; untouched for ten minutes, or when its owner is known to
be dead, it may be taken over. Either way the file names its owner by a random token, and an owner checks that the
token is still its own before it makes anything visible: a paused run that wakes up after a take-over writes nothing.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qatool.errors import LockedError, OutputError
from qatool.files.storage.atomic import temporary_name
from qatool.files.storage.writefailures import reporting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from qatool.files.storage.locations import Location

LOCK_NAME = "lock"
"""Of the file in a run folder."""
STALE_AFTER_S = 600.0
HEARTBEAT_S = 60.0
_SETTLE_S = 0.05
"""Of two that take a heartbeat lock within this time, both see which of them stands."""
_TRIES = 3
"""How often ``flock`` is tried: ``qatool status`` holds it for an instant to see whether a run does."""
_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_BUSY = {errno.EWOULDBLOCK, errno.EACCES}


class OwnedLock:
    """What names its owner by a token, so that an owner can tell whether it still is one.

    :param path: what holds the name
    :param command: what the owner is doing
    """

    def __init__(self, path: Location, *, command: str = "") -> None:
        self.path = path
        self._command = command
        self._token = secrets.token_hex(16)
        self._left = threading.Event()

    def is_ours(self) -> bool:
        """Whether no other run has taken the lock over, as far as can be told."""
        try:
            return self.owner().get("token") == self._token
        except OSError:
            return False

    def owner(self) -> dict[str, Any]:
        """Return what is said of the owner; empty when nothing is.

        :raises OSError: a store does not answer, or refuses
        """
        return owner_of(self.path)

    def check(self) -> None:
        """Make sure that the lock is still this run's.

        :raises LockedError: another run has taken it over
        :raises OutputError: the run folder is gone
        """
        with reporting(self.path):
            if self.owner().get("token") == self._token:
                return
            is_there = self.path.exists()
        if not is_there:
            raise OutputError(
                f"{self.path.parent}: the run folder was removed while the run was under way; "
                "start the same command again"
            )
        raise LockedError(f"{self.path}: this run was taken for dead and another took over; nothing more is written")

    def disown(self) -> None:
        """Name the owner before this run again, of whose work this run has done nothing, where that is known."""

    def _claim(self) -> bytes:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": self._command}
        return json.dumps({**owner, "token": self._token, "processes": _process_table()}).encode()

    def _held(self) -> LockedError:
        owner = self.owner()
        return LockedError(
            f"{self.path.parent}: another run is at work (process {owner.get('pid', '?')} on "
            f"{owner.get('host', '?')} since {owner.get('since', '?')}); wait for it or end it"
        )


class Lock(OwnedLock):
    """The lock of a run folder on a disk, as a context manager. Its folder is made when it is missing.

    :param path: the lock file
    :param command: what the owner is doing
    :raises LockedError: another live run holds it
    :raises OutputError: the file cannot be written
    """

    path: Path

    def __init__(self, path: Path, *, command: str = "") -> None:
        super().__init__(path, command=command)
        self._file: int | None = None
        self._earlier = b""

    def __enter__(self) -> Self:
        with reporting(self.path):
            if not self._flock():
                self._take_heartbeat()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._file is not None:
            os.close(self._file)
        elif self.is_ours():
            with suppress(OSError):
                self.path.unlink()

    def remove_if_alone(self) -> None:
        """Remove the folder when nothing but this lock is in it.

        Whoever asks for the lock meanwhile finds that the file is gone and makes another, or that the folder is; only
        an empty one is removed.
        """
        with suppress(OSError):
            if self.is_ours() and [entry.name for entry in self.path.parent.iterdir()] == [self.path.name]:
                self.path.unlink()
                self.path.parent.rmdir()

    def disown(self) -> None:
        """Name the owner before this run again."""
        if self._file is not None and self.is_ours():
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, self._earlier, 0)

    def is_held(self) -> bool:
        """Whether a live run holds the lock. Writes nothing."""
        return is_held(self.path)

    def _flock(self) -> bool:
        """Take the lock with ``flock``; ``False`` where there is none."""
        tries = vanished = 0
        while True:
            try:
                file = _opened(self.path)
            except FileNotFoundError:
                vanished += 1  # its owner finished and removed the folder between our two steps
                if vanished > _TRIES:
                    raise
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(file)
                if error.errno in _NO_FLOCK:
                    return False
                if error.errno not in _BUSY:
                    raise
                tries += 1
                if tries == _TRIES:
                    raise self._held() from error
                time.sleep(_SETTLE_S)
                continue
            if self._is_current(file):
                self._earlier = os.pread(file, os.fstat(file).st_size, 0)
                os.ftruncate(file, 0)
                os.pwrite(file, self._claim(), 0)
                self._file = file
                return True
            os.close(file)  # likewise, after we had opened it

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _take_heartbeat(self) -> None:
        """Take the lock by writing our name over a stale or missing owner's, and keep touching it."""
        mine = temporary_name(self.path)
        mine.write_bytes(self._claim())
        try:
            if _is_alive(self.path, now=mine.stat().st_mtime):
                raise self._held()
            mine.replace(self.path)
        finally:
            mine.unlink(missing_ok=True)
        time.sleep(_SETTLE_S)  # of two that replace at once, the later stands
        if not self.is_ours():
            raise self._held()
        threading.Thread(target=self._beat, name="qatool-lock", daemon=True).start()

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT_S):
            with suppress(OSError):
                if self.is_ours():
                    os.utime(self.path)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def owner_of(path: Location) -> dict[str, Any]:
    """Return what the lock file says of its owner; empty when it says nothing."""
    for _ in range(2):
        try:
            owner = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            time.sleep(0.01)  # it may just be written
            continue
        return owner if isinstance(owner, dict) else {}
    return {}


def is_held(path: Path) -> bool:
    """Whether a live run holds the lock at ``path``. Writes nothing."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _BUSY or (error.errno in _NO_FLOCK and _is_alive(path, now=time.time()))
    finally:
        os.close(file)
    return False


def _is_alive(path: Path, *, now: float) -> bool:
    """Whether the owner of a heartbeat lock has to be taken for alive.

    :param now: best by the clock of the file server, which also stamps the lock
    """
    owner = owner_of(path)
    try:
        # A stamp far in the future is a clock that was set back: as little a sign of life as one long past.
        is_fresh = abs(now - path.stat().st_mtime) < STALE_AFTER_S
    except FileNotFoundError:
        return False
    if not owner or not is_fresh:
        return False
    return not owner_is_dead(owner)


def owner_is_dead(owner: Mapping[str, Any]) -> bool:
    """Whether the owner of a lock is known to be dead: it ran among the processes seen from here, and does not."""
    if owner.get("processes") != _process_table():
        return False
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


def _process_table() -> str:
    """Return what tells the table of processes we are in from any other: boot and process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        # Unlike any other, so that nobody is taken for dead by mistake.
        return secrets.token_hex(8)
