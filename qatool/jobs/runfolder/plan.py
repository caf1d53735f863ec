"""The plan of a run: what its folder was started for, compared name by name when the run is resumed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qatool.errors import InputError, ResumeRefusedError
from qatool.files.storage.atomic import write_json
from qatool.jobs.runfolder.seal import sealed, unsealed_as

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qatool.files.storage.locations import Location

PLAN_NAME = "plan.json"
"""Name of the plan in a run folder."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run, as stored in ``plan.json``."""

    identity: Mapping[str, Any]
    """Everything that decides the output. A run with any other value here is refused."""
    limits: Mapping[str, Any]
    """Everything that decides the floating-point bits. A resumed run keeps these unless the user overrides them."""
    output: str = ""
    """Name of the output, for people who look into the folder."""
    examples: int | None = None
    """Number of examples in the input, ``None`` where it is not known beforehand; for the display of progress."""
    command: str
    """The command whose work the folder holds."""

    @classmethod
    def load(cls, path: Location) -> Plan | None:
        """Read a plan.

        :returns: the plan, ``None`` when there is none or it is damaged; the markers of parts then have to do
        :raises InputError: the plan exists but cannot be read now
        """
        try:
            return unsealed_as(cls, json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, TypeError, KeyError):
            return None
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror or error}); start the same command again, or start over "
                "with --restart"
            ) from None

    def save(self, path: Location, *, confirm: Callable[[], None] | None = None) -> None:
        """Write the plan.

        :param confirm: called directly before the file takes its final name; may raise to prevent that
        :raises OutputError: the plan cannot be written
        """
        write_json(path, sealed(asdict(self)), confirm=confirm)

    def check_same_work(self, identity: Mapping[str, Any], *, folder: Location) -> None:
        """Make sure that a run with another identity does not continue this one.

        :raises ResumeRefusedError: something that decides the output differs; the message names all that does
        """
        if changed := differences(self.identity, identity):
            raise ResumeRefusedError(
                f"{folder}: holds unfinished work of another kind ({'; '.join(changed)}); "
                "start the earlier command again, or start over with --restart"
            )

    def overridden(self, limits: Mapping[str, Any]) -> list[str]:
        """Return in words which limits differ from the plan's."""
        return [
            f"{name} {old!r} -> {limits.get(name)!r}"
            for name, old in sorted(self.limits.items())
            if limits.get(name) != old
        ]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words which values differ."""
    return [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
