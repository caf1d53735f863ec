"""The PyTorch backend: any ``AutoModelForQuestionAnswering``, on the CPU or one CUDA card."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.models.pytorch.fusion import is_fused
from qatool.models.pytorch.lanes import lane_of
from qatool.models.pytorch.memory import card_batch_tokens, telling_too_large, unless_full
from qatool.models.pytorch.packed import packed
from qatool.models.pytorch.ways import compiled, fastest_way
from qatool.models.settings import longest_input
from qatool.windows.modelfiles import check_config, only_local

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.models.backend import DeviceBackend
    from qatool.models.pytorch.packed import PackedBatch
    from qatool.models.pytorch.ways import Way
    from qatool.windows.assemble import WindowBatch

CPU_BATCH_TOKENS = 1_024
"""Tokens per batch: the activations of more no longer fit the caches of a core; see ``docs/decisions.md``."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_HALF = {"bf16", "fp16"}


class ModelInMemory:
    """A backend for a question-answering model that is already in memory, even if it is being trained.

    :param model: an ``AutoModelForQuestionAnswering``, which must be in evaluation mode whenever the backend is used
    :param device: the device that the model is on
    :param precision: the arithmetic of the model, as named in :class:`~qatool.models.backend.Backend`
    :param max_length: longest window that the model reads, in tokens
    :param streams: batches that may be run at once
    :param puts_together: whether batches are put together on the device; ``None``: only on a CUDA card
    """

    name = "torch"
    puts_together_on = frozenset({"cuda"})
    """Kinds of devices on which batches are put together by default."""
    _may_fuse = False
    """Whether modules of the model may be replaced: not while it is being trained."""

    def __init__(
        self,
        model: Any,
        *,
        device: torch.device,
        precision: str,
        max_length: int,
        streams: int = 1,
        puts_together: bool | None = None,
    ) -> None:
        self._model = model
        self._device = device
        self.device = str(device)
        self.precision = precision
        self.max_length = max_length
        self.batch_tokens = CPU_BATCH_TOKENS
        self.fitting_tokens = 1 << 62
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            self.batch_tokens = card_batch_tokens(free, model.config, itemsize=2 if precision in _HALF else 4)
        self.streams = streams
        on_device = device.type in self.puts_together_on if puts_together is None else puts_together
        self.lane = lane_of(device) if on_device else None

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`~qatool.models.backend.Backend`."""
        inputs: dict[str, Tensor] = {"input_ids": self._moved(batch.input_ids)}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = self._moved(batch.token_type_ids)
        width = batch.input_ids.shape[1]
        if batch.lengths.min() < width:
            position = torch.arange(width, device=self._device)
            inputs["attention_mask"] = (position < self._moved(batch.lengths)[:, None]).long()
        with telling_too_large(), torch.inference_mode():
            output = self._model(**inputs)
        return output.start_logits, output.end_logits

    @property
    def packs(self) -> bool:
        """Whether windows of any lengths share a batch without padding."""
        return self._way.packs

    @property
    def way(self) -> str:
        """The way in which the model is run, in words; it decides the last bits of the logits."""
        return f"{self._way.name}, fused" if is_fused(self._model) else self._way.name

    def packed_logits(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`~qatool.models.backend.DeviceBackend`."""
        with telling_too_large(), torch.inference_mode():
            return self._way(self._model, batch)

    def wider(self) -> DeviceBackend | None:
        """Return ``None``: there is only this model."""
        return None

    @cached_property
    def _way(self) -> Way:
        """The fastest way to run the model, determined at its first use."""
        return self._find_way(may_pack=self.precision in _HALF)

    def _find_way(self, *, may_pack: bool) -> Way:
        config = self._model.config
        return fastest_way(
            self._model,
            vocabulary=config.vocab_size,
            pad_token_id=getattr(config, "pad_token_id", None),
            may_pack=may_pack,
            may_fuse=self._may_fuse,
        )

    def _moved(self, values: Any) -> Tensor:
        return torch.from_numpy(values).to(self._device)


