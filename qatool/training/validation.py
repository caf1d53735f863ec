"""Measure EM and F1 of a model in training, with the decoding of ``qatool extract``; each example counts once."""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.distributed

from qatool.evaluation.measures.calibration import Outcome, fit_threshold, quality
from qatool.evaluation.measures.scoring import expected_answers
from qatool.evaluation.reading.references import accepted_texts
from qatool.extraction.answering.answers import Decision
from qatool.extraction.answering.cardreader import CardReader, CardShard, device_backend
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.extractor import Extractor
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.files.examples.labels import LABEL_FIELDS
from qatool.models.pytorch.torch_backend import ModelInMemory
from qatool.options import DECODE_PRESETS
from qatool.spans.decode import decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch import Tensor

    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.extraction.answering.windowreader import WindowReader
    from qatool.jobs.work import Part
    from qatool.schema import Example
    from qatool.spans.search import SpanTable
    from qatool.windows.assemble import WindowBatch
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

_SHARD = ShardLimits(rows=64, context_bytes=250_000)
_SHARD_BATCHES = 8
"""A shard has about so many batches of a CPU."""
_MAX_ANSWER_LENGTH = DECODE_PRESETS["native"].max_answer_length


class Figures(NamedTuple):
    """The scores of a model on the validation questions, in per cent."""

    exact: float
    f1: float
    no_answer_threshold: float | None
    """The threshold that these figures hold at, that of the best F1; ``None`` where every question has an answer."""
    examples: int


class _Answer(NamedTuple):
    """The model's answer to the validation question in a row."""

    row: int
    text: str | None
    score: float
    no_answer_score: float


class _Launched(NamedTuple):
    """A shard that is being read."""

    shard: PreparedShard
    collect: Callable[[], tuple[SpanTable, NDArray[np.intp]]]
    """Waits for its spans, and returns them with the windows that failed."""


