"""A backend that records: the model reads each batch once, and its logits are then taken from memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from qatool.models.backend import BatchTooLargeError

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.models.backend import Backend
    from qatool.windows.assemble import WindowBatch


class RecordedBackend:
    """Passes on to another backend each batch that it has not had before.

    Logits are held in memory, 8 bytes a token.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._record: dict[bytes, tuple[Tensor, Tensor] | BatchTooLargeError] = {}
        self.name = backend.name
        self.device = backend.device
        self.precision = backend.precision
        self.max_length = backend.max_length
        self.batch_tokens = backend.batch_tokens
        # What is fitted to the logits stays, so they must be right, and OpenVINO has a rare fault that was only seen
        # where it reads several batches at once.
        self.streams = 1 if backend.name == "openvino" else backend.streams

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``.

        :raises BatchTooLargeError: the device lacks memory for the batch, or did so the first time
        """
        key = _digest(batch)
        found = self._record.get(key)
        if found is None:
            try:
                found = self._backend.logits(batch)
            except BatchTooLargeError as error:
                found = error
            self._record[key] = found
        if isinstance(found, BatchTooLargeError):
            raise found
        return found


def _digest(batch: WindowBatch) -> bytes:
    """Return the BLAKE2b hash of all that a model reads of a batch."""
    digest = hashlib.blake2b(repr(batch.input_ids.shape).encode(), digest_size=16)
    for values in (batch.input_ids, batch.lengths, batch.token_type_ids):
        if values is not None:
            digest.update(values.tobytes())
    return digest.digest()
