"""Runs that are killed, changed under way, and started again."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from jobs_tools import flip_byte, killing, rows, write_rows

from qatool.jobs.runfolder.seal import sealed, unsealed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("kills", "size"), [(6, 600), pytest.param(40, 4000, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_bytes_are_those_of_an_uninterrupted_run(runner, kills, size) -> None:
    write_rows(runner.folder / "in.jsonl", rows(size))
    runner.done("in.jsonl")
    whole = runner.output.read_bytes()
    runner.output.unlink()
    print(killing(runner, whole, kills=kills, seed=kills))


def test_the_real_model_gives_the_same_bytes_after_a_kill(runner) -> None:
    runner.words = ("--shard-rows", "20", "--progress", "none", "--batch-tokens", "512")
    runner.done("in.jsonl")
    whole = runner.output.read_bytes()
    runner.output.unlink()
    runner.interrupted("in.jsonl", shards=2)
    assert not runner.output.exists()
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 2
    assert runner.summary()["limits"]["batch_tokens"] == 512


def test_limits_are_kept_and_overriding_them_warns(runner, whole) -> None:
    runner.interrupted("in.jsonl")
    runner.words = runner.words[:2] + runner.words[4:]
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    runner.interrupted("in.jsonl", "--shard-rows", "20")
    done = runner.done("in.jsonl", "--shard-rows", "30")
    assert "WARNING limits changed: the same answers, but their scores may differ in the last bits" in done.err
    assert 'changes="shard_rows 20 -> 30"' in done.err
    assert runner.summary()["taken_over"] == 60
    table = pq.read_table(runner.output)
    assert table["id"].to_pylist() == [row["id"] for row in rows(200)]


def test_what_another_version_wrote_besides_is_passed_over(runner, whole) -> None:
    """Markers had the seconds until their part was made."""
    runner.interrupted("in.jsonl", shards=3)
    for path in runner.run_folder.glob("done/*.json"):
        rewrite(path, seconds=12.5, later="x")
    rewrite(runner.run_folder / "plan.json", later=[1])
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 3


def rewrite(path: Path, **more: object) -> None:
    """Add to a sealed file."""
    path.write_text(json.dumps(sealed(unsealed(json.loads(path.read_text())) | more)))


def test_after_the_output_took_its_name_the_rest_is_made_up_for(runner, whole) -> None:
    assert runner.code("in.jsonl", patch="jobs_patches:killed_between_output_and_clean_up") == 99
    assert runner.output.read_bytes() == whole
    assert runner.run_folder.exists()
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 10
    assert not runner.run_folder.exists()


def test_what_killed_runs_left_is_cleared_away(runner) -> None:
    runner.interrupted("in.jsonl")
    left = [
        runner.run_folder / ".final.0123abcd.tmp",
        runner.run_folder / "parts" / ".part-00001.parquet.0123abcd.tmp",
        runner.run_folder / "done" / ".part-00001.json.0123abcd.tmp",
        runner.folder / ".answers.parquet.summary.json.0123abcd.tmp",
    ]
    others = [runner.folder / ".other.parquet.0123abcd.tmp", runner.folder / ".answers.parquet.txt.tmp"]
    gone = runner.folder / ".answers.parquet.qatool.89abcdef.tmp"
    gone.mkdir()
    for path in [*left, *others, gone / "plan.json"]:
        path.write_bytes(b"x")
    runner.done("in.jsonl", "--keep-run")
    assert not [path for path in [*left, gone] if path.exists()]
    assert all(path.exists() for path in others)


def test_rows_appended(runner) -> None:
    runner.interrupted("in.jsonl")
    write_rows(runner.folder / "in.jsonl", rows(230))
    runner.done("in.jsonl")
    again = runner.output.read_bytes()
    assert runner.summary()["resumed_shards"] == 3
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == again


def test_a_row_mended_takes_the_others_over(runner) -> None:
    runner.interrupted("in.jsonl", shards=4)
    examples = rows(200)
    examples[25]["context"] = "Mended. " + examples[25]["context"]
    write_rows(runner.folder / "in.jsonl", examples)
    done = runner.done("in.jsonl")
    assert "INFO shards have other rows than before: finished rows are taken over shard=1 parts=" in done.err
    assert runner.summary()["resumed_shards"] == 1
    assert runner.summary()["taken_over"] == 59
    runner.interrupted("in.jsonl", "--restart", shards=4)
    write_rows(runner.folder / "in.jsonl", examples[1:])
    runner.done("in.jsonl", "--keep-run")
    assert runner.summary()["taken_over"] > 0
    assert not (runner.run_folder / "previous").exists(), "it would grow from run to run"
    write_rows(runner.folder / "in.jsonl", examples)
    runner.done("in.jsonl")
    mixed = runner.output.read_bytes()
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == mixed


def test_a_damaged_part_is_computed_again_and_told(runner, whole) -> None:
    runner.interrupted("in.jsonl", shards=3)
    flip_byte(runner.run_folder / "parts" / "part-00001.parquet")
    done = runner.done("in.jsonl")
    assert "WARNING a part is gone or damaged, and is computed again part=1" in done.err
    assert runner.output.read_bytes() == whole


def test_killed_again_while_rows_are_taken_over(runner, whole) -> None:
    runner.interrupted("in.jsonl", shards=6)
    examples = rows(200)
    examples.insert(0, rows(1, first=500)[0])
    write_rows(runner.folder / "in.jsonl", examples)
    runner.interrupted("in.jsonl", shards=2)
    flip_byte(next(runner.run_folder.glob("previous/*.parquet")))
    done = runner.done("in.jsonl")
    assert "WARNING passing over a damaged part" in done.err
    assert 60 <= runner.summary()["taken_over"] + 40 <= 140
    assert runner.summary()["examples"] == 201
    mixed = runner.output.read_bytes()
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == mixed


def test_rows_removed(runner) -> None:
    runner.interrupted("in.jsonl", shards=6)
    write_rows(runner.folder / "in.jsonl", rows(50))
    runner.done("in.jsonl")
    assert pq.read_table(runner.output)["id"].to_pylist() == [row["id"] for row in rows(50)]


def test_other_work_is_refused_by_name(runner) -> None:
    runner.interrupted("in.jsonl")
    before = runner.markers()
    refused = runner.run("in.jsonl", "--max-answer-length", "7", "--top-k", "2")
    assert refused.wait() == 6
    assert refused.error == (
        "Error: answers.parquet.qatool: holds unfinished work of another kind (max_answer_length was 30 and is "
        "now 7; top_k was 1 and is now 2); start the earlier command again, or start over with --restart\n"
    )
    assert runner.markers() == before
    runner.done("in.jsonl", "--max-answer-length", "7", "--restart")
    assert runner.summary()["resumed_shards"] == 0


def test_another_model_is_refused_by_name(runner, tiny_model) -> None:
    runner.words = ("--shard-rows", "20", "--progress", "none")
    runner.interrupted("in.jsonl", shards=1)
    other = runner.folder / "other"
    shutil.copytree(tiny_model, other)
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    weights["qa_outputs.bias"] += torch.ones(2)
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    runner.model = other
    refused = runner.run("in.jsonl")
    assert refused.wait() == 6
    assert "(model was '" in refused.error
    assert refused.error.endswith("start the earlier command again, or start over with --restart\n")


def test_restart_that_cannot_start_loses_nothing(runner) -> None:
    runner.interrupted("in.jsonl")
    before = runner.markers()
    assert runner.code("missing.jsonl", "--restart") == 3
    assert runner.markers() == before


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("plan.json", "truncated"),
        ("done/part-00001.json", "flipped"),
        ("parts/part-00001.parquet", "flipped"),
        ("parts/part-00001.parquet", "removed"),
        pytest.param("plan.json", "flipped", marks=pytest.mark.slow),
        pytest.param("plan.json", "removed", marks=pytest.mark.slow),
        pytest.param("done/part-00001.json", "truncated", marks=pytest.mark.slow),
        pytest.param("done/part-00001.json", "removed", marks=pytest.mark.slow),
        pytest.param("parts/part-00001.parquet", "truncated", marks=pytest.mark.slow),
    ],
)
def test_damage_is_noticed_and_mended(runner, whole, what, how) -> None:
    runner.interrupted("in.jsonl")
    path = runner.run_folder / what
    if how == "flipped":
        flip_byte(path)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    runner.done("in.jsonl", "--keep-run")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == (3 if what == "plan.json" else 2)
    done = [event["shard"] for event in _last_start(runner) if event["event"] == "shard done"]
    assert (1 in done) == (what != "plan.json")


def test_without_a_readable_plan_parts_speak_for_themselves(runner) -> None:
    runner.interrupted("in.jsonl")
    flip_byte(runner.run_folder / "plan.json")
    refused = runner.run("in.jsonl", "--max-answer-length", "7")
    assert refused.wait() == 6
    assert "holds unfinished work of another model or other options (its plan.json cannot be read" in refused.error


def test_a_clock_set_back_harms_nothing(runner, whole) -> None:
    runner.interrupted("in.jsonl")
    future = time.time() + 10 * 365 * 86400
    import os

    for path in runner.run_folder.rglob("*"):
        os.utime(path, (future, future))
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole


def test_standard_input_is_there_again_on_resume(runner, whole) -> None:
    source = str(runner.folder / "in.jsonl")
    runner.interrupted("-", stdin=source)
    done = runner.done("-")
    assert "INFO nothing on standard input: going on with what an earlier start read from it" in done.err
    assert runner.output.read_bytes() == whole
    runner.interrupted("-", stdin=source)
    write_rows(runner.folder / "in.jsonl", rows(30))
    runner.done("-", stdin=source)
    assert runner.summary()["examples"] == 30


def test_rejects_of_earlier_starts_are_listed(runner) -> None:
    lines = [json.dumps(row) for row in rows(200)]
    lines[5] = "{broken"
    lines[150] = json.dumps({"id": "x", "question": None, "context": "c"})
    (runner.folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    assert runner.code("in.jsonl") == 3
    runner.interrupted("in.jsonl", "--on-error", "skip", how=signal.SIGTERM)
    assert len((runner.run_folder / "rejects.jsonl").read_text().splitlines()) == 1
    process = runner.run("in.jsonl", "--on-error", "skip")
    assert process.wait() == 5
    assert process.error == "Error: 2 rows were rejected; see answers.parquet.rejects.jsonl for the reasons\n"
    listed = (runner.folder / "answers.parquet.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in listed] == [5, 150]
    assert sum(runner.summary()["reject_reasons"].values()) == 2


def test_the_model_begins_each_shard_once(runner) -> None:
    counts = runner.folder / "counts"
    runner.done("in.jsonl", patch="jobs_patches:count", environment={"COUNT": str(counts)})
    assert Counter(counts.read_text().split()) == Counter(map(str, range(10)))


def _last_start(runner) -> list[dict]:
    events = runner.log()
    first = max(place for place, event in enumerate(events) if event["event"] == "started")
    return events[first:]


def test_a_refused_start_leaves_what_was_read_of_standard_input(runner, whole, tmp_path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"question": "Who?", "context": "Somebody else."}\n')
    runner.interrupted("-", stdin=str(runner.folder / "in.jsonl"))
    assert runner.code("-", "--top-k", "7", stdin=str(other)) == 6
    runner.done("-")
    assert runner.output.read_bytes() == whole
