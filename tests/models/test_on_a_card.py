"""What only a card can show: no waiting in the loop, its kernels, its memory. Run with ``pytest -m gpu``."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizerhelpers import questions, texts
from torch.nn import functional

from qatool.commands.extract import run
from qatool.extraction.answering.cardreader import CardReader, CardShard, device_backend
from qatool.extraction.answering.setup import load_setup
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.models.pytorch.fusion import Fusion, _NormalisedSum, activated_product, normalised_sum
from qatool.models.pytorch.lanes import CardLane
from qatool.options import ExtractOptions
from qatool.schema import Example

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qatool.extraction.answering.extractor import Extractor

pytestmark = [
    pytest.mark.gpu,
    # What torch says of itself, once a process.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
]

PAIRS = [(questions()[i % 20], text) for i, text in enumerate(texts()[8:40])]


@pytest.fixture(autouse=True)
def card() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA card here")
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.set_per_process_memory_fraction(1.0)


def extractor_of(model: Path, **options: Any) -> Extractor:
    given: dict[str, Any] = {"device": "cuda", "always_answer": True, "top_k": 3} | options
    return load_setup(ExtractOptions(inputs=("-",), output="-", model=str(model), **given)).extractor


def shard_of_pairs() -> Any:
    examples = [Example(str(row), *pair, f"rows:{row}") for row, pair in enumerate(PAIRS)]
    (shard,) = cut_shards(examples, ShardLimits(rows=1_000, context_bytes=1 << 30))
    return shard


def test_a_card_packs_windows(tiny_model) -> None:
    for precision in ("bf16", "fp16"):
        backend = device_backend(extractor_of(tiny_model, precision=precision).backend)
        assert backend is not None
        assert isinstance(backend.lane, CardLane)
        assert backend.packs


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_answers_are_those_of_the_cpu(tiny_model, precision) -> None:
    shard = shard_of_pairs()
    tables = []
    for device, kind in (("cuda", precision), ("cpu", "fp32")):
        one = extractor_of(tiny_model, device=device, precision=kind)
        tables.append(one.answer(one.prepare(shard)).table)
    ours, theirs = (table["score"].to_pylist() for table in tables)
    assert ours == pytest.approx(theirs, abs=1e-4 if precision == "fp32" else 0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_waits_for_the_card_while_a_shard_is_launched(tiny_model, precision) -> None:
    one = extractor_of(tiny_model, precision=precision, batch_tokens=1_000)
    backend = device_backend(one.backend)
    reader = CardReader(backend=backend, search=one.decoder.search, batch_tokens=1_000, tick=lambda _: None)
    prepared = one.prepare(shard_of_pairs())
    card_shard = CardShard.of(prepared.examples, one.searched_characters(prepared))
    reader.collect(reader.launch(card_shard))
    torch.cuda.set_sync_debug_mode("error")
    launched = reader.launch(card_shard)
    torch.cuda.set_sync_debug_mode("default")
    spans, failed = reader.collect(launched)
    assert len(failed) == 0
    assert len(spans) == len(prepared.examples.windows)


def test_the_check_sees_waiting() -> None:
    values = torch.ones(3, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchroniz"):
        values.sum().item()


def test_batches_beyond_the_memory_are_halved(tiny_model) -> None:
    one = extractor_of(tiny_model, precision="fp32")
    shard = shard_of_pairs()
    usual = one.answer(one.prepare(shard)).table
    tight = extractor_of(tiny_model, precision="fp32", batch_tokens=10**9)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    # Room for the model and a few megabytes.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (6 << 20)) / total)
    assert free
    found = tight.answer(tight.prepare(shard)).table
    assert tight.backend.fitting_tokens < 1 << 62
    assert found["answer"] == usual["answer"]
    assert found["error"].null_count == len(found)


def test_overflow_in_fp16_is_read_again(tmp_path, tiny_model) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    model = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if "layer.0.intermediate.dense.weight" in name)
    weights[name] = weights[name] * 3e5
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    one = extractor_of(model, precision="fp16")
    table = one.answer(one.prepare(shard_of_pairs())).table
    assert one.backend._wider is not None
    assert table["error"].null_count == len(table)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("width", [32, 384, 768, 1_000])
def test_kernels_of_our_own_give_what_torch_gives(kind, width) -> None:
    values, residual = (torch.randn(1, 1_001, width, device="cuda", dtype=kind) * 3 + 1 for _ in range(2))
    weight, bias = (torch.randn(width, device="cuda", dtype=kind) for _ in range(2))
    exact = functional.layer_norm(
        values.double() + residual.double(), (width,), weight.double(), bias.double(), 1e-12
    )
    rounding = max(torch.finfo(kind).eps, 1e-5)
    found = normalised_sum(values, residual, weight, bias, 1e-12)
    assert found.dtype == kind
    torch.testing.assert_close(found.double(), exact, rtol=2 * rounding, atol=2 * rounding)
    matrix, column = torch.randn(96, width, device="cuda", dtype=kind) / width**0.5, weight[:1].repeat(96)
    activated = functional.gelu(values.double() @ matrix.double().t() + column.double(), approximate="tanh")
    tolerance = 2e-2 if kind == torch.float32 else 8 * rounding  # fp32 products may be those of tf32
    found = activated_product(values, matrix, column)
    assert found.dtype == kind
    torch.testing.assert_close(found.double(), activated, rtol=tolerance, atol=tolerance)


def test_a_model_is_fused_on_a_card_and_answers_as_without(tiny_model, monkeypatch) -> None:
    shard = shard_of_pairs()
    fused = extractor_of(tiny_model, precision="fp16")
    ours = fused.answer(fused.prepare(shard)).table["score"].to_pylist()
    assert any(isinstance(module, _NormalisedSum) for module in fused.backend._model.modules())
    monkeypatch.setattr(Fusion, "of", classmethod(lambda cls, _: cls(())))
    usual = extractor_of(tiny_model, precision="fp16")
    assert not any(isinstance(module, _NormalisedSum) for module in usual.backend._model.modules())
    assert ours == pytest.approx(usual.answer(usual.prepare(shard)).table["score"].to_pylist(), abs=0.02)


def test_a_compiled_model_gives_the_same(tiny_model) -> None:
    shard = shard_of_pairs()
    plain, compiled = (extractor_of(tiny_model, precision="bf16", compile=way) for way in (False, True))
    one, other = (way.answer(way.prepare(shard)).table["score"].to_pylist() for way in (plain, compiled))
    assert other == pytest.approx(one, abs=0.02)
    assert compiled.backend._model._faster is not None, "compiling failed, and the model was run as it is"


def test_a_whole_run_in_stages(tmp_path, tiny_model) -> None:
    rows = [{"id": str(i), "question": question, "context": text} for i, (question, text) in enumerate(PAIRS * 20)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    options = ExtractOptions(
        inputs=(str(tmp_path / "in.parquet"),),
        output=str(tmp_path / "answers.parquet"),
        model=str(tiny_model),
        device="cuda",
        shard_rows=50,
        workers=2,
        quiet=True,
    )
    told = run(options).summary
    assert told["device"] == "cuda:0"
    assert told["limits"]["compile"] is False
    once = (tmp_path / "answers.parquet").read_bytes()
    run(replace(options, workers=1))
    assert (tmp_path / "answers.parquet").read_bytes() == once
    assert pq.read_table(tmp_path / "answers.parquet")["id"].to_pylist() == [row["id"] for row in rows]


def test_training_steps_do_not_wait_for_the_card(tiny_model) -> None:
    from transformers import AutoModelForQuestionAnswering

    from qatool.training.module import QuestionAnsweringModule, Recipe

    model = AutoModelForQuestionAnswering.from_pretrained(tiny_model, attn_implementation="sdpa").cuda()
    recipe = Recipe(learning_rate=1e-4, weight_decay=0.0, clip=1.0, steps=9, warmup_steps=0, seed=1)
    module = QuestionAnsweringModule(model, recipe, None)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    before = {name: value.clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.full_like(value, torch.nan)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.cuda.set_sync_debug_mode("error")
    module._note_overflow(optimizer, norm)
    optimizer.step()
    torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_steps_as_graphs_are_the_steps(tiny_model) -> None:
    """The same losses and gradients as kernel by kernel, shapes in turn, and nothing asked of the card."""
    from traininghelpers import RECIPE, batch_of
    from transformers import AutoModelForQuestionAnswering

    from qatool.training.graphs import StepGraphs
    from qatool.training.module import QuestionAnsweringModule

    model = AutoModelForQuestionAnswering.from_pretrained(tiny_model, attn_implementation="sdpa").cuda().eval()
    module = QuestionAnsweringModule(model, RECIPE, None)
    module._ready_mask = True

    def backward(batch: Any) -> torch.Tensor:
        loss = module._loss(batch)
        loss.backward()
        torch.clear_autocast_cache()
        return loss.detach()

    steps = StepGraphs(backward)
    batches = [
        batch_of([[(1, i % 3 + 1)], [(2, 2)]], width=(16, 32)[i % 2], rows=8).to(torch.device("cuda"))
        for i in range(12)
    ]
    for place, batch in enumerate(batches):
        with torch.autocast("cuda", torch.bfloat16):
            model.zero_grad(set_to_none=False)
            expected = float(backward(batch))
            gradient = [value.grad.clone() for value in model.parameters() if value.grad is not None]
            model.zero_grad(set_to_none=False)
            assert float(steps(batch)) == pytest.approx(expected, rel=1e-3), place
        for one, other in zip(gradient, (v.grad for v in model.parameters() if v.grad is not None), strict=True):
            torch.testing.assert_close(other, one, rtol=0.02, atol=1e-3)
    assert steps._works
    assert len(steps._recorded) == 2


def test_a_model_that_asks_the_card_is_told_kernel_by_kernel(tiny_model) -> None:
    """With dropout, which some releases do not draw any more after a recording that failed."""
    from traininghelpers import batch_of
    from transformers import AutoModelForQuestionAnswering

    from qatool.training.graphs import StepGraphs

    model = AutoModelForQuestionAnswering.from_pretrained(tiny_model, attn_implementation="sdpa").cuda().train()

    def backward(batch: Any) -> torch.Tensor:
        output = model(input_ids=batch.input_ids)
        loss = output.start_logits.sum() * (1.0 if output.end_logits.sum().item() > 0 else 2.0)
        loss.backward()
        return loss.detach()

    steps = StepGraphs(backward)
    batch = batch_of([[(1, 3)], [(2, 2)]]).to(torch.device("cuda"))
    for _ in range(5):
        assert torch.isfinite(steps(batch))
    assert not steps._works
    assert not steps._recorded


LOOK_FIRST = """
import torch
from qatool.training.graphs import asked
value = torch.ones((), device="cuda")
with asked() as questions:
    value += 1
