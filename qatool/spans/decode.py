"""Decoders: each says what to search for in a window, and ranks the spans of an example over its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qatool.spans.calibration import Calibration

if TYPE_CHECKING:
    from qatool.options import Decode
    from qatool.spans.candidates import RankedSpans
    from qatool.spans.readwindows import ReadWindows
    from qatool.spans.search import SpanSearch

UNCALIBRATED = Calibration()


class Decoder(Protocol):
    """Turns the spans found in windows into the ranked spans of examples."""

    search: SpanSearch
    """The search to do in each window."""
    words: bool
    """Whether ranking needs the words of tokens."""
    strips_question: bool
    """Whether leading white space is removed from questions before they are tokenised."""
    shares_characters: bool
    """Whether tokens that stand for the same characters are searched as one."""

    def rank(self, read: ReadWindows) -> RankedSpans:
        """Return the best spans of every example."""
        ...


_MOST_CANDIDATES = 1 << 30
"""More candidates than any example has, but few enough for decoders to multiply and add to without overflow."""


def decoder(mode: Decode, *, top_k: int, max_answer_length: int, calibration: Calibration = UNCALIBRATED) -> Decoder:
    """Return the decoder of a ``--decode`` mode.

    :param top_k: candidates to return for each example, at most
    :param max_answer_length: longest answer in tokens
    :param calibration: the calibration of native scores; other modes ignore it
    """
    from qatool.spans.hf_pipeline import PipelineDecoder
    from qatool.spans.native import NativeDecoder
    from qatool.spans.squad_script import ScriptDecoder

    top_k = min(top_k, _MOST_CANDIDATES)
    if mode == "squad-script":
        return ScriptDecoder(top_k=top_k, max_answer_length=max_answer_length)
    if mode == "hf-pipeline":
        return PipelineDecoder(top_k=top_k, max_answer_length=max_answer_length)
    return NativeDecoder(top_k=top_k, max_answer_length=max_answer_length, calibration=calibration)
