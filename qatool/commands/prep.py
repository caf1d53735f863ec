"""``qatool prep``: write windowed, labelled features to disk, with an audit."""

from __future__ import annotations

import gc
import json
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qatool.errors import InputError, ResumeRefusedError
from qatool.features.audit import COUNTS, Audit
from qatool.features.duplicates import Duplicates
from qatool.features.layout import AUDIT_NAME, CARD, CARD_NAME, MANIFEST_NAME, REJECTS_NAME, Manifest
from qatool.features.maker import FeatureMaker
from qatool.features.negatives import with_negatives
from qatool.features.shards import cut_shards
from qatool.features.writer import PartWriter, Thinning, input_hashes, name_parts, share_out
from qatool.files.examples.corpus import open_corpus
from qatool.files.examples.labels import LABEL_FIELDS
from qatool.files.formats.parquet import arrow_source
from qatool.files.output.own import without_own
from qatool.files.output.partfolder import publish
from qatool.files.output.targets import Target, check_target, run_folder
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import too_many_bad
from qatool.files.storage.atomic import write_bytes, write_json
from qatool.files.storage.locations import on_disk
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.claim import locked_folder
from qatool.jobs.runfolder.leftovers import remove_folder, restore
from qatool.jobs.runfolder.lock import LOCK_NAME
from qatool.jobs.runfolder.plan import PLAN_NAME
from qatool.jobs.stopping import Stop
from qatool.jobs.workers.inorder import in_order
from qatool.jobs.workers.processes import usable_cores
from qatool.logs import log_event
from qatool.models.companions import config_values
from qatool.models.named import model_name
from qatool.models.settings import ModelSettings, longest_input
from qatool.models.sizes import resolve_size
from qatool.observers import SilentObserver
from qatool.options import DECODE_PRESETS
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qatool.features.maker import Report
    from qatool.files.examples.corpus import Corpus
    from qatool.files.sources.source import Source
    from qatool.jobs.runfolder.lock import Lock
    from qatool.observers import Observer
    from qatool.options import PrepOptions

_STAGING_NAME = "features"
_WORKER_MODULES = ("qatool.features.writer", "qatool.features.maker", "qatool.windows.tokenizer", "tokenizers")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class PrepResult:
    """The outcome of a preparation."""

    audit: Mapping[str, Any]
    """The content of ``audit.json``."""
    folder: Path
    seconds: float
    """Duration of the whole run."""
    load_seconds: float
    """Seconds until input and tokenizer were ready, included in ``seconds``."""
    rejects: Path | None
    """List of the rejected examples; ``None`` if there are none."""


def run(
    options: PrepOptions,
    *,
    observer: Observer | None = None,
    written: Sequence[str] = (),
    stop: Stop | None = None,
) -> PrepResult:
    """Make features of every example of the input.

    :param observer: progress display
    :param written: further outputs of the command, which are therefore not read as input
    :param stop: stop of the command that this is a part of; its time limit is ignored here, as incomplete features
        would be of no use
    :raises QatoolError: see :mod:`qatool.errors`; rejected examples raise nothing, ``audit["rejected"]`` counts them
    """
    output = on_disk(options.output, flag="-o")
    check_target(Target(kind="folder", path=output, holds="features"))
    stop = stop or Stop(remedy=f"{output} is as it was, the same command starts over")
    workplace = _workplace(output)
    with workplace as (folder, lock), stop.listening(), _rare_collections():
        own = [*written, str(output), str(folder)]
        return _Preparation(options, output, folder, lock, stop, observer or SilentObserver(), own).run()


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Run the garbage collector rarely, as rows have no cycles and each collection visits all rows in memory."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _workplace(output: Path) -> Iterator[tuple[Path, Lock]]:
    """Yield the locked, empty run folder of an output and its lock; remove the folder unless it holds rejects.

    :raises ResumeRefusedError: the folder holds unfinished work of another command
    """
    folder = run_folder(output)
    with locked_folder(folder, command="prep", also=[_STAGING_NAME]) as lock:
        if (folder / PLAN_NAME).exists():
            raise ResumeRefusedError(
                f"{folder}: holds unfinished work of another command (its plan.json cannot be read to say which); "
                "finish that first, or remove the folder"
            )
        restore(output)
        _clear(folder)
        try:
            yield folder, lock
        finally:
            _clear(folder, spare=REJECTS_NAME)
            if not (folder / REJECTS_NAME).exists():
                remove_folder(folder, also=[_STAGING_NAME])


