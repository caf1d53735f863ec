"""From a transformers model to OpenVINO's format: converted once, kept by the model's fingerprint.

The graph is traced with fused attention and any number of windows of any length. Its inputs are ``input_ids``,
``attention_mask`` and, where the model has them, ``token_type_ids``, each ``(b, t)`` int64; its outputs
``start_logits`` and ``end_logits``, each ``(b, t)``.
"""

from __future__ import annotations

import inspect
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qatool.errors import EnvironmentUnfitError, OutputError, reason_of
from qatool.files.storage.atomic import temporary_name
from qatool.files.storage.cache import CACHE_VARIABLE, cache_folder
from qatool.files.storage.writefailures import reporting
from qatool.models.identity import EXPORTED_GRAPH, is_exported, model_fingerprint
from qatool.models.openvino.library import import_extra
from qatool.models.pytorch.torch_backend import load_weights
from qatool.models.settings import positions_of

POSITIONS = ["qatool", "positions"]
"""Where a graph says how many tokens it has positions for; empty for any number."""
_FORMAT = 3
"""Counted up when the same model converts to another graph, or earlier ones are not to be trusted."""


def converted(model: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Path:
    """Return the graph of ``model`` in OpenVINO's format: its own if it was exported, else from the cache.

    :raises EnvironmentUnfitError: the model does not load, or cannot be traced
    :raises OutputError: the cache cannot be written
    """
    if is_exported(model):
        return Path(model) / EXPORTED_GRAPH
    try:
        folder = cache_folder("openvino") / f"{model_fingerprint(model)[:32]}-{_FORMAT}"
        if allow_pickle and not folder.exists():
            # Of its own: whoever does not allow pickles is not to get by with what another run made of one.
            folder = folder.with_name(f"{folder.name}-pickle")
    except OSError as error:
        raise OutputError(
            f"{error.filename}: cannot be made ({error.strerror}); name another folder with {CACHE_VARIABLE}"
        ) from None
    if not folder.exists():
        graph = convert(model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        with reporting(folder):
            staging = temporary_name(folder)
            staging.mkdir()
            try:
                save_graph(graph, staging)
                staging.rename(folder)
            except OSError:
                # Another process may have been quicker with the very same.
                if not folder.exists():
                    raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder / EXPORTED_GRAPH


def convert(model: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Any:
    """Return the ``openvino.Model`` of a transformers model, in fp32.

    :raises EnvironmentUnfitError: the model does not load, or cannot be traced
    """
    openvino = import_extra("openvino")
    loaded = load_weights(model, dtype=torch.float32, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    names = ["input_ids", "attention_mask"]
    types = getattr(loaded.config, "type_vocab_size", None)
    # One that does not say how many it knows may know any number, as XLNet does.
    if (types is None or types > 1) and "token_type_ids" in inspect.signature(loaded.forward).parameters:
        names.append("token_type_ids")
    # Two windows and more tokens than one: a size of 1 would be taken for a constant.
    example = {name: torch.ones(2, 16, dtype=torch.long) for name in names}
    try:
        with warnings.catch_warnings():
            # The tracer's remarks on what will replace it some day, and on sizes taken for constants.
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(_Logits(loaded), example_input=example)
    except Exception as error:
        reason = reason_of(error)
        raise EnvironmentUnfitError(
            f"{model}: cannot be converted for OpenVINO ({reason[:200]}); use --backend torch"
        ) from error
    for output, name in zip(graph.outputs, ("start_logits", "end_logits"), strict=True):
        output.tensor.set_names({name})
    # So that whoever reads it needs no configuration, and with it transformers, whose import takes a second.
    graph.set_rt_info(str(positions_of(loaded.config) or ""), POSITIONS)
    return graph


def save_graph(graph: Any, folder: Path) -> None:
    """Write a graph into a folder; weights that half precision holds exactly are stored in it.

    :raises OSError: it cannot be written
    """
    openvino = import_extra("openvino")
    path = folder / EXPORTED_GRAPH
    try:
        openvino.save_model(graph, path, compress_to_fp16=_fits_half(graph))
    except RuntimeError as error:
        raise OSError(None, reason_of(error), str(path)) from None


def _fits_half(graph: Any) -> bool:
    """Whether no number of the large constants changes in half precision."""
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
    """A model that returns a plain pair, whatever its output class."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        output = self._model(**inputs)
        return output.start_logits, output.end_logits
