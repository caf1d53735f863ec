"""Settings: one option each, as it appears on the command line, in the environment and in the configuration file.

A setting is made from nothing but a field of an options dataclass: the annotation determines the values that it
takes, the ``Flag`` its spelling.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from qatool.options import Flag
from qatool.options.flags import ValueKind, value_kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from dataclasses import Field

    from click.shell_completion import CompletionItem

_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})
_FALSE = frozenset({"0", "false", "no", "off", "n", "f"})
_KIND_METAVARS = {int: "N", float: "X", str: "TEXT"}
_PATH_METAVARS = frozenset(
    {"ANSWERS", "DEV", "DIR", "FILE", "FOLDER", "INPUT", "MODEL", "OTHER", "OUTPUT", "PAGE", "PATH", "REF", "TRAIN"}
)


class _PathText(click.types.StringParamType):
    """A click type for text that names a file, for which the shell completes file names."""

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 click's
        param: click.Parameter,  # noqa: ARG002 click's
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return an item that makes the shell complete file names."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of an options dataclass, ready to be read from a flag, a variable or a key."""

    field: str
    name: str
    """The option's name with dashes, without the leading ones: ``top-k``; ``input`` for INPUT."""
    value_kind: ValueKind
    positional: bool
    required: bool
    default: object
    flag: Flag

    @property
    def kind(self) -> type:
        """``bool``, ``int``, ``float`` or ``str``."""
        return self.value_kind.kind

    @property
    def choices(self) -> tuple[str, ...]:
        """The permitted values; empty if any value of its kind is."""
        return self.value_kind.choices

    @property
    def repeatable(self) -> bool:
        """Whether several values can be given."""
        return self.value_kind.repeatable

    @property
    def label(self) -> str:
        """The setting's name in messages: ``--top-k``, ``INPUT``."""
        return self.metavar if self.positional else f"--{self.name}"

    def is_named_in(self, problem: str) -> bool:
        """Return whether a message about a problem names this setting, by any of its spellings."""
        return any(is_named(spelling, problem) for spelling in filter(None, (self.label, self.flag.short)))

    @property
    def spelled(self) -> str:
        """Every spelling, for a user who may know only one: ``-o/--output``."""
        return f"{self.flag.short}/{self.label}" if self.flag.short else self.label

    @property
    def metavar(self) -> str:
        """The placeholder for the value in the help: ``N``, ``auto|N``, ``native|squad-script``."""
        if self.flag.metavar is not None:
            return self.flag.metavar
        if self.positional:
            return self.name.upper()
        return "|".join(self.choices) or _KIND_METAVARS.get(self.kind, "")

    @property
    def is_path(self) -> bool:
        """Whether the value is a file or folder, judging by its placeholder: ``FILE``, ``DIR|HUB_ID``."""
        return self.kind is str and not _PATH_METAVARS.isdisjoint(re.split(r"[^A-Z_]+", self.metavar))

    @property
    def shown_default(self) -> str | None:
        """The default as the user would type it, ``None`` if it cannot be typed."""
        if self.flag.auto and self.default is None:
            return "auto"
        if self.required or self.kind is bool or self.default in (None, ()):
            return None
        return str(self.default)

    def parameter(self) -> click.Parameter:
        """Return the click parameter that collects the setting's words; click determines no values or defaults."""
        text = _PathText() if self.is_path else click.STRING
        if self.positional:
            return click.Argument([self.field], type=text, nargs=-1 if self.repeatable else 1, metavar=self.metavar)
        spellings = [self.field, *filter(None, [self.flag.short])]
        if self.kind is bool:
            return click.Option([*spellings, f"--{self.name}/--no-{self.name}"], help=self.flag.help)
        values = click.Choice(self.choices) if self.choices else text
        return click.Option(
            [*spellings, f"--{self.name}"], type=values, multiple=self.repeatable, help=self.flag.help
        )

    def variables(self, command: str) -> tuple[str, ...]:
        """Return the environment variables for this setting; the first one that is set counts."""
        own = f"QATOOL_{command}_{self.name}".replace("-", "_").upper()
        return (own,) if self.flag.env is None else (own, self.flag.env)

    def from_words(self, words: tuple[str, ...]) -> object:
        """Return the value given by words of the command line or of a variable.

        :raises ValueError: the words are no permitted value; the message says what it must be
        """
        values = tuple(self._from_word(word) for word in words)
        return values if self.repeatable else values[-1]

    def from_toml(self, value: object) -> object:
        """Return the value given by a key of the configuration file.

        :raises ValueError: the value is not permitted; the message says what it must be
        """
        if self.repeatable:
            if isinstance(value, str):
                return self.from_words((value,))
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError('must be a list of texts, like ["a", "b"]')
            return self.from_words(tuple(value))
        if self.flag.auto and value == "auto":
            return None
        if self.kind is float and type(value) is int:
            return float(value)
        if self.kind is str and type(value) in (int, float):
            return self._from_word(str(value))
        if type(value) is not self.kind:
            raise ValueError(self._must())
        return self._from_word(value) if isinstance(value, str) else _finite(value)

    def _from_word(self, word: str) -> object:
        if self.flag.auto and word == "auto":
            return None
        if self.choices and word not in self.choices:
            raise ValueError(self._must())
        if "\0" in word:
            raise ValueError("holds a NUL character")
        if self.required and not word:
            raise ValueError("must not be empty")
        if self.kind is bool:
            if word.lower() not in _TRUE | _FALSE:
                raise ValueError(self._must())
            return word.lower() in _TRUE
        try:
            value: object = self.kind(word)
        except ValueError:
            raise ValueError(self._must()) from None
        return _finite(value)

    def _must(self) -> str:
        return self.value_kind.must + (" or auto" if self.flag.auto else "")


def is_named(spelling: str, problem: str) -> bool:
    """Return whether a message about a problem names an option by this spelling."""
    return re.search(rf"(?<![\w-]){re.escape(spelling)}(?![\w-])", problem) is not None


def _finite(value: object) -> object:
    """Return the value, after checking that a number is finite and not too large.

    :raises ValueError: it is not
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, int) and abs(value) > sys.maxsize:
        raise ValueError(f"must be at most {sys.maxsize}")
    return value


def settings_of(options_class: type) -> tuple[Setting, ...]:
    """Return a setting for each field, those of the class itself before inherited ones."""
    hints = get_type_hints(options_class)
    declared = {field.name: field for field in fields(options_class)}
    return tuple(_setting(declared[name], hints[name]) for name in _own_names_first(options_class))


def _own_names_first(options_class: type) -> Iterator[str]:
    known = {field.name for field in fields(options_class)}
    for base in options_class.__mro__:
        for name in inspect.get_annotations(base):
            if name in known:
                known.remove(name)
                yield name


def _setting(field: Field[Any], hint: object) -> Setting:
    positional = "flag" not in field.metadata
    flag = field.metadata.get("flag") or field.metadata.get("argument") or Flag("", "Input")
    name = flag.name or (flag.metavar.lower() if positional and flag.metavar else field.name)
    return Setting(
        field=field.name,
        name=name.lstrip("-").replace("_", "-"),
        value_kind=value_kind(hint),
        positional=positional,
        required=field.default is MISSING,
        default=field.default,
        flag=flag,
    )
