"""A backend that records: the model reads each batch once, and its logits can be replayed in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.models.backend import BatchTooLargeError

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.models.backend import Backend
    from qatool.windows.assemble import WindowBatch


class RecordedBackend:
    """Passes batches on to another backend in a first pass, and replays its logits in later ones.

    Logits are held in memory, 8 bytes a token.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._record: list[tuple[Tensor, Tensor] | BatchTooLargeError] = []
        self._place = 0
        self.name = backend.name
        self.device = backend.device
        self.precision = backend.precision
        self.max_length = backend.max_length
        self.batch_tokens = backend.batch_tokens
        self.streams = 1  # replaying depends on the order of the batches

    def rewind(self) -> None:
        """Start the next pass, with the first batch."""
        self._place = 0

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``.

        :raises BatchTooLargeError: the device lacks memory for the batch, or did so in the first pass
        """
        if self._place == len(self._record):
            try:
                self._record.append(self._backend.logits(batch))
            except BatchTooLargeError as error:
                self._record.append(error)
        found = self._record[self._place]
        self._place += 1
        if isinstance(found, BatchTooLargeError):
            raise found
        return found
