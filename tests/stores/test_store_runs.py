"""Runs on an S3-compatible server: real client, real requests, real kills."""

from __future__ import annotations

import io
import json
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_tools import rows

pytestmark = pytest.mark.cluster


def test_input_and_output_in_a_store_give_the_bytes_of_a_disk(runner, store, whole) -> None:
    output = store.uri("answers.parquet")
    done = runner.done(store.uri("in.jsonl"), "--summary", store.uri("told.json"), output=output)
    assert store.get("answers.parquet") == whole
    assert store.names() == ["answers.parquet", "answers.parquet.summary.json", "in.jsonl", "told.json"]
    summary = json.loads(store.get("answers.parquet.summary.json"))
    assert (summary["examples"], summary["output"], summary["exit_code"]) == (200, output, 0)
    assert json.loads(store.get("told.json")) == summary
    assert store.uploads() == []
    told = runner.raw("status", output)
    assert told.wait() == 0
    assert "done, 200 examples" in told.out
    assert "Traceback" not in done.err


def test_keys_are_read_and_written_as_typed(runner, store, whole) -> None:
    store.put("a//in.jsonl", store.get("in.jsonl"))
    runner.done(store.uri("a//in.jsonl"), output=store.uri("x//answers.parquet"))
    assert store.get("x//answers.parquet") == whole
    assert store.names("x/") == ["x//answers.parquet", "x//answers.parquet.summary.json"]


def test_killed_and_started_again_it_continues(runner, store, whole) -> None:
    output = store.uri("answers.parquet")
    store.put("answers.parquet", b"what stood there before")
    runner.interrupted(store.uri("in.jsonl"), output=output, shards=4, how=signal.SIGKILL)
    assert store.get("answers.parquet") == b"what stood there before"
    markers = store.names("answers.parquet.qatool/done/")
    assert markers == [f"answers.parquet.qatool/done/part-{part:05d}.json" for part in range(4)]
    status = runner.raw("status", output)
    assert status.wait() == 0
    assert "stopped, 80 of 200 examples" in status.out or "stopped, 80 examples in 4 shards" in status.out, status.out
    store.asked()
    runner.done(store.uri("in.jsonl"), output=output)
    assert store.get("answers.parquet") == whole
    assert json.loads(store.get("answers.parquet.summary.json"))["resumed_shards"] == 4
    assert not store.names("answers.parquet.qatool")


def test_an_output_with_brackets_in_its_name(runner, store, whole) -> None:
    other = store.put("answers1.parquet.qatool/parts/part-00000.parquet", b"another run's")
    output = store.uri("answers[1].parquet")
    runner.interrupted(store.uri("in.jsonl"), output=output, shards=2, how=signal.SIGKILL)
    runner.done(store.uri("in.jsonl"), output=output)
    assert store.get("answers[1].parquet") == whole
    assert json.loads(store.get("answers[1].parquet.summary.json"))["resumed_shards"] == 2
    left = [key for key in store.names() if ".qatool/" in key]
    assert [store.uri(key) for key in left] == [other]


def test_keys_that_are_no_paths(runner, store) -> None:
    for number, key in enumerate(("data/in.jsonl", "data//in.jsonl", "data/./in.jsonl", "data/a//b/in.jsonl")):
        store.put(key, f"{json.dumps(rows(1, first=number)[0])}\n".encode())
    runner.done(store.uri("data/"), "--on-error", "fail")
    assert sorted(pq.read_table(runner.output)["id"].to_pylist()) == [row["id"] for row in rows(4)]


def test_a_part_that_was_touched_is_computed_anew(runner, store, whole) -> None:
    output = store.uri("answers.parquet")
    runner.interrupted(store.uri("in.jsonl"), output=output, shards=3)
    part = "answers.parquet.qatool/parts/part-00001.parquet"
    store.put(part, store.get(part)[:-1] + b"?")
    runner.done(store.uri("in.jsonl"), output=output)
    assert store.get("answers.parquet") == whole
    assert json.loads(store.get("answers.parquet.summary.json"))["resumed_shards"] == 2


