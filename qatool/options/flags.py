"""Declarations that make dataclass fields command-line options, and checks that several options share."""

from __future__ import annotations

import os
import re
from dataclasses import Field, field, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from qatool.errors import UsageError
from qatool.places import places_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Flag(NamedTuple):
    """How a field appears on the command line."""

    help: str
    group: str
    """Heading under which the help lists the option."""
    short: str | None = None
    """A short spelling, such as ``-o``."""
    metavar: str | None = None
    """Placeholder for the value in the help; ``None`` for one that follows from its type."""
    auto: bool = False
    """Whether ``auto`` is accepted as a value, which means ``None``."""
    name: str | None = None
    """The option's name, if it is not the field's name with dashes."""
    env: str | None = None
    """A second environment variable, read if ``QATOOL_<COMMAND>_<OPTION>`` is not set."""
    rivals: tuple[str, ...] = ()
    """Fields that this one may contradict; of two, the value from the weaker source is then left out."""


def option(flag: Flag, *, default: Any = None) -> Any:
    """Declare a dataclass field that is also a command-line option."""
    return field(default=default, metadata={"flag": flag})


def required(flag: Flag) -> Any:
    """Declare a dataclass field that is an option without a default."""
    return field(metadata={"flag": flag})


def argument(flag: Flag) -> Any:
    """Declare a dataclass field that is a positional argument; a tuple takes one or more."""
    return field(metadata={"argument": flag})


def settle(options: Any) -> None:
    """Convert values given by Python code to those that options hold: paths to text, single values to tuples.

    Called by ``__post_init__`` of each options dataclass.

    :raises UsageError: a value does not have the type of its field, or is none of its choices; names every such field
    """
    kinds = _kinds(options.__class__)
    problems = []
    for one in fields(options):
        value = getattr(options, one.name)
        kind = kinds[one.name]
        if kind.repeatable and isinstance(value, str | os.PathLike):
            value = (value,)
        if isinstance(value, list | tuple):
            value = tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in value)
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)
        elif kind.kind in {int, float} and not isinstance(value, int | float) and kind.holds(value):
            value = kind.kind(value)  # numpy's numbers cannot be written as JSON
        object.__setattr__(options, one.name, value)  # as the dataclass is frozen
        if not (kind.holds(value) or value is None is one.default):
            problems.append(f"{_label(one)} {value!r}: {kind.must}")
    if problems:
        raise UsageError(*problems)


def _label(one: Field[Any]) -> str:
    positional: Flag | None = one.metadata.get("argument")
    return f"--{one.name.replace('_', '-')}" if positional is None else positional.metavar or one.name


@cache
def _kinds(options_class: type) -> dict[str, ValueKind]:
    return {name: value_kind(hint) for name, hint in get_type_hints(options_class).items()}


class ValueKind(NamedTuple):
    """The values that a field takes besides ``None``, according to its annotation."""

    kind: type
    """Type of a single value: ``bool``, ``int``, ``float`` or ``str``."""
    choices: tuple[str, ...] = ()
    """The permitted values; empty if any value of its kind is."""
    repeatable: bool = False
    """Whether the field takes several values, as a tuple."""

    @property
    def must(self) -> str:
        """The end of a message about a value that does not fit: ``must be …``."""
        if self.repeatable:
            return 'must be texts, like ("a", "b")'
        if self.choices:
            return f"must be {'one of ' if len(self.choices) > 1 else ''}{', '.join(self.choices)}"
        return _MUST[self.kind]

    def holds(self, value: object) -> bool:
        """Return whether the field takes a value."""
        if self.repeatable:
            return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        return isinstance(value, Real if self.kind is float else Integral if self.kind is int else self.kind)


_MUST = {
    bool: "must be true or false",
    int: "must be a whole number",
    float: "must be a number",
    str: 'must be a text, like "a"',
}


def value_kind(hint: object) -> ValueKind:
    """Return the values that a field takes.

    :param hint: the field's annotation
    :raises TypeError: the annotation has no form on the command line
    """
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return ValueKind(str, choices=get_args(hint))
    if get_origin(hint) is tuple:
        return ValueKind(str, repeatable=True)
    if not isinstance(hint, type) or hint not in _MUST:
        raise TypeError(f"no command-line form for {hint!r}; annotate with bool, int, float, str, Literal or tuple")
    return ValueKind(hint)


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


def below(options: object, least: int, *names: str) -> list[str]:
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
