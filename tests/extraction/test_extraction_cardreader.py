"""Reading where the model is: the same answers as batch by batch on the host, one copy back, and what goes wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from backendhelpers import ArithmeticBackend
from extractionhelpers import about, answers, extractor, shard_of
from test_extraction_windowreader import BAD, PAIRS, marked, token_of_mark
from tokenizerhelpers import pair_tokenizer

from qatool.extraction.answering.cardreader import CardReader, CardShard, _Uploaded
from qatool.extraction.answering.extractor import MODEL_FAILED
from qatool.models.pytorch.lanes import HostLane, lane_of
from qatool.spans.search import SpanTable
from qatool.windows.assemble import WindowBatch
from qatool.windows.pieces import WindowPieces

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.models.pytorch.packed import PackedBatch

MODES = ["native", "squad-script", "hf-pipeline"]


class CountingLane(HostLane):
    """Counts the copies."""

    def __init__(self) -> None:
        self.uploads = self.downloads = 0

    def upload(self, arrays: Any) -> Any:
        self.uploads += 1
        return super().upload(arrays)

    def download(self, values: Tensor) -> Any:
        self.downloads += 1
        return super().download(values)


class DeviceArithmetic(ArithmeticBackend):
    """The arithmetic backend, given its batches as a card is."""

    packs = True

    def __init__(self, *, wider: ArithmeticBackend | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.lane = CountingLane()
        self.fitting_tokens = 1 << 62
        self._wider = wider

    def packed_logits(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        filled = batch.filled
        ids = batch.rows(batch.input_ids).masked_fill(~filled, batch.pad_token_id)
        assert torch.equal(batch.rows(batch.position)[filled], filled.cumsum(1)[filled] - 1)
        return self.logits(
            WindowBatch(
                input_ids=ids.numpy().astype(np.int32),
                token_type_ids=None,
                lengths=batch.lengths.numpy(),
                context_first=batch.context_first.numpy(),
                context_length=batch.context_length.numpy(),
                null_position=batch.null_position.numpy(),
            )
        )

    def wider(self) -> Any:
        return self._wider


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level-bpe", "unigram"])
def test_batches_are_those_of_the_host(kind) -> None:
    one = extractor(pair_tokenizer(kind))
    prepared = one.prepare(shard_of(marked()))
    examples, characters = prepared.examples, prepared.characters
    uploaded = _Uploaded(CardShard.of(examples, characters), DeviceArithmetic())
    order = np.argsort(examples.lengths, kind="stable")
    for first, last in ((0, 1), (3, 11), (0, len(order))):
        ours, theirs = uploaded.batch(first, last), examples.assemble(order[first:last])
        filled = np.arange(theirs.input_ids.shape[1]) < theirs.lengths[:, None]
        assert np.array_equal(ours.input_ids.numpy(), theirs.input_ids[filled])
        if theirs.token_type_ids is not None:
            assert np.array_equal(ours.token_type_ids.numpy(), theirs.token_type_ids[filled])
        for name in ("lengths", "context_first", "context_length", "null_position"):
            assert np.array_equal(getattr(ours, name).numpy(), getattr(theirs, name))
        assert ours.longest == theirs.input_ids.shape[1]
        assert ours.longest_context == theirs.longest_context
        groups, expected = uploaded.characters(first, last), characters.of_windows(examples, order[first:last])
        if expected is None:
            assert groups is None
        else:
            assert np.array_equal(groups.start_token.numpy(), expected.start_token)
            assert np.array_equal(groups.end_token.numpy(), expected.end_token)


def test_tokens_that_share_characters_are_among_the_samples() -> None:
    """Else the comparison above would compare nothing."""
    prepared = extractor(pair_tokenizer("byte-level-bpe")).prepare(shard_of(marked()))
    assert not prepared.characters.plain


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_tokens", [64, 400, 10**9])
@pytest.mark.parametrize("packs", [True, False])
def test_the_same_answers(mode, batch_tokens, packs) -> None:
    options = {"mode": mode, "top_k": 3, "batch_tokens": batch_tokens}
    tokenizer = pair_tokenizer("byte-level-bpe")
    backend = DeviceArithmetic()
    backend.packs = packs
    ours = answers(extractor(tokenizer, backend, **options), marked())
    assert ours == about(answers(extractor(tokenizer, **options), marked()))
    assert (backend.lane.uploads, backend.lane.downloads) == (1, 1)


@pytest.mark.parametrize("mode", MODES)
def test_places_for_spans_are_no_more_than_a_window_can_have(mode) -> None:
    """As many as asked for would be gigabytes on a card."""
    options = {"mode": mode, "top_k": 10**8}
    backend = DeviceArithmetic()
    ours = answers(extractor(backend=backend, **options), PAIRS[:3])
    assert ours == about(answers(extractor(**options), PAIRS[:3]))


def test_packed_batches_are_filled_by_tokens_alone() -> None:
    backend = DeviceArithmetic()
    one = extractor(backend=backend, batch_tokens=200)
    prepared = one.prepare(shard_of(PAIRS))
    lengths: list[int] = []
    packed = backend.packed_logits

    def noting(batch: Any) -> Any:
        lengths.append(len(batch.input_ids))
        return packed(batch)

    backend.packed_logits = noting
    one.answer(prepared)
    assert sum(lengths) == prepared.examples.lengths.sum()
    assert all(length <= 200 for length in lengths)
    longest = int(prepared.examples.lengths.max())
    assert all(length + longest > 200 for length in lengths[:-1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("most", [40, 77, 300])
def test_split_batches_give_the_same_answers_and_later_ones_are_smaller(mode, most) -> None:
    whole = answers(extractor(mode=mode, top_k=3, batch_tokens=4_000), PAIRS)
    backend = DeviceArithmetic(most_tokens=most)
    one = extractor(mode=mode, top_k=3, batch_tokens=4_000, backend=backend)
    assert answers(one, PAIRS) == about(whole)
    assert all(rows * width <= most for rows, width in backend.batches)
    assert backend.fitting_tokens <= 4_000 // 2
    read, refused = len(backend.batches), 0
    plain = backend.logits

    def counting(batch: Any) -> Any:
        nonlocal refused
        refused += batch.input_ids.size > most
        return plain(batch)

    backend.logits = counting
    answers(one, PAIRS)
    assert refused <= 2, "what did not fit is not tried again and again"
    assert len(backend.batches) > read


@pytest.mark.parametrize("fault", ["refused_id", "nan_id"])
@pytest.mark.parametrize("mode", MODES)
def test_a_window_that_cannot_be_read_spoils_its_example_only(mode, fault) -> None:
    tokenizer = pair_tokenizer("byte-level-bpe")
    options = {"mode": mode, "top_k": 3, "max_length": 64}
    clean = answers(extractor(tokenizer, **options), marked())
    one = extractor(tokenizer, DeviceArithmetic(**{fault: token_of_mark()}), **options)
    part = one.answer(one.prepare(shard_of(marked())))
    rows = part.table.to_pylist()
    assert rows[BAD]["error"] == MODEL_FAILED
    assert rows[:BAD] + rows[BAD + 1 :] == about(clean[:BAD] + clean[BAD + 1 :])
    assert part.counts["rejected"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_windows_that_overflow_are_read_again_in_a_wider_range(mode) -> None:
    tokenizer = pair_tokenizer("byte-level-bpe")
    options = {"mode": mode, "top_k": 3, "max_length": 64}
    clean = answers(extractor(tokenizer, **options), marked())
    wider = DeviceArithmetic()
    backend = DeviceArithmetic(nan_id=token_of_mark(), wider=wider)
    assert answers(extractor(tokenizer, backend, **options), marked()) == about(clean)
    # Only what overflowed is read again.
    assert 0 < sum(rows for rows, _ in wider.batches) < sum(rows for rows, _ in backend.batches) / 2


def test_nothing_can_be_read_and_nothing_is_there() -> None:
    rows = answers(extractor(backend=DeviceArithmetic(most_tokens=1)), PAIRS[:3])
    assert [row["error"] for row in rows] == [MODEL_FAILED] * 3
    one = extractor(backend=DeviceArithmetic())
    prepared = one.prepare(shard_of([("who", " ")]))
    reader = CardReader(backend=one.backend, search=one.decoder.search, batch_tokens=100, tick=lambda _: None)
    spans, failed = reader.read(prepared.examples, None)
    assert len(failed) == 0
    for field in dataclasses.fields(SpanTable):
        assert len(getattr(spans, field.name)) == 0


def test_shards_may_be_launched_before_others_are_collected() -> None:
    backend = DeviceArithmetic()
    one = extractor(backend=backend, top_k=3)
    ticks: list[int] = []
    reader = CardReader(backend=backend, search=one.decoder.search, batch_tokens=300, tick=ticks.append)
    shards = [one.prepare(shard_of(pairs)) for pairs in (PAIRS[:9], PAIRS[9:])]
    launched = [reader.launch(CardShard.of(shard.examples, None)) for shard in shards]
    assert sum(ticks) == sum(len(shard.examples.windows) for shard in shards)
    parts = [one.decide(shard, *reader.collect(way)) for shard, way in zip(shards, launched, strict=True)]
    rows = [row for part in parts for row in part.table.to_pylist()]
    plain = answers(extractor(top_k=3), PAIRS)
    assert [row["answer"] for row in rows] == [row["answer"] for row in plain]


def test_pieces_are_all_there_is_to_send() -> None:
    examples = extractor().prepare(shard_of(PAIRS)).examples
    pieces = WindowPieces.of(examples)
    assert np.array_equal(pieces.lengths, np.sort(examples.lengths))
    assert np.array_equal(np.sort(pieces.order), np.arange(len(examples.windows)))
    held = sum(values.nbytes for values in vars(pieces).values() if isinstance(values, np.ndarray))
    assert held < 5 * len(examples.pool) + 50 * len(examples.windows)


def test_the_lane_of_a_cpu_copies_nothing() -> None:
    values = np.arange(5)
    lane = lane_of(torch.device("cpu"))
    there = lane.upload({"values": values})["values"]
    there += 1
    assert values.tolist() == [1, 2, 3, 4, 5]
    coming = lane.download(there)
    assert coming.ready()
    assert coming.wait() is not values
    assert coming.wait().tolist() == [1, 2, 3, 4, 5]
