"""``qatool export``: convert a model to OpenVINO's format, optionally in int8, and compare it with the original."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import qatool
from qatool.commands.labelled import accepted, outcome_of, read_questions
from qatool.commands.sample import sample_questions
from qatool.errors import EnvironmentUnfitError, QualityGateError
from qatool.evaluation.measures.calibration import decided
from qatool.evaluation.measures.scoring import expected_answers, score
from qatool.extraction.answering.setup import load_setup
from qatool.extraction.answering.shards import cut_shards
from qatool.files.examples.labels import LABEL_FIELDS
from qatool.files.output.partfolder import publish
from qatool.files.output.targets import Target, check_target, run_folder
from qatool.files.storage.atomic import write_bytes, write_json
from qatool.files.storage.locations import on_disk
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.claim import locked_folder
from qatool.jobs.runfolder.leftovers import restore
from qatool.models.companions import load_config, save_tokenizer
from qatool.models.identity import is_exported
from qatool.models.loading import load_backend
from qatool.models.named import model_label
from qatool.models.settings import SETTINGS_FILE, ModelSettings, files_of, settings_path
from qatool.observers import SilentObserver
from qatool.options import ExtractOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.extraction.answering.extractor import Extractor
    from qatool.extraction.answering.setup import Setup
    from qatool.observers import Observer
    from qatool.options import ExportOptions
    from qatool.schema import Example
    from qatool.windows.assemble import WindowBatch

_STAGING = "model"
_CALIBRATION_SHARE = 3
"""One question in so many is used to find the ranges of activations; the others are used for the comparison."""


class Comparison(NamedTuple):
    """The scores of an exported model and of its original, in per cent."""

    questions: int
    on: str
    """Where the questions are from, for people."""
    labelled: bool
    """Whether answers were compared with labels; otherwise, the original's answers count as right."""
    exact_before: float
    exact_after: float
    f1_before: float
    f1_after: float
    same: float
    """Share of questions to which both give the same text, in per cent."""

    @property
    def f1_drop(self) -> float:
        """The points by which F1 has fallen; negative if it has risen."""
        return self.f1_before - self.f1_after


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The exported model."""

    folder: Path
    precision: str
    size: int
    """Size of the graph and its weights, in bytes."""
    comparison: Comparison
    left_out: int
    """Number of bad rows in the calibration data."""


def run(options: ExportOptions, *, observer: Observer | None = None) -> ExportResult:
    """Convert a model, quantise it if asked to, and write it if it answers as well as the original.

    :param observer: progress display
    :raises QualityGateError: F1 falls by more than ``--max-f1-drop``; nothing is written
    :raises QatoolError: see :mod:`qatool.errors`
    """
    output = on_disk(options.output, flag="-o")
    check_target(Target(kind="folder", path=output, holds="model"))
    if options.int8 and find_spec("nncf") is None:
        raise EnvironmentUnfitError("--int8: needs nncf; run: pip install 'qatool[openvino]'")
    if is_exported(options.model):
        raise EnvironmentUnfitError(f"{options.model}: is exported already; name the model it was made from")
    folder = run_folder(output)
    with locked_folder(folder, command="export", also=[_STAGING]):
        restore(output)
        staging = folder / _STAGING
        # A run that was killed may have left it.
        shutil.rmtree(staging, ignore_errors=True)
        try:
            return _export(options, output, staging, observer or SilentObserver())
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _export(options: ExportOptions, output: Path, staging: Path, observer: Observer) -> ExportResult:
    """Make the model in ``staging``, inside the locked run folder, and then move it to ``output``."""
    from qatool.models.openvino.conversion import convert, save_graph

    for_ranges, asked, on, left_out = _questions(options)
    setup = load_setup(_reading(options))
    observer.message("converting")
    graph = convert(options.model, allow_pickle=options.allow_pickle, trust_remote_code=options.trust_remote_code)
    if options.int8:
        from qatool.models.openvino.quantization import quantize

        observer.message("quantising")
        graph = quantize(graph, _calibration_batches(setup, for_ranges), limit=setup.extractor.backend.max_length)
    with reporting(staging):
        staging.mkdir()
        save_graph(graph, staging)
        _save_companions(options, staging)
    comparison = _compare(setup, staging, asked, on, observer)
    if comparison.f1_drop > options.max_f1_drop:
        raise QualityGateError(
            f"F1 falls by {comparison.f1_drop:.2f} (from {comparison.f1_before:.2f} to {comparison.f1_after:.2f} "
            f"on {comparison.questions:,} questions), more than --max-f1-drop {options.max_f1_drop:g}; nothing "
            "is written: give more or other --calibration-data, or leave out --int8"
        )
    size = sum(path.stat().st_size for path in staging.glob("openvino_model.*"))
    precision = "int8" if options.int8 else "fp32"
    _save_account(options, staging, setup, precision, comparison)
    publish(staging, output, holds="model")
    return ExportResult(folder=output, precision=precision, size=size, comparison=comparison, left_out=left_out)


def _questions(options: ExportOptions) -> tuple[list[Example], list[Example], str, int]:
    """Return the questions for ranges, those for the comparison, where the latter are from, and how many are bad."""
    if options.calibration_data is None:
        return [], sample_questions(), "sample questions of qatool's", 0
    examples, left_out = read_questions(options.calibration_data, options, flag="--calibration-data")
    on = Path(options.calibration_data).name
    if not options.int8 or len(examples) < _CALIBRATION_SHARE:
        return examples, examples, on, left_out
    rest = [example for number, example in enumerate(examples) if number % _CALIBRATION_SHARE]
    return examples[::_CALIBRATION_SHARE], rest, on, left_out


def _reading(options: ExportOptions) -> ExtractOptions:
    """Return the options of an extraction with the original model."""
    return ExtractOptions(
        inputs=(options.calibration_data or "-",),
        output="-",
        model=options.model,
        backend="torch",
        device="cpu",
        precision="fp32",
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
    )


def _calibration_batches(setup: Setup, examples: Sequence[Example]) -> list[WindowBatch]:
    """Return an evenly spread selection of the questions' windows, each as a batch of its own."""
    from qatool.models.openvino.quantization import CALIBRATION_WINDOWS

    shards = [setup.extractor.prepare(shard).examples for shard in cut_shards(examples, setup.resolved.shard_limits)]
    places = [(shard, window) for shard in shards for window in range(len(shard.windows))]
    chosen = np.linspace(0, len(places) - 1, min(len(places), CALIBRATION_WINDOWS)).round().astype(int).tolist()
    return [shard.assemble(np.array([window])) for shard, window in map(places.__getitem__, chosen)]


