"""Only what is new; and seeing how far a run is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_tools import rows, write_rows
from processes import qatool

from qatool.commands.extract import forecast
from qatool.commands.status import run as status
from qatool.extraction.runs.forecast import Forecast
from qatool.files.output.targets import SUPPORTED
from qatool.jobs.runfolder.lock import Lock
from qatool.jobs.runfolder.seal import sealed, unsealed
from qatool.options import ExtractOptions, StatusOptions

NO_FORMAT = (
    f"its suffix says no format that can be written; supported are {SUPPORTED} (end the name of a folder with /)"
)


def test_one_percent_new_rows_cost_at_most_two_percent(runner) -> None:
    runner.words = ("--backend", "constant", "--shard-rows", "100", "--progress", "none")
    write_rows(runner.folder / "in.jsonl", rows(300))
    runner.done("in.jsonl", "--reuse", "answers.parquet")
    full = runner.summary()["windows_read"]
    examples = rows(300)
    for place in range(0, 300, 100):
        examples.insert(place, rows(1, first=5000 + place)[0])
    write_rows(runner.folder / "in.jsonl", examples)
    runner.done("in.jsonl", "--reuse", "answers.parquet")
    assert runner.summary()["windows_read"] <= 0.02 * full
    assert runner.summary()["taken_over"] == 300
    reused = runner.output.read_bytes()
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == reused


def test_a_folder_is_reused_too(runner) -> None:
    runner.words = ("--backend", "constant", "--shard-rows", "100", "--progress", "none")
    write_rows(runner.folder / "in.jsonl", rows(300))
    runner.done("in.jsonl", "--reuse", "fold/", output="fold/")
    write_rows(runner.folder / "in.jsonl", [*rows(7, first=5000), *rows(300)])
    runner.done("in.jsonl", "--reuse", "fold/", output="fold/")
    summary = json.loads((runner.folder / "fold.summary.json").read_bytes())
    assert (summary["taken_over"], summary["examples"]) == (300, 307)
    runner.done("in.jsonl", "--reuse", "fold", output="answers.parquet")
    assert runner.summary()["taken_over"] == 307
    runner.done("in.jsonl", output="new.parquet")
    assert runner.output.read_bytes() == (runner.folder / "new.parquet").read_bytes()


def test_reuse_of_other_work_computes_all_and_says_so_once(runner) -> None:
    runner.done("in.jsonl", output="old.parquet")
    done = runner.done("in.jsonl", "--reuse", "old.parquet", "--max-answer-length", "9", "--top-k", "2")
    told = "the earlier answers were made otherwise (max_answer_length was 30 and is now 9; top_k was 1 and is now 2)"
    assert done.err.count(f"WARNING nothing is reused: {told}") == 1
    assert runner.summary()["taken_over"] == 0


def test_the_best_answers_of_many_documents_are_not_reused(runner) -> None:
    asked = ("in.jsonl", "--question", "Who?", "--best-per", "question")
    write_rows(runner.folder / "in.jsonl", [{"context": row["context"]} for row in rows(20)])
    runner.done(*asked)
    best = runner.output.read_bytes()
    done = runner.done(*asked, "--reuse", "answers.parquet")
    assert (
        done.err.count("WARNING nothing is reused: the earlier output holds the best answers of --best-per only") == 1
    )
    assert runner.output.read_bytes() == best
    runner.done("in.jsonl", "--question", "Who?", output="all.parquet")
    runner.done(*asked, "--reuse", "all.parquet")
    assert runner.summary()["taken_over"] == 20
    assert runner.output.read_bytes() == best


def _altered(runner, change) -> None:
    """Write the output again, its metadata as it was, with a change of its table."""
    table = change(pq.read_table(runner.output))
    pq.write_table(table, runner.folder / "altered.parquet")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["candidates"]),
        lambda table: table.set_column(
            table.column_names.index("fingerprint"), "fingerprint", pa.array([b"1234567"] * len(table))
        ),
    ],
)
def test_reuse_of_an_output_that_lacks_something(runner, change) -> None:
    runner.done("in.jsonl")
    _altered(runner, change)
    process = runner.run("in.jsonl", "--reuse", "altered.parquet", output="new.parquet")
    assert process.wait() == 3
    assert process.error.startswith("Error: altered.parquet: no answers can be taken from it (")


def test_an_earlier_answer_that_does_not_stand_there_is_found_again(runner) -> None:
    runner.done("in.jsonl", "--always-answer")
    whole = runner.output.read_bytes()

    def moved(table: pa.Table) -> pa.Table:
        starts = table["answer_start"].to_pylist()
        starts[3] += 1
        place = table.column_names.index("answer_start")
        return table.set_column(place, "answer_start", pa.array(starts, pa.int64()))

    _altered(runner, moved)
    runner.done("in.jsonl", "--always-answer", "--reuse", "altered.parquet")
    assert runner.summary()["taken_over"] == 199
    assert runner.output.read_bytes() == whole


def test_reuse_of_what_is_no_output(runner) -> None:
    process = runner.run("in.jsonl", "--reuse", "in.jsonl")
    assert process.wait() == 2
    assert process.error == (
        "Error: --reuse in.jsonl: answers are taken over from Parquet only; name a .parquet file or a folder "
        "(end its name with /)\n"
    )
    (runner.folder / "other.parquet").write_bytes((runner.folder / "in.jsonl").read_bytes())
    process = runner.run("in.jsonl", "--reuse", "other.parquet")
    assert process.wait() == 3
    assert process.error == (
        "Error: --reuse other.parquet: is no answers.parquet, nor a folder of answers, made by qatool; name an "
        "earlier output\n"
    )
    process = runner.run("in.jsonl", "--reuse", "./")
    assert process.wait() == 3
    assert "is no answers.parquet, nor a folder of answers" in process.error
    process = runner.run("in.jsonl", "--reuse", "gone.parquet")
    assert process.wait() == 3
    assert process.error == "Error: --reuse gone.parquet: does not exist; name an earlier output\n"


def test_odd_and_rejected_rows_are_counted_the_same_with_reuse(runner) -> None:
    examples = [*rows(30), {"id": "odd", "question": "Why?", "context": " "}, {"id": "bad", "question": "Why?"}]
    write_rows(runner.folder / "in.jsonl", examples)
    assert runner.code("in.jsonl", "--on-error", "skip") == 5
    once = runner.output.read_bytes()
    assert runner.code("in.jsonl", "--on-error", "skip", "--reuse", "answers.parquet") == 5
    assert runner.output.read_bytes() == once
    assert (runner.summary()["odd"], runner.summary()["taken_over"]) == (1, 30)


def test_identical_pairs_within_a_shard_are_computed_once(runner) -> None:
    examples = [{**rows(1)[0], "id": str(number)} for number in range(20)]
    write_rows(runner.folder / "in.jsonl", examples)
    runner.done("in.jsonl")
    assert runner.summary()["windows"] == 20 * runner.summary()["windows_read"]


def test_status_of_a_run(runner) -> None:
    process = runner.held("in.jsonl", shards=2)
    running = runner.raw("status", "answers.parquet", "--json")
    assert running.wait() == 0
    state = json.loads(running.out)
    assert (state["state"], state["total"], state["process"]) == ("running", 200, process.pid)
    assert (state["examples"], state["shards"]) == (40, 2)
    assert state["examples_per_second"] > 0
    assert 0 < state["seconds_left"] < 60
    process.send(15)
    process.wait()
    stopped = runner.raw("status", "answers.parquet")
    stopped.wait()
    lines = stopped.out.splitlines()
    assert lines[0] == "answers.parquet: stopped, 40 of 200 examples (20.0 %) in 2 shards"
    assert lines[-1] == "the last start ended with exit code 143: terminated; the same command continues"
    runner.interrupted("in.jsonl", shards=1)
    killed = runner.raw("status", "answers.parquet")
    killed.wait()
    assert killed.out.splitlines()[-1] == "the last start was killed; the same command continues"
    runner.done("in.jsonl")
    done = runner.raw("status", "answers.parquet")
    assert done.wait() == 0
    assert done.out == "answers.parquet: done, 200 examples, 200 answered\n"


@pytest.mark.parametrize(
    ("how", "last"),
    [
        (signal.SIGTERM, "the last start ended with exit code 143: terminated; the same command continues"),
        (signal.SIGKILL, "the last start was killed; the same command continues"),
    ],
)
def test_a_refused_start_leaves_the_state_of_the_earlier_run(runner, how, last) -> None:
    earlier = runner.interrupted("in.jsonl", shards=2, how=how)
    before = _status(runner)
    assert runner.code("in.jsonl", "--top-k", "2") == 6
    after = _status(runner)
    assert after == before
    assert json.loads(after[0])["process"] == earlier.pid
    assert after[1].splitlines()[-1] == last


def test_a_run_whose_folder_is_kept_is_done(runner) -> None:
    runner.done("in.jsonl", "--keep-run")
    told = _status(runner)
    assert (json.loads(told[0])["state"], told[1]) == ("done", "answers.parquet: done, 200 examples, 200 answered\n")
    output = runner.output.read_bytes()
    runner.output.unlink()
    assert _status(runner)[1].splitlines() == [
        "answers.parquet: stopped, 200 of 200 examples (100.0 %) in 10 shards",
        *_status(runner)[1].splitlines()[1:-1],
        "the last start finished, but its output is gone; the same command makes it again",
    ]
    runner.done("in.jsonl", "--keep-run")
    assert runner.output.read_bytes() == output
    runner.interrupted("in.jsonl", "--restart", shards=1)
    assert json.loads(_status(runner)[0])["state"] == "stopped"


def _status(runner) -> tuple[str, str]:
    """Return what status tells programs and people."""
    told = runner.raw("status", "answers.parquet", "--json"), runner.raw("status", "answers.parquet")
    assert [process.wait() for process in told] == [0, 0]
    return told[0].out, told[1].out


def test_status_tells_what_may_not_be_read(runner) -> None:
    runner.done("in.jsonl", "--keep-run")
    # Permissions count for root only without these.
    less = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    folder = "answers.parquet.qatool"
    names = [folder, *(f"{folder}/{name}" for name in ("done", "log.jsonl", "plan.json", "lock"))]
    for name in (*names, "answers.parquet.summary.json"):
        path = runner.folder / name
        before = path.stat().st_mode
        path.chmod(0)
        done = subprocess.run(
            [*less, sys.executable, "-m", "qatool", "status", "answers.parquet"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=runner.folder,
        )
        path.chmod(before)
        assert done.stderr == f"Error: {name}: permission denied; change its permissions\n"
        assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("none.parquet", 3, "none.parquet: no extraction into it has been started here; check the path"),
        ("-", 2, "OUTPUT -: standard output has no state; name the output of an extraction"),
        ("x.csv", 2, f"OUTPUT x.csv: {NO_FORMAT}"),
    ],
)
def test_status_of_nothing(tmp_path, output, code, message) -> None:
    done = qatool("status", output, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"Error: {message}\n")


def test_status_does_not_disturb_a_start(runner) -> None:
    looking = [runner.raw("status", "answers.parquet") for _ in range(3)]
    process = runner.start("in.jsonl", patch="jobs_patches:slow", environment={"SLOW": "0.01"})
    while process.process.is_alive():
        looking.append(runner.raw("status", "answers.parquet"))
        looking[-1].wait()
    assert process.wait() == 0


def test_the_run_folder_has_a_log(runner) -> None:
    runner.interrupted("in.jsonl", shards=2)
    runner.done("in.jsonl", "--keep-run", "-q")
    events = runner.log()
    assert all({"time", "level", "event"} <= event.keys() for event in events)
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("started", "finished")
    assert names.count("started") == 2
    assert "resumed" in names
    shards = [event["shard"] for event in events if event["event"] == "shard done"]
    assert shards == sorted(set(shards))
    assert len(shards) >= 9


def test_progress_counts_what_is_left(runner) -> None:
    runner.interrupted("in.jsonl", shards=4)
    runner.words = (*runner.words[:-1], "plain")
    done = runner.done("in.jsonl")
    resumed = 20 * runner.summary()["resumed_shards"]
    assert f"{200 - resumed} of {200 - resumed} examples (100.0 %)" in done.err


def test_dry_run_tells_and_changes_nothing(runner) -> None:
    runner.interrupted("in.jsonl", shards=3)
    before = {path: path.stat().st_mtime_ns for path in runner.folder.rglob("*") if not path.name.startswith(".run")}
    process = runner.run("in.jsonl", "--dry-run", "--summary", "-")
    assert process.wait() == 0, process.err
    told = json.loads(process.out)
    assert (told["examples"], told["shards"], told["rejected"]) == (200, 10, 0)
    assert told["done_shards"] == runner.markers()
    assert told["exact"] is True
    left = told["windows"]
    after = {path: path.stat().st_mtime_ns for path in runner.folder.rglob("*") if not path.name.startswith(".run")}
    assert after == before
    process = runner.run("in.jsonl", "--dry-run", output="new.parquet")
    lines = process.out.splitlines()
    assert lines[0] == "200 examples in 10 shards"
    assert not (runner.folder / "new.parquet.qatool").exists()
    runner.done("in.jsonl", output="new.parquet")
    summary = json.loads((runner.folder / "new.parquet.summary.json").read_text())
    assert lines[1].startswith(f"{summary['windows']:,} windows, ")
    assert left < summary["windows"]


def test_dry_run_of_an_input_that_has_changed(runner) -> None:
    runner.interrupted("in.jsonl", shards=3)
    done = 20 * runner.markers()
    path = runner.folder / "in.jsonl"
    first = json.dumps({"id": "new", "question": "Who?", "context": "Nobody at all."})
    path.write_text(f"{first}\n{path.read_text()}")
    told = json.loads(runner.run("in.jsonl", "--dry-run", "--summary", "-").out)
    assert (told["examples"], told["done_examples"], told["taken_over"]) == (201, 0, done)
    runner.done("in.jsonl")
    assert runner.summary()["taken_over"] == done


def test_dry_run_tells_what_is_taken_over(runner) -> None:
    runner.done("in.jsonl")
    told = json.loads(runner.run("in.jsonl", "--dry-run", "--summary", "-", output="new.parquet").out)
    reuse = ("--reuse", "answers.parquet", "--dry-run")
    process = runner.run("in.jsonl", *reuse, "--summary", "-", output="new.parquet")
    again = json.loads(process.out)
    assert (again["examples"], again["taken_over"], again["windows"]) == (200, 200, 0)
    assert told["taken_over"] == 0
    (runner.folder / "more.jsonl").write_text(
        (runner.folder / "in.jsonl").read_text()
        + json.dumps({"id": "new", "question": "Who else?", "context": "Somebody else did."})
        + "\n"
    )
    lines = runner.run("more.jsonl", *reuse, output="new.parquet").out.splitlines()
    assert lines[1:3] == ["200 of them are taken over from earlier answers", lines[2]]
    assert lines[2].startswith("1 window, ")


def test_dry_run_reads_what_the_run_read_from_standard_input(runner) -> None:
    runner.interrupted("-", shards=3, stdin=str(runner.folder / "in.jsonl"))
    spool = runner.folder / "answers.parquet.qatool" / "stdin.jsonl"
    before = spool.read_bytes()
    process = runner.run("-", "--dry-run", "--summary", "-")
    assert process.wait() == 0, process.err
    told = json.loads(process.out)
    assert (told["examples"], told["done_shards"]) == (200, runner.markers())
    assert spool.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "workers", "last"),
    [
        (["--device", "cpu", "--devices", "2"], 2, "on cpu x 2"),
        (["--engine", "ray"], None, "on one cpu like this machine's, to be shared by the cluster's workers"),
    ],
)
def test_dry_run_tells_of_all_devices_and_starts_no_worker(runner, words, workers, last) -> None:
    process = runner.run("in.jsonl", "--dry-run", "--summary", "-", *words)
    assert process.wait() == 0, process.err
    assert json.loads(process.out)["workers"] == workers
    process = runner.run("in.jsonl", "--dry-run", *words)
    assert process.wait() == 0, process.err
    assert process.out.splitlines()[2].endswith(last)


def test_dry_run_on_several_cards(tmp_path, monkeypatch) -> None:
    write_rows(tmp_path / "in.jsonl", rows(4))
    monkeypatch.setattr("qatool.extraction.engines.engine.local_places", lambda _: ["cuda:0", "cuda:1"])
    asked = ExtractOptions(
        inputs=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out.parquet"), backend="constant", devices="all"
    )
    assert forecast(asked).workers == 2


def test_the_state_of_a_run_that_ends_while_it_is_read(runner, whole, monkeypatch) -> None:
    """It is not told to have been killed, and its output is found."""
    runner.done("in.jsonl", "--keep-run")
    runner.output.unlink()
    held = ExitStack()

    def end(_log: Path) -> list[dict[str, object]]:
        held.close()
        return []

    monkeypatch.setattr("qatool.extraction.runs.state.last_events", end)
    with held:
        held.enter_context(Lock(runner.run_folder / "lock", command="extract"))
        assert status(StatusOptions(output=str(runner.output))).state == "running"

    def finish(path: Path) -> None:
        shutil.rmtree(path)
        runner.output.write_bytes(whole)

    monkeypatch.setattr("qatool.commands.status.read_state", finish)
    assert status(StatusOptions(output=str(runner.output))).state == "done"


def test_seconds_are_shared_by_cards_and_not_by_processes_of_one_cpu() -> None:
    counts = dict.fromkeys(
        ("examples", "rejected", "shards", "done_examples", "done_shards", "taken_over", "windows", "tokens"), 0
    )
    nothing = {"first_reject": None, "unseen_columns": (), "memory_bytes": 0, "disk_bytes": None}
    of_one = Forecast(**counts, **nothing, exact=True, seconds=90.0, device="cuda")
    assert of_one.spread(workers=4).seconds == 22.5
    assert replace(of_one, device="cpu").spread(workers=2).seconds == 90.0
    assert replace(of_one, seconds=None).spread(workers=2, before=3.0).seconds is None
    assert of_one.spread(workers=4, before=3.0).seconds == 25.5


def test_dry_run_refuses_what_the_run_refuses(runner, whole) -> None:
    """Also where the plan cannot be read."""
    process = runner.run("in.jsonl", patch="jobs_patches:full_disk")
    assert process.wait() == 9
    (runner.run_folder / "plan.json").write_text("{")
    for more in ([], ["--dry-run"]):
        process = runner.run("in.jsonl", "--top-k", "2", *more)
        assert process.wait() == 6
        assert "holds unfinished work of another model or other options" in process.error
    assert runner.code("in.jsonl", "--dry-run") == 0


def test_dry_run_names_bad_rows(runner) -> None:
    (runner.folder / "in.jsonl").write_text("\n".join([*map(json.dumps, rows(3)), "{"]))
    process = runner.run("in.jsonl", "--dry-run")
    assert process.wait() == 3, "as the run would end"
    assert process.out.splitlines()[1].startswith("1 bad row; the first: in.jsonl:4: ")
    assert process.error.startswith("Error: in.jsonl:4: ")
    assert runner.code("in.jsonl", "--dry-run", "--on-error", "skip") == 0
    assert runner.code("in.jsonl", "--dry-run", "--on-error", "skip", "--max-errors", "0") == 3


def test_the_summary_says_how_it_went(runner) -> None:
    runner.done("in.jsonl", "--summary", "here.json")
    assert json.loads((runner.folder / "here.json").read_text()) == runner.summary()
    assert runner.summary()["exit_code"] == 0
    metadata = json.loads(pq.read_schema(runner.output).metadata[b"qatool"])
    assert metadata["counts"]["examples"] == 200
    assert str(time.gmtime().tm_year) not in json.dumps(metadata["options"])


def test_an_input_without_examples_is_told(runner) -> None:
    (runner.folder / "in.jsonl").write_text("")
    assert "WARNING the input holds no example, so the output has no rows" in runner.done("in.jsonl").err
    write_rows(runner.folder / "in.jsonl", rows(1))
    assert "holds no example" not in runner.done("in.jsonl").err


def test_questions_of_the_input_that_are_not_asked_are_told(runner) -> None:
    paragraph = {"context": "A text.", "qas": [{"id": "a", "question": "What?", "answers": []}]}
    (runner.folder / "squad.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    (runner.folder / "in.csv").write_text("id,question,context\n1,Who?,A text.\n")
    (runner.folder / "only.csv").write_text("id,context\n1,A text.\n")
    (runner.folder / "records.json").write_text(json.dumps([{"id": "2", "context": "A text."}]))
    done = runner.done("squad.json", "in.csv", "only.csv", "records.json", "--question", "Why?")
    for name in ("squad.json", "in.csv"):
        assert done.err.count(f"{name}: its own questions are not asked, only those of --question") == 1
    assert "only.csv" not in done.err
    assert "records.json" not in done.err


def test_work_of_a_version_with_other_rules_is_refused(runner) -> None:
    """The same command cannot continue it; reference decodings have no rules of ours."""
    for decode, code in (("native", 6), ("squad-script", 0)):
        words = ("in.jsonl", "--decode", decode)
        assert runner.run(*words, patch="jobs_patches:full_disk").wait() == 9
        path = runner.run_folder / "plan.json"
        plan = unsealed(json.loads(path.read_text()))
        plan["identity"]["rules_of_spans"] = 0
        path.write_text(json.dumps(sealed(plan)))
        for more in (["--dry-run"], []):
            process = runner.run(*words, *more)
            assert process.wait() == code
            assert ("was begun by a version of qatool with other rules" in process.error) == (code == 6)
        if code:
            runner.done(*words, "--restart")
