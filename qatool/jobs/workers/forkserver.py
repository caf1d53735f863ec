"""The process that others are forked from: it imports what they need once, and has no threads to lose by a fork."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import sys
from typing import TYPE_CHECKING

from qatool.jobs.workers.processes import died

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess


def context(preload: Sequence[str]) -> ForkServerContext:
    """Return what processes and pipes are made by.

    :param preload: modules that the processes need, imported once for all of them
    """
    made = multiprocessing.get_context("forkserver")
    # Each new process imports the program's main module, and with it the modules of the package imported here so far.
    package = __name__.partition(".")[0]
    ours = [name for name in list(sys.modules) if name.partition(".")[0] == package]
    made.set_forkserver_preload([*ours, *preload])
    return made


def begin_early(preload: Sequence[str]) -> None:
    """Start the process to fork from, so that it imports what the others need meanwhile.

    :param preload: as for :func:`context`
    """
    context(preload)
    multiprocessing.forkserver.ensure_running()


def start(process: BaseProcess) -> None:
    """Start a process.

    :raises EnvironmentUnfitError: the process to fork from has died, as when one of its imports ends it
    """
    try:
        process.start()
    except (EOFError, ConnectionError):
        raise died() from None