class TorchBackend(ModelInMemory):
    """A question-answering model in inference mode with fused attention.

    :param model: folder or hub id
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    :param precision: ``auto`` (fp32 on a CPU, bf16 or fp16 on a card), ``fp32``, ``bf16`` or ``fp16``
    :param tokenizer_limit: longest input, in tokens, that the tokenizer states
    :param streams: batches that a CPU may be asked to read at once
    :param compile: whether to compile the model, on a card
    :raises EnvironmentUnfitError: the device is absent, the precision does not fit it or the model does not load
    """

    def __init__(
        self,
        model: str,
        *,
        device: str,
        precision: str,
        tokenizer_limit: int,
        streams: int = 1,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        compile: bool = False,  # noqa: A002  (the flag is called so)
    ) -> None:
        place = resolve_device(device)
        resolved = resolve_precision(precision, place)
        loaded = load_weights(
            model, dtype=_DTYPES[resolved], allow_pickle=allow_pickle, trust_remote_code=trust_remote_code
        )
        with unless_full("the model", place):
            loaded = loaded.to(place)
        super().__init__(
            loaded,
            device=place,
            precision=resolved,
            max_length=longest_input(loaded.config, tokenizer_limit),
            streams=streams if place.type == "cpu" else 1,
        )
        self._wider: TorchBackend | None = None
        self._source: dict[str, Any] = {
            "model": model,
            "device": str(place),
            "tokenizer_limit": tokenizer_limit,
            "allow_pickle": allow_pickle,
            "trust_remote_code": trust_remote_code,
        }
        self._may_fuse = place.type == "cuda" and resolved in _HALF
        if self.lane is not None:
            # This sets the model up for the fastest way, which must be done before it is compiled.
            with unless_full("the model", place):
                _ = self._way
            if compile:
                self._model = compiled(self._model)

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`~qatool.models.backend.Backend`."""
        if self.lane is None:
            return super().logits(batch)
        # The model may have been set up for packed batches alone.
        padding = getattr(self._model.config, "pad_token_id", None) or 0
        return self.packed_logits(packed(batch, self._device, pad_token_id=padding))

    def wider(self) -> DeviceBackend | None:
        """Return a backend in bf16, or in fp32 where the card has no bf16; ``None`` where this one is not fp16."""
        if self.precision != "fp16":
            return None
        if self._wider is None:
            precision = "bf16" if has_bf16(self._device) else "fp32"
            self._wider = TorchBackend(**self._source, precision=precision)
        return cast("DeviceBackend", self._wider)


def resolve_device(device: str) -> torch.device:
    """Return the device that ``--device`` names.

    :raises EnvironmentUnfitError: this machine has no such device
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        resolved = None
    if resolved is None or resolved.type not in {"cpu", "cuda"}:
        raise EnvironmentUnfitError(f"--device {device}: no such device; give auto, cpu, cuda or cuda:N")
    if resolved.type == "cpu":
        return torch.device("cpu")
    index, cards = resolved.index or 0, torch.cuda.device_count()
    if index >= cards:
        raise EnvironmentUnfitError(
            f"--device {device}: this machine has {cards or 'no'} CUDA card{'s' * (cards != 1)}; use --device cpu"
        )
    return torch.device("cuda", index)


def has_bf16(card: torch.device | None = None) -> bool:
    """Return whether a card (``None``: the current one) computes in bf16; cards before NVIDIA's Ampere emulate it."""
    return torch.cuda.get_device_capability(card) >= (8, 0)


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the precision that ``--precision`` means on ``device``.

    :raises EnvironmentUnfitError: the device does not support the precision
    """
    if precision == "auto":
        if device.type == "cpu":
            return "fp32"
        return "bf16" if has_bf16(device) else "fp16"
    if precision == "int8":
        raise EnvironmentUnfitError("--precision int8: only OpenVINO reads it; export the model and drop --backend")
    if precision == "fp16" and device.type == "cpu":
        raise EnvironmentUnfitError("--precision fp16: half precision is slow and inexact on a CPU; use bf16 or fp32")
    return precision


def cpu_has_bf16() -> bool:
    """Return whether the processor has bf16 instructions, and torch the library that uses them."""
    is_there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def load_weights(model: str, *, dtype: torch.dtype, allow_pickle: bool, trust_remote_code: bool) -> Any:
    """Load a question-answering model in ``dtype``, for inference; only from safetensors unless pickles are allowed.

    :raises EnvironmentUnfitError: the model does not load, or lacks weights, such as those of its head
    """
    from transformers import AutoModelForQuestionAnswering
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    local = only_local(model)
    try:
        loaded, report = AutoModelForQuestionAnswering.from_pretrained(
            model,
            dtype=dtype,
            local_files_only=local,
            use_safetensors=None if allow_pickle else True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:
        check_config(model)
        reason = reason_of(error)
        raise EnvironmentUnfitError(
            f"{model}: the model does not load ({reason}); name a folder with config.json and "
            "model.safetensors, or a hub id"
        ) from error
    missing = sorted(name for name in report["missing_keys"] if "position_ids" not in name)
    if missing:
        raise EnvironmentUnfitError(
            f"{model}: has no weights for {', '.join(missing[:3])}; it is not a question-answering model: "
            "fine-tune it first"
        )
    return loaded.eval()
