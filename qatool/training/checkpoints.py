"""Write checkpoints that are never incomplete: a run killed while it writes one continues from the one before."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from qatool.errors import InputError, reason_of
from qatool.files.storage.atomic import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, and renames it once it is on the disk.

    Lightning itself writes it to the folder for temporary files, which may be on a smaller disk, and copies it from
    there over the checkpoint before.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        :raises OutputError: the checkpoint cannot be written
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(Path(path)) as stream:
            stream.write(content.getbuffer())

    def load_checkpoint(self, path: Any, *given: Any, **more: Any) -> dict[str, Any]:
        """Read a checkpoint.

        :raises InputError: the checkpoint is damaged
        """
        try:
            return super().load_checkpoint(path, *given, **more)
        except (EOFError, OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise InputError(
                f"{path}: is no whole checkpoint ({reason_of(error)[:80]}); start over with --restart"
            ) from error
