"""Ways to run a model over windows on a card; the fastest that gives the right logits is chosen when it is loaded.

Packed: all windows of a batch form one sequence without padding, and a kernel for sequences of any length keeps
attention within each window. Models that mix tokens elsewhere than in attention, or that have an attention of their
own, give other logits in this way, which a few made-up windows reveal. Padded: the windows are rows, padded to the
longest. The mask is given in the form into which transformers would turn it, if the logits then are right:
transformers itself would first ask the device whether there is any padding, and wait for the answer.
Either way, modules are fused where possible: see :mod:`qatool.models.pytorch.fusion`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn import functional

from qatool.errors import reason_of
from qatool.logs import log_event
from qatool.models.pytorch.fusion import Fusion
from qatool.models.pytorch.packed import PackedBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

PACKED_ATTENTION = "qatool_packed"
"""The name under which :func:`packed_attention` is registered with transformers."""
_TOLERANCE = 0.1
"""Two ways agree up to this :func:`distance`; half precision alone makes about 0.01."""
_PROBED_LENGTHS = (9, 23, 16, 5)
_GRAIN = 128
"""The length of the longest window, only an upper bound for the kernel, is rounded up to a multiple of this."""


class Way(Protocol):
    """Runs a model over a batch."""

    @property
    def name(self) -> str:
        """The name of the way, for logs and the plan."""
        ...

    @property
    def packs(self) -> bool:
        """Whether windows of any lengths share a batch without padding."""
        ...

    def __call__(self, model: Any, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``; values where there is no token are arbitrary."""
        ...


