"""``qatool extract``: the best span of each example over all its windows."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatool.errors import EXIT_DONE, InputError, RowsRejected
from qatool.extraction.best import best_per_question
from qatool.extraction.job import ExtractionWork
from qatool.extraction.setup import prepare
from qatool.extraction.summary import SpeedLog, metadata, reasons, summary
from qatool.files.answers import open_writer
from qatool.files.atomic import reporting, temporary_name, write_bytes, write_json
from qatool.files.corpus import open_corpus
from qatool.files.paths import resolve
from qatool.files.targets import check_target, parse_target
from qatool.jobs.folder import RunFolder
from qatool.jobs.local import Totals, run_local
from qatool.jobs.plan import Plan
from qatool.jobs.stopping import Stop
from qatool.logs import SilentObserver, log_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from qatool.extraction.setup import Setup
    from qatool.files.corpus import Corpus
    from qatool.files.targets import Target
    from qatool.jobs.folder import Marker
    from qatool.jobs.work import Part, Unit
    from qatool.logs import Observer
    from qatool.options import ExtractOptions
    from qatool.screen import Sample


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """What an extraction made."""

    summary: Mapping[str, Any]
    """As in ``<output>.summary.json``."""
    samples: Sequence[Sample]
    """A few answers with their contexts."""


def run(options: ExtractOptions, *, observer: Observer | None = None) -> ExtractResult:
    """Answer every example of the input.

    :param observer: is told how the work goes on
    :raises QatoolError: see :mod:`qatool.errors`; rejected rows do not raise, ``summary["rejected"]`` counts them
    """
    target = parse_target(options.output)
    check_target(target)
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(_workplace(target, stack)))
        if options.restart:
            folder.start_over()
        return _Extraction(options, target, folder, observer or SilentObserver()).run()


def _workplace(target: Target, stack: ExitStack) -> Path:
    """Return the run folder of an output; standard output has a temporary one."""
    if target.kind == "stdout":
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-"))) / "run"
    return target.path.with_name(target.path.name + ".qatool")


class TooManyRejectsError(InputError):
    """More rows were rejected than ``--max-errors`` allows."""


class _Extraction:
    """One run of ``qatool extract`` inside its locked run folder."""

    def __init__(self, options: ExtractOptions, target: Target, folder: RunFolder, observer: Observer) -> None:
        self._options = options
        self._target = target
        self._folder = folder
        self._observer = observer
        self._stop = Stop(max_duration=options.max_seconds)
        self._streams = target.kind == "stdout" and options.best_per is None
        self._in_hand = 0
        self._rows_written = 0

    def run(self) -> ExtractResult:
        """Do it all: read, answer, assemble, sum up."""
        began = time.monotonic()
        options, folder = self._options, self._folder
        corpus = self._open_corpus()
        plan = Plan.load(folder.plan)
        setup = prepare(options, planned=plan.limits if plan else {}, kept=corpus.kept_fields())
        self._settle_plan(plan, setup)
        folder.identity = setup.answer_fingerprint
        work = ExtractionWork(
            corpus,
            setup.extractor,
            setup.shard_limits,
            earlier=lambda: [*folder.previous_parts(), *self._reusable(setup)],
            skip_errors=options.on_error == "skip",
        )
        load_seconds = time.monotonic() - began
        self._observer.started(corpus.total(), "answering")
        speed = SpeedLog()
        with self._stop.listening():
            totals = self._answer(work, speed)
            self._observer.message("writing the output")
            self._assemble(setup, totals)
        return self._sum_up(setup, totals, speed, work.samples, load_seconds=load_seconds)

    def _open_corpus(self) -> Corpus:
        options = self._options
        sources = resolve(options.inputs, stdin_spool=self._folder.path)
        questions = resolve([options.questions])[0] if options.questions is not None else None
        corpus = open_corpus(
            sources,
            column=options.column,
            keep=options.keep,
            question=options.question,
            questions=questions,
            limit=options.limit,
            on_error=options.on_error,
            snippet=options.snippet is not None,
        )
        if options.on_error == "fail":
            for question in corpus.missing_documents():
                raise InputError(
                    f"{question.where}: no document has the id {question.document_id!r}; mend the row, or add "
                    "--on-error skip to set such rows aside"
                )
        return corpus

    def _settle_plan(self, plan: Plan | None, setup: Setup) -> None:
        """Continue the plan that is there, or make one."""
        if plan is not None:
            plan.check_same_work(setup.identity, folder=self._folder.path)
            if changes := plan.overridden(setup.limits):
                log_event(
                    "limits changed: the same answers, but their scores may differ in the last bits from those "
                    "of an uninterrupted run",
                    level=logging.WARNING,
                    changes=", ".join(changes),
                )
        output = self._target.path.name
        Plan(identity=setup.identity, limits=setup.limits, output=output).save(self._folder.plan)

    def _reusable(self, setup: Setup) -> list[Path]:
        """Return the earlier output to take answers from, when it was made the same way."""
        if self._options.reuse is None:
            return []
        path = Path(self._options.reuse)
        made_by = _answer_fingerprint(path)
        if made_by == setup.answer_fingerprint:
            return [path]
        log_event(
            "nothing is reused: the earlier answers were made by another model or other options",
            level=logging.WARNING,
            reuse=str(path),
        )
        return []

    def _answer(self, work: ExtractionWork, speed: SpeedLog) -> Totals:
        """Answer all shards; each ends up as a part in the run folder, or on standard output."""
        limit = self._options.max_errors

        def tick(windows: int) -> None:
            self._observer.advanced(0, windows)

        def done(totals: Totals, part: Part | None) -> None:
            if part is not None:
                speed.add(totals)
                self._observer.advanced(part.table.num_rows, 0)
                log_event("shard done", level=logging.DEBUG, shard=totals.units - 1, rows=part.table.num_rows)
            if limit is not None and totals.counts["rejected"] > limit:
                raise TooManyRejectsError(
                    f"{totals.counts['rejected']} rows were rejected, more than --max-errors {limit}; "
                    f"see {self._folder.path / 'rejects.jsonl'}, mend them or raise --max-errors"
                )

        store = _StreamingStore(self._folder, self._target) if self._streams else self._folder
        totals = Totals()
        try:
            run_local(work, store, totals, stop=self._stop, tick=tick, done=done)
        except TooManyRejectsError:
            self._write_rejects(totals)
            raise
        self._write_rejects(totals)
        return totals

    def _write_rejects(self, totals: Totals) -> None:
        """List the rejected rows in the run folder; from there they move beside the output."""
        if not totals.counts["rejected"]:
            return
        lines = (
            json.dumps(reject, ensure_ascii=False) + "\n"
            for marker in self._markers(totals)
            for reject in marker.rejects
        )
        write_bytes(self._folder.path / "rejects.jsonl", "".join(lines).encode("utf-8", "backslashreplace"))

    def _markers(self, totals: Totals) -> Iterator[Marker]:
        return self._folder.markers(totals.units)

    def _assemble(self, setup: Setup, totals: Totals) -> None:
        """Stream the parts into the output, which then takes its name."""
        if self._streams:
            self._rows_written = totals.counts["examples"]
            return
        folder, count = self._folder, totals.units
        schema = folder.schema(count) if count else setup.extractor.empty_schema()
        writer = open_writer(
            self._target,
            schema,
            metadata(setup, totals.counts),
            staging=None if self._target.kind == "stdout" else temporary_name(folder.path / "final"),
        )
        with writer:
            for table in self._output_tables(count, schema):
                self._stop.check(may_run_out=False)
                writer.write(table)
                self._rows_written += table.num_rows
            folder.lock.check()

    def _output_tables(self, count: int, schema: pa.Schema) -> Iterator[pa.Table]:
        if self._options.best_per is None:
            return self._folder.tables(count, schema)
        return best_per_question(lambda: self._folder.tables(count, schema), top_k=self._options.top_k)

    def _sum_up(
        self, setup: Setup, totals: Totals, speed: SpeedLog, samples: list[Sample], *, load_seconds: float
    ) -> ExtractResult:
        """Write the summary, leave the rejects beside the output and remove the run folder."""
        target, options = self._target, self._options
        rejects = None
        rejected = totals.counts["rejected"]
        if target.kind != "stdout":
            beside = target.path.with_name(target.path.name + ".rejects.jsonl")
            with reporting(beside):
                if rejected:
                    (self._folder.path / "rejects.jsonl").replace(beside)
                    rejects = str(beside)
                else:
                    beside.unlink(missing_ok=True)
        told = summary(
            setup=setup,
            model=options.model or "QATOOL_MODEL",
            totals=totals,
            speed=speed,
            reject_reasons=reasons(self._markers(totals)) if rejected else Counter(),
            output=options.output,
            rejects=rejects,
            load_seconds=load_seconds,
            rows_written=self._rows_written,
            exit_code=RowsRejected.exit_code if rejected else EXIT_DONE,
        )
        if target.kind != "stdout":
            write_json(target.path.with_name(target.path.name + ".summary.json"), told)
        if options.summary == "-":
            sys.stdout.write(json.dumps(told, indent=2) + "\n")
        elif options.summary is not None:
            write_json(Path(options.summary), told)
        if not options.keep_run:
            self._folder.remove()
        return ExtractResult(summary=told, samples=samples)


class _StreamingStore:
    """Sends each part to standard output at once; markers only, for rejects and the summary, go to the folder."""

    def __init__(self, folder: RunFolder, target: Target) -> None:
        self._folder = folder
        self._target = target

    def finished(self, _unit: Unit, /) -> Marker | None:
        """Nothing is ever finished before."""
        return None

    def commit(self, unit: Unit, part: Part, *, seconds: float) -> None:
        """Write the rows of a part."""
        with open_writer(self._target, part.table.schema, {}) as writer:
            writer.write(part.table)
        self._folder.mark(unit, part, part_hash="", seconds=seconds)


def _answer_fingerprint(path: Path) -> str | None:
    """Return what made the answers in a Parquet file.

    :raises InputError: it is not a Parquet file of answers
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = json.loads((pq.read_schema(path).metadata or {}).get(b"qatool", b"null"))
        return str(about["answer_fingerprint"])
    except FileNotFoundError:
        raise InputError(f"--reuse {path}: does not exist; name an earlier output") from None
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise InputError(f"--reuse {path}: is no answers.parquet made by qatool; name an earlier output") from error
