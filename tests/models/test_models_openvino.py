"""The OpenVINO backend: the same logits as torch, whatever the batch; what it refuses; what is kept and chosen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizerhelpers import questions, texts
from transformers import AutoConfig, AutoModelForQuestionAnswering

from qatool.errors import EnvironmentUnfitError
from qatool.models import loading
from qatool.models.identity import EXPORTED_GRAPH, is_exported, model_fingerprint
from qatool.models.loading import load_backend
from qatool.models.openvino import conversion, library
from qatool.models.openvino.flatness import FlatLogits
from qatool.models.openvino.openvino_backend import inputs_of, resolve_precision
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Collection

    from qatool.models.backend import Backend
    from qatool.windows.assemble import WindowBatch, WindowedExamples


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def loaded(model: Path | str, **options) -> Backend:
    return load_backend(
        str(model), **{"backend": "openvino", "device": "cpu", "precision": "auto", "tokenizer_limit": 128} | options
    )


def refusal(call) -> str:
    with pytest.raises(EnvironmentUnfitError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def examples(tiny_model) -> WindowedExamples:
    held = [text[: 30 + 40 * row] for row, text in enumerate(texts()[8:20])]
    size = WindowSize(max_length=100, stride=20, question_budget=30)
    return build_windows(
        list(questions()[: len(held)]), held, tokenizer=PairTokenizer.load(str(tiny_model)), size=size
    )


def test_logits_are_those_of_torch(tiny_model, examples, cache) -> None:
    ours, theirs = loaded(tiny_model, workers=2), loaded(tiny_model, backend="torch", precision="fp32")
    assert (ours.name, ours.device, ours.precision, ours.streams) == ("openvino", "cpu", "fp32", 2)
    assert ours.max_length == theirs.max_length == 128
    order = np.argsort(examples.lengths)
    batches = [examples.assemble(order[first : first + size]) for first, size in ((0, 1), (1, 5), (6, len(order)))]
    assert len({batch.input_ids.shape for batch in batches}) == len(batches)
    # From several threads at once, each batch with a shape of its own.
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ours.logits, batches * 3))
    for (start, end), batch in zip(found, batches * 3, strict=True):
        wanted = theirs.logits(batch)
        there = torch.from_numpy(np.arange(batch.input_ids.shape[1]) < batch.lengths[:, None])
        for logits, right in zip((start, end), wanted, strict=True):
            torch.testing.assert_close(logits[there], right[there], atol=2e-5, rtol=1e-4)


class Noisy:
    """What a backend infers, with noise in its place for the readings of these numbers, the first being 0."""

    def __init__(self, backend, *, noise: Collection[int], same: bool = False) -> None:
        self._infer, self._noise, self._same = backend._infer, noise, same
        self.requests: list[Any] = []

    def __call__(self, batch, request):
        number = len(self.requests)
        self.requests.append(request)
        found = self._infer(batch, request)
        share = 0.2 if self._same or number % 2 else -0.2
        return tuple(side * share for side in found) if number in self._noise else found


def rows_of(examples) -> list[WindowBatch]:
    return [examples.assemble(np.array([row])) for row in range(len(examples.windows))]


@pytest.mark.parametrize(
    ("noise", "told"),
    [([0], ""), ([2], ""), ([0, 1], " 2 times"), ([3, 4, 5, 6], " 4 times")],
)
def test_noise_is_read_again(tiny_model, examples, cache, monkeypatch, caplog, noise, told) -> None:
    batches = rows_of(examples)
    expected = [loaded(tiny_model).logits(batch)[0] for batch in batches]
    backend = loaded(tiny_model)
    noisy = Noisy(backend, noise=noise)
    monkeypatch.setattr(backend, "_infer", noisy)
    found = [backend.logits(batch)[0] for batch in batches]
    for pair in zip(found, expected, strict=True):
        torch.testing.assert_close(*pair, atol=1e-5, rtol=1e-5)
    assert len(noisy.requests) == len(batches) + len(noise)
    # From the second noise on, each reading has a request of its own.
    assert len(set(map(id, noisy.requests))) == len(noise)
    assert [record.message for record in caplog.records] == [
        f"OpenVINO gave noise for a batch{told}, which was read again"
    ]


def test_noise_without_end(tiny_model, examples, cache, monkeypatch) -> None:
    backend = loaded(tiny_model)
    monkeypatch.setattr(backend, "_infer", Noisy(backend, noise=range(99)))
    assert refusal(lambda: backend.logits(rows_of(examples)[0])).endswith("or use --backend torch")


def test_what_is_no_number_is_neither_flat_nor_usual() -> None:
    flat, lengths = FlatLogits(9.0), np.array([2])

    def are_flat(*starts: float) -> bool:
        start = np.array([starts], dtype=np.float32)
        return flat.are_flat((start, np.array([[9.0, 0.0, 0.0]], dtype=np.float32)), lengths)

    for _ in range(20):
        for odd in (np.nan, np.inf, -np.inf):
            assert not are_flat(odd, odd, 0.0)
        assert not are_flat(9.0, 0.0, 99.0)
    # Padding does not count.
    assert are_flat(2.0, 0.0, 99.0)
    assert not are_flat(4.0, 0.0, 0.0)


def test_one_flat_window_among_others_is_found() -> None:
    some = np.array([[9.0, 0.0], [1.0, 0.0], [8.0, 0.0]], dtype=np.float32)
    assert FlatLogits(9.0).are_flat((some, some), np.full(3, 2))
    assert not FlatLogits(9.0).are_flat((some[::2], some[::2]), np.full(2, 2))


def test_flat_ends_alone_are_flat() -> None:
    sharp, dull = (np.array([[high, 0.0]], dtype=np.float32) for high in (9.0, 1.0))
    assert FlatLogits(9.0).are_flat((sharp, dull), np.array([2]))
    assert not FlatLogits(9.0).are_flat((sharp, sharp), np.array([2]))


def test_what_is_flat_by_nature_is_soon_usual(tiny_model, examples, cache, monkeypatch, caplog) -> None:
    backend = loaded(tiny_model)
    batches = rows_of(examples)
    for batch in batches:
        backend.logits(batch)
    flat = Noisy(backend, noise=range(10_000), same=True)
    monkeypatch.setattr(backend, "_infer", flat)
    for _ in range(20):
        for batch in batches:
            backend.logits(batch)
    assert 20 * len(batches) < len(flat.requests) < 20 * len(batches) + 66
    assert not caplog.records


def test_a_conversion_is_kept(tiny_model, cache, monkeypatch) -> None:
    path = conversion.converted(str(tiny_model))
    assert path.parent.parent == cache
    assert path.parent.name.startswith(model_fingerprint(str(tiny_model))[:32])
    assert [entry.name for entry in cache.iterdir()] == [path.parent.name]
    monkeypatch.setattr(conversion, "convert", lambda *_, **__: pytest.fail("converted again"))
    assert conversion.converted(str(tiny_model)) == path


def test_the_first_of_two_conversions_stays(tiny_model, cache, monkeypatch) -> None:
    convert = conversion.convert

    def late(model: str, **options):
        monkeypatch.setattr(conversion, "convert", convert)
        conversion.converted(model)
        return convert(model, **options)

    monkeypatch.setattr(conversion, "convert", late)
    path = conversion.converted(str(tiny_model))
    assert path.exists()
    assert [entry.name for entry in cache.iterdir()] == [path.parent.name]


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin"])
@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_a_damaged_conversion_is_made_again(tiny_model, cache, caplog, name, backend) -> None:
    path = conversion.converted(str(tiny_model))
    damaged = path.with_name(name)
    whole = damaged.read_bytes()
    flipped = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    for content in (whole[:100], flipped):
        caplog.clear()
        damaged.write_bytes(content)
        assert loaded(tiny_model, backend=backend).name == "openvino"
        assert "a damaged graph is converted again" in caplog.messages
        assert conversion._is_whole(path.parent)
        caplog.clear()
        assert loaded(tiny_model, backend=backend).name == "openvino"
        assert not caplog.messages


def test_a_damaged_conversion_that_cannot_be_removed_is_not_used(tiny_model, cache, monkeypatch, caplog) -> None:
    path = conversion.converted(str(tiny_model))
    damaged = path.with_suffix(".bin")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(conversion.shutil, "rmtree", refuse)
    asked: list[Path] = []
    save = conversion.save_graph
    monkeypatch.setattr(conversion, "save_graph", lambda graph, folder: asked.append(folder) or save(graph, folder))
    assert loaded(tiny_model).name == "openvino"
    assert [folder.parent == cache for folder in asked] == [False]
    assert "the converted model is not kept" in caplog.messages


def test_a_graph_that_openvino_cannot_read_is_converted_again(tiny_model, cache, monkeypatch, caplog) -> None:
    """Its files are as they were written; another version may still not know them."""
    path = conversion.converted(str(tiny_model))
    path.write_text("<net/>")
    conversion.write_json(path.with_name("hashes.json"), conversion._hashes(path.parent))
    assert loaded(tiny_model).name == "openvino"
    assert "a damaged graph is converted again" in caplog.messages
    assert list(cache.iterdir()) == []


def test_what_a_killed_conversion_left_goes(tiny_model, cache) -> None:
    path = conversion.converted(str(tiny_model))
    shutil.rmtree(path.parent)
    old, new = (cache / f".{path.parent.name}.{number}.tmp" for number in ("01234567", "89abcdef"))
    for left in (old, new):
        left.mkdir()
    os.utime(old, (0, 0))
    conversion.converted(str(tiny_model))
    assert sorted(entry.name for entry in cache.iterdir()) == sorted([new.name, path.parent.name])


def test_what_was_made_of_a_pickle_serves_only_who_allows_them(tiny_model, cache, tmp_path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    made = conversion.converted(str(model), allow_pickle=True)
    assert conversion.converted(str(model), allow_pickle=True) == made
    with pytest.raises(EnvironmentUnfitError, match="the model does not load"):
        conversion.converted(str(model))
    plain = conversion.converted(str(tiny_model))
    assert conversion.converted(str(tiny_model), allow_pickle=True) == plain


def test_where_nothing_can_be_kept_it_is_converted_each_time(
    tiny_model, examples, tmp_path, monkeypatch, caplog
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path / "file" / "cache"))
    unkept = loaded(tiny_model, backend="auto")
    assert unkept.name == "openvino"
    assert "the converted model is not kept" in caplog.text
    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path / "cache"))
    kept = loaded(tiny_model, backend="auto")
    for batch in rows_of(examples):
        for one, other in zip(unkept.logits(batch), kept.logits(batch), strict=True):
            assert torch.equal(one, other)


def test_weights_of_half_precision_are_stored_so(tiny_model, tmp_path) -> None:
    from transformers import AutoModelForQuestionAnswering

    sizes = {}
    for name, convert in (("fp32", torch.nn.Module.float), ("fp16", torch.nn.Module.half)):
        model = shutil.copytree(tiny_model, tmp_path / name)
        convert(AutoModelForQuestionAnswering.from_pretrained(model)).save_pretrained(model)
        (tmp_path / f"graph-{name}").mkdir()
        conversion.save_graph(conversion.convert(str(model)), tmp_path / f"graph-{name}")
        sizes[name] = (tmp_path / f"graph-{name}" / "openvino_model.bin").stat().st_size
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_auto_takes_openvino_on_a_cpu_where_it_is_installed(tiny_model, cache, monkeypatch) -> None:
    assert loaded(tiny_model, backend="auto").name == "openvino"
    # What only torch can refuse properly, and what only torch reads.
    assert "half precision is slow" in refusal(lambda: loaded(tiny_model, backend="auto", precision="fp16"))
    monkeypatch.setattr(conversion, "convert", lambda *_, **__: (_ for _ in ()).throw(EnvironmentUnfitError("no")))
    shutil.rmtree(cache)
    assert loaded(tiny_model, backend="auto").name == "torch"
    assert refusal(lambda: loaded(tiny_model)) == "no"
    monkeypatch.setattr(loading, "is_installed", lambda: False)
    assert loaded(tiny_model, backend="auto").name == "torch"


def test_without_the_extra(tiny_model, cache, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert refusal(lambda: loaded(tiny_model)) == (
        "openvino: cannot be imported; run: pip install 'qatool[openvino]'"
    )


def test_a_signal_finds_its_stack_when_models_come_and_go(tiny_model, cache) -> None:
    code = """
