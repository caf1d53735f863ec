"""Quantise a converted model to int8: weights and activations, scales from real windows."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Any

from qatool.models.openvino.library import import_extra
from qatool.models.openvino.openvino_backend import inputs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowBatch

CALIBRATION_WINDOWS = 300
"""As many as NNCF asks for by default; more gain nothing."""
_ACTIVATIONS = {"Gelu", "Relu", "Swish"}


def quantize(graph: Any, batches: Sequence[WindowBatch], *, limit: int) -> Any:
    """Return a graph most of whose matrix products are of int8.

    Post-training quantisation by NNCF: SmoothQuant (Xiao et al., 2022), symmetric weights, asymmetric activations,
    bias correction. Attention stays as it was, and so does what follows an activation function in the first half of
    the layers: their numbers range far, and what goes wrong early goes wrong in all that follows. Of layers built
    otherwise than BERT's, whose products do not follow such a function at once, all products are of int8.

    :param graph: an ``openvino.Model``, see :func:`~qatool.models.openvino.conversion.convert`
    :param batches: of real windows, from which the ranges of activations are taken
    :param limit: longest window that the model has positions for, in tokens
    :raises EnvironmentUnfitError: NNCF is not installed
    """
    nncf = import_extra("nncf")
    names = {name for port in graph.inputs for name in port.get_names()}
    nncf.set_log_level(logging.ERROR)
    # Its bars go to standard output, where data may go.
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            graph,
            nncf.Dataset(list(batches), lambda batch: inputs_of(batch, names, limit=limit)),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(
                names=_early_behind_activations(graph), types=["ScaledDotProductAttention"], validate=False
            ),
            subset_size=len(batches),
        )


def _early_behind_activations(graph: Any) -> list[str]:
    """Return the names of the products right behind an activation function, the earlier half of them."""
    names = [
        operation.get_friendly_name()
        for operation in graph.get_ordered_ops()
        if operation.get_type_name() == "MatMul"
        and operation.input_value(0).get_node().get_type_name() in _ACTIVATIONS
    ]
    return names[: (len(names) + 1) // 2]
