"""A lock that allows one run at a time, and ends with its owner.

On a local disk the lock is an ``flock``, which the kernel releases when the process ends. Where the file system has
none, the lock is a file whose owner touches it every minute; once it is untouched for ten minutes, or its owner is
known to be dead, it may be taken over. Either way the file names its owner by a random token, and an owner checks
that the token is still its own before it makes anything visible: a paused run that wakes up after a take-over writes
nothing.
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
"""Name of the lock file in a run folder."""
STALE_AFTER_S = 600.0
HEARTBEAT_S = 60.0
_SETTLE_S = 0.05
"""How long a run waits after it has taken a heartbeat lock: of two runs that take it within this time, both then see
whose claim stands. Also the pause between two tries of ``flock``."""
_TRIES = 3
"""How often ``flock`` is tried, as ``qatool status`` holds it for an instant to see whether a run does."""
_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_BUSY = {errno.EWOULDBLOCK, errno.EACCES}


class OwnedLock:
    """A lock that names its owner by a token, so that a run can tell whether it still owns the lock.

    :param path: the file or object with the name of the owner
    :param command: the command that the owner runs
    """

    def __init__(self, path: Location, *, command: str = "") -> None:
        self.path = path
        self._command = command
        self._token = secrets.token_hex(16)
        self._left = threading.Event()

    def is_ours(self) -> bool:
        """Return whether the lock still names this run; ``False`` where it cannot be read."""
        try:
            return self.owner().get("token") == self._token
        except OSError:
            return False

    def owner(self) -> dict[str, Any]:
        """Return what the lock says of its owner; empty when it says nothing.

        :raises OSError: a store does not answer, or refuses the request
        """
        return owner_of(self.path)

    def check(self) -> None:
        """Make sure that this run still owns the lock.

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
        """Let the lock name its previous owner again, if that is known: this run did none of the folder's work."""

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
    """The lock of a run folder on a disk, as a context manager; the folder is made when it is missing.

    :param path: the lock file
    :param command: the command that the owner runs
    :raises LockedError: another live run holds the lock
    :raises OutputError: the lock file cannot be written
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
        """Remove the folder if nothing but this lock is in it.

        Another run may ask for the lock meanwhile. It then finds that the file or the folder is gone and makes
        another; a folder that is not empty is never removed.
        """
        with suppress(OSError):
            if self.is_ours() and [entry.name for entry in self.path.parent.iterdir()] == [self.path.name]:
                self.path.unlink()
                self.path.parent.rmdir()

    def disown(self) -> None:
        """Let the lock name its previous owner again."""
        if self._file is not None and self.is_ours():
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, self._earlier, 0)

    def is_held(self) -> bool:
        """Return whether a live run holds the lock, without writing anything."""
        return is_held(self.path)

    def _flock(self) -> bool:
        """Take the lock with ``flock``; return ``False`` where the file system has none."""
        tries = vanished = 0
        while True:
            try:
                file = _opened(self.path)
            except FileNotFoundError:
                vanished += 1  # the folder's owner finished and removed it after we had made sure it exists
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
            os.close(file)  # the lock file was removed or replaced after we had opened it

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _take_heartbeat(self) -> None:
        """Take the lock by replacing a lock file that is stale or missing, and keep touching it from then on."""
        mine = temporary_name(self.path)
        mine.write_bytes(self._claim())
        try:
            if _is_alive(self.path, now=mine.stat().st_mtime):
                raise self._held()
            mine.replace(self.path)
        finally:
            mine.unlink(missing_ok=True)
        time.sleep(_SETTLE_S)  # of two runs that replace the file at once, the later one's claim stands
        if not self.is_ours():
            raise self._held()
        threading.Thread(target=self._beat, name="qatool-lock", daemon=True).start()

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT_S):
            with suppress(OSError):
                if self.is_ours():
                    os.utime(self.path)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        above = path.parent.parent
        if not above.is_dir():
            raise
        raise OutputError(
            f"{path.parent}: cannot be created, as {above} takes no files or folders; write elsewhere"
        ) from None
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def owner_of(path: Location) -> dict[str, Any]:
    """Return what the lock file says of its owner; empty when it says nothing."""
    for _ in range(2):
        try:
            owner = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            time.sleep(0.01)  # the owner may be writing the file right now
            continue
        return owner if isinstance(owner, dict) else {}
    return {}


def is_held(path: Path) -> bool:
    """Return whether a live run holds the lock at ``path``, without writing anything."""
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
    """Return whether the owner of a heartbeat lock has to be assumed alive.

    :param now: the time, in seconds since the epoch; best by the clock of the file server, which also stamps the lock
    """
    owner = owner_of(path)
    try:
        # A time stamp far in the future means that a clock was set back: no more a sign of life than one long past.
        is_fresh = abs(now - path.stat().st_mtime) < STALE_AFTER_S
    except FileNotFoundError:
        return False
    if not owner or not is_fresh:
        return False
    return not owner_is_dead(owner)


def owner_is_dead(owner: Mapping[str, Any]) -> bool:
    """Return whether the owner of a lock is known to be dead.

    That can be known only of a process in the same process table as this one.
    """
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
    """Return an id of the process table that this process is in, made of boot and process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        # A unique id, so that no owner is taken for dead by mistake.
        return secrets.token_hex(8)