@dataclass(frozen=True)
class PaddedWay:
    """Runs the windows of a batch as rows, padded to the longest.

    :param ready_mask: whether to give the mask in the form that ``scaled_dot_product_attention`` takes
    """

    ready_mask: bool
    packs: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """The name of the way, for logs and the plan."""
        return "padded, ready mask" if self.ready_mask else "padded"

    def __call__(self, model: Any, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`Way`."""
        filled = batch.filled
        inputs = {"input_ids": batch.rows(batch.input_ids).masked_fill(~filled, batch.pad_token_id)}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.rows(batch.token_type_ids).masked_fill(~filled, 0)
        inputs["attention_mask"] = filled[:, None, None, :] if self.ready_mask else filled.long()
        output = model(**inputs)
        return output.start_logits, output.end_logits


@dataclass(frozen=True)
class PackedWay:
    """Runs the windows of a batch one after the other, as a single sequence.

    :param first_position: the position id that the model gives to the first token of a window
    """

    first_position: int
    name: str = field(default="packed", init=False)
    packs: bool = field(default=True, init=False)

    def __call__(self, model: Any, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Run the model; see :class:`Way`."""
        boundaries = batch.boundaries.int()
        longest = -(-batch.longest // _GRAIN) * _GRAIN
        inputs = {"input_ids": batch.input_ids[None], "position_ids": (batch.position + self.first_position)[None]}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids[None]
        output = model(
            **inputs,
            cu_seq_lens_q=boundaries,
            cu_seq_lens_k=boundaries,
            max_length_q=longest,
            max_length_k=longest,
        )
        return batch.rows(output.start_logits[0]), batch.rows(output.end_logits[0])


def packed_attention(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each window only; an attention function in the form that transformers expects.

    :param query: ``(1, heads, n, size)``, as are ``key`` and ``value``
    :param scaling: factor on the attention scores, ``None`` for ``size ** -0.5``
    :param cu_seq_lens_q: ``(b + 1,)``, int32: boundaries of the windows
    :param max_length_q: upper bound of the tokens of the longest window
    :returns: ``(1, n, heads, size)``, and ``None`` in place of the weights
    """
    flat = [states[0].transpose(0, 1) for states in (query, key, value)]
    usual = query.shape[-1] ** -0.5
    if scaling is not None and scaling != usual:
        flat[0] = flat[0] * (scaling / usual)
    attend: Callable[..., Any] = _each_by_itself
    if query.is_cuda:
        from torch.nn.attention import varlen

        attend = varlen.varlen_attn
    return attend(*flat, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q)[None], None


def _each_by_itself(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, _: Tensor, __: int, ___: int
) -> Tensor:
    """Attend within one window after the other, as a CPU has no kernel for packed windows."""
    sizes = boundaries.diff().tolist()
    windows = zip(*(torch.split(states, sizes) for states in (query, key, value)), strict=True)
    attended = [
        functional.scaled_dot_product_attention(*(states.transpose(0, 1)[None] for states in window))[0]
        for window in windows
    ]
    return torch.cat(attended, dim=1).transpose(0, 1)


def fastest_way(
    model: Any, *, vocabulary: int, pad_token_id: int | None, may_pack: bool, may_fuse: bool = False
) -> Way:
    """Return the fastest way that gives the same logits as the plain padded way, and set the model up for it.

    :param model: the model, on its device, in evaluation mode
    :param vocabulary: number of tokens that the model knows
    :param may_pack: whether to try the packed way
    :param may_fuse: whether modules of the model may be replaced; see :mod:`qatool.models.pytorch.fusion`
    """
    usual = str(getattr(model.config, "_attn_implementation", None))
    plain = PaddedWay(ready_mask=False)
    batch = probe(vocabulary, pad_token_id, device=next(model.parameters()).device)
    expected = _filled(plain, model, batch)
    firsts = (0,) if pad_token_id is None else (0, pad_token_id + 1)  # RoBERTa counts from behind its padding token
    packed = [PackedWay(first) for first in firsts] if may_pack else []
    masked = [PaddedWay(ready_mask=True)] if usual == "sdpa" else []
    fusion = Fusion.of(model) if may_fuse else Fusion(())
    alike: Sequence[Way]
    for fused in (True, False) if fusion else (False,):
        fusion.put(in_place=fused)
        as_is = [plain] if fused else []
        for alike, attention in ((packed, PACKED_ATTENTION), (masked, usual), (as_is, usual)):
            # The nearest is taken: positions that begin at the wrong id may be within the tolerance, too.
            distances = [_distance(way, model, batch, expected, attention=attention) for way in alike]
            if min(distances, default=torch.inf) <= _TOLERANCE:
                way = alike[distances.index(min(distances))]
                log_event("the model is run", level=logging.DEBUG, way=way.name, fused=fused)
                return way
    _attend_by(model, usual)
    return plain


def _distance(way: Way, model: Any, batch: PackedBatch, expected: Tensor, *, attention: str) -> float:
    """Return the :func:`distance` of the logits of a way from the expected ones, infinity where it fails."""
    try:
        _attend_by(model, attention)
        return distance(_filled(way, model, batch), expected)
    except Exception as error:  # noqa: BLE001  (models raise all kinds of errors for inputs that they do not know)
        reason = reason_of(error)
        log_event("a way to run the model fails", level=logging.DEBUG, way=way.name, reason=reason)
        return torch.inf


def _attend_by(model: Any, name: str) -> None:
    if name == PACKED_ATTENTION:
        from transformers import AttentionInterface

        AttentionInterface.register(PACKED_ATTENTION, packed_attention)
    if model.config._attn_implementation != name:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            raise ValueError(f"the model takes no other attention than {model.config._attn_implementation}")


def probe(vocabulary: int, pad_token_id: int | None, *, device: torch.device) -> PackedBatch:
    """Return a few made-up windows, none of which contains a padding token."""
    lengths = torch.tensor(_PROBED_LENGTHS)
    boundaries = functional.pad(lengths.cumsum(0), (1, 0))
    total = int(boundaries[-1])
    input_ids = (torch.arange(total) * 7_919 + 104_729) % vocabulary
    if pad_token_id is not None:
        input_ids[input_ids == pad_token_id] = (pad_token_id + 1) % vocabulary
    return PackedBatch(
        input_ids=input_ids.to(device),
        token_type_ids=None,
        position=(torch.arange(total) - boundaries[:-1].repeat_interleave(lengths)).to(device),
        boundaries=boundaries.to(device),
        lengths=lengths.to(device),
        context_first=torch.zeros_like(lengths, device=device),
        context_length=lengths.to(device),
        null_position=torch.zeros_like(lengths, device=device),
        longest=max(_PROBED_LENGTHS),
        longest_context=max(_PROBED_LENGTHS),
        pad_token_id=pad_token_id or 0,
    )


def _filled(way: Way, model: Any, batch: PackedBatch) -> Tensor:
    """Return the start and end logits of all tokens, ``(2, n)``, on the host."""
    with torch.inference_mode():
        return torch.stack([logits[batch.filled] for logits in way(model, batch)]).float().cpu()


def distance(found: Tensor, expected: Tensor) -> float:
    """Return how far the logits ``found (2, n)`` are from those expected, relative to how these vary.

    The variation is taken around the mean, as an offset of all logits does not matter to spans. The distance is
    infinite where it is not a number.
    """
    away = expected - expected.mean(dim=1, keepdim=True)
    return float(((found - expected).norm() / away.norm()).nan_to_num(torch.inf, torch.inf))


def compiled(model: Any, *, backend: str = "inductor") -> Any:
    """Return a model whose forward pass is compiled at its first batch, for batches of any size.

    Where that fails, the model is run uncompiled, and a line in the log says why.
    """
    return _Compiled(model, backend)


class _Compiled:
    def __init__(self, model: Any, backend: str) -> None:
        self._model = model
        self._faster: Any = None
        try:
            self._faster = torch.compile(model, dynamic=True, backend=backend)
        except Exception as error:  # noqa: BLE001  (there may be no compiler for this Python, or none at all)
            self._fails(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        if self._faster is not None:
            try:
                return self._faster(**inputs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001  (a compiler's errors are of many kinds)
                self._fails(error)
        return self._model(**inputs)

    def _fails(self, error: Exception) -> None:
        self._faster = None
        log_event(
            "torch.compile does not take the model; it is run as it is",
            level=logging.WARNING,
            reason=reason_of(error),
        )
