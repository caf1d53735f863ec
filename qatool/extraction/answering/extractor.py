"""The heart of qatool: turn one shard of examples into one part of answers."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qatool.extraction.answering.answers import Decision, pair_table
from qatool.extraction.answering.cardreader import CardReader, device_backend
from qatool.extraction.answering.columns import rejects
from qatool.extraction.answering.windowreader import WindowReader
from qatool.jobs.work import Part
from qatool.spans.characters import ContextCharacters
from qatool.spans.readwindows import ReadWindows
from qatool.windows.build import build_windows
from qatool.windows.choose import choose_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from qatool.extraction.answering.columns import AnswerColumns
    from qatool.extraction.answering.previous import TakenAnswers
    from qatool.extraction.answering.shards import Shard
    from qatool.extraction.answering.stored import FeatureWindows
    from qatool.models.backend import Backend
    from qatool.spans.decode import Decoder
    from qatool.spans.search import SpanTable
    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.choose import MaxWindows
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

MODEL_FAILED = "the model cannot read it: out of memory for one window alone, or scores that are no numbers"


@dataclass(frozen=True, kw_only=True)
class PreparedShard:
    """A shard that has been tokenised and cut into windows, ready for the model."""

    shard: Shard
    examples: WindowedExamples
    """The distinct pairs of question and context that have something to read."""
    characters: ContextCharacters
    pair: NDArray[np.int64]
    """``(n,)``: the pair of each example; the number of pairs for odd ones, ``-1`` for rejected and taken ones."""
    taken: NDArray[np.int64]
    """``(n,)``: for each example the row of ``previous`` that its answer is taken from, ``-1`` for none."""
    previous: TakenAnswers | None
    """The earlier answers that ``taken`` points into."""
    prior: NDArray[np.float64] | None
    """``(windows,)``: the log prior of each window, ``None`` where all are 0."""


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """Answers shards, in two steps, so that the next shard can be prepared while the model reads this one."""

    tokenizer: PairTokenizer
    backend: Backend
    decoder: Decoder
    decision: Decision
    size: WindowSize
    stored: FeatureWindows | None = None
    """The features that windows are read from; ``None``: windows are cut from the texts."""
    max_windows: MaxWindows
    batch_tokens: int
    columns: AnswerColumns
    """The columns of the parts it returns."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the model: the other process only prepares and decides shards."""
        return self.__dict__ | {"backend": None}

    def prepare(self, shard: Shard, previous: TakenAnswers | None = None) -> PreparedShard:
        """Tokenise a shard and cut it into windows, each distinct text and each distinct pair only once.

        :param previous: earlier answers to take over instead of computing them
        """
        if previous is None:
            taken = np.full(len(shard.examples), -1)
        else:
            taken = previous.rows_that_fit([example.context for example in shard.examples])
        pairs: dict[tuple[str, str], int] = {}
        first: list[int] = []
        pair = np.full(len(shard.examples), -1, dtype=np.int64)
        odd = []
        for row, example in enumerate(shard.examples):
            if example.error is not None:
                continue
            if example.is_odd:
                taken[row] = -1
                odd.append(row)
                continue
            if taken[row] >= 0:
                continue
            question = example.question or ""
            asked = question.lstrip() if self.decoder.strips_question else question
            pair[row] = pairs.setdefault((asked, example.context or ""), len(pairs))
            if pair[row] == len(first):
                first.append(row)
        pair[odd] = len(pairs)
        examples = self._windows(shard, list(pairs), np.array(first, dtype=np.int64))
        chosen = choose_windows(examples, self.max_windows, self.tokenizer)
        return PreparedShard(
            shard=shard,
            examples=chosen.examples,
            prior=chosen.prior,
            characters=ContextCharacters.of(examples.contexts),
            pair=pair,
            taken=taken,
            previous=previous,
        )

    def _windows(self, shard: Shard, pairs: Sequence[tuple[str, str]], first: NDArray[np.int64]) -> WindowedExamples:
        """Return the windows of distinct pairs of question and context: cut from the texts, or read from features.

        :param first: ``(pairs,)``: the first example of the shard with each pair, ascending
        """
        questions, contexts = [question for question, _ in pairs], [context for _, context in pairs]
        if self.stored is None:
            return build_windows(
                questions, contexts, tokenizer=self.tokenizer, size=self.size, words=self.decoder.words
            )
        as_read = (shard.examples[row].question for row in first.tolist())
        anew = [asked != question for asked, question in zip(questions, as_read, strict=True)]
        return self.stored.read(
            questions,
            contexts,
            rows=shard.first_row + first,
            asked_anew=np.array(anew, dtype=bool),
            words=self.decoder.words,
        )

    def answer(self, prepared: PreparedShard, tick: Callable[[int], None] = lambda _: None) -> Part:
        """Let the model read a prepared shard and decide every example.

        :param tick: called after every batch with its number of windows
        """
        characters = self.searched_characters(prepared)
        device = device_backend(self.backend)
        if device is not None:
            card = CardReader(backend=device, search=self.decoder.search, batch_tokens=self.batch_tokens, tick=tick)
            return self.decide(prepared, *card.read(prepared.examples, characters))
        with closing(self.reader()) as reader:
            return self.decide(prepared, *reader.read(prepared.examples, characters, tick))

    def reader(self) -> WindowReader:
        """Return a reader for backends whose batches are put together by the host."""
        return WindowReader(backend=self.backend, search=self.decoder.search, batch_tokens=self.batch_tokens)

    def searched_characters(self, prepared: PreparedShard) -> ContextCharacters | None:
        """Return the groups of tokens that the search takes as one, ``None`` where the decoder does not group any."""
        return prepared.characters if self.decoder.shares_characters else None

    def decide(self, prepared: PreparedShard, spans: SpanTable, failed: NDArray[np.intp]) -> Part:
        """Decide every example from the spans that were found.

        :param spans: the spans of all windows
        :param failed: ``(f,)``: the windows that could not be read
        """
        examples, characters = prepared.examples, prepared.characters
        ranked = self.decoder.rank(
            ReadWindows(examples=examples, characters=characters, spans=spans, prior=prepared.prior)
        )
        failed_pairs = np.unique(examples.windows.overflow_to_sample_mapping[failed])
        pair = np.where(np.isin(prepared.pair, failed_pairs), -1, prepared.pair)
        answers = pair_table(ranked, examples, self.decision)
        taken = np.flatnonzero(prepared.taken >= 0)
        if prepared.previous is not None and len(taken):
            pair[taken] = len(answers) + np.arange(len(taken))
            earlier = prepared.previous.table.select(answers.column_names).take(pa.array(prepared.taken[taken]))
            answers = pa.concat_tables([answers, earlier.cast(answers.schema)]).combine_chunks()
        answers = answers.take(pa.array(pair, mask=pair < 0))
        errors = [
            MODEL_FAILED if p < 0 and example.error is None else example.error
            for p, example in zip(pair.tolist(), prepared.shard.examples, strict=True)
        ]
        table = self.columns.table(prepared.shard, answers, errors)
        return Part(
            table=table,
            counts=self._counts(prepared, table),
            rejects=rejects(prepared.shard, errors),
        )

    def _counts(self, prepared: PreparedShard, table: pa.Table) -> dict[str, int]:
        """Return the counts that go into the summary."""
        examples = prepared.examples
        rejected = len(table) - table["error"].null_count
        answered = len(table) - table["answer"].null_count
        asked = prepared.pair[(prepared.pair >= 0) & (prepared.pair < len(examples.question_index))]
        return {
            "examples": len(table),
            "answered": answered,
            "no_answer": len(table) - rejected - answered,
            "odd": int((prepared.pair == len(examples.question_index)).sum()),
            "rejected": rejected,
            "repeated": len(asked) - len(examples.question_index),
            "taken_over": int((prepared.taken >= 0).sum()),
            "truncated_questions": int(examples.question_is_cut[asked].sum()),
            "windows": pc.sum(table["n_windows"]).as_py() or 0,
            "windows_read": len(examples.windows),
        }
