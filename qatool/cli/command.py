"""A click command whose parameters, values and messages come from an options dataclass.

click splits the command line, writes the usage line and completes words in the shell. The values are determined here
(a flag overrides a variable, a variable the file, the file the default), so that all problems of all sources are
reported together.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from qatool.cli.config import CONFIG_LABEL, DEFAULT_CONFIG, Findings, Given, Source, read_config
from qatool.cli.options import settings_of
from qatool.errors import UsageError
from qatool.logs import harmless
from qatool.options import ScreenOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from qatool.cli.options import Setting

HELP_WIDTH = 100
CONTEXT_SETTINGS: dict[str, Any] = {"max_content_width": HELP_WIDTH, "help_option_names": ["-h", "--help"]}
_OTHER_GROUP = "Other"
_CONFIG_HELP = f"Read options from this TOML file, one table per command (default: {DEFAULT_CONFIG} if there is one)."
_EPILOG = (
    "Every option can also be set by the variable QATOOL_{command}_<OPTION> or the key <option> under "
    "[{name}] in the configuration file. A flag overrides a variable, and a variable the file, also where two "
    "options contradict each other. A repeatable option takes one value per line in a variable, a list in the "
    "file. --no-<option> turns off a flag that was turned on there."
)


class OptionsCommand(click.Command):
    """A command that is called with an instance of its options dataclass.

    :param options_class: the dataclass; its fields become the parameters
    :param callback: called with the options
    :param late_problems: returns problems, given values by field, that the command would find only later; called only
        if there are other problems, to report all of them together
    :raises UsageError: while parsing; names every problem found in all sources
    """

    def __init__(
        self,
        name: str,
        *,
        options_class: type,
        callback: Callable[[Any], None],
        help: str,  # noqa: A002
        late_problems: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
    ) -> None:
        self._late_problems = late_problems
        self.options_class = options_class
        self.settings = settings_of(options_class)
        self.overruled: list[tuple[str, str]] = []
        """Pairs of the origin of a value that was left out and the origin of the one that contradicts it."""
        self.set_elsewhere: list[str] = []
        """The origins of the values that come from variables or the configuration file."""
        self.run = callback
        config = click.Option(["--config"], type=click.Path(dir_okay=False), help=_CONFIG_HELP)
        super().__init__(
            name,
            params=[*(setting.parameter() for setting in self.settings), config],
            help=help,
            epilog=_EPILOG.format(command=name.upper(), name=name),
            context_settings=CONTEXT_SETTINGS,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Determine the value of every option, and put the options dataclass into ``ctx.params``.

        :raises UsageError: anything is wrong; names every problem
        """
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        words, found = self._read_words(ctx, args)
        file = read_config(
            _config_path(words.pop("config", None), variable=f"QATOOL_{self.name}_CONFIG".upper()),
            command=str(self.name),
            commands=_sibling_names(ctx),
            settings=self.settings,
        )
        for setting in self.settings:
            self._settle(setting, words.get(setting.field), file, found)
        found.problems.extend(file.problems)
        found.failed.update(file.failed)
        self._look_for_missing(found)
        options = self._build(found)
        if found.problems:
            raise UsageError(*found.problems)
        ctx.params = {"options": options}
        return []

    def invoke(self, ctx: click.Context) -> None:
        """Call the command with its options."""
        options = ctx.params["options"]
        # Commands with a log report mistaken variables there, see at_work().
        if not isinstance(options, ScreenOptions):
            for name, near in self.mistaken_variables():
                click.echo(f"Warning: {harmless(name)}: sets nothing; did you mean {near}?", err=True)
        self.run(options)

    def mistaken_variables(self) -> list[tuple[str, str]]:
        """Return pairs of a variable that sets nothing and the similar variable of this command.

        Only variables that begin like this command's are considered; others may belong to other programs.
        """
        own = f"QATOOL_{self.name}_".upper()
        known = ["CONFIG", *(setting.name.replace("-", "_").upper() for setting in self.settings)]
        ends = [name.removeprefix(own) for name, text in os.environ.items() if text and name.startswith(own)]
        return [
            (own + end, own + near)
            for end in ends
            if end not in known
            for near in get_close_matches(end, known, n=1, cutoff=0.75)
        ]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's
        """Return the arguments and options that must be given, then a placeholder for the others."""
        pieces = []
        for setting in self.settings:
            if setting.positional:
                pieces.append(setting.metavar + "..." * setting.repeatable)
            elif setting.required:
                pieces.append(f"{setting.flag.short or setting.label} {setting.metavar}")
        return [*pieces, "[OPTIONS]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click's
        """Write a section of the help for each group of settings, in the order in which groups appear."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for setting in self.settings:
            rows.setdefault(setting.flag.group, []).append(_help_row(setting))
        rows[_OTHER_GROUP] = [
            (f"{CONFIG_LABEL} FILE", _CONFIG_HELP),
            ("-h, --help", "Show this message and exit."),
        ]
        for group, group_rows in rows.items():
            with formatter.section(group):
                formatter.write_dl(group_rows, col_max=32)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing, as positional arguments are listed in the group of their flag."""

    def _read_words(self, ctx: click.Context, args: list[str]) -> tuple[dict[str, object], Findings]:
        """Return the words of the command line by field, and the problems found on the way.

        After a problem, parsing starts again without the word at fault.

        :raises UsageError: the word at fault cannot be found
        """
        found = Findings({}, [], set())
        rest = list(args)
        while True:
            try:
                words, surplus, order = self.make_parser(ctx).parse_args(list(rest))
            except click.UsageError as error:
                name, problem, suspects = _parse_problem(error, ctx)
                found.problems.append(problem)
                found.failed.update(self._label(suspect) for suspect in suspects)
                place = _place(name, rest)
                if place is None:
                    raise UsageError(*found.problems) from None
                del rest[place]
            else:
                break
        for param in order:
            if param.is_eager:
                param.handle_parse_result(ctx, words, surplus)
        if not found.problems:  # else it may be the value of an unknown option
            found.problems.extend(f"{word}: one argument too many; drop it" for word in surplus)
        return words, found

    def _settle(self, setting: Setting, typed: object, file: Findings, found: Findings) -> None:
        """Put the value of ``setting`` from the strongest source that has one into ``found``."""
        if isinstance(typed, bool):
            found.given[setting.field] = Given(typed, setting.label, Source.FLAG)
            return
        words, origin, source = _words(typed), setting.label, Source.FLAG
        if words is None:
            words, origin = _environment(setting, command=str(self.name))
            source = Source.VARIABLE
        if words is None:
            if setting.field in file.given:
                found.given[setting.field] = file.given[setting.field]
            return
        # Overridden by a stronger source, a bad value of the file is still reported, but causes no further problems.
        file.failed.discard(setting.label)
        try:
            found.given[setting.field] = Given(setting.from_words(words), origin, source)
        except ValueError as error:
            found.problems.append(f"{origin} {', '.join(map(repr, words))}: {error}")
            found.failed.add(setting.label)

    def _look_for_missing(self, found: Findings) -> None:
        for setting in self.settings:
            absent = setting.required and setting.field not in found.given
            # A file that could not be read may have held it.
            if absent and not found.failed & {setting.label, CONFIG_LABEL}:
                variable = setting.variables(str(self.name))[0]
                found.problems.append(
                    f"{setting.spelled}: missing; give it on the command line, in {variable} or as "
                    f"{setting.name} under [{self.name}] in {DEFAULT_CONFIG}"
                )
            if absent:
                found.failed.add(setting.label)

    def _build(self, found: Findings) -> object:
        """Return the options dataclass; collect the problems that it reports, and return ``None`` if there are any.

        Missing values are replaced by placeholders. Problems of a setting that already has one are not collected.
        """
        given = dict(found.given)
        self.set_elsewhere = [one.origin for one in given.values() if one.source is not Source.FLAG]
        self.overruled.clear()
        while True:
            values = {field: one.value for field, one in given.items()}
            for setting in self.settings:
                if setting.required:
                    values.setdefault(setting.field, ("missing",) if setting.repeatable else "missing")
            try:
                return self.options_class(**values)
            except UsageError as error:
                rivals = self._rivals(error.problems, given)
                if rivals is None:
                    self._take_problems(error.problems, values, found)
                    return None
                weaker, stronger = rivals
                self.overruled.append((given.pop(weaker).origin, given[stronger].origin))

    def _rivals(self, problems: Iterable[str], given: Mapping[str, Given]) -> tuple[str, str] | None:
        """Return a field whose value contradicts a field from a stronger source, and the latter; ``None`` if none."""
        by_field = {setting.field: setting for setting in self.settings if setting.field in given}
        for problem in problems:
            told = {field for field, setting in by_field.items() if setting.is_named_in(problem)}
            for field in told:
                for rival in told.intersection(by_field[field].flag.rivals):
                    weaker, stronger = sorted((field, rival), key=lambda one: given[one].source)
                    if given[weaker].source < given[stronger].source:
                        return weaker, stronger
        return None

    def _take_problems(self, problems: Iterable[str], values: Mapping[str, Any], found: Findings) -> None:
        """Collect problems of values, and those that the command would find only later."""
        # Placeholders cannot be checked for later problems.
        is_whole = all(setting.field in found.given for setting in self.settings if setting.required)
        late = self._late_problems(values) if is_whole and self._late_problems is not None else ()
        for problem in (*problems, *late):
            if not any(one.label in found.failed and one.is_named_in(problem) for one in self.settings):
                found.problems.append(problem + self._origins(problem, found.given))

    def _origins(self, problem: str, given: Mapping[str, Given]) -> str:
        """Return the origins of those settings named in ``problem`` that were not given as flags, in brackets."""
        foreign = [
            f"{setting.label} comes from {given[setting.field].origin}"
            for setting in self.settings
            if setting.field in given
            and given[setting.field].origin != setting.label
            and setting.is_named_in(problem)
        ]
        return f" ({', '.join(foreign)})" if foreign else ""

    def _label(self, spelling: str) -> str:
        """Return the label of the setting with this spelling, or the spelling itself if there is none."""
        for setting in self.settings:
            if spelling in (setting.flag.short, setting.label, f"--no-{setting.name}"):
                return setting.label
        return spelling


def parse_problem(error: click.UsageError, ctx: click.Context) -> str:
    """Return a one-line message for an error of click's parser."""
    return _parse_problem(error, ctx)[1]


def _parse_problem(error: click.UsageError, ctx: click.Context) -> tuple[str, str, Iterable[str]]:
    """Return the word at fault, a one-line message about it, and the options that may have been meant."""
    if isinstance(error, click.NoSuchOption):
        near = get_close_matches(error.option_name, error.possibilities or [], n=1, cutoff=0.75)
        end = f"did you mean {near[0]}?" if near else f"see {ctx.command_path} --help"
        return error.option_name, f"{error.option_name}: no such option; {end}", near
    if isinstance(error, click.BadOptionUsage):
        name = error.option_name
        # In click, the two kinds of this error differ only in their text.
        if "does not take" in error.message:
            return name, f"{name}: takes no value; drop what follows the =", [name]
        return name, f"{name}: needs a value; see {ctx.command_path} --help", [name]
    return "", error.format_message(), []


def _place(name: str, words: list[str]) -> int | None:
    """Return the index of the option ``name`` in ``words``, alone, with a value or in a bundle (``-qz``)."""
    options = words[: words.index("--")] if "--" in words else words
    for place, word in enumerate(options):
        bundled = len(name) == 2 and re.match(r"-[^-]", word) is not None and name[1] in word
        if word == name or word.startswith(f"{name}=") or bundled:
            return place
    return None


def _words(typed: object) -> tuple[str, ...] | None:
    """Return the words that click collected for a setting, ``None`` for any of click's values that mean none."""
    if isinstance(typed, str):
        return (typed,)
    return tuple(typed) if isinstance(typed, (list, tuple)) and typed else None


def _environment(setting: Setting, *, command: str) -> tuple[tuple[str, ...] | None, str]:
    """Return the words of the first variable that sets ``setting``, and its name; an empty one counts as not set."""
    for variable in setting.variables(command):
        text = os.environ.get(variable, "")
        words = tuple(filter(None, re.split(r"\r?\n", text))) if setting.repeatable else (text,)
        if any(words):
            return words, variable
    return None, ""


def _config_path(typed: object, *, variable: str) -> str | None:
    return typed if isinstance(typed, str) else os.environ.get(variable) or None


def _sibling_names(ctx: click.Context) -> list[str]:
    group = ctx.parent.command if ctx.parent else None
    return list(group.commands) if isinstance(group, click.Group) else [str(ctx.command.name)]


def _help_row(setting: Setting) -> tuple[str, str]:
    """Return the two columns of the help: spellings with metavar, and text with default."""
    term = setting.metavar + "..." * setting.repeatable
    if not setting.positional:
        term = ", ".join(filter(None, [setting.flag.short, f"{setting.label} {setting.metavar}".rstrip()]))
    ends = "  [required]" if setting.required else ""
    if setting.shown_default is not None:
        ends = f"  [default: {setting.shown_default}]"
    return term, f"{setting.flag.help}{ends}"
