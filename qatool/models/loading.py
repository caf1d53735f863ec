"""Load a model on the backend that was asked for, or on the fastest that is installed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qatool.errors import EnvironmentUnfitError
from qatool.logs import log_event
from qatool.models.identity import is_exported
from qatool.models.openvino.library import is_installed

if TYPE_CHECKING:
    from qatool.models.backend import Backend


def load_backend(
    model: str,
    *,
    backend: str,
    device: str,
    precision: str,
    tokenizer_limit: int,
    workers: int | None = None,
    compile: bool = False,  # noqa: A002  (the flag is called so)
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Backend:
    """Load a model, and return the backend that runs it.

    :param model: folder or hub id
    :param backend: ``torch``, ``openvino``, ``constant`` (no model at all) or ``auto``: openvino on a CPU if it is
        installed and can convert the model, else torch
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    :param precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``
    :param tokenizer_limit: longest input, in tokens, that the tokenizer states
    :param workers: batches that a CPU reads at once, ``None`` for as many as torch has threads
    :param compile: whether to compile the model, on a card
    :raises EnvironmentUnfitError: the backend is not installed, the device is absent, the precision does not fit or
        the model does not load
    """
    if backend == "constant":
        from qatool.models.constant import ConstantBackend

        return ConstantBackend(max_length=tokenizer_limit)
    import torch

    from qatool.models.pytorch.torch_backend import TorchBackend, resolve_device

    on_cpu = resolve_device(device).type == "cpu"
    exported = is_exported(model)
    if exported and (backend == "torch" or not on_cpu):
        raise EnvironmentUnfitError(
            f"{model}: is exported for OpenVINO on a CPU; use --backend openvino --device cpu, or name the model it "
            "was made from"
        )
    if backend == "openvino" and not on_cpu:
        raise EnvironmentUnfitError(f"--backend openvino: reads on a CPU only, not on --device {device}; drop one")
    if compile and on_cpu:
        raise EnvironmentUnfitError("--compile: is for a CUDA card, and the model runs on a CPU; drop it")
    if workers is not None and on_cpu:
        # A single stream uses all threads of torch: a single worker would take every core, and change the bits.
        torch.set_num_threads(workers)
    streams = torch.get_num_threads()
    is_chosen = exported or backend == "openvino" or precision == "int8"
    if is_chosen or (backend == "auto" and on_cpu and is_installed()):
        from qatool.models.openvino.openvino_backend import OpenVINOBackend

        try:
            return OpenVINOBackend(
                model,
                precision=precision,
                tokenizer_limit=tokenizer_limit,
                streams=streams,
                allow_pickle=allow_pickle,
                trust_remote_code=trust_remote_code,
            )
        except EnvironmentUnfitError as error:
            if is_chosen:
                raise
            log_event("OpenVINO does not take this model, torch reads it", level=logging.DEBUG, reason=str(error))
    return TorchBackend(
        model,
        device=device,
        precision=precision,
        tokenizer_limit=tokenizer_limit,
        streams=streams,
        compile=compile,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