import gc, os, signal, sys
from qatool.models.loading import load_backend

def load():
    return load_backend(sys.argv[1], backend="openvino", device="cpu", precision="fp32", tokenizer_limit=128)

signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
first, second = load(), load()
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tiny_model)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_nothing_is_reported_to_the_makers() -> None:

    code = (
        "import sys\nfrom qatool.models.openvino.library import import_extra\n"
        "import_extra('openvino'); import_extra('nncf')\n"
        "from openvino.tools.ovc.telemetry_utils import tm\nfrom nncf.telemetry.wrapper import telemetry\n"
        "print(sys.modules['openvino_telemetry'], tm.__name__, type(telemetry).__name__)"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["None", "openvino.tools.ovc.telemetry_stub", "MagicMock"]
    assert library.is_installed()


def test_precisions() -> None:
    def resolved(precision: str, *, is_quantised: bool = False, has_bf16: bool = True) -> str:
        return resolve_precision(precision, model="m", is_quantised=is_quantised, has_bf16=has_bf16)

    assert [resolved(one) for one in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    assert [resolved(one, is_quantised=True) for one in ("auto", "int8")] == ["int8", "int8"]
    assert "m is not quantised; run: qatool export m -o DIR --int8" in refusal(lambda: resolved("int8"))
    assert "--precision fp32: m is quantised" in refusal(lambda: resolved("fp32", is_quantised=True))
    assert "this processor has no arithmetic of it" in refusal(lambda: resolved("bf16", has_bf16=False))
    assert "half precision is slow" in refusal(lambda: resolved("fp16"))


def test_a_model_without_token_types(tiny_model, tmp_path, cache, examples) -> None:
    from transformers import RobertaConfig, RobertaForQuestionAnswering

    torch.manual_seed(3)
    words = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    config = RobertaConfig(
        vocab_size=words, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=130, type_vocab_size=1, pad_token_id=0,
    )  # fmt: skip
    RobertaForQuestionAnswering(config).save_pretrained(tmp_path / "roberta")
    batch = replace(examples.assemble(np.arange(len(examples.windows))), token_type_ids=None)
    assert "token_type_ids" not in inputs_of(batch, {"input_ids", "attention_mask"}, limit=512)
    ours = loaded(tmp_path / "roberta").logits(batch)
    theirs = loaded(tmp_path / "roberta", backend="torch").logits(batch)
    there = torch.from_numpy(np.arange(batch.input_ids.shape[1]) < batch.lengths[:, None])
    torch.testing.assert_close(ours[0][there], theirs[0][there], atol=2e-5, rtol=1e-4)


def test_what_is_exported(tiny_model, tmp_path) -> None:
    assert not is_exported(str(tiny_model))
    folder = shutil.copytree(tiny_model, tmp_path / "both")
    (folder / EXPORTED_GRAPH).write_text("<net/>")
    assert not is_exported(str(folder))
    (folder / "model.safetensors").unlink()
    assert is_exported(str(folder))
    assert "use --backend openvino --device cpu" in refusal(lambda: loaded(folder, backend="torch"))
    before = model_fingerprint(str(folder))
    (folder / EXPORTED_GRAPH).write_text("<net />")
    assert model_fingerprint(str(folder)) != before


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_one_worker_is_one_thread(tiny_model, cache, backend) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert loaded(tiny_model, backend=backend, workers=1).streams == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("deberta-v2", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}),
        ("mpnet", {}),
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}),
    ],
)
def test_models_without_fused_attention(kind, sizes, tiny_model, tmp_path, cache, examples) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, **(sizes if kind == "xlnet" else small | sizes))
    made = AutoModelForQuestionAnswering.from_config(config)
    made.save_pretrained(folder)
    both = [
        loaded(folder, backend=backend).logits(examples.assemble(np.arange(6))) for backend in ("torch", "openvino")
    ]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one.float(), other, atol=1e-4, rtol=0)


def test_a_graph_of_one_shape_is_left_to_torch(tiny_model, cache, monkeypatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("Size does not match\nand more")

    import openvino

    monkeypatch.setattr(openvino.InferRequest, "infer", fails)
    assert "its graph takes windows of one shape only (Size does not match); use --backend torch" in refusal(
        lambda: loaded(tiny_model)
    )
    assert loaded(tiny_model, backend="auto").name == "torch"
