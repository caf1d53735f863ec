"""The host's share of the work on a shard: prepare it, keep it while the card reads it, and then decide it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from qatool.extraction.answering.cardreader import CardShard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qatool.extraction.answering.answerer import Answerer, Task
    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.jobs.work import Part
    from qatool.spans.search import SpanTable


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The parts of a prepared shard that the process with the card needs."""

    card: CardShard
    content_hash: str
    seconds: float
    """The time that preparing the shard took."""


class ShardActor:
    """Prepares shards and keeps them until they are decided.

    :param answerer: prepares and decides; its model is not used
    """

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._held: dict[int, PreparedShard] = {}

    @classmethod
    def in_process(cls, answerer: Answerer) -> ShardActor:
        """Make an actor in a process of its own, with one thread: there is about one such process per core."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        torch.set_num_threads(1)
        answerer.extractor.tokenizer.remember_words()
        return cls(answerer)

    def prepare(self, task: Task) -> Prepared:
        """Tokenise and cut a shard.

        :raises InputError: its features cannot be read
        """
        began = time.perf_counter()
        prepared = self._answerer.cut(task)
        self._held[task.shard.index] = prepared
        return Prepared(
            card=CardShard.of(prepared.examples, self._answerer.extractor.searched_characters(prepared)),
            content_hash=task.shard.content_hash,
            seconds=time.perf_counter() - began,
        )

    def decide(self, index: int, spans: SpanTable, failed: NDArray[np.intp]) -> tuple[Part, float]:
        """Decide a shard that was prepared here, and forget it.

        :param index: the number of the shard
        :param spans: the spans of all its windows
        :param failed: ``(f,)``: the windows that could not be read
        :returns: the part of the shard, and the seconds that deciding it took
        """
        began = time.perf_counter()
        part = self._answerer.extractor.decide(self._held.pop(index), spans, failed)
        return part, time.perf_counter() - began
