"""The host's share of a shard, apart from the model: prepare it, keep it, and decide it when it has been read."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from qatool.extraction.oncard import CardShard
from qatool.extraction.previous import PreviousAnswers

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qatool.extraction.extractor import Extractor, PreparedShard
    from qatool.extraction.shards import Shard
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

    :param extractor: its backend is not asked for anything
    """

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._held: dict[int, PreparedShard] = {}
        self._previous: tuple[list[Path], PreviousAnswers | None] = ([], None)

    @classmethod
    def in_process(cls, extractor: Extractor) -> ShardKeeper:
        """Make one for a process of its own: there are as many as cores, so each works with one thread."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        torch.set_num_threads(1)
        extractor.tokenizer.remember_words()
        return cls(extractor)

    def prepare(self, shard: Shard, earlier: list[Path]) -> Prepared:
        """Tokenise and cut a shard.

        :param earlier: files whose answers may be taken over
        """
        began = time.perf_counter()
        if earlier != self._previous[0]:
            self._previous = earlier, PreviousAnswers(earlier)
        prepared = self._extractor.prepare(shard, self._previous[1])
        self._held[shard.index] = prepared
        return Prepared(
            card=CardShard.of(prepared.examples, self._extractor.searched_characters(prepared)),
            content_hash=shard.content_hash,
            seconds=time.perf_counter() - began,
        )

    def decide(self, index: int, spans: SpanTable, failed: NDArray[np.intp]) -> tuple[Part, float]:
        """Decide a shard that was prepared here, and forget it; return its part and the seconds that took.

        :param spans: of all its windows
        :param failed: ``(f,)``: the windows that could not be read
        """
        began = time.perf_counter()
        part = self._extractor.decide(self._held.pop(index), spans, failed)
        return part, time.perf_counter() - began
