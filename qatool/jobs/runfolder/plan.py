"""What a run folder was started for: compared by name when a run is resumed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qatool.errors import InputError, ResumeRefusedError
from qatool.files.storage.atomic import write_json
from qatool.jobs.runfolder.seal import sealed, unsealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qatool.files.storage.locations import Location

PLAN_NAME = "plan.json"
"""In a run folder."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run, as it stands in ``plan.json``."""

    identity: Mapping[str, Any]
    """What decides the output. Another value of any of it is other work, and refused."""
    limits: Mapping[str, Any]
    """What decides the floating-point bits. Kept on resume unless the user overrides it."""
    output: str = ""
    """What the run makes, for those who look at the folder."""
    examples: int | None = None
    """How many there are, where that can be told beforehand; for those who look at the folder."""
    command: str
    """Whose work it is."""

    @classmethod
    def load(cls, path: Location) -> Plan | None:
        """Read a plan; ``None`` when there is none or it is damaged: parts then speak for themselves.

        :raises InputError: it is there and cannot be read now
        """
        try:
            return cls(**unsealed(json.loads(path.read_bytes())))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, TypeError, KeyError):
            return None
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror or error}); start the same command again, or start over "
                "with --restart"
            ) from None

    def save(self, path: Location, *, confirm: Callable[[], None] | None = None) -> None:
        """Write the plan.

        :param confirm: called directly before it takes its name
        :raises OutputError: it cannot be written
        """
        write_json(path, sealed(asdict(self)), confirm=confirm)

    def check_same_work(self, identity: Mapping[str, Any], *, folder: Location) -> None:
        """Make sure that the run may be continued.

        :raises ResumeRefusedError: something that decides the output differs; names all of it
        """
        changed = [
            f"{name} was {self.identity.get(name)!r} and is now {identity.get(name)!r}"
            for name in sorted({*self.identity, *identity})
            if self.identity.get(name) != identity.get(name)
        ]
        if changed:
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
