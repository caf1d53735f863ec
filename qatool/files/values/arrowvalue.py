"""Values of a column that Python's own types cannot hold: times finer, earlier or later than they know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatool.files.values.jsonlines import python_values

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, repr=False)
class ArrowValue:
    """A value that stays in the column it was read from, which goes where it goes."""

    column: pa.Array
    row: int

    @property
    def scalar(self) -> pa.Scalar:
        """As Arrow holds it."""
        return self.column[self.row]

    def plain(self) -> Any:
        """Return it as JSON can express it, see :func:`python_values`."""
        return python_values(self.column.slice(self.row, 1), strict=False)[0]

    def __str__(self) -> str:
        return str(self.plain())

    def __repr__(self) -> str:
        return f"<{self}>"
