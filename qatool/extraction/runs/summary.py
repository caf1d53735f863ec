"""The summary of an extraction, and the metadata of its output."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qatool import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.extraction.answering.resolved import AnswerIdentity, Resolved
    from qatool.files.sources.rows import RejectReasons
    from qatool.jobs.engines.monitor import Totals

IN_METADATA = ("examples", "answered", "no_answer", "odd", "rejected", "windows")
"""Counts that depend only on the input and the options, not on how the run went."""
_IN_SUMMARY = ("windows_read", "repeated", "taken_over", "truncated_questions")
_KEPT_SPEEDS = 500


class SpeedLog:
    """The speed of a run over time: one entry per shard, thinned out to a few hundred."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._entries: list[dict[str, float]] = []
        self._every = 1
        self._shards = 0

    def add(self, totals: Totals) -> None:
        """Record how far the run is after another shard."""
        self._shards += 1
        if self._shards % self._every:
            return
        examples = totals.counts["examples"] - totals.resumed["examples"]
        windows = totals.counts["windows_read"] - totals.resumed["windows_read"]
        entry = {"seconds": round(self.seconds, 3), "examples": examples, "windows": windows}
        self._entries.append(entry)
        if len(self._entries) == _KEPT_SPEEDS:
            self._entries = self._entries[1::2]
            self._every *= 2

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def entries(self) -> list[dict[str, float]]:
        """Return entries of ``seconds`` since the start with the ``examples`` and ``windows`` done by then."""
        return list(self._entries)


def metadata(
    identity: AnswerIdentity, counts: Mapping[str, int], *, best_per: str | None, max_documents: int | None
) -> dict[bytes, bytes]:
    """Return the file metadata: what decided the answers, but not when, where or how fast they were made.

    :param best_per: ``question`` where only the best answers to each question are kept
    :param max_documents: most documents that each question was asked of, ``None`` for all
    """
    about = {
        "version": __version__,
        "model": identity.model,
        "tokenizer": identity.tokenizer,
        "options": identity.options,
        "answer_fingerprint": identity.fingerprint,
        "counts": {name: counts.get(name, 0) for name in IN_METADATA},
        **({"best_per": best_per} if best_per else {}),
        **({"max_documents": max_documents} if max_documents else {}),
    }
    return {b"qatool": json.dumps(about, sort_keys=True).encode()}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known of a run; it is complete when the output is."""

    resolved: Resolved
    model: str
    """The name of the model."""
    output: str
    totals: Totals
    reject_reasons: RejectReasons
    load_seconds: float
    """Seconds spent before the first example was read."""
    speed: SpeedLog = field(default_factory=SpeedLog)

    def summary(
        self, *, devices: str, rows_written: int, of_questions: Mapping[str, int], exit_code: int
    ) -> dict[str, Any]:
        """Return the summary; the caller adds the path of the list of rejected rows.

        :param devices: the devices that answered, in words
        :param of_questions: ``questions`` and ``questions_answered`` where only the best answers to each question are
            kept, else empty
        """
        totals, identity, numerics = self.totals, self.resolved.identity, self.resolved.numerics
        counts, seconds = totals.counts, self.speed.seconds
        new = counts["examples"] - totals.resumed["examples"]
        read = counts["windows_read"] - totals.resumed["windows_read"]
        answerable = counts["examples"] - counts["rejected"]
        return {
            "version": __version__,
            "exit_code": exit_code,
            "output": self.output,
            "rows_written": rows_written,
            **of_questions,
            **{name: counts[name] for name in (*IN_METADATA, *_IN_SUMMARY)},
            "answered_share": round(counts["answered"] / answerable, 4) if answerable else None,
            "reject_reasons": self.reject_reasons.most_common(),
            "rejects": None,
            "shards": totals.units,
            "resumed_shards": totals.resumed_units,
            "seconds": round(seconds, 3),
            "load_seconds": round(self.load_seconds, 3),
            "examples_per_second": round(new / seconds, 2) if seconds else None,
            "windows_per_second": round(read / seconds, 2) if seconds else None,
            "stages_seconds": {name: round(spent, 3) for name, spent in sorted(totals.stages.items())},
            "speed": self.speed.entries(),
            "model": self.model,
            "backend": numerics.backend,
            "device": devices,
            "precision": numerics.precision,
            "no_answer_threshold": None if identity.always_answer else identity.no_answer_threshold,
            "limits": numerics.as_json(),
            "answer_fingerprint": identity.fingerprint,
        }
