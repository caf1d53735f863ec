"""Measure EM and F1 of a model in training, with the decoding of ``qatool extract``; each example counts once."""

from __future__ import annotations

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
    from collections.abc import Sequence

    from qatool.extraction.answering.cardreader import LaunchedShard
    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.jobs.work import Part
    from qatool.models.backend import DeviceBackend
    from qatool.schema import Example
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

_SHARD = ShardLimits(rows=64, context_bytes=250_000)
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


class Validator:
    """Answers labelled questions with a model in its current state.

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
        self._answers: list[_Answer] = []
        self._reader: CardReader | None = None
        self._launched: tuple[PreparedShard, LaunchedShard] | None = None

    def _backend(self, device: torch.device) -> ModelInMemory:
        return ModelInMemory(self._model, device=device, precision="mixed", max_length=self._max_length)

    def begin(self, device: torch.device) -> None:
        """Start a new validation, with the model on ``device``."""
        from dataclasses import replace

        backend = self._backend(device)
        self._extractor = replace(self._extractor, backend=backend, batch_tokens=backend.batch_tokens)
        self._answers = []
        device_side = device_backend(backend)
        self._reader = None if device_side is None else self._card_reader(device_side, backend.batch_tokens)
        self._launched = None

    def _card_reader(self, backend: DeviceBackend, batch_tokens: int) -> CardReader:
        search = self._extractor.decoder.search
        return CardReader(backend=backend, search=search, batch_tokens=batch_tokens, tick=lambda _: None)

    def read(self, shard: PreparedShard) -> None:
        """Answer the questions of a shard; on a card, the results are collected only by the next call."""
        if self._reader is None:
            self._keep(shard, self._extractor.answer(shard))
            return
        launched = self._reader.launch(CardShard.of(shard.examples, self._extractor.searched_characters(shard)))
        self._collect()
        self._launched = shard, launched

    def _collect(self) -> None:
        """Collect the results of the shard that was launched on a card, if there is one."""
        if self._reader is not None and self._launched is not None:
            shard, launched = self._launched
            self._launched = None
            self._keep(shard, self._extractor.decide(shard, *self._reader.collect(launched)))

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
        self._collect()
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
