"""Convert transformers models to OpenVINO's format, once each; the graphs are cached by the model's fingerprint.

A graph has fused attention, and takes any number of windows of any length. Its inputs are ``input_ids``,
``attention_mask`` and, where the model has them, ``token_type_ids``, each ``(b, t)`` int64; its outputs are
``start_logits`` and ``end_logits``, each ``(b, t)``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import shutil
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qatool.errors import EnvironmentUnfitError, OutputError, reason_of
from qatool.files.storage.atomic import sync_file, sync_folder, temporaries_of, temporary_name, write_json
from qatool.files.storage.cache import CACHE_VARIABLE, cache_folder
from qatool.files.storage.writefailures import reporting
from qatool.logs import log_event
from qatool.models.identity import EXPORTED_GRAPH, is_exported, model_fingerprint
from qatool.models.openvino.library import import_extra
from qatool.models.pytorch.torch_backend import load_weights
from qatool.models.settings import positions_of

_SEAL_NAME = "hashes.json"
_LEFT_BEHIND_S = 3_600.0
"""Age of a temporary folder that a killed process must have left."""
POSITIONS = ["qatool", "positions"]
"""Key in the runtime info of a graph: how many tokens the model has positions for; empty for any number."""
_FORMAT = 4
"""Increased when the same model converts to another graph than before, or earlier graphs are not to be trusted."""


def converted(model: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Path:
    """Return the path of the graph of ``model``: its own if it was exported, else in the cache, converted if needed.

    :raises EnvironmentUnfitError: the model does not load, or cannot be traced
    :raises OutputError: the cache cannot be written
    """
    if is_exported(model):
        return Path(model) / EXPORTED_GRAPH
    try:
        folder = cache_folder("openvino") / f"{model_fingerprint(model)[:32]}-{_FORMAT}"
        if allow_pickle and not folder.exists():
            # A separate name: a run that does not allow pickles must not use a graph that another made from a pickle.
            folder = folder.with_name(f"{folder.name}-pickle")
    except OSError as error:
        raise OutputError(
            f"{error.filename}: cannot be made ({error.strerror}); name another folder with {CACHE_VARIABLE}"
        ) from None
    if folder.exists() and not _is_whole(folder):
        log_event("a damaged graph is converted again", level=logging.WARNING, path=str(folder))
        with reporting(folder):
            shutil.rmtree(folder)
    if not folder.exists():
        graph = convert(model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        with reporting(folder):
            _sweep(folder)
            staging = temporary_name(folder)
            staging.mkdir()
            try:
                save_graph(graph, staging)
                write_json(staging / _SEAL_NAME, _hashes(staging))
                for path in staging.iterdir():
                    sync_file(path)
                staging.rename(folder)
                sync_folder(folder.parent)
            except OSError:
                # Another process may have just made the same folder.
                if not folder.exists():
                    raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder / EXPORTED_GRAPH


def _sweep(folder: Path) -> None:
    """Remove what conversions to a folder left under temporary names when they were killed."""
    for left in temporaries_of(folder):
        with suppress(FileNotFoundError):  # another process may sweep, too
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND_S:
                shutil.rmtree(left, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Return whether the files of a cached graph are those that were written: a few zeroed pages change answers."""
    try:
        return bool(json.loads((folder / _SEAL_NAME).read_bytes()) == _hashes(folder))
    except (OSError, ValueError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of each file of a graph, by name.

    :raises OSError: a file cannot be read
    """
    found = {}
    for path in (folder / EXPORTED_GRAPH, (folder / EXPORTED_GRAPH).with_suffix(".bin")):
        with path.open("rb") as stream:
            found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def read_back(graph: Any, core: Any) -> Any:
    """Return a graph as it is read from files: compiled in memory, it gives other last bits of the scores.

    :param core: an ``openvino.Core``
    """
    try:
        with tempfile.TemporaryDirectory(prefix="qatool-") as folder:
            save_graph(graph, Path(folder))
            return core.read_model(Path(folder) / EXPORTED_GRAPH)
    except (OSError, RuntimeError) as error:
        log_event("scores may differ in the last bits", level=logging.WARNING, reason=reason_of(error))
        return graph


def convert(model: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Any:
    """Return the ``openvino.Model`` of a transformers model, in fp32.

    :raises EnvironmentUnfitError: the model does not load, or cannot be traced
    """
    openvino = import_extra("openvino")
    loaded = load_weights(model, dtype=torch.float32, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    names = ["input_ids", "attention_mask"]
    types = getattr(loaded.config, "type_vocab_size", None)
    # A model that does not say how many types it has may have any number, as XLNet does.
    if (types is None or types > 1) and "token_type_ids" in inspect.signature(loaded.forward).parameters:
        names.append("token_type_ids")
    # Two windows of several tokens: the tracer would take a size of 1 for a constant.
    example = {name: torch.ones(2, 16, dtype=torch.long) for name in names}
    try:
        with warnings.catch_warnings():
            # Warnings of the tracer about its own deprecation and about sizes that it takes for constants.
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(_Logits(loaded), example_input=example)
    except Exception as error:
        reason = reason_of(error)
        raise EnvironmentUnfitError(
            f"{model}: cannot be converted for OpenVINO ({reason[:200]}); use --backend torch"
        ) from error
    for output, name in zip(graph.outputs, ("start_logits", "end_logits"), strict=True):
        output.tensor.set_names({name})
    # So that a reader of the graph needs no configuration, hence no transformers, whose import takes a second.
    graph.set_rt_info(str(positions_of(loaded.config) or ""), POSITIONS)
    return graph


def save_graph(graph: Any, folder: Path) -> None:
    """Write a graph into a folder, in half precision if that represents all its weights exactly.

    :raises OSError: the graph cannot be written
    """
    openvino = import_extra("openvino")
    path = folder / EXPORTED_GRAPH
    try:
        openvino.save_model(graph, path, compress_to_fp16=_fits_half(graph))
    except RuntimeError as error:
        raise OSError(None, reason_of(error), str(path)) from None


def _fits_half(graph: Any) -> bool:
    """Return whether no number of the constants changes in half precision, apart from single numbers."""
    import numpy as np

    for operation in graph.get_ops():
        if operation.get_type_name() != "Constant" or operation.get_element_type().get_type_name() != "f32":
            continue
        values = operation.data
        with np.errstate(over="ignore"):
            if values.size > 1 and not np.array_equal(values, values.astype(np.float16).astype(np.float32)):
                return False
    return True


class _Logits(nn.Module):
    """Wraps a model so that it returns a plain pair of logits, whatever its output class."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        output = self._model(**inputs)
        return output.start_logits, output.end_logits
