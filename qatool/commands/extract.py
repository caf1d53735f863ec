"""``qatool extract``: answer each example with the best span over all its windows."""

from __future__ import annotations

import logging
import tempfile
import traceback
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.errors import QatoolError, UsageError, naming_failures
from qatool.extraction.answering.setup import as_planned, load_setup
from qatool.extraction.runs.inputs import open_input
from qatool.extraction.runs.output import recover, workplace
from qatool.extraction.runs.resuming import continue_only_same, plan_of, values_of
from qatool.extraction.runs.reuse import reusable_files
from qatool.extraction.runs.run import COMMAND, ExtractionRun, ExtractResult
from qatool.files.output.targets import Target, beside, check_target, parse_target, run_folder
from qatool.files.requested import name_problems
from qatool.files.sources.stdin import STDIN, copy_spool
from qatool.files.storage.atomic import is_device
from qatool.files.storage.locations import location
from qatool.jobs.runfolder.claim import refuse_foreign
from qatool.jobs.runfolder.folder import RunFolder
from qatool.jobs.runfolder.runlog import log_handler
from qatool.jobs.stopping import Stop
from qatool.logs import log_end, log_event, logging_also_to
from qatool.names import REJECTS_SUFFIX, SUMMARY_SUFFIX
from qatool.observers import SilentObserver

if TYPE_CHECKING:
    from qatool.extraction.runs.forecast import Forecast
    from qatool.observers import Observer
    from qatool.options import ExtractOptions

__all__ = ["ExtractResult", "forecast", "run"]


def run(options: ExtractOptions, *, observer: Observer | None = None) -> ExtractResult:
    """Answer every example of the input.

    :param observer: progress display
    :raises QatoolError: see :mod:`qatool.errors`; rejected rows raise nothing, ``summary["rejected"]`` counts them
    """
    target = _checked_target(options)
    stop = _stop(options, target)
    with stop.listening(), ExitStack() as stack:
        folder = stack.enter_context(RunFolder(workplace(target, stack), command=COMMAND))
        recover(target)
        stack.enter_context(logging_also_to(log_handler(folder.log, is_over=lambda: folder.is_removed)))
        try:
            with naming_failures():
                return ExtractionRun(options, target, folder, stop, observer or SilentObserver()).run()
        except QatoolError as error:
            log_end(error, str(error), cause=error.__cause__)
            raise
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            log_event("stopped", level=logging.ERROR, routine=True, exit_code=1, traceback=trace)
            raise


def forecast(options: ExtractOptions, *, observer: Observer | None = None) -> Forecast:
    """Return how much work there is and how long it will take (``--dry-run``); change nothing.

    :param observer: progress display, for the ranking of documents
    :raises QatoolError: for the same reasons for which the run would not start
    """
    from qatool.extraction.engines.engine import local_places
    from qatool.extraction.runs.forecast import forecast_of

    observer = observer or SilentObserver()
    target = _checked_target(options)
    # Speed is measured on the first device of this machine, also for a run on a cluster.
    places = local_places(options) if options.engine == "local" else [options.device]
    options = replace(options, device=places[0], devices=None)
    stop = _stop(options, target)
    with stop.listening(), stop.at_once(), ExitStack() as stack:
        spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-")))
        if STDIN in options.inputs and target.kind != "stdout" and not options.restart:
            copy_spool(run_folder(target.path), spool)
        source = open_input(options, target, spool, observer)
        observer.finished()
        folder = None if target.kind == "stdout" else RunFolder(run_folder(target.path), command=COMMAND)
        if folder is not None:
            refuse_foreign(folder.path)
            folder.refuse_others()
        plan = None if folder is None else plan_of(folder, restart=options.restart)
        planned = values_of(plan)
        setup = load_setup(as_planned(options, planned), planned=planned, features=source.features)
        if folder is not None:
            continue_only_same(folder, plan, setup.resolved.identity, restart=options.restart)
        continued = None if options.restart else folder
        # Where the input has changed, the run takes finished rows over from its own parts, too.
        own = [] if continued is None else [*continued.parts.previous_parts(), *continued.parts.finished_parts()]
        columns = replace(setup.extractor.columns, kept=source.corpus.kept_fields())
        told = forecast_of(
            replace(setup, extractor=replace(setup.extractor, columns=columns)),
            source.corpus,
            folder=continued,
            earlier=[*own, *reusable_files(options, setup.resolved.identity)],
        )
        return told.spread(
            workers=len(places) if options.engine == "local" else None,
            before=source.ranking.seconds if source.ranking else 0.0,
        )


def _checked_target(options: ExtractOptions) -> Target:
    """Return the target of the answers, after checking that it and the files beside it can be written.

    :raises UsageError: the output is not a valid name, or a column is named that cannot be read or kept
    :raises OutputError: one of the files cannot be written
    """
    snippet = options.snippet is not None
    problems = name_problems(
        options.output, options.column, options.keep, documents=options.asks_documents, snippet=snippet
    )
    if problems:
        raise UsageError(*problems)
    target = parse_target(options.output)
    check_target(target)
    files = [] if options.summary in {None, "-"} else [location(str(options.summary))]
    files = [path for path in files if not is_device(path)]  # a summary may go to a device
    if target.kind != "stdout":
        files += [beside(target.path, suffix) for suffix in (REJECTS_SUFFIX, SUMMARY_SUFFIX)]
    for path in files:
        check_target(Target(kind="jsonl", path=path))
    return target


def _stop(options: ExtractOptions, target: Target) -> Stop:
    remedy = "the same command continues"
    if target.kind == "stdout":
        remedy = "standard output cannot be continued: start again, or name a file with -o"
    return Stop(max_duration=options.max_seconds, label=options.max_duration or "", remedy=remedy)