def _compare(setup: Setup, exported: Path, asked: Sequence[Example], on: str, observer: Observer) -> Comparison:
    """Let both models answer the questions, and return their scores.

    :param exported: folder of the exported model
    :param asked: the questions
    :param on: where they are from, for people
    """
    tokenizer = setup.extractor.tokenizer
    backend = load_backend(
        str(exported), backend="openvino", device="cpu", precision="auto", tokenizer_limit=tokenizer.model_max_length
    )
    shards = [setup.extractor.prepare(shard) for shard in cut_shards(asked, setup.resolved.shard_limits)]
    observer.started(2 * len(asked), "comparing")

    def texts(extractor: Extractor) -> list[str | None]:
        return decided(outcome_of(extractor, shards, observer.advanced), _threshold(extractor))

    before, after = texts(setup.extractor), texts(replace(setup.extractor, backend=backend))
    labelled = any(example.kept.get(name) is not None for example in asked for name in LABEL_FIELDS)
    right = map(accepted, asked) if labelled else (() if text is None else (text,) for text in before)
    expected = expected_answers(right, "squad2.0")
    first, second = (score(found, expected, "squad2.0") for found in (before, after))
    return Comparison(
        questions=len(asked),
        on=on,
        labelled=labelled,
        exact_before=100 * float(first.exact.mean()),
        exact_after=100 * float(second.exact.mean()),
        f1_before=100 * float(first.f1.mean()),
        f1_after=100 * float(second.f1.mean()),
        same=100 * float(np.mean([one == other for one, other in zip(before, after, strict=True)])),
    )


def _threshold(extractor: Extractor) -> float | None:
    """Return the no-answer threshold of an extractor, ``None`` if it always answers."""
    decision = extractor.decision
    return None if decision.always_answer else decision.no_answer_threshold


def _save_companions(options: ExportOptions, folder: Path) -> None:
    """Save configuration and tokenizer beside the graph."""
    load_config(options.model, trust_remote_code=options.trust_remote_code).save_pretrained(folder)
    save_tokenizer(options.model, folder, trust_remote_code=options.trust_remote_code)


def _save_account(options: ExportOptions, folder: Path, setup: Setup, precision: str, comparison: Comparison) -> None:
    """Write ``qatool.json``, with the values of the original's, and a model card."""
    own = settings_path(options.model)
    ModelSettings.load(options.model)
    values: dict[str, Any] = json.loads(own.read_text(encoding="utf-8")) if own and own.is_file() else {}
    told = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in comparison._asdict().items()
    }
    values |= {
        "qatool": qatool.__version__,
        "exported": {"precision": precision, "made_from": setup.resolved.identity.model, "comparison": told},
    }
    card = _CARD.format(
        base=model_label(options.model), version=qatool.__version__, precision=precision, c=comparison
    )
    write_bytes(folder / "README.md", card.encode())
    write_json(folder / SETTINGS_FILE, values | {"files": files_of(folder)})


_CARD = """\
---
library_name: openvino
pipeline_tag: question-answering
tags: [extractive-question-answering, openvino, qatool]
---

# Extractive question answering, for OpenVINO

`{base}`, exported by `qatool export` {version}; {precision}.

```bash
qatool extract questions.jsonl -o answers.parquet --model THIS_FOLDER
```

| {c.questions} questions, {c.on} | before | after |
| --- | --- | --- |
| exact match | {c.exact_before:.2f} | {c.exact_after:.2f} |
| F1 | {c.f1_before:.2f} | {c.f1_after:.2f} |

{c.same:.2f} % of the answers are the same text.
"""
