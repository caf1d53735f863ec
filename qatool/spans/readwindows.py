"""What decoding starts from: windows, and what the model said of them."""

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
    """All windows of a shard and what the model said of them."""

    examples: WindowedExamples
    characters: ContextCharacters
    spans: SpanTable
    prior: NDArray[np.floating] | None = None
    """``(w,)``: log prior of each window; native decoding adds it to the margins of the window's spans."""
