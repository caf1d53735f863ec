"""Object stores, opened by fsspec: one file system for each protocol, with failures raised as ``OSError``."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qatool.errors import EnvironmentUnfitError, QatoolError, UsageError
from qatool.places import split_uri
from qatool.redaction import names_user, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = ("http", "https")
"""Protocols that are read-only and have no listings."""
AZURE = ("abfs", "abfss", "az")
"""Protocols whose URIs may name the account: ``abfs://container@account.dfs.core.windows.net/path``."""

_INSTALL = {"s3": "qatool[s3]", "s3a": "qatool[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""The package to install if the library for a protocol is missing."""

_TRIES = 8
"""How often a request to S3 is tried before it counts as failed; the waits in between grow to some seconds."""
_OPTIONS: dict[str, dict[str, Any]] = {
    # Credentials, region and endpoint come from where every AWS tool takes them: variables, profile, instance.
    protocol: {
        "config_kwargs": {
            "retries": {"mode": "standard", "max_attempts": _TRIES},
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": 32,
        }
    }
    for protocol in ("s3", "s3a")
}


class ChangedError(OSError):
    """An object was replaced while it was read."""


def uri_problem(text: str) -> str | None:
    """Return why a URI is not accepted, ``None`` if it is."""
    protocol, rest = split_uri(text) or ("", "")
    if names_user(text):
        return (
            f"{redacted(text)}: holds credentials, which are taken from the environment, a profile or the machine's "
            "role only; take them out of the URI"
        )
    if not rest.strip("/"):
        return f"{redacted(text)}: names no bucket; write {protocol}://bucket/path"
    return None


@lru_cache
def file_system(protocol: str, account: str = "") -> Any:
    """Return fsspec's file system for a protocol, without connecting to it.

    :param account: the Azure account, where the URI names one
    :raises EnvironmentUnfitError: the library for the protocol is not installed
    :raises UsageError: fsspec knows no such protocol, or cannot open it without further arguments
    """
    import fsspec

    options = {"account_name": account} if account else _OPTIONS.get(protocol, {})
    try:
        # No cache of listings: objects may have come or gone since the last one.
        return fsspec.filesystem(protocol, use_listings_cache=False, **options)
    except ImportError as error:
        package = _INSTALL.get(protocol)
        how = f"install it: pip install '{package}'" if package else f"{error}"
        raise EnvironmentUnfitError(f"{protocol}://: the library for it is not installed; {how}") from error
    except TypeError as error:
        raise UsageError(
            f"{protocol}://: is not taken: it needs a host or more beside a path; copy the files"
        ) from error
    except ValueError as error:
        raise UsageError(f"{protocol}://: no such protocol; write s3://, gs://, or a path") from error


@contextmanager
def asking() -> Iterator[None]:
    """Turn errors of a store's library inside the block into an ``OSError`` with a readable reason.

    :raises OSError: the block failed; a subclass such as ``FileNotFoundError`` or ``PermissionError`` where one fits
    """
    try:
        yield
    except FileNotFoundError as error:
        if (answer := _web_failure(error.__cause__)) is not None:
            raise answer from error
        raise
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise
    except PermissionError as error:
        raise PermissionError(errno.EACCES, _reason(error)) from error
    except OSError as error:
        if type(error).__name__ == "FileExpired" or "pre-condition" in str(error).lower():
            raise ChangedError(errno.ESTALE, "it was replaced meanwhile") from error
        if error.errno == errno.EINVAL or not error.strerror:
            raise OSError(error.errno or errno.EIO, _reason(error)) from error
        raise
    except (QatoolError, ImportError, MemoryError):
        raise
    except Exception as error:
        # botocore, aiohttp and similar libraries have their own exceptions, most of which are no OSError.
        if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"}:
            raise PermissionError(
                errno.EACCES, "no credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"
            ) from error
        raise OSError(errno.EIO, _reason(error)) from error


def no_access(error: OSError) -> str:
    """Return the message for a store that refused access, with what to do about it."""
    return f"access denied ({error.strerror}); check your credentials and what they allow"


def _web_failure(cause: BaseException | None) -> OSError | None:
    """Return the error behind a ``FileNotFoundError`` of fsspec; ``None`` if the file really does not exist.

    For web addresses, fsspec reports any failure as a missing file.

    :param cause: what fsspec caught
    """
    status = getattr(cause, "status", None)
    is_of_web = type(cause).__module__.partition(".")[0] == "aiohttp" or isinstance(cause, TimeoutError)
    if cause is None or not is_of_web or status in _GONE:
        return None
    if status is None:
        return OSError(errno.EIO, _reason(cause))
    answer = f"the server answers {status} {getattr(cause, 'message', '')}".rstrip()
    return PermissionError(errno.EACCES, answer) if status in _REFUSED else OSError(errno.EIO, answer)


_GONE = (404, 410)
_REFUSED = (401, 403)


def _reason(error: BaseException) -> str:
    """Return the store's own message in one line, redacted."""
    text = " ".join(str(error.strerror if isinstance(error, OSError) and error.strerror else error).split())
    return redacted(text).rstrip(".") or type(error).__name__
