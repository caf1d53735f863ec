"""Declarations that make dataclass fields command-line options, and the values that these take."""

from __future__ import annotations

import os
from dataclasses import Field, field, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from qatool.errors import UsageError


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
