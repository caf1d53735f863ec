"""Logging: events as text or JSON, to standard error or a file.

Text from a corpus is untrusted: :func:`harmless` keeps it from controlling the terminal or faking a log line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qatool.errors import OutputError, QatoolError, reason_of
from qatool.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qatool.options import ScreenOptions

logger = logging.getLogger("qatool")

# C0 and C1 controls, DEL, line separators, bidirectional overrides and isolates, lone surrogates.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN_VALUE = re.compile(r"[^\s\"'=]+")


def harmless(text: str) -> str:
    r"""Return ``text`` on one line, with characters that control a terminal spelled out, ESC as ``\x1b``.

    Credentials in URIs are redacted. All other characters, emoji and right-to-left letters included, are unchanged.
    """
    return _HARMFUL.sub(lambda match: _escape(ord(match.group())), redacted(text))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def log_event(event: str, *, level: int = logging.INFO, routine: bool = False, **fields: Any) -> None:
    """Log ``event`` with its fields: as ``shard done shard=3 rows=2000``, or as keys of a JSON object.

    :param routine: whether the event belongs in a log, but not on a screen that people read
    """
    logger.log(level, event, extra={"fields": fields, "routine": routine})


def log_end(error: QatoolError | type[QatoolError], reason: str, *, cause: BaseException | None = None) -> None:
    """Log how a command ended, once: as an error, or as information where the same command simply continues.

    :param error: what ended it
    :param cause: the exception of a library behind it, whose traceback is logged
    """
    if not error.is_logged:
        level = logging.ERROR if error.is_failure else logging.INFO
        trace = {} if cause is None else {"traceback": "".join(traceback.format_exception(cause))}
        log_event("stopped", level=level, routine=True, exit_code=error.exit_code, reason=reason, **trace)
    if isinstance(error, QatoolError):
        error.is_logged = True


def log_crash(error: BaseException) -> str | None:
    """Write the traceback of ``error`` to the log file, and return the file's path, ``None`` without a log file."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            trace = "".join(traceback.format_exception(error))
            logger.critical("internal error", extra={"fields": {"traceback": trace}})
            return handler.baseFilename
    return None


def setup_logging(options: ScreenOptions) -> None:
    """Send the log to standard error, or to ``--log-file``, instead of where an earlier call sent it.

    :raises OutputError: the log file cannot be written
    """
    handler: logging.Handler
    if options.log_file is None:
        handler = _ScreenHandler(logging.ERROR if options.quiet else logging.NOTSET)
        if options.log_format == "text" and not options.verbose:
            handler.addFilter(lambda record: not getattr(record, "routine", False))
    else:
        try:
            handler = _LogFileHandler(options.log_file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise OutputError(
                f"--log-file {options.log_file}: cannot be written ({error.strerror}); name another file"
            ) from None
    handler.setFormatter(_JsonFormatter() if options.log_format == "json" else _TextFormatter())
    for old in tuple(logger.handlers):
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if options.verbose else logging.INFO)
    logger.propagate = False


@contextmanager
def logging_also_to(handler: logging.Handler | None) -> Iterator[None]:
    """Send every event also to ``handler``, as one JSON object per line, whatever the screen shows.

    :param handler: closed at the end, ignoring errors, as the log must not end the work; ``None``: do nothing
    """
    if handler is None:
        yield
        return
    handler.setFormatter(_JsonFormatter())
    others = [(other, other.level) for other in logger.handlers]
    before = logger.level
    for other, level in others:
        other.setLevel(max(level, before))
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        for other, level in others:
            other.setLevel(level)
        with suppress(OSError):
            handler.close()


def take_over(library: str) -> None:
    """Log what a library logs as details, instead of what it would show on the screen."""
    theirs = logging.getLogger(library)
    theirs.handlers = [_Details()]
    theirs.propagate = False


class _Details(logging.Handler):
    """Passes on what a library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        log_event(record.getMessage(), level=logging.DEBUG, library=record.name)


def quiet_file_handler(path: Path) -> logging.Handler:
    """Return a handler that appends to ``path``, and silently loses events that cannot be written.

    :raises OSError: the file cannot be opened
    """
    return _QuietFileHandler(path, encoding="utf-8", errors="backslashreplace")


class _QuietFileHandler(logging.FileHandler):
    """Silently loses events that cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the name is logging's
        """Do nothing, as the work itself reports a full disk."""


class _LogFileHandler(logging.FileHandler):
    """Loses events that cannot be written, and warns once on standard error."""

    _is_told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 the name is logging's
        """Warn on standard error, the first time."""
        if not self._is_told:
            self._is_told = True
            reason = reason_of(error) if (error := sys.exception()) else "unknown"
            sys.stderr.write(f"Warning: --log-file {harmless(self.baseFilename)}: log lines are lost ({reason})\n")


class _ScreenHandler(logging.Handler):
    """Writes to the current ``sys.stderr``, which is rich's proxy while a bar is shown, and prints above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 a log line must not end the work; logging reports the failure
            self.handleError(record)


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info:
        fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return fields


class _TextFormatter(logging.Formatter):
    """``2026-11-22T10:03:11Z INFO message key=value``; a traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        trace = str(fields.pop("traceback", ""))
        words = [_utc(record), record.levelname, harmless(record.getMessage())]
        words += [f"{harmless(key)}={_text_value(value)}" for key, value in fields.items()]
        return "\n".join([" ".join(words), *(f"    {harmless(line)}" for line in trace.splitlines())])


def _text_value(value: object) -> str:
    text = str(value)
    return harmless(text if _PLAIN_VALUE.fullmatch(text) else json.dumps(text, ensure_ascii=False))


class _JsonFormatter(logging.Formatter):
    """One JSON object per line; harmful characters are JSON escapes, so that parsing restores them."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _utc(record), "level": record.levelname, "event": record.getMessage()}
        # Redacted before encoding, which would escape the characters that end a URI.
        shown = _redacted({**head, **_fields(record), **head})
        line = json.dumps(shown, ensure_ascii=False)
        return _HARMFUL.sub(lambda match: f"\\u{ord(match.group()):04x}", line)


def _redacted(value: Any) -> Any:
    """Return a value converted to types of JSON, with all texts in it redacted."""
    if isinstance(value, dict):
        return {str(key): _redacted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else redacted(str(value))
