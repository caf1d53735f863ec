"""``qatool extract``: the best span of each example over all its windows."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatool.errors import EXIT_DONE, InputError, QatoolError, ResumeRefusedError, RowsRejected, UsageError
from qatool.extraction.best import best_per_question
from qatool.extraction.job import ExtractionWork
from qatool.extraction.setup import prepare
from qatool.extraction.summary import SpeedLog, metadata, reasons, summary
from qatool.files.answers import open_writer
from qatool.files.atomic import replacing, reporting, temporary_name, write_json
from qatool.files.corpus import open_corpus
from qatool.files.paths import resolve
from qatool.files.targets import Target, check_target, parse_target
from qatool.jobs.folder import RunFolder, sweep
from qatool.jobs.local import Totals, run_local
from qatool.jobs.plan import Plan
from qatool.jobs.stopping import Stop
from qatool.logs import SilentObserver, log_event, logging_also_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from qatool.extraction.setup import Setup
    from qatool.files.corpus import Corpus
    from qatool.files.paths import Source
    from qatool.jobs.folder import Marker
    from qatool.jobs.local import Step
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
    if options.summary not in {None, "-"}:
        check_target(Target(kind="jsonl", path=Path(str(options.summary))))
    stop = _stop(options, target)
    with stop.listening(), ExitStack() as stack:
        folder = stack.enter_context(RunFolder(_workplace(target, stack)))
        _recover(target)
        stack.enter_context(logging_also_to(folder.log))
        try:
            return _Extraction(options, target, folder, stop, observer or SilentObserver()).run()
        except QatoolError as error:
            log_event("stopped", routine=True, exit_code=error.exit_code, reason=str(error))
            raise
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            log_event("stopped", level=logging.ERROR, routine=True, exit_code=1, traceback=trace)
            raise


def forecast(options: ExtractOptions) -> Mapping[str, Any]:
    """Tell how much work there is and what it will take (``--dry-run``); nothing is changed.

    :raises QatoolError: what would also keep the run from starting
    """
    from qatool.extraction.forecast import forecast_of

    target = parse_target(options.output)
    check_target(target)
    stop = _stop(options, target)
    with stop.listening(), stop.at_once(), ExitStack() as stack:
        spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-")))
        corpus = _open_corpus(options, target, spool)
        folder = None if target.kind == "stdout" else RunFolder(run_folder(target.path))
        plan = None if folder is None or options.restart else Plan.load(folder.plan)
        options = _as_planned(options, plan)
        setup = prepare(options, planned=plan.limits if plan else {}, kept=corpus.kept_fields())
        if plan is not None and folder is not None:
            plan.check_same_work(setup.identity, folder=folder.path)
        resumes = folder is not None and not options.restart
        if folder is not None:
            folder.identity = setup.answer_fingerprint
        return forecast_of(setup, corpus, folder=folder if resumes else None)


def run_folder(output: Path) -> Path:
    """Return the run folder of an output."""
    return output.with_name(output.name + ".qatool")


def _stop(options: ExtractOptions, target: Target) -> Stop:
    remedy = "the same command continues"
    if target.kind == "stdout":
        remedy = "standard output cannot be continued: start again, or name a file with -o"
    return Stop(max_duration=options.max_seconds, label=options.max_duration or "", remedy=remedy)


def _workplace(target: Target, stack: ExitStack) -> Path:
    """Return the run folder of an output; standard output has a temporary one."""
    if target.kind == "stdout":
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-"))) / "run"
    return run_folder(target.path)


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(output.name + suffix)


def _recover(target: Target) -> None:
    """Clear away what a killed run left beside the output; only under the lock.

    A folder takes its name in two renames. Killed between them, the earlier output stands under a temporary name
    only, and is put back.
    """
    path = target.path
    if target.kind == "stdout":
        return
    if target.kind == "folder" and not path.exists():
        for left in sorted(path.parent.glob(f".{path.name}.????????.tmp")):
            if (left / "_SUCCESS").is_file():
                with reporting(path):
                    left.rename(path)
                break
    sweep(path, run_folder(path), _beside(path, ".summary.json"), _beside(path, ".rejects.jsonl"))


def _open_corpus(options: ExtractOptions, target: Target, spool: Path) -> Corpus:
    sources = _without_own(resolve(options.inputs, stdin_spool=spool), options, target)
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


def _without_own(sources: list[Source], options: ExtractOptions, target: Target) -> list[Source]:
    """Leave out what earlier runs of this command wrote into the folder that is its input.

    :raises UsageError: the output itself is named as input
    """
    if target.kind == "stdout":
        return sources
    output = Path(os.path.abspath(target.path))  # noqa: PTH100 (resolve() would follow a link that is the input)
    named = [text for text in options.inputs if Path(os.path.abspath(text)) == output]  # noqa: PTH100
    if named:
        raise UsageError(f"INPUT {named[0]}: is also the output (-o); name another output")
    written = [name for name in (options.summary, options.log_file) if name not in (None, "-")]
    files = {output, _beside(output, ".summary.json"), _beside(output, ".rejects.jsonl")}
    files |= {Path(os.path.abspath(name)) for name in written if name is not None}  # noqa: PTH100
    # Standard input is spooled into the run folder, and is no earlier run's work.
    kept = [
        source
        for source in sources
        if source.name == "<stdin>"
        or not {path := Path(os.path.abspath(source.path)), *path.parents} & {*files, run_folder(output)}  # noqa: PTH100
    ]
    if len(kept) < len(sources):
        log_event("not read: what this command itself writes", files=len(sources) - len(kept))
    if not kept:
        raise InputError(f"{', '.join(options.inputs)}: holds nothing but what this command writes; add input files")
    return kept


def _as_planned(options: ExtractOptions, plan: Plan | None) -> ExtractOptions:
    """Return the options with backend, device, precision and threads of the plan where the user chose none."""
    import torch

    if plan is None:
        return options
    limits = plan.limits
    changes: dict[str, Any] = {}
    if options.backend == "auto" and options.device == "auto":
        changes = {"backend": limits["backend"], "device": limits["device_kind"]}
        if options.precision == "auto":
            changes["precision"] = limits["precision"]
    if "OMP_NUM_THREADS" not in os.environ and limits["threads"] != torch.get_num_threads():
        torch.set_num_threads(limits["threads"])
    return replace(options, **changes)


class TooManyRejectsError(InputError):
    """More rows were rejected than ``--max-errors`` allows."""


class _Extraction:
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
        self._rows_written = 0

    def run(self) -> ExtractResult:
        """Do it all: read, answer, assemble, sum up."""
        began = time.monotonic()
        with self._stop.at_once():
            corpus, setup = self._set_up()
            reusable = self._reusable(setup)
            total = corpus.total()
        if self._options.restart:
            self._folder.start_over()
        self._save_plan(setup, total)
        work = ExtractionWork(
            corpus,
            setup.extractor,
            setup.shard_limits,
            earlier=lambda: [*self._folder.previous_parts(), *reusable],
            skip_errors=self._options.on_error == "skip",
        )
        load_seconds = time.monotonic() - began
        log_event("started", routine=True, examples=total, pid=os.getpid(), load_seconds=round(load_seconds, 3))
        speed = SpeedLog()
        totals = self._answer(work, speed, total)
        self._observer.message("writing the output")
        self._assemble(setup, totals)
        return self._sum_up(setup, totals, speed, work.samples, load_seconds=load_seconds)

    def _set_up(self) -> tuple[Corpus, Setup]:
        """Open the input and load the model, as planned where there is a plan; changes nothing but the spool."""
        folder = self._folder
        corpus = _open_corpus(self._options, self._target, folder.path)
        plan = None if self._options.restart else Plan.load(folder.plan)
        options = _as_planned(self._options, plan)
        setup = prepare(options, planned=plan.limits if plan else {}, kept=corpus.kept_fields())
        folder.identity = setup.answer_fingerprint
        if plan is not None:
            plan.check_same_work(setup.identity, folder=folder.path)
            if changes := plan.overridden(setup.limits):
                log_event(
                    "limits changed: the same answers, but their scores may differ in the last bits from those "
                    "of an uninterrupted run",
                    level=logging.WARNING,
                    changes=", ".join(changes),
                )
        elif not self._options.restart and folder.other_identity():
            raise ResumeRefusedError(
                f"{folder.path}: holds unfinished work of another model or other options (its plan.json cannot be "
                "read to say which); start the earlier command again, or start over with --restart"
            )
        return corpus, setup

    def _save_plan(self, setup: Setup, total: int | None) -> None:
        plan = Plan(identity=setup.identity, limits=setup.limits, output=self._target.path.name, examples=total)
        plan.save(self._folder.plan, confirm=self._folder.lock.check)

    def _reusable(self, setup: Setup) -> list[Path]:
        """Return the earlier output to take answers from, when it was made the same way."""
        if self._options.reuse is None:
            return []
        path = Path(self._options.reuse)
        if not path.exists() and path == self._target.path:
            return []  # the first of many runs that each reuse the last one's output
        made_by = _answer_fingerprint(path)
        if made_by == setup.answer_fingerprint:
            return [path]
        log_event(
            "nothing is reused: the earlier answers were made by another model or other options",
            level=logging.WARNING,
            reuse=str(path),
        )
        return []

    def _answer(self, work: ExtractionWork, speed: SpeedLog, total: int | None) -> Totals:
        """Answer all shards; each ends up as a part in the run folder, or on standard output."""
        totals = Totals()
        began = False
        read = shown = 0

        def begin() -> None:
            """Start the display when it is known how much earlier starts have done."""
            nonlocal began
            began = True
            if totals.resumed_units:
                log_event("resumed", shards=totals.resumed_units, examples=totals.resumed["examples"])
            left = None if total is None else max(0, total - totals.resumed["examples"])
            self._observer.started(left, "answering")

        def tick(windows: int) -> None:
            nonlocal read, shown
            if windows and not began:
                begin()
            read += windows
            step = work.in_hand.examples_at(read) - shown
            shown += step
            self._observer.advanced(step, windows)

        def done(step: Step) -> None:
            nonlocal read, shown
            if not step.resumed:
                if not began:
                    begin()
                speed.add(totals)
            if began:
                self._observer.advanced(step.counts["examples"] - shown, 0)
                read = shown = 0
                self._log_shard(step)
            self._check_rejects(step, totals)

        store = _StreamingStore(self._folder, self._target) if self._streams else self._folder
        try:
            run_local(work, store, totals, stop=self._stop, tick=tick, done=done)
        except QatoolError:
            with suppress(QatoolError):
                self._write_rejects(totals)
            raise
        if not began:
            begin()
        self._write_rejects(totals)
        return totals

    def _log_shard(self, step: Step) -> None:
        log_event(
            "shard done",
            routine=True,
            shard=step.index,
            examples=step.counts["examples"],
            windows=step.counts["windows_read"],
            taken_over=step.counts["taken_over"],
            rejected=step.counts["rejected"],
            resumed=step.resumed,
            seconds=round(step.seconds, 3),
        )

    def _check_rejects(self, step: Step, totals: Totals) -> None:
        """Stop at the first rejected row, or at one too many.

        :raises InputError: with ``--on-error fail``, for a row that an earlier start had set aside
        """
        options = self._options
        if options.on_error == "fail" and step.rejects:
            first = step.rejects[0]
            raise InputError(f"{first['where']}: {first['reason']}; add --on-error skip to set such rows aside")
        limit, rejected = options.max_errors, totals.counts["rejected"]
        if limit is not None and rejected > limit:
            see = "" if self._target.kind == "stdout" else f"see {self._folder.rejects}, "
            raise TooManyRejectsError(
                f"{rejected} rows were rejected, more than --max-errors {limit}; {see}mend them or raise --max-errors"
            )

    def _write_rejects(self, totals: Totals) -> None:
        """List the rejected rows in the run folder; from there they move beside the output."""
        if not totals.counts["rejected"] or not self._folder.lock.is_ours():
            return
        with replacing(self._folder.rejects, confirm=self._folder.lock.check) as stream:
            for marker in self._markers(totals):
                for reject in marker.rejects:
                    line = json.dumps(reject, ensure_ascii=False) + "\n"
                    stream.write(line.encode("utf-8", "backslashreplace"))

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
            confirm=folder.lock.check,
        )
        with writer:
            for table in self._output_tables(count, schema):
                writer.write(table)
                self._rows_written += table.num_rows

    def _output_tables(self, count: int, schema: pa.Schema) -> Iterator[pa.Table]:
        def tables() -> Iterator[pa.Table]:
            for table in self._folder.tables(count, schema):
                self._stop.check(may_run_out=False)
                yield table

        return tables() if self._options.best_per is None else best_per_question(tables, top_k=self._options.top_k)

    def _sum_up(
        self, setup: Setup, totals: Totals, speed: SpeedLog, samples: list[Sample], *, load_seconds: float
    ) -> ExtractResult:
        """Write the summary, leave the rejects beside the output and remove the run folder."""
        target, options = self._target, self._options
        rejects = None
        rejected = totals.counts["rejected"]
        reject_reasons = reasons(self._markers(totals)) if rejected else Counter[str]()
        if target.kind != "stdout":
            beside = _beside(target.path, ".rejects.jsonl")
            with reporting(beside):
                if rejected:
                    self._folder.rejects.replace(beside)
                    rejects = str(beside)
                else:
                    beside.unlink(missing_ok=True)
        told = summary(
            setup=setup,
            model=options.model or os.environ.get("QATOOL_MODEL", ""),
            totals=totals,
            speed=speed,
            reject_reasons=reject_reasons,
            output=options.output,
            rejects=rejects,
            load_seconds=load_seconds,
            rows_written=self._rows_written,
            exit_code=RowsRejected.exit_code if rejected else EXIT_DONE,
        )
        if target.kind != "stdout":
            write_json(_beside(target.path, ".summary.json"), told)
        if options.summary == "-":
            sys.stdout.write(json.dumps(told, indent=2) + "\n")
        elif options.summary is not None:
            write_json(Path(options.summary), told)
        log_event("finished", routine=True, examples=totals.counts["examples"], exit_code=told["exit_code"])
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
