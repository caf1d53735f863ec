"""One run of an extraction inside its locked run folder: set up, answer, assemble, sum up."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qatool.errors import EXIT_DONE, QatoolError, RowsRejected, naming_failures
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.setup import as_planned
from qatool.extraction.engines.engine import open_engine
from qatool.extraction.engines.job import ExtractionJob
from qatool.extraction.runs.assembly import Assembly
from qatool.extraction.runs.earlyoutput import EarlyOutput
from qatool.extraction.runs.inputs import open_input
from qatool.extraction.runs.output import StreamingStore
from qatool.extraction.runs.progress import RunProgress
from qatool.extraction.runs.rejects import RejectList
from qatool.extraction.runs.resuming import continue_only_same, plan_of, values_of
from qatool.extraction.runs.reuse import reusable_files
from qatool.extraction.runs.summary import RunRecord
from qatool.files.output.targets import beside
from qatool.files.sources.stdin import STDIN
from qatool.files.storage.atomic import write_json
from qatool.files.storage.locations import location
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.jobs.engines.monitor import RunMonitor, Totals
from qatool.jobs.runfolder.plan import Plan
from qatool.logs import log_event
from qatool.models.named import model_name
from qatool.names import SUMMARY_SUFFIX
from qatool.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qatool.extraction.answering.resolved import Resolved
    from qatool.extraction.answering.sample import Sample
    from qatool.extraction.engines.engine import Engine
    from qatool.extraction.runs.inputs import ExtractionInput
    from qatool.files.output.targets import Target
    from qatool.jobs.engines.monitor import Step
    from qatool.jobs.runfolder.folder import RunFolder
    from qatool.jobs.stopping import Stop
    from qatool.observers import Observer
    from qatool.options import ExtractOptions

COMMAND = "extract"
"""The command that a run folder made here belongs to."""


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """The result of an extraction."""

    summary: Mapping[str, Any]
    """The summary, as in ``<output>.summary.json``."""
    samples: Sequence[Sample]
    """A few answers with their contexts."""


class ExtractionRun:
    """One run of ``qatool extract`` inside its locked run folder."""

    def __init__(
        self, options: ExtractOptions, target: Target, folder: RunFolder, stop: Stop, observer: Observer
    ) -> None:
        self._options = options
        self._target = target
        self._folder = folder
        self._observer = observer
        self._stop = stop
        self._streams = target.kind == "stdout" and options.best_per is None
        self._rejects = RejectList(options, target, folder)

    def run(self) -> ExtractResult:
        """Run the extraction: read, answer, assemble, sum up."""
        with ExitStack() as outputs:
            return self._run(outputs)

    def _run(self, outputs: ExitStack) -> ExtractResult:
        """Run the extraction; the engine is closed before the output is finished, even if that is begun early.

        :param outputs: discards an output that is begun but not finished
        """
        began = time.monotonic()
        totals = Totals()
        with ExitStack() as stack:
            with self._stop.at_once():
                source, engine = self._set_up(stack)
                resolved = engine.resolved
                reusable = reusable_files(self._options, resolved.identity)
                total = source.corpus.total()
            if self._options.restart:
                self._folder.start_over()
            self._save_plan(resolved, total)
            columns = self._columns(source)
            job = ExtractionJob(
                source.corpus,
                columns,
                resolved.shard_limits,
                earlier=lambda: [*self._folder.parts.previous_parts(), *reusable],
                spool=self._folder.staging,
                skip_errors=self._options.on_error == "skip",
            )
            load_seconds = time.monotonic() - began
            if source.ranking is not None:
                totals.stages["rank"] = source.ranking.seconds
                load_seconds -= source.ranking.seconds
            log_event("started", routine=True, examples=total, pid=os.getpid(), load_seconds=round(load_seconds, 3))
            record = RunRecord(
                resolved=resolved,
                model=model_name(self._options.model),
                output=redacted(self._options.output),
                totals=totals,
                reject_reasons=self._rejects.reasons,
                load_seconds=load_seconds,
            )
            assembly = Assembly(self._options, self._target, self._folder, self._stop, resolved.identity, totals)
            tell = partial(self._summary, record, assembly)
            early = self._early_output(resolved, assembly)
            if early is not None:
                outputs.enter_context(early)
            with self._telling_of_a_stop(lambda code: tell(engine.devices, code)):
                self._answer(engine, job, record, early, total=total)
            devices = engine.devices
        if totals.counts["examples"]:
            for name in source.corpus.unseen_columns():
                log_event(f"--keep {name}: no row has this column, so it is null throughout", level=logging.WARNING)
        else:
            log_event("the input holds no example, so the output has no rows", level=logging.WARNING)
        self._observer.message("writing the output")
        with self._telling_of_a_stop(lambda code: tell(devices, code)):
            if not self._streams and not (early is not None and assembly.take(early)):
                assembly.write(columns.empty_schema(), source.ranking)
        summary = tell(devices, RowsRejected.exit_code if totals.counts["rejected"] else EXIT_DONE)
        self._sum_up(summary)
        return ExtractResult(summary=summary, samples=assembly.samples or job.samples)

    def _columns(self, source: ExtractionInput) -> AnswerColumns:
        options = self._options
        return AnswerColumns(
            documents=options.asks_documents, snippet=options.snippet, kept=source.corpus.kept_fields()
        )

    def _set_up(self, stack: ExitStack) -> tuple[ExtractionInput, Engine]:
        """Open the input and load the model, according to the plan where there is one.

        Nothing is written yet, except the copy of standard input.

        :param stack: ends the workers that are started
        :raises ResumeRefusedError: the run folder holds unfinished work of another model or other options
        """
        folder = self._folder
        # Opening standard input overwrites the copy that an earlier start made of it. Only the same work may do so,
        # which is checked first.
        source = None if STDIN in self._options.inputs else self._open_input()
        plan = plan_of(folder, restart=self._options.restart)
        planned = values_of(plan)
        engine = open_engine(
            as_planned(self._options, planned),
            planned=planned,
            features=source.features if source else None,
            stop=self._stop,
            stack=stack,
        )
        resolved = engine.resolved
        continue_only_same(folder, plan, resolved.identity, restart=self._options.restart)
        limits = resolved.numerics.as_json()
        if plan is not None and (changes := plan.overridden(limits)):
            log_event(
                f"limits changed: {_what_differs(plan.limits, limits)} from those of an uninterrupted run",
                level=logging.WARNING,
                changes=", ".join(changes),
            )
        return source or self._open_input(), engine

    def _open_input(self) -> ExtractionInput:
        return open_input(self._options, self._target, self._folder.path, self._observer)

    def _save_plan(self, resolved: Resolved, total: int | None) -> None:
        plan = Plan(
            identity=resolved.identity.as_json(),
            limits=resolved.numerics.as_json(),
            output=self._target.path.name,
            examples=total,
            command=COMMAND,
        )
        plan.save(self._folder.plan, confirm=self._folder.lock.check)

    def _early_output(self, resolved: Resolved, assembly: Assembly) -> EarlyOutput | None:
        """Return a writer of the output that works while parts are made, ``None`` where it would gain nothing.

        Without a card, it would take as much time from the cores that read as it saves in the end.
        """
        target = self._target
        if target.kind != "parquet" or isinstance(target.path, ObjectPath):
            return None
        if self._options.best_per is not None or not _has_a_card(resolved):
            return None
        return EarlyOutput(self._folder.parts.table, assembly.writer, folder=target.path.parent)

    def _answer(
        self, engine: Engine, job: ExtractionJob, record: RunRecord, early: EarlyOutput | None, *, total: int | None
    ) -> None:
        """Answer all shards, and write each part to the run folder or to standard output."""
        totals = record.totals
        progress = RunProgress(job, totals, total=total, observer=self._observer)

        def done(step: Step) -> None:
            self._rejects.add(step)
            if early is not None:
                early.committed(step.index)
            progress.done(step)
            if not step.resumed:
                record.speed.add(totals)
            self._rejects.check(step)

        store = StreamingStore(self._target) if self._streams else self._folder.parts
        try:
            monitor = RunMonitor(stop=self._stop, tick=progress.tick, done=done, totals=totals)
            with naming_failures():
                engine.run(job, store, monitor, in_order=self._streams)
        except QatoolError:
            progress.stopped()
            with suppress(QatoolError):
                self._rejects.write()
            raise
        progress.begin()
        self._rejects.write()

    def _summary(self, record: RunRecord, assembly: Assembly, devices: str, exit_code: int) -> dict[str, Any]:
        """Return the summary, still without the path of the list of rejected rows."""
        return record.summary(
            devices=devices,
            rows_written=record.totals.counts["examples"] if self._streams else assembly.rows,
            of_questions=assembly.of_questions,
            exit_code=exit_code,
        )

    def _sum_up(self, summary: dict[str, Any]) -> None:
        """Write the summary and the list of rejected rows beside the output, and remove the run folder."""
        target = self._target
        if target.kind != "stdout":
            summary["rejects"] = self._rejects.leave_beside()
            write_json(beside(target.path, SUMMARY_SUFFIX), summary)
        self._give_summary(summary)
        log_event("finished", routine=True, examples=summary["examples"], exit_code=summary["exit_code"])
        if self._options.keep_run:
            self._folder.forget_previous()
        else:
            self._folder.remove()

    @contextmanager
    def _telling_of_a_stop(self, tell: Callable[[int], dict[str, Any]]) -> Iterator[None]:
        """When the block ends with an error, write the summary, with the reason, where ``--summary`` says.

        :param tell: returns the summary for an exit code
        """
        try:
            with naming_failures():
                yield
        except QatoolError as error:
            with suppress(QatoolError, OSError):
                self._give_summary({**tell(error.exit_code), "stopped": str(error)})
            raise

    def _give_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary where ``--summary`` says."""
        if self._options.summary == "-":
            with reporting("standard output"):
                sys.stdout.write(json.dumps(summary, indent=2) + "\n")
                sys.stdout.flush()
        elif self._options.summary is not None:
            write_json(location(self._options.summary), summary)


def _what_differs(planned: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if planned.get("precision") == now["precision"]:
        return "the same answers, but their scores may differ in the last bits"
    return "the same rows, but their scores differ in the third digit, and an answer in a hundred may, too,"


def _has_a_card(resolved: Resolved) -> bool:
    return resolved.numerics.is_on_card
