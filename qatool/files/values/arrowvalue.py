"""Values of a column that Python's own types cannot hold: times outside their range or finer than microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatool.files.values.jsonlines import python_values

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, repr=False)
class ArrowValue:
    """A value given by the Arrow column that holds it and its row in there; keeps that column in memory."""

    column: pa.Array
    row: int

    @property
    def scalar(self) -> pa.Scalar:
        """The value as an Arrow scalar."""
        return self.column[self.row]

    def plain(self) -> Any:
        """Return the value as a Python object that JSON can express, see :func:`python_values`."""
        return python_values(self.column.slice(self.row, 1), strict=False)[0]

    def __str__(self) -> str:
        return str(self.plain())

    def __repr__(self) -> str:
        return f"<{self}>"
