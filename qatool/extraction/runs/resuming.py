"""Continue the work of an earlier start: with its values, and only where it is the same work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.errors import ResumeRefusedError
from qatool.extraction.answering.resolved import Numerics
from qatool.jobs.runfolder.plan import Plan

if TYPE_CHECKING:
    from qatool.extraction.answering.resolved import AnswerIdentity
    from qatool.jobs.runfolder.folder import RunFolder

_RULES = ("rules_of_windows", "rules_of_spans")


def plan_of(folder: RunFolder, *, restart: bool) -> Plan | None:
    """Return the plan of the work that is to be continued, ``None`` for new work or one whose plan is damaged.

    :raises InputError: the plan cannot be read now
    """
    return None if restart else Plan.load(folder.plan)


def values_of(plan: Plan | None) -> Numerics | None:
    """Return the values that the work goes on with, ``None`` for new ones."""
    return None if plan is None else Numerics.of_plan(plan.limits)


def continue_only_same(folder: RunFolder, plan: Plan | None, identity: AnswerIdentity, *, restart: bool) -> None:
    """Have only parts of this identity used, and make sure that the folder holds no others.

    :raises ResumeRefusedError: the run folder holds unfinished work of another model or other options
    """
    folder.parts.identity = identity.fingerprint
    if plan is not None:
        now = identity.as_json()
        if any(plan.identity.get(name) != now[name] for name in _RULES):
            raise ResumeRefusedError(
                f"{folder.path}: was begun by a version of qatool with other rules for windows or answers; finish it "
                "with that version, or start over with --restart"
            )
        plan.check_same_work(now, folder=folder.path)
    elif not restart and folder.parts.other_identity():
        raise ResumeRefusedError(
            f"{folder.path}: holds unfinished work of another model or other options (its plan.json cannot be read "
            "to say which); start the earlier command again, or start over with --restart"
        )
