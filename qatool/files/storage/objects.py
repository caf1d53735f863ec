"""Paths of objects in a store, with those methods of ``pathlib.Path`` that qatool uses.

An object appears whole when its upload is completed, so that it needs none of the renames, temporary names and syncs
by which a local file appears whole. A store has no folders either, only keys that share a prefix.
"""

from __future__ import annotations

import errno
import glob
import io
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from qatool.files.storage.objectstat import ObjectStat, stat_of, with_os_errors
from qatool.files.storage.stores import AZURE, WEB, ChangedError, asking, file_system
from qatool.places import split_uri
from qatool.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

T = TypeVar("T")
R = TypeVar("R")

READ_BYTES = 8 << 20
"""Bytes fetched by each request when a file is read from beginning to end."""
_ASKED_AT_ONCE = 32
"""How many objects are asked for in parallel, which is also the largest number of open connections."""


class ObjectPath:
    """The path of an object, or of all objects under a prefix; only the methods from ``stat`` on ask the store.

    As with a local path, failures are raised as ``OSError``.

    :param key: bucket and key as the store has them, ``bucket/folder/name``; never normalised, as double slashes and
        dots are part of a key
    :param query: query of a signed URL, with its ``?``; sent to the server, never shown
    :param account: ``account.dfs.core.windows.net`` where a URI of Azure names the account, else empty
    """

    __slots__ = ("_account", "_bare_key", "_query", "protocol")

    def __init__(self, protocol: str, key: str, query: str = "", account: str = "") -> None:
        self.protocol = protocol
        self._bare_key = key
        self._query = query
        self._account = account

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Return the path that a URI names.

        :raises ValueError: the text is not a URI
        """
        parts = split_uri(uri)
        if parts is None:
            raise ValueError(f"{redacted(uri)} is no URI")
        protocol, rest = parts
        if protocol in WEB:
            address = re.split(r"(?=[?#])", rest, maxsplit=1)
            return cls(protocol, *address)
        bucket, slash, below = rest.strip("/").partition("/")
        container, _, account = bucket.partition("@") if protocol in AZURE else (bucket, "", "")
        return cls(protocol, f"{container}{slash}{below}", account=account)

    def __str__(self) -> str:
        """Return the URI without the query of a signed URL."""
        return f"{self.protocol}://{self._address}{'?***' if self._query else ''}"

    def __repr__(self) -> str:
        return f"ObjectPath({redacted(str(self))!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __lt__(self, other: ObjectPath) -> bool:
        return self._identity() < other._identity()

    def __truediv__(self, name: str) -> Self:
        return self._at(f"{self._bare_key}/{name}")

    def _identity(self) -> tuple[str, str, str, str]:
        return self.protocol, self._bare_key, self._query, self._account

    def _at(self, key: str) -> Self:
        return type(self)(self.protocol, key, account=self._account)

    @property
    def _address(self) -> str:
        if not self._account:
            return self._bare_key
        container, slash, below = self._bare_key.partition("/")
        return f"{container}@{self._account}{slash}{below}"

    @property
    def uri(self) -> str:
        """The complete URI, including the signature of a signed URL; never to be shown."""
        return f"{self.protocol}://{self._address}{self._query}"

    @property
    def key(self) -> str:
        """The object's name in fsspec."""
        if self.protocol in WEB:
            return self.uri
        return f"/{self._bare_key}" if self.protocol == "memory" else self._bare_key

    @property
    def name(self) -> str:
        """The part of the key after the last slash; empty for a bucket."""
        return self._bare_key.rpartition("/")[2] if "/" in self._bare_key else ""

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Self:
        """The prefix before the last slash; of a bucket the bucket itself."""
        return self._at(self._bare_key.rpartition("/")[0] or self._bare_key)

    @property
    def parents(self) -> Sequence[Self]:
        """All prefixes that end in a name, nearest first, down to the bucket."""
        slashes = [place for place, letter in enumerate(self._bare_key) if letter == "/"]
        prefixes = (self._bare_key[:place] for place in reversed(slashes))
        return [self._at(prefix) for prefix in prefixes if not prefix.endswith("/")]

    def with_name(self, name: str) -> Self:
        """Return the path with another name."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> Self:
        """Return the path with another last suffix."""
        return self.parent / f"{self.stem}{suffix}"

    def relative_to(self, folder: ObjectPath) -> PurePosixPath:
        """Return the path relative to one of its prefixes.

        :raises ValueError: ``folder`` is not a prefix of this path
        """
        if not f"{self._bare_key}/".startswith(f"{folder._bare_key}/"):
            raise ValueError(f"{self} does not lie under {folder}")
        return PurePosixPath(self._bare_key[len(folder._bare_key) :].lstrip("/"))

    def as_posix(self) -> str:
        """Return the redacted URI, for messages."""
        return redacted(str(self))

    # The methods below ask the store.

    @property
    def _store(self) -> Any:
        return file_system(self.protocol, self._account.partition(".")[0])

    def stat(self) -> ObjectStat:
        """Return the size, time and version of the object.

        :raises FileNotFoundError: no such object
        """
        info = self._info()
        if info is None or info["type"] == "directory":
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self))
        return stat_of(info)

    def exists(self) -> bool:
        """Return whether the object exists, or any object under this prefix."""
        return self._info() is not None

    def is_file(self) -> bool:
        """Return whether the object exists."""
        info = self._info()
        return info is not None and info["type"] != "directory"

    def is_dir(self) -> bool:
        """Return whether there are objects under this prefix but no object of exactly this name."""
        info = self._info()
        return info is not None and info["type"] == "directory"

    def _info(self) -> dict[str, Any] | None:
        try:
            with asking():
                return cast("dict[str, Any]", self._store.info(self.key))
        except FileNotFoundError:
            return None

    def is_symlink(self) -> bool:
        """Return ``False``: no store has links."""
        return False

    def iterdir(self) -> Iterator[Self]:
        """Yield the paths directly under this prefix, in order; nothing if there is no such prefix."""
        with asking():
            try:
                found = self._store.ls(self.key, detail=False)
            except FileNotFoundError:
                return
        # Some tools create an empty object to stand for a folder, which the store then lists under its own prefix.
        yield from (self._of(key) for key in sorted(found) if key.strip("/") != self._bare_key)

    def walk(self) -> Iterator[tuple[Self, ObjectStat]]:
        """Yield all objects under this prefix with their stat, in order of their keys."""
        with asking():
            found = self._store.find(self.key, detail=True)
        for key in sorted(found):
            info = found.pop(key)
            if not key.endswith("/"):
                yield self._of(key), stat_of(info)

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield the paths directly under this prefix whose name matches a pattern such as ``*.json``."""
        yield from (path for path in self.iterdir() if PurePosixPath(path.name).match(pattern))

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Return a stream that fetches the bytes as they are read; reading fails once the object is replaced."""
        if mode != "rb":
            raise ValueError(f"objects are opened for reading only, not {mode!r}")
        with asking():
            opened = self._store.open(self.key, "rb", block_size=READ_BYTES, cache_type="readahead")
        return io.BufferedReader(with_os_errors(opened), READ_BYTES)

    def open_ranges(self) -> BinaryIO:
        """Return a stream for random access, which makes one request for each read and fetches nothing ahead.

        :raises OSError: also if a web server supports no ranges
        """
        with asking():
            opened = self._store.open(self.key, "rb", cache_type="none")
        if getattr(opened, "size", 0) is None:
            opened.close()
            raise OSError(errno.ESPIPE, "the server tells no size or gives no ranges; fetch the file and name that")
        return cast("BinaryIO", with_os_errors(opened))

    def open_upload(self, piece: int) -> Any:
        """Return fsspec's file object for a multipart upload; the object exists once that is committed.

        :param piece: bytes of each part
        """
        return self._store.open(self.key, "wb", block_size=piece, autocommit=False)

    def read_bytes(self) -> bytes:
        """Return the whole content."""
        with asking():
            return cast("bytes", self._store.cat_file(self.key))

    def write_bytes(self, data: bytes) -> None:
        """Write the whole object atomically, replacing an existing one."""
        with asking():
            self._store.pipe_file(self.key, data)

    def has_bucket(self) -> bool:
        """Return whether the bucket exists; also ``True`` where looking it up is forbidden, as writing may not be."""
        try:
            return self._at(self._bare_key.partition("/")[0]).exists()
        except PermissionError:
            return True

    def create(self, data: bytes) -> bool:
        """Write the object unless it exists already, and return whether it was written.

        In S3 (``If-None-Match``) and Google Cloud Storage, check and write are one atomic step.
        """
        try:
            with asking():
                self._store.pipe_file(self.key, data, mode="create")
        except (FileExistsError, ChangedError):
            return False
        except OSError as error:
            if "ConditionalRequestConflict" in str(error):  # S3's error for two such requests at the same moment
                return False
            raise
        return True

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the object."""
        with asking():
            try:
                self._store.rm_file(self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def replace(self, target: Self) -> Self:
        """Move the object, replacing an existing target; the store copies it, then the original is removed."""
        with asking():
            self._store.cp_file(self.key, target.key)
        self.unlink(missing_ok=True)
        return target

    def mkdir(self, *, exist_ok: bool = False, parents: bool = False) -> None:
        """Do nothing, because a prefix exists as soon as there is an object under it."""

    def remove_all(self) -> None:
        """Remove every object under this prefix, many with each request where the store can do that."""
        with asking():
            found = self._store.find(self.key)
            exact = [key for key in found if not _is_expanded(key)]
            if exact:
                self._store.rm(exact)
            _at_once(self._remove_key, filter(_is_expanded, found))

    def _remove_key(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._store.rm_file(key)

    def _of(self, key: str) -> Self:
        return self._at(key.strip("/"))


def read_all(paths: Sequence[ObjectPath]) -> list[bytes | None]:
    """Return the content of many small objects, fetched in parallel; ``None`` for missing ones.

    :raises OSError: the store does not answer, or refuses access
    """
    # One request each: in a list of keys, fsspec would read a key with brackets as a pattern.
    return _at_once(_content, paths)


def _content(path: ObjectPath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_expanded(key: str) -> bool:
    """Return whether fsspec would change a key in a list of keys: expand it as a pattern, or drop its last slash."""
    return glob.has_magic(key) or key.endswith("/")


def _at_once(task: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the results of a task for all items, in order, run in parallel threads as tasks wait for the store."""
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="qatool-object") as pool:
        return list(pool.map(task, items))
