"""The host's share of a shard, apart from the model: prepare it, keep it, and decide it when it has been read."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from qatool.extraction.answering.oncard import CardShard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.extraction.answering.part import Answerer, Task
    from qatool.jobs.work import Part
    from qatool.spans.search import SpanTable


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What whoever reads a shard must know of it."""

    card: CardShard
    content_hash: str
    seconds: float
    """That preparing it took."""


class ShardKeeper:
    """Prepares shards and keeps them until they are decided.

    :param answerer: its model is not asked for anything
    """

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._held: dict[int, PreparedShard] = {}

    @classmethod
    def in_process(cls, answerer: Answerer) -> ShardKeeper:
        """Make one for a process of its own: there are as many as cores, so each works with one thread."""
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
        """Decide a shard that was prepared here, and forget it; return its part and the seconds that took.

        :param spans: of all its windows
        :param failed: ``(f,)``: the windows that could not be read
        """
        began = time.perf_counter()
        part = self._answerer.extractor.decide(self._held.pop(index), spans, failed)
        return part, time.perf_counter() - began
