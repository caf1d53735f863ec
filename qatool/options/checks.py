"""Checks of single options and of pairs, each of which returns its problems in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qatool.places import places_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LONGEST_SECONDS = 1e9
"""Longest time, some thirty years: the system refuses timers that are much longer."""


def seconds_of(text: str) -> float | None:
    """Return the seconds that ``90``, ``30s``, ``50m``, ``8h`` or ``1h30m`` means; ``None`` for anything else."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    if parts is None or not any(parts.groups()):
        return None
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return min(3600 * hours + 60 * minutes + seconds, _LONGEST_SECONDS)


def duration_problems(name: str, text: str | None) -> list[str]:
    """Return a problem if the value of an option is no time."""
    if text is None or seconds_of(text) is not None:
        return []
    return [f"--{name} {text}: not a time; write 90, 30s, 50m, 8h or 1h30m"]


def least_problems(options: object, least: int, *names: str) -> list[str]:
    """Return a problem for each named option that is set below ``least``."""
    return [
        f"--{name.replace('_', '-')} {value}: must be at least {least}"
        for name in names
        if (value := getattr(options, name)) is not None and not value >= least  # also true of NaN
    ]


def device_problems(device: str) -> list[str]:
    """Return a problem if a device is misspelled."""
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        return []
    return [f"--device {device}: no such device; give auto, cpu, cuda or cuda:N"]


def clash_problems(read: Mapping[str, str | None], written: Mapping[str, str | None]) -> list[str]:
    """Return a problem for each file that would be written twice, or would overwrite a file that is read.

    :param read: paths that are read, by the option that names them; ``None`` and ``-`` are no files
    :param written: paths that are written, likewise
    """
    problems = []
    taken = {place: label for label, path in read.items() if path and path != "-" for place in places_of(path)}
    for label, path in written.items():
        if path is None or path == "-":
            continue
        places = places_of(path)
        clashes = [taken[place] for place in sorted(places) if place in taken]
        if clashes:
            problems.append(f"{label} {path}: is {clashes[0]} as well, and would be written over; name another file")
        taken |= dict.fromkeys(places, label)
    return problems


def rename_problems(column: tuple[str, ...]) -> list[str]:
    """Return a problem for each ``--column`` that is not of the form ``NEW=OLD``, or not valid text."""
    problems = [
        f"--column {rename!r}: not of the form NEW=OLD; for example --column question=q"
        for rename in column
        if not all(rename.partition("=")[::2])
    ]
    return problems + text_problems({"--column": column})


def text_problems(given: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a problem for each word that is not valid text, because its bytes on the command line are not UTF-8.

    :param given: words, by the option that they were given for
    """
    return [
        f"{label} {word!a}: is not UTF-8; check the encoding of the terminal or script"
        for label, words in given.items()
        for word in words
        if any("\ud800" <= character <= "\udfff" for character in word)
    ]