def _clear(folder: Path, *, spare: str = "") -> None:
    """Remove everything from a run folder but its lock and the file named ``spare``."""
    for path in folder.iterdir():
        if path.name == spare:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK_NAME:
            path.unlink(missing_ok=True)


class _Preparation:
    """One run of ``qatool prep`` inside its locked run folder."""

    def __init__(
        self,
        options: PrepOptions,
        output: Path,
        folder: Path,
        lock: Lock,
        stop: Stop,
        observer: Observer,
        own: Sequence[str],
    ) -> None:
        self._options = options
        self._output = output
        self._folder = folder
        self._lock = lock
        self._stop = stop
        self._observer = observer
        self._own = own
        self._staging = folder / _STAGING_NAME
        self._workers = options.workers or usable_cores()

    def run(self) -> PrepResult:
        """Read, label, cut and write all examples, write the audit, and give the folder its name."""
        began = time.monotonic()
        options = self._options
        sources = without_own(
            resolve(options.inputs, stdin_spool=self._folder),
            options.inputs,
            written=self._own,
            log_file=options.log_file,
        )
        corpus = open_corpus(
            sources, column=options.column, optional=LABEL_FIELDS, limit=options.limit, on_error=options.on_error
        )
        maker = _maker(options)
        load_seconds = time.monotonic() - began
        with reporting(self._output):
            self._staging.mkdir()
        # The number of unanswerable examples to be made is not known beforehand.
        makes_more = any(options.negatives.values())
        self._observer.started(None if makes_more else corpus.total(), "preparing")
        audit = Audit(maker.size.max_length)
        reports = self._write_parts(corpus, maker, audit)
        self._observer.message("writing the manifest")
        self._thin(maker, audit, [report["windows_without_answer"] for report in reports])
        name_parts(self._staging, len(reports))
        told = self._seal(sources, maker, audit, reports)
        self._lock.check()
        publish(self._staging, self._output, holds="features")
        if audit.counts["unlabelled"] and (audit.counts["answerable"] or audit.counts["unanswerable"]):
            log_event("some examples have no label: their start_positions are null", rows=audit.counts["unlabelled"])
        return PrepResult(
            audit=told,
            folder=self._output,
            seconds=time.monotonic() - began,
            load_seconds=load_seconds,
            rejects=self._output / REJECTS_NAME if audit.counts["rejected"] else None,
        )

    def _write_parts(self, corpus: Corpus, maker: FeatureMaker, audit: Audit) -> list[Mapping[str, int]]:
        """Write all parts, and return the counts of each."""
        kept: list[Mapping[str, int]] = []
        seen = {name: Duplicates(self._made(name)) for name in ("duplicate_examples", "duplicate_ids")}
        examples = corpus.examples(refuse_bad=self._options.on_error == "fail")
        shards = cut_shards(with_negatives(examples, self._options.negatives))
        task = PartWriter(maker=maker, folder=self._staging)
        for report in self._in_order(task, shards):
            audit.add(report)
            self._take_rejects(report, audit)
            seen["duplicate_examples"].add(report.pairs)
            seen["duplicate_ids"].add(report.ids)
            names = ("examples", "windows", "windows_without_answer", "windows_with_answer")
            kept.append({name: report.counts[name] for name in names})
            self._observer.advanced(report.counts["examples"], report.counts["windows"])
        for name, digests in seen.items():
            audit.counts[name] = digests.count()
        return kept

    def _in_order(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return in_order(
            task,
            items,
            workers=self._workers,
            check=partial(self._stop.check, may_run_out=False),
            preload=_WORKER_MODULES,
        )

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        with reporting(folder):
            folder.mkdir()
        return folder

    def _take_rejects(self, report: Report, audit: Audit) -> None:
        """Append rejected examples to the list of rejects.

        :raises InputError: none are allowed (``--strict``), or there are too many
        """
        if not report.rejects:
            return
        if self._options.strict:
            first = report.rejects[0]
            raise InputError(
                f"{first['where']}: {first['reason']}; mend the row, or drop --strict to set such rows aside"
            )
        limit, rejected = self._options.max_errors, audit.counts["rejected"]
        # The list becomes part of the features; if there are too many, it is kept in the run folder.
        path = self._staging / REJECTS_NAME
        lines = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in report.rejects)
        with reporting(path), path.open("ab") as stream:
            stream.write(lines.encode("utf-8", "backslashreplace"))
        if limit is not None and rejected > limit:
            kept = path.replace(self._folder / REJECTS_NAME)
            raise too_many_bad(rejected, limit, see=str(kept))

    def _thin(self, maker: FeatureMaker, audit: Audit, negatives: Sequence[int]) -> None:
        """Drop windows without an answer as ``--negatives-per-positive`` asks."""
        ratio = self._options.negatives_per_positive
        if ratio is None:
            return
        keep = share_out(negatives, round(ratio * audit.counts["windows_with_answer"]))
        task = Thinning(folder=self._staging, max_length=maker.size.max_length, keep=keep)
        parts = (index for index, count in enumerate(negatives) if keep[index] < count)
        for lengths in self._in_order(task, parts):
            audit.drop(lengths)

    def _seal(
        self, sources: Sequence[Source], maker: FeatureMaker, audit: Audit, parts: Sequence[Mapping[str, int]]
    ) -> dict[str, Any]:
        """Write audit, card and, last, the manifest, and return the audit."""
        size, tokenizer = maker.size, maker.tokenizer
        disk_bytes = sum(path.stat().st_size for path in self._staging.glob("*.parquet"))
        told = audit.as_json(disk_bytes=disk_bytes)
        write_json(self._staging / AUDIT_NAME, told)
        write_bytes(self._staging / CARD_NAME, CARD.encode())
        template = tokenizer.template
        special = sorted({*template.prefix, *template.middle, *template.suffix})
        manifest = Manifest(
            tokenizer=tokenizer.fingerprint,
            special_tokens={str(token): tokenizer.token(token) for token in special},
            max_length=size.max_length,
            stride=size.stride,
            max_question_length=size.question_budget,
            answers=maker.answers,
            negatives_per_positive=self._options.negatives_per_positive,
            **self._options.negatives,
            counts={name: audit.counts[name] for name in COUNTS},
            inputs=input_hashes(sources),
            files=_files(self._staging, parts),
        )
        write_json(self._staging / MANIFEST_NAME, manifest.as_json())
        return told


def _files(folder: Path, parts: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """Return the number of rows of each pair of files; that of windows is read from disk, after thinning."""
    from pyarrow import parquet

    from qatool.features.layout import features_name

    return [
        {
            "features": int(parquet.read_metadata(arrow_source(folder / features_name(index, len(parts)))).num_rows),
            "examples": part["examples"],
        }
        for index, part in enumerate(parts)
    ]


def _maker(options: PrepOptions) -> FeatureMaker:
    """Load the tokenizer, resolve the size of windows, and return the maker of features.

    :raises EnvironmentUnfitError: the tokenizer does not load
    :raises UsageError: the windows asked for are too long for the model
    """
    name = model_name(options.model)
    tokenizer = PairTokenizer.load(name, trust_remote_code=options.trust_remote_code)
    tokenizer.remember_words()
    size = resolve_size(
        options,
        ModelSettings.load(name),
        n_special=tokenizer.template.n_special,
        limit=longest_input(config_values(name), tokenizer.model_max_length),
        max_question_length=options.max_question_length or DECODE_PRESETS["native"].max_question_length,
    )
    return FeatureMaker(tokenizer=tokenizer, size=size, answers=options.answers)
