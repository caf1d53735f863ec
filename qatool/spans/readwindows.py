"""The input of decoders: windows, and the spans that the model found in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qatool.spans.characters import ContextCharacters
    from qatool.spans.search import SpanTable
    from qatool.windows.assemble import WindowedExamples


@dataclass(frozen=True, kw_only=True)
class ReadWindows:
    """All windows of a shard, with the spans that the model found in them."""

    examples: WindowedExamples
    characters: ContextCharacters
    spans: SpanTable
    prior: NDArray[np.floating] | None = None
    """``(w,)``: the log prior of each window, ``None`` where all are 0; native decoding adds it to the margins of the
    window's spans, other decoders ignore it."""
