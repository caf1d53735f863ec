"""The OpenVINO backend, which runs the same models faster on a CPU, and also models quantised to int8."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from qatool.errors import EnvironmentUnfitError, OutputError, reason_of
from qatool.logs import log_event
from qatool.models.backend import BatchTooLargeError
from qatool.models.companions import load_config
from qatool.models.identity import is_exported
from qatool.models.openvino.conversion import POSITIONS, convert, converted, read_back
from qatool.models.openvino.flatness import FlatLogits, spreads
from qatool.models.openvino.library import import_extra
from qatool.models.settings import longest_input

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

    from torch import Tensor

    from qatool.windows.assemble import WindowBatch

BATCH_TOKENS = 1_024
"""As with torch: activations of more tokens no longer fit the caches of a core."""
_SAME = 1e-2
"""Two readings of a batch agree if their logits differ by no more than about this."""
_READINGS = 5
"""How often a flat batch is read before the model is given up: noise was seen twice in a row."""
_WIDTHS = 8
"""The width of batches is a multiple of this: each new shape costs some milliseconds to generate code for it."""

_CORES: dict[int, Any] = {}

_Logits = tuple[NDArray[np.float32], NDArray[np.float32]]
"""The start and the end logits, ``(b, t)`` each."""


class OpenVINOBackend:
    """A model compiled by OpenVINO for the CPU; each batch is read by one thread, several at once.

    :param model: folder or hub id of a transformers model, or a folder that ``qatool export`` made
    :param precision: ``auto`` (int8 if the model was quantised, else fp32), ``fp32``, ``bf16`` or ``int8``
    :param tokenizer_limit: longest input, in tokens, that the tokenizer states
    :param streams: batches that may be read at once
    :raises EnvironmentUnfitError: OpenVINO is not installed, the precision fits neither model nor processor, or the
        model does not load
    """

    name = "openvino"
    device = "cpu"
    batch_tokens = BATCH_TOKENS

    def __init__(
        self,
        model: str,
        *,
        precision: str,
        tokenizer_limit: int,
        streams: int,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        core = _core(import_extra("openvino"))
        loaded = _graph(core, model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        is_quantised = any(one.get_type_name() == "FakeQuantize" for one in loaded.get_ops())
        self.precision = resolve_precision(
            precision, model=model, is_quantised=is_quantised, has_bf16="BF16" in capabilities
        )
        self.streams = streams
        self.max_length = _max_length(loaded, model, tokenizer_limit, trust_remote_code=trust_remote_code)
        # The parts of a quantised model that are not int8 may be in half precision.
        half = self.precision == "bf16" or (self.precision == "int8" and "BF16" in capabilities)
        precision_hint = "bf16" if half else "f32"
        self._compile = partial(_compiled, core, loaded, precision=precision_hint)
        self._compiled = self._compile(streams=streams)
        self._inputs = {name for port in self._compiled.inputs for name in port.get_names()}
        self._thread = threading.local()
        self._flat = FlatLogits(self._try_shapes(model, words=_vocabulary(loaded)))

    def _try_shapes(self, model: str, *, words: int) -> float:
        """Make sure that the graph takes batches of other shapes than the one it was traced with.

        :param words: size of the vocabulary
        :returns: the largest spread of the logits of a window; see :func:`spreads`
        :raises EnvironmentUnfitError: the graph takes only one shape
        """
        widest = 0.0
        draw = np.random.default_rng(0)
        for count, tokens in ((1, 8), (3, 24)):
            shape = (count, min(tokens, self.max_length))
            inputs = {name: np.ones(shape, dtype=np.int64) for name in self._inputs}
            # Logits of random words are spread as widely as those of a text.
            inputs["input_ids"] = draw.integers(words, size=shape)
            request = self._request()
            try:
                request.infer(inputs)
            except RuntimeError as error:
                raise EnvironmentUnfitError(
                    f"{model}: its graph takes windows of one shape only ({reason_of(error)[:200]}); use --backend "
                    "torch"
                ) from error
            found = [request.get_output_tensor(index).data for index in range(2)]
            widest = max(widest, float(spreads(found, np.full(count, shape[1], dtype=np.int64)).max()))
        return widest

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`~qatool.models.backend.Backend`. A batch whose logits look like noise is reread.

        :raises EnvironmentUnfitError: every reading gave noise
        """
        found = self._infer(batch, self._request())
        if self._flat.are_flat(found, batch.lengths):
            found = self._again(batch, found)
        start, end = map(torch.from_numpy, found)
        return start, end

    def _again(self, batch: WindowBatch, found: _Logits) -> _Logits:
        """Read a batch with a flat window again, until no window is flat or two readings in a row agree.

        :param found: the logits of the first reading
        :raises EnvironmentUnfitError: neither happens in a few readings
        """
        for reading in range(1, _READINGS):
            before = found
            # From the third reading on, a fresh request, which shares nothing with the others but the weights.
            request = self._request() if reading == 1 else self._compile(streams=1).create_infer_request()
            found = self._infer(batch, request)
            if all(np.allclose(*pair, atol=_SAME) for pair in zip(before, found, strict=True)):
                self._flat.confirm(found, batch.lengths)
                return found
            if not self._flat.are_flat(found, batch.lengths):
                times = "" if reading == 1 else f" {reading} times"
                log_event(f"OpenVINO gave noise for a batch{times}, which was read again", level=logging.WARNING)
                return found
        raise EnvironmentUnfitError(
            f"OpenVINO gave noise for a batch {_READINGS} times, a fault of its own that is rare; start the same "
            "command again, or use --backend torch"
        )

    def _infer(self, batch: WindowBatch, request: Any) -> _Logits:
        """Run the model once, and return the start and end logits.

        :raises BatchTooLargeError: there is too little memory for the batch
        """
        try:
            request.infer(inputs_of(batch, self._inputs, limit=self.max_length), share_inputs=True)
        except RuntimeError as error:
            if "bad_alloc" in str(error) or "allocate" in str(error):
                raise BatchTooLargeError(str(error)) from error
            raise
        tokens = batch.input_ids.shape[1]
        # Copied, as the next batch of this thread overwrites the same memory.
        start, end = (request.get_output_tensor(index).data[:, :tokens].copy() for index in range(2))
        return start, end

    def _request(self) -> Any:
        """Return the inference request of this thread."""
        request = getattr(self._thread, "request", None)
        if request is None:
            request = self._thread.request = self._compiled.create_infer_request()
        return request


