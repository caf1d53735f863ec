"""The folder: whole or not there, the same whatever the workers, readable by others, and what is chosen into it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from prephelpers import load, write_rows

from qatool.features import shards
from qatool.features.duplicates import Duplicates
from qatool.features.layout import examples_schema, features_schema

SENTENCE = "The pump in valley number {} was built in {} by a clockmaker who knew the water well. "


def example(number: int, *, repeats: int = 12) -> dict:
    """A context of several windows; every third question has no answer."""
    context = "".join(SENTENCE.format(number, 1800 + place) for place in range(repeats))
    years = [str(1800 + number % repeats)] if number % 3 else []
    return {
        "id": f"e{number}",
        "question": f"When was pump {number} built?",
        "context": context,
        "answers": {"text": years, "answer_start": [context.index(year) for year in years]},
    }


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "in.jsonl", [example(number) for number in range(60)])


@pytest.fixture
def words(tiny_model):
    return ["prep", "in.jsonl", "-o", "f", "-q", "--model", tiny_model, "--max-length", 60, "--stride", 20]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_names_columns_and_sums(qatool, rows, words, monkeypatch) -> None:
    monkeypatch.setattr(shards.cut_shards, "__kwdefaults__", {"rows": 25, "characters": 10**6})
    assert qatool(*words, "--workers", 1) == (0, "", "")
    found = load(rows.parent / "f")
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(
        [f"{kind}-{part:05d}-of-00003.parquet" for kind in ("features", "examples") for part in range(3)]
        + ["README.md", "audit.json", "manifest.json"]
    )
    assert found.features.schema.equals(features_schema(token_types=True, all_answers=False))
    assert found.examples.schema.equals(examples_schema())
    assert found.examples["id"].to_pylist() == [f"e{number}" for number in range(60)]
    audit, lengths = found.audit, [len(ids) for ids in found.features["input_ids"].to_pylist()]
    parts = ("answerable", "unanswerable", "unlabelled", "empty", "rejected")
    assert audit["examples"] == 60 == sum(audit[part] for part in parts)
    parts = ("windows_with_answer", "windows_without_answer", "windows_unlabelled")
    assert audit["windows"] == len(lengths) == sum(audit[part] for part in parts)
    assert audit["windows"] == sum(found.examples["n_windows"].to_pylist())
    assert audit["tokens"] == sum(lengths)
    bins = Counter()
    for one in audit["window_lengths"]:
        bins[one["from"]] = sum(one["from"] <= length < one["to"] for length in lengths)
        assert one["windows"] == bins[one["from"]]
    assert sum(bins.values()) == len(lengths)
    assert audit["disk_bytes"] == sum(path.stat().st_size for path in found.folder.glob("*.parquet"))
    assert {name: audit[name] for name in found.manifest["counts"]} == found.manifest["counts"]


def test_workers_change_no_byte(qatool, tmp_path, words) -> None:
    write_rows(tmp_path / "in.jsonl", [example(number, repeats=2) for number in range(5000)])
    assert qatool(*words, "--workers", 1).code == 0
    one = contents(tmp_path / "f")
    assert qatool(*words, "--workers", 2, "--negatives-per-positive", 1e9).code == 0
    two = contents(tmp_path / "f")
    assert len(one) == 9
    del one["manifest.json"], two["manifest.json"]
    assert one == two


@pytest.fixture
def _hears_interrupts():
    """Children hear SIGINT, also where whoever started the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_hears_interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(tmp_path, words, number) -> None:
    write_rows(tmp_path / "in.jsonl", [example(number, repeats=3) for number in range(12_000)])
    (tmp_path / "f").mkdir()
    command = [sys.executable, "-m", "qatool", *map(str, words), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    staging = tmp_path / "f.qatool" / "features"
    while not list(staging.glob("features-*.parquet")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert list((tmp_path / "f").iterdir()) == []
    assert not list(tmp_path.rglob("manifest.json"))
    if number == signal.SIGKILL:
        assert process.returncode == -9
        write_rows(tmp_path / "in.jsonl", [example(1)])
        assert subprocess.run(command).returncode == 0
        assert load(tmp_path / "f").audit["examples"] == 1
        assert not (tmp_path / "f.qatool").exists()
        return
    done = "interrupted" if number == signal.SIGINT else "terminated"
    assert told == f"Error: {done}; f is as it was, the same command starts over\n"
    assert process.returncode == 128 + number
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "in.jsonl"]


def test_features_that_a_killed_run_moved_aside_are_put_back(qatool, rows, words) -> None:
    assert qatool(*words).code == 0
    before = contents(rows.parent / "f")
    (rows.parent / "f").rename(rows.parent / ".f.0123abcd.tmp")
    rows.write_text('{"question": 1}\n')
    assert qatool(*words, "--strict").code == 3
    assert contents(rows.parent / "f") == before
    assert sorted(path.name for path in rows.parent.iterdir()) == ["f", "in.jsonl"]


def test_negatives(qatool, rows, words) -> None:
    assert qatool(*words).code == 0
    full = load(rows.parent / "f")
    assert qatool(*words, "--negatives-per-positive", 0.5).code == 0
    thin = load(rows.parent / "f")
    positives = full.audit["windows_with_answer"]
    assert (thin.audit["windows_with_answer"], thin.audit["windows_without_answer"]) == (positives, positives // 2)
    dropped = full.audit["windows_without_answer"] - positives // 2
    assert thin.audit["windows_dropped"] == dropped == len(full.features) - len(thin.features)
    assert thin.audit["tokens"] == sum(len(ids) for ids in thin.features["input_ids"].to_pylist())
    assert sum(one["windows"] for one in thin.audit["window_lengths"]) == len(thin.features)
    every = [json.dumps(row) for row in full.features.to_pylist()]
    kept = [json.dumps(row) for row in thin.features.to_pylist()]
    order = [every.index(row) for row in kept]
    assert order == sorted(order)
    before = contents(rows.parent / "f")
    assert qatool(*words, "--negatives-per-positive", 0.5).code == 0
    assert contents(rows.parent / "f") == before


def test_all_answers(qatool, tmp_path, words) -> None:
    one = example(1)
    texts = ["1801", "in 1801", "1803", "1801"]
    starts = [one["context"].index(text) for text in texts]
    write_rows(tmp_path / "in.jsonl", [one | {"answers": {"text": texts, "answer_start": starts}}, example(3)])
    assert qatool(*words, "--answers", "all").code == 0
    found = load(tmp_path / "f")
    assert found.examples["answers"].to_pylist()[0] == {"text": texts[:3], "answer_start": starts[:3]}
    contexts = [one["context"], example(3)["context"]]
    seen = set()
    for row in found.features.to_pylist():
        spans = list(zip(row["all_start_positions"], row["all_end_positions"], strict=True))
        assert (row["start_positions"], row["end_positions"]) == (spans[0] if spans else (0, 0))
        offsets, context = row["offset_mapping"], contexts[row["overflow_to_sample_mapping"]]
        decoded = [context[offsets[start][0] : offsets[end][1]] for start, end in spans]
        assert decoded == [text for text in texts[:3] if text in decoded]
        seen.update(decoded)
    assert seen == set(texts)


def test_answers_of_other_annotators_are_kept_where_the_first_is_the_label(qatool, tmp_path, words) -> None:
    one = example(1)
    texts = ["1801", "in 1801", "nowhere", "1801"]
    starts = [max(0, one["context"].find(text)) for text in texts]
    write_rows(tmp_path / "in.jsonl", [one | {"answers": {"text": texts, "answer_start": starts}}])
    assert qatool(*words).code == 0
    found = load(tmp_path / "f")
    assert found.examples["answers"].to_pylist() == [{"text": texts[:2], "answer_start": starts[:2]}]
    assert (found.audit["answers"], found.audit["rejected"]) == (1, 0)


def test_datasets_reads_it(qatool, rows, words, tmp_path) -> None:
    datasets = pytest.importorskip("datasets")
    assert qatool(*words).code == 0
    datasets.disable_progress_bars()
    for name, kind in ((None, "features"), ("examples", "examples")):
        read = datasets.load_dataset(str(tmp_path / "f"), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert read.to_list() == getattr(load(tmp_path / "f"), kind).to_pylist()


def test_duplicates(tmp_path) -> None:
    counted = Duplicates(tmp_path)
    digests = np.random.default_rng(1).bytes(16 * 1000)
    counted.add(digests)
    counted.add(digests[: 16 * 7])
    counted.add(b"")
    assert counted.count() == 7


def test_inspect(qatool, tmp_path, words) -> None:
    write_rows(tmp_path / "in.jsonl", [example(0, repeats=1), example(7, repeats=4) | {"id": "\x1b[2Jseven"}])
    assert qatool(*words).code == 0
    outcome = qatool("inspect", "f")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:4] == [
        "example \\x1b[2Jseven (row 1)",
        "question: When was pump 7 built?",
        f"answer at {example(7, repeats=4)['context'].index('1803')}: 1803",
        f"windows: {load(tmp_path / 'f').examples['n_windows'].to_pylist()[1]}",
    ]
    assert [line for line in lines if ": 1803" in line and line.startswith("window")]
    assert ">>" in outcome.out
    assert "[CLS] When was p" in outcome.out
    assert qatool("inspect", "f", "--row", 0).out.splitlines()[2] == "unanswerable"
    assert qatool("inspect", "f", "--row", 2).errors == [
        "Error: f: holds 2 examples; name a row below that with --row"
    ]
    assert qatool("inspect", "f", "--id", "x").errors == ["Error: f: holds no example with the id 'x'; check --id"]
    assert qatool("inspect", "g").errors == ["Error: g: no such file or folder; check the path"]
    (tmp_path / "f" / "features-00000-of-00001.parquet").unlink()
    assert qatool("inspect", "f").errors == [
        "Error: f/features-00000-of-00001.parquet: is missing; make the features again"
    ]


def test_standard_input(qatool, tmp_path, tiny_model) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qatool", "prep", "-", "-o", "f", "-q", "--model", str(tiny_model)],
        input=json.dumps(example(1)).encode(),
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert load(tmp_path / "f").manifest["inputs"][0]["name"] == "<stdin>"


def test_torch_stays_out(tmp_path, tiny_model) -> None:
    write_rows(tmp_path / "in.jsonl", [example(1)])
    code = f"""
import sys
import tempfile
from qatool import cli
print(cli.run(["prep", "in.jsonl", "-o", "f", "-q", "--model", {str(tiny_model)!r}]), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0 False\n", "")


def test_the_output_may_lie_in_the_input_and_is_not_read(qatool, tmp_path, rows, words) -> None:
    (tmp_path / "data").mkdir()
    rows.rename(tmp_path / "data" / "in.jsonl")
    into = [word if word not in {"in.jsonl", "f"} else {"in.jsonl": "data", "f": "data/f"}[word] for word in words]
    assert [qatool(*into).code for _ in range(2)] == [0, 0]
    assert load(tmp_path / "data" / "f").audit["examples"] == 60


def test_no_input_is_replaced(qatool, tmp_path, rows, words) -> None:
    assert qatool(*words).code == 0
    before = contents(tmp_path / "f")
    for given in ("f", "f/examples-00000-of-00001.parquet"):
        told = qatool(*[word if word != "in.jsonl" else given for word in words])
        assert told == (3, "", f"Error: {given}: holds nothing but what this command writes; add input files\n")
    assert contents(tmp_path / "f") == before


@pytest.mark.parametrize(
    "command",
    [
        ["prep", "in.jsonl", "-o", "g"],
        ["finetune", "in.jsonl", "-o", "g"],
        ["calibrate", "g", "--on", "in.jsonl"],
        ["export", "m", "-o", "g", "--calibration-data", "in.jsonl"],
    ],
)
def test_no_log_is_written_into_an_input(qatool, rows, command) -> None:
    before = rows.read_bytes()
    told = qatool(*command, "--log-file", "./in.jsonl")
    reason = "is in.jsonl as well, and would be written over; name another file"
    assert told == (2, "", f"Error: --log-file ./in.jsonl: {reason}\n")
    assert rows.read_bytes() == before


def test_no_total_is_told_where_examples_are_made(qatool, rows, words) -> None:
    told = qatool(*[word for word in words if word != "-q"], "--progress", "plain", "--cut-contexts", 1).err
    assert "examples, " in told
    assert " of " not in told.splitlines()[0]


def test_a_run_folder_on_another_disk(qatool, tmp_path) -> None:
    """No rename leads from there to the output; nothing of the run is left in it, and the link stays."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    write_rows(tmp_path / "in.jsonl", [{"id": "a", "question": "What is this?", "context": "This is a text."}])
    with tempfile.TemporaryDirectory(dir=shared) as elsewhere:
        (tmp_path / "out.qatool").symlink_to(elsewhere)
        for _ in range(2):
            assert qatool("prep", "in.jsonl", "-o", "out").code == 0
            assert (tmp_path / "out" / "manifest.json").is_file()
            assert not list(Path(elsewhere).iterdir())
        assert (tmp_path / "out.qatool").is_symlink()
        assert not list(tmp_path.glob(".*.tmp"))
