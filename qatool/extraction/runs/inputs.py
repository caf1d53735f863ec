"""Open what an extraction reads: the named files, except those that this command itself writes, or features."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.errors import InputError, UsageError
from qatool.extraction.runs.output import WRITTEN_SUFFIXES
from qatool.features.examples import StoredExamples
from qatool.features.layout import MANIFEST_NAME, is_features
from qatool.features.reader import FeaturesFolder
from qatool.files.examples.corpus import Corpus, open_corpus
from qatool.files.examples.fields import parse_columns
from qatool.files.output.own import without_own
from qatool.files.output.targets import beside
from qatool.files.sources.paths import resolve
from qatool.files.sources.stdin import STDIN
from qatool.files.storage.locations import Location, location
from qatool.files.storage.objects import ObjectPath
from qatool.logs import log_event
from qatool.models.named import model_name
from qatool.places import places_of

if TYPE_CHECKING:
    from qatool.extraction.best.ranking import Ranking
    from qatool.files.examples.documents import AskedDocuments
    from qatool.files.output.targets import Target
    from qatool.files.sources.source import Source
    from qatool.observers import Observer
    from qatool.options import ExtractOptions

_OF_EXAMPLES = ("id", "question", "context")
"""Columns that cannot be renamed with ``--column`` in features."""


@dataclass(frozen=True, kw_only=True)
class ExtractionInput:
    """The examples to answer, and the source of their windows."""

    corpus: Corpus
    features: FeaturesFolder | None = None
    """The features that ``qatool prep`` made of the examples; ``None``: windows are cut from the texts."""
    ranking: Ranking | None = None
    """The ranking of the documents for each question, where the best answers over all documents are wanted."""


def open_input(
    options: ExtractOptions, target: Target, spool: Location, observer: Observer | None = None
) -> ExtractionInput:
    """Open the input and check what its headers show; documents to be ranked are also read once.

    :param spool: existing folder that a copy of standard input is written to
    :param observer: shows the progress of ranking
    :raises EnvironmentUnfitError: documents are to be ranked, and the model's tokenizer does not load
    :raises UsageError: the input does not go with other options, or with the output
    :raises InputError: a file cannot be read, or lacks a column
    """
    features = [text for text in options.inputs if text != STDIN and _is_features(text)]
    if features:
        return _open_features(Path(features[0]), options, target)
    corpus = _open_corpus(options, target, spool)
    if options.ranks_documents and corpus.documents is not None:
        return _ranked(corpus, corpus.documents, options, observer)
    return ExtractionInput(corpus=corpus)


def _ranked(
    corpus: Corpus, documents: AskedDocuments, options: ExtractOptions, observer: Observer | None
) -> ExtractionInput:
    """Return the input with its documents ranked, each question being asked of the most relevant ones only."""
    from qatool.extraction.best.ranking import rank_documents
    from qatool.windows.tokenizer import PairTokenizer

    name = model_name(options.model)
    tokenizer = PairTokenizer.load(name, trust_remote_code=options.trust_remote_code)
    tokenizer.remember_words()
    ranking = rank_documents(
        documents,
        tokenizer,
        most=options.max_documents,
        # Rows beyond --limit are never answered, so bad ones among them must not end the run.
        refuse_bad=options.on_error == "fail" and options.limit is None,
        observer=observer,
    )
    if ranking is None and options.max_documents is not None:
        log_event("--max-documents: has no effect, as no question is asked of all documents", level=logging.WARNING)
    if ranking is not None and ranking.pairs is not None:
        corpus = corpus.of(documents.only(ranking.pairs))
    return ExtractionInput(corpus=corpus, ranking=ranking)


def _open_corpus(options: ExtractOptions, target: Target, spool: Location) -> Corpus:
    suffixes = () if target.kind == "stdout" else WRITTEN_SUFFIXES
    sources = without_own(
        resolve(options.inputs, stdin_spool=spool),
        options.inputs,
        written=[*(str(beside(target.path, suffix)) for suffix in suffixes), *_written(options, target).values()],
        log_file=options.log_file,
    )
    documents = [source for source in sources if source.format == "text"]
    if documents and not options.asks_documents:
        raise UsageError(
            f"INPUT {documents[0].path}: is a document without a question; ask one with --question TEXT, or name a "
            "file of them with --questions FILE"
        )
    questions = None if options.questions is None else _one_file(options.questions)
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


def _one_file(questions: str) -> Source:
    """Return the file of questions.

    :raises UsageError: ``questions`` names several files
    :raises InputError: ``questions`` names no file
    """
    found = resolve([questions])
    if len(found) > 1:
        raise UsageError(
            f"--questions {questions}: is {len(found):,} files; put the questions into one and name that"
        )
    return found[0]


def _open_features(path: Path, options: ExtractOptions, target: Target) -> ExtractionInput:
    """Open a folder that ``qatool prep`` made.

    :raises UsageError: an option has no meaning for features, or something would be written into the folder
    :raises InputError: the folder is not complete, or some windows were left out of it
    """
    problems = []
    if len(options.inputs) > 1:
        problems.append(f"INPUT {path}: holds features, which are answered by themselves; drop the other inputs")
    problems += [
        f"--{name}: {path} holds features, which have their questions with them; drop it"
        for name in ("question", "questions")
        if getattr(options, name)
    ]
    problems += [
        f"--column {rename}: {path} holds features, where {rename.partition('=')[0]} has its own name; drop it"
        for rename in options.column
        if rename.partition("=")[0] in _OF_EXAMPLES
    ]
    problems += [
        f"{flag} {written}: lies in the features that are read; name a path outside {path}"
        for flag, written in _written(options, target).items()
        if any(Path(os.path.realpath(path)) in Path(place).parents for place in places_of(written))
    ]
    if problems:
        raise UsageError(*problems)
    folder = FeaturesFolder(path)
    if dropped := folder.manifest.counts.get("windows_dropped", 0):
        raise InputError(
            f"{path}: {dropped:,} windows were left out when it was made (--negatives-per-positive), and an answer "
            "may stand in any of them; make the features again without that option, or extract from the raw input"
        )
    columns = parse_columns(options.column, options.keep, documents=False, snippet=options.snippet is not None)
    corpus = Corpus(StoredExamples(folder, columns), columns, limit=options.limit)
    return ExtractionInput(corpus=corpus, features=folder)


def _written(options: ExtractOptions, target: Target) -> dict[str, str]:
    """Return the files that this command writes, each by the option that names it."""
    named = {
        "-o": None if target.kind == "stdout" else options.output,
        "--summary": options.summary,
        "--log-file": options.log_file,
    }
    return {flag: name for flag, name in named.items() if name is not None and name != "-"}


def _is_features(text: str) -> bool:
    """Return whether an input is a folder of features; these are mapped into memory, so they must be on a disk.

    :raises UsageError: the input is a folder of features in an object store
    """
    path = location(text)
    if not isinstance(path, ObjectPath):
        return is_features(path)
    with suppress(OSError):  # an input that cannot be looked up is reported when it is read
        if not (path / MANIFEST_NAME).is_file():
            return False
        raise UsageError(
            f"INPUT {path}: holds features, which are read from a disk; copy them, or name the raw input"
        )
    return False
