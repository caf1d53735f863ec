"""Glob patterns for the keys of objects, with the same meaning as for files."""

from __future__ import annotations

import re


def key_pattern(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for the keys that a glob pattern names.

    ``*`` and ``?`` do not match a slash, ``**`` matches any number of folders, including ones with an empty name
    (``a//b``). Hidden names match only a pattern that begins with a dot.
    """
    parts = pattern.split("/")
    written = "".join(_folder(part) for part in parts[:-1])
    last = r"(?:(?!\.)[^/]*/)*(?!\.)[^/]+" if parts[-1] == "**" else _name(parts[-1])
    return re.compile(f"{written}{last}", re.DOTALL)


def _folder(part: str) -> str:
    return r"(?:(?!\.)[^/]*/)*" if part == "**" else f"{_name(part)}/"


def _name(part: str) -> str:
    """Return the regular expression for one component of a pattern."""
    pieces = re.split(r"(\*|\?|\[!?\]?[^\]/]*\])", part)
    written = "".join(_piece(piece) for piece in pieces)
    return written if part.startswith(".") else rf"(?!\.){written}"


def _piece(piece: str) -> str:
    match piece:
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case _ if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
            body = piece[1:-1].replace("\\", "\\\\")
            negated = body.startswith("!")
            body = body[1:] if negated else body
            # A range whose end comes before its start matches nothing, as in globs for files.
            body = re.sub(r"(.)-(.)", lambda ends: "" if ends[1] > ends[2] else ends[0], body, flags=re.DOTALL)
            if not body:
                return "[^/]" if negated else "(?!)"
            return f"[{'^' if negated else ''}{body.replace('^', chr(92) + '^').replace('[', chr(92) + '[')}]"
        case _:
            return re.escape(piece)