def _compiled(core: Any, graph: Any, *, precision: str, streams: int) -> Any:
    """Return a graph compiled to read ``streams`` batches at once, each on one thread."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(graph, "CPU", settings)


def _core(openvino: ModuleType) -> Any:
    """Return the single core of this process; a forked process needs threads, and hence a core, of its own.

    The CPU plugin of a core gives the thread that makes it a stack for signal handlers, and restores the stack that
    it found when the core is deleted. If there were two cores, and the first were deleted first, the second would
    later restore memory that is gone, and the next signal would crash the process. So the core is never deleted.
    """
    process = os.getpid()
    if process not in _CORES:
        _CORES[process] = openvino.Core()
    return _CORES[process]


def inputs_of(batch: WindowBatch, names: Collection[str], *, limit: int) -> dict[str, NDArray[np.int64]]:
    """Return the inputs of a converted graph for a batch.

    :param names: the names of the graph's inputs
    :param limit: longest window that the model has positions for, in tokens
    """
    count, tokens = batch.input_ids.shape
    width = min(-(-tokens // _WIDTHS) * _WIDTHS, max(tokens, limit))
    inputs = {name: np.zeros((count, width), dtype=np.int64) for name in names}
    inputs["input_ids"][:, :tokens] = batch.input_ids
    # The columns added here hold the id 0 rather than the tokenizer's padding; the mask hides them all the same.
    inputs["attention_mask"][:] = np.arange(width) < batch.lengths[:, None]
    if "token_type_ids" in names and batch.token_type_ids is not None:
        inputs["token_type_ids"][:, :tokens] = batch.token_type_ids
    return inputs


def resolve_precision(precision: str, *, model: str, is_quantised: bool, has_bf16: bool) -> str:
    """Return the precision that ``--precision`` means for a model on this processor.

    :raises EnvironmentUnfitError: the model or the processor does not support the precision
    """
    if precision == "auto":
        return "int8" if is_quantised else "fp32"
    if precision == "int8" and not is_quantised:
        raise EnvironmentUnfitError(
            f"--precision int8: {model} is not quantised; run: qatool export {model} -o DIR --int8 "
            "--calibration-data FILE"
        )
    if is_quantised and precision != "int8":
        raise EnvironmentUnfitError(
            f"--precision {precision}: {model} is quantised; drop it or use --precision int8, or name the model it "
            "was made from"
        )
    if precision == "fp16":
        raise EnvironmentUnfitError("--precision fp16: half precision is slow and inexact on a CPU; use bf16 or fp32")
    if precision == "bf16" and not has_bf16:
        raise EnvironmentUnfitError("--precision bf16: this processor has no arithmetic of it; use fp32")
    return precision


def _max_length(graph: Any, model: str, tokenizer_limit: int, *, trust_remote_code: bool) -> int:
    """Return the longest window, in tokens, that the graph states or, if it does not, the model's configuration."""
    if not graph.has_rt_info(POSITIONS):
        return longest_input(load_config(model, trust_remote_code=trust_remote_code), tokenizer_limit)
    positions = graph.get_rt_info(POSITIONS).astype(str)
    return min(int(positions), tokenizer_limit) if positions else tokenizer_limit


def _vocabulary(graph: Any) -> int:
    """Return how many token ids a graph has embeddings for: the rows of the table that ``input_ids`` index."""
    sizes = {}
    for op in graph.get_ops():
        if op.get_type_name() != "Gather":
            continue
        ids, table = op.input_value(1).get_node(), op.input_value(0).get_partial_shape()
        while ids.get_type_name() == "Convert":
            ids = ids.input_value(0).get_node()
        if table.rank == 2 and table[0].is_static:
            sizes[table[0].get_length()] = ids.get_type_name() == "Parameter" and "input_ids" in ids.output(0).names
    return max((size for size, is_of_words in sizes.items() if is_of_words), default=max(sizes, default=2))


def _graph(core: Any, model: str, *, allow_pickle: bool, trust_remote_code: bool) -> Any:
    """Return the graph of a model, converted anew where it cannot be cached or the cached one is damaged."""
    try:
        path = converted(model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    except OutputError as error:
        log_event("the converted model is not kept", level=logging.WARNING, reason=str(error))
        graph = convert(model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        return read_back(graph, core)
    try:
        return core.read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().rpartition("\n")[2][:200]
        if is_exported(model):
            raise EnvironmentUnfitError(f"{path}: does not load ({reason}); export it again") from error
    log_event("a damaged graph is converted again", level=logging.WARNING, path=str(path), reason=reason)
    shutil.rmtree(path.parent, ignore_errors=True)
    return read_back(convert(model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code), core)