def test_input_that_changed_is_replanned(runner, store, tmp_path) -> None:
    output = store.uri("answers.parquet")
    runner.interrupted(store.uri("in.jsonl"), output=output, shards=5)
    changed = rows(200)
    changed[30]["context"] += " More."
    store.put("in.jsonl", "".join(json.dumps(row) + "\n" for row in changed).encode())
    runner.done(store.uri("in.jsonl"), output=output)
    summary = json.loads(store.get("answers.parquet.summary.json"))
    assert (summary["resumed_shards"], summary["taken_over"]) == (1, 79)
    assert pq.read_table(io.BytesIO(store.get("answers.parquet")))["id"].to_pylist() == [row["id"] for row in changed]


def test_a_folder_is_whole_when_it_is_sealed(runner, store) -> None:
    runner.done("in.jsonl", output="answers/")
    local = sorted((runner.folder / "answers").iterdir())
    output = store.uri("answers/")
    runner.done(store.uri("in.jsonl"), output=output, patch="jobs_patches:small_parts")
    assert len(store.names("answers/")) > len(local)
    runner.done(store.uri("in.jsonl"), output=output)
    assert store.names("answers/") == [f"answers/{path.name}" for path in local]
    assert [store.get(f"answers/{path.name}") for path in local] == [path.read_bytes() for path in local]
    store.put("mine/notes.txt", b"not qatool's")
    refused = runner.run(store.uri("in.jsonl"), output=store.uri("mine/"))
    assert refused.process.exitcode == 9
    assert "holds 'notes.txt', which qatool did not write" in refused.error


def test_a_folder_left_unsealed_says_so_and_is_completed(runner, store) -> None:
    output = store.uri("answers/")
    runner.done(store.uri("in.jsonl"), output=output)
    before = {key: store.get(key) for key in store.names("answers/")}
    killed = runner.held(
        store.uri("in.jsonl"), output=output, shards=0, patch="jobs_patches:no_flock_and_hold_assembly"
    )
    killed.send(signal.SIGKILL)
    killed.wait()
    assert set(before) ^ set(store.names("answers/")) == {"answers/_SUCCESS", "answers/_UNFINISHED"}
    refused = runner.run(output)
    assert refused.process.exitcode == 3
    assert "is being written, or was left unfinished" in refused.error
    runner.done(store.uri("in.jsonl"), output=output)
    assert {key: store.get(key) for key in store.names("answers/")} == before


def test_two_runs_at_once_are_one_too_many(runner, store, whole) -> None:
    output = store.uri("answers.parquet")
    first = runner.held(store.uri("in.jsonl"), output=output, shards=2)
    second = runner.run(store.uri("in.jsonl"), output=output)
    assert second.process.exitcode == 7
    assert f"another run is at work (process {first.pid} on " in second.error
    running = runner.raw("status", output)
    assert running.wait() == 0
    assert f"process {first.pid} on " in running.out
    assert first.go_on() == 0
    assert store.get("answers.parquet") == whole


def test_a_run_that_was_taken_for_dead_writes_nothing_more(runner, store, whole) -> None:
    output = store.uri("answers.parquet")
    first = runner.held(store.uri("in.jsonl"), output=output, shards=2)
    owner = json.loads(store.get("answers.parquet.qatool/lock"))
    store.put("answers.parquet.qatool/lock", json.dumps({**owner, "token": "another's"}).encode())
    assert first.go_on() == 7
    assert "another took over; nothing more is written" in first.error
    assert len(store.names("answers.parquet.qatool/done/")) == 2
    assert "answers.parquet" not in store.names()


def test_a_bucket_that_is_not_there(runner, store) -> None:
    missing = runner.run("s3://no-such-bucket/in.jsonl")
    assert missing.process.exitcode == 3
    assert missing.error == (
        "Error: s3://no-such-bucket/in.jsonl: no such bucket; check the URI, and the endpoint that is asked\n"
    )
    missing = runner.run("in.jsonl", output="s3://no-such-bucket/answers.parquet")
    assert missing.process.exitcode == 9
    assert missing.error == (
        "Error: s3://no-such-bucket/answers.parquet: cannot be written: no such bucket; create it first, or check "
        "the URI and the endpoint that is asked\n"
    )
    missing = runner.run(store.uri("nothing-here/"), "--keep-run")
    assert missing.process.exitcode == 3
    assert "no such object, and nothing under it" in missing.error