assert questions == [], questions
with asked() as questions:
    value.item()
assert len(questions) == 1, questions
"""


def test_the_first_look_of_a_process_finds_no_question() -> None:
    """Torch says once a process that looking for questions is a prototype."""
    done = subprocess.run([sys.executable, "-c", LOOK_FIRST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("adversarial", [0.0, 0.5])
def test_a_training_on_a_card(tmp_path, tiny_model, monkeypatch, adversarial) -> None:
    """From labelled rows to a model, steps as graphs, dropout drawn anew in each."""
    import json

    from qatool.commands.finetune import run as finetune
    from qatool.options import FinetuneOptions
    from qatool.training import graphs
    from qatool.training.module import QuestionAnsweringModule

    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path / "cache"))
    recorded: list[Any] = []
    genuine = graphs.StepGraphs._record
    monkeypatch.setattr(
        graphs.StepGraphs, "_record", lambda self, batch: recorded.append(genuine(self, batch)) or recorded[-1]
    )
    weights: list[torch.Tensor] = []
    validated = QuestionAnsweringModule.on_validation_epoch_start
    monkeypatch.setattr(
        QuestionAnsweringModule,
        "on_validation_epoch_start",
        lambda self: weights.append(self.model.qa_outputs.weight.detach().cpu()) or validated(self),
    )
    path = tmp_path / "rows.jsonl"
    with path.open("w") as stream:
        for number, (question, text) in enumerate(PAIRS):
            word = text[:60].split()[0]
            answers = {"text": [word], "answer_start": [text.index(word)]}
            row = {"id": str(number), "question": question, "context": text[:400], "answers": answers}
            stream.write(json.dumps(row) + "\n")
    result = finetune(
        FinetuneOptions(
            inputs=(str(path),), output=str(tmp_path / "model"), model=str(tiny_model), batch_size=8, epochs=30,
            learning_rate=1e-3, validation=str(path), validations=3, dropout=0.1, max_length=96, stride=16,
            progress="none", adversarial=adversarial,
        )
    )  # fmt: skip
    assert result.device == "cuda:0"
    assert any(one is not None for one in recorded)
    # Validations do not take the gradients away that graphs add to.
    assert len(weights) == 3
    assert not any(torch.equal(one, other) for one, other in pairwise(weights))
    assert result.best is not None
    assert result.best.f1 > 30
