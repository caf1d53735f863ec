"""Quantise the weights and activations of a converted model to int8, with scales taken from real windows."""

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
"""Windows to take scales from: as many as NNCF uses by default; more gain nothing."""
_ACTIVATIONS = {"Gelu", "Relu", "Swish"}


def quantize(graph: Any, batches: Sequence[WindowBatch], *, limit: int) -> Any:
    """Return a graph in which most matrix products are int8.

    Post-training quantisation by NNCF: SmoothQuant (Xiao et al., 2022), symmetric weights, asymmetric activations,
    bias correction. Attention is not quantised, and neither are, in the first half of the layers, the products right
    behind an activation function: their inputs have a wide range, and early errors spread to all later layers. In
    layers that are built differently from BERT's, where no product is right behind such a function, all products are
    int8.

    :param graph: an ``openvino.Model``; see :func:`~qatool.models.openvino.conversion.convert`
    :param batches: batches of real windows, from which the ranges of activations are taken
    :param limit: longest window that the model has positions for, in tokens
    :raises EnvironmentUnfitError: NNCF is not installed
    """
    nncf = import_extra("nncf")
    names = {name for port in graph.inputs for name in port.get_names()}
    nncf.set_log_level(logging.ERROR)
    # NNCF writes progress bars to standard output, where data may go.
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
    """Return the names of the earlier half of all matrix products that are right behind an activation function."""
    names = [
        operation.get_friendly_name()
        for operation in graph.get_ordered_ops()
        if operation.get_type_name() == "MatMul"
        and operation.input_value(0).get_node().get_type_name() in _ACTIVATIONS
    ]
    return names[: (len(names) + 1) // 2]