def test_access_denied(runner, store) -> None:
    store.faults(denied=f"/{store.bucket}/")
    refused = runner.run(store.uri("in.jsonl"))
    assert refused.process.exitcode == 3
    assert f"{store.uri('in.jsonl')}: access denied (" in refused.error
    refused = runner.run("in.jsonl", output=store.uri("answers.parquet"))
    assert refused.process.exitcode == 9
    assert "answers.parquet" in refused.error
    assert "access denied (" in refused.error
    assert "check your credentials and what they allow" in refused.error
    nobody = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    refused = runner.run(store.uri("in.jsonl"), environment=nobody)
    assert refused.process.exitcode == 3
    assert "credentials" in refused.error
    assert "Traceback" not in refused.err


def test_an_object_replaced_while_it_is_read(runner, store) -> None:
    source = store.put("big.jsonl", "".join(json.dumps(row) + "\n" for row in rows(4000)).encode())
    output = store.uri("answers.parquet")
    stopped = runner.run(
        source, output=output, patch="store_patches:replaced_midway", environment={"REPLACED": source}
    )
    assert stopped.process.exitcode == 3, stopped.err
    assert f"Error: {source}: was replaced while it was read; start the same command again\n" == stopped.error
    assert "answers.parquet" not in store.names()


def test_without_the_extra(runner) -> None:
    missing = runner.run("s3://bucket/in.jsonl", patch="store_patches:no_s3fs")
    assert missing.process.exitcode == 4
    assert (
        missing.error == "Error: s3://: the library for it is not installed; install it: pip install 'qatool[s3]'\n"
    )


def test_only_the_columns_that_are_needed_are_fetched(runner, store) -> None:
    """A corpus of 24 MB, of which 23 are a column nobody asks for."""
    table = pa.Table.from_pylist(rows(60))
    noise = pa.array([bytes(400_000 - row) + str(row).encode() * 9 for row in range(60)])
    sink = io.BytesIO()
    pq.write_table(
        table.append_column("noise", noise), sink, compression="none", use_dictionary=False, row_group_size=20
    )
    source = store.put("wide.parquet", sink.getvalue())
    store.asked()
    runner.done(source)
    fetched = [
        one["range"] for one in store.asked()["requests"] if one["path"].endswith("wide.parquet") and one["range"]
    ]
    sizes = [int(end) - int(first) + 1 for first, end in (one.removeprefix("bytes=").split("-") for one in fetched)]
    assert 0 < sum(sizes) < len(sink.getvalue()) / 20


def test_other_commands_read_from_a_store(runner, store) -> None:
    labelled = [{**row, "answers": {"text": ["amber"], "answer_start": [0]}} for row in rows(40)]
    for row in labelled:
        row["context"] = "amber " + row["context"]
    source = store.put("labelled.jsonl", "".join(json.dumps(row) + "\n" for row in labelled).encode())
    output = store.uri("answers.parquet")
    runner.done(source, output=output)
    for words in (
        ("evaluate", output, "--references", source),
        ("inspect", output, "--corpus", source),
        ("report", output, "--corpus", source, "-o", "report.html"),
        ("prep", source, "--model", str(runner.model), "-o", "features"),
    ):
        done = runner.raw(*words)
        assert done.wait() == 0, done.err
    runner.done(source, "--reuse", output, output=output)
    assert json.loads(store.get("answers.parquet.summary.json"))["taken_over"] == 40


def test_a_folder_in_a_store_is_reused_while_it_is_whole(runner, store) -> None:
    source, output = store.uri("in.jsonl"), store.uri("fold/")

    def taken_over() -> int:
        runner.done(source, "--reuse", output, output=output)
        return int(json.loads(store.get("fold.summary.json"))["taken_over"])

    assert taken_over() == 0
    count = taken_over()
    assert count > 0
    # As a run leaves it that is killed while it replaces the parts.
    store.put("fold/_UNFINISHED", store.get("fold/_SUCCESS"))
    store.client.delete_object(Bucket=store.bucket, Key="fold/_SUCCESS")
    assert (taken_over(), taken_over()) == (0, count)


def test_a_log_in_a_store_is_written_in_stretches(runner, store) -> None:
    output = store.uri("answers.parquet")
    runner.interrupted(store.uri("in.jsonl"), output=output, shards=3, how=signal.SIGTERM)
    runner.done(store.uri("in.jsonl"), "--keep-run", output=output)
    logged = [
        json.loads(line) for key in store.names("answers.parquet.qatool/log/") for line in store.get(key).splitlines()
    ]
    events = [event["event"] for event in logged]
    assert events.count("started") == 2
    assert events.count("shard done") == 10
    assert events.count("stopped") == 1
    assert "the-secret-of-the-tests" not in json.dumps(logged)