class _ModelInTraining(ModelInMemory):
    """Runs the model in any thread as Lightning runs it in the main thread: autocast is a setting of each thread.

    :param arithmetic: returns a context in which the model computes
    """

    def __init__(self, model: Any, *, arithmetic: Callable[[], AbstractContextManager[Any]], **options: Any) -> None:
        super().__init__(model, **options)
        self._arithmetic = arithmetic

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`~qatool.models.backend.Backend`."""
        with self._arithmetic():
            return super().logits(batch)


class Validator:
    """Answers labelled questions with a model in its current state, on a CPU with several batches at once.

    :param model: an ``AutoModelForQuestionAnswering``
    :param examples: the labelled questions, without bad rows
    :param max_length: longest window that the model reads, in tokens
    """

    def __init__(
        self,
        model: Any,
        examples: Sequence[Example],
        *,
        tokenizer: PairTokenizer,
        size: WindowSize,
        max_length: int,
    ) -> None:
        self._model = model
        self._max_length = max_length
        self._expected = expected_answers(
            [
                accepted_texts(*(example.kept.get(name) for name in LABEL_FIELDS), place=example.where)
                for example in examples
            ],
            "squad2.0",
        )
        self._extractor = Extractor(
            tokenizer=tokenizer,
            backend=self._backend(torch.device("cpu")),
            decoder=decoder("native", top_k=1, max_answer_length=_MAX_ANSWER_LENGTH),
            decision=Decision(always_answer=True, no_answer_threshold=1.0),
            size=size,
            max_windows="all",
            batch_tokens=0,
            columns=AnswerColumns(documents=False, snippet=None, kept={}),
        )
        self.shards = [self._extractor.prepare(shard) for shard in cut_shards(examples, _SHARD)]
        self.tick: Callable[[int], None] = lambda _: None
        """Called with the number of windows of every batch."""
        self._answers: list[_Answer] = []
        self._reader: CardReader | WindowReader | None = None
        self._launched: deque[_Launched] = deque()
        self._ahead = 1
        """Shards that are launched before the results of the first of them are collected."""

    def _backend(
        self, device: torch.device, arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> _ModelInTraining:
        return _ModelInTraining(
            self._model,
            arithmetic=arithmetic,
            device=device,
            precision="mixed",
            max_length=self._max_length,
            streams=torch.get_num_threads() if device.type == "cpu" else 1,
        )

    def begin(
        self, device: torch.device, arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        """Start a new validation, with the model on ``device``.

        :param arithmetic: returns a context in which the model computes, in whichever thread
        """
        from dataclasses import replace

        self.close()
        backend = self._backend(device, arithmetic)
        self._extractor = replace(self._extractor, backend=backend, batch_tokens=backend.batch_tokens)
        self._answers = []
        self._ahead = 1 + backend.streams // _SHARD_BATCHES
        on_card = device_backend(backend)
        if on_card is None:
            self._reader = self._extractor.reader()
        else:
            search = self._extractor.decoder.search
            self._reader = CardReader(
                backend=on_card, search=search, batch_tokens=backend.batch_tokens, tick=self.tick
            )

    def close(self) -> None:
        """Drop what is not read yet, and let torch have as many threads as before the validation."""
        if self._reader is not None and not isinstance(self._reader, CardReader):
            self._reader.close()
        self._reader = None
        self._launched.clear()

    def read(self, shard: PreparedShard) -> None:
        """Answer the questions of a shard; its results are collected by a later call."""
        self._launched.append(_Launched(shard, self._launch(shard)))
        while len(self._launched) > self._ahead:
            self._collect()

    def _launch(self, shard: PreparedShard) -> Callable[[], tuple[SpanTable, NDArray[np.intp]]]:
        """Begin to read a shard, and return what waits for its spans."""
        reader, characters = self._reader, self._extractor.searched_characters(shard)
        if reader is None:
            raise RuntimeError("no validation was started")
        if isinstance(reader, CardReader):
            return partial(reader.collect, reader.launch(CardShard.of(shard.examples, characters)))
        return partial(reader.collect, reader.launch(shard.examples, characters), self.tick)

    def _collect(self) -> None:
        """Wait for the results of the shard that was launched first, and keep them."""
        shard, collect = self._launched.popleft()
        self._keep(shard, self._extractor.decide(shard, *collect()))

    def _keep(self, shard: PreparedShard, part: Part) -> None:
        table = part.table
        texts = [found[0]["answer"] if found else None for found in table["candidates"].to_pylist()]
        first = shard.shard.first_row
        for offset, (text, score, doubt) in enumerate(
            zip(texts, table["score"].to_pylist(), table["no_answer_score"].to_pylist(), strict=True)
        ):
            self._answers.append(
                _Answer(first + offset, text, np.nan if score is None else score, 1.0 if doubt is None else doubt)
            )

    def figures(self) -> Figures:
        """Gather the answers of all devices, and return their scores, which are the same on each device.

        "No answer" is decided at the threshold that fits best: what is compared here are weights, not thresholds, and
        ``qatool calibrate`` fits the threshold that is stored with a model.
        """
        while self._launched:
            self._collect()
        self.close()
        found = {answer.row: answer for part in _gathered(self._answers) for answer in part}
        rows = sorted(found)
        outcome = Outcome(
            [found[row].text for row in rows],
            np.array([found[row].score for row in rows]),
            np.array([found[row].no_answer_score for row in rows]),
        )
        expected = [self._expected[row] for row in rows]
        answerable = all(right.has_answer for right in expected)
        threshold = None if answerable else fit_threshold(outcome, expected).threshold
        there = quality(outcome, expected, threshold)
        return Figures(there.exact, there.f1, threshold, len(rows))


def _gathered(own: list[_Answer]) -> list[list[_Answer]]:
    """Return the answers of every process, or only those of this process where it is alone."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, own)
    return everyone
