"""``qatool calibrate``: what is fitted, where it is stored, and that ``extract`` uses it."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import FIXTURES

from qatool import cli
from qatool.commands.calibrate import run
from qatool.evaluation.measures.calibration import (
    Outcome,
    UnreachableError,
    fit_answerable,
    fit_precision,
    fit_temperature,
    fit_threshold,
    likelihood,
    quality,
)
from qatool.evaluation.measures.curves import between
from qatool.evaluation.measures.scoring import expected_answers
from qatool.observers import SilentObserver
from qatool.options import CalibrateOptions


@pytest.fixture
def model(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "model")
    rows = [json.loads(line) for line in (FIXTURES / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    short = [row for row in rows if len(row["context"]) < 900]
    wanted = [row for row in short if row["answers"]["text"]][:14] + [row for row in short if row["is_impossible"]][
        :15
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wanted))
    return tmp_path / "model"


def calibrated(capsys, *words: str) -> dict:
    assert cli.run(["calibrate", "model", "--on", "dev.jsonl", "--json", *words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_values_are_stored_and_extract_uses_them(model, capsys) -> None:
    (model / "qatool.json").write_text(json.dumps({"stride": 16, "trained_on": "fixtures"}))
    found = calibrated(capsys)
    stored = json.loads((model / "qatool.json").read_text())
    assert (found["questions"], found["stored"], stored["stride"], stored["trained_on"]) == (29, True, 16, "fixtures")
    assert stored["temperature"] == found["temperature"] != 1.0
    assert stored["no_answer_threshold"] == found["no_answer_threshold"]
    assert (stored["answerable_slope"], stored["answerable_bias"]) != (1.0, 0.0)
    assert stored["calibration"]["on"] == "dev.jsonl"
    assert found["after"]["nll"] < found["before"]["nll"]
    assert found["after"]["f1"] >= found["before"]["f1"]
    assert cli.run(["extract", "dev.jsonl", "--model", "model", "-o", "a.parquet", "-q"]) == 0
    about = json.loads(pq.read_metadata("a.parquet").metadata[b"qatool"])["options"]
    fitted = ("temperature", "answerable_slope", "answerable_bias", "no_answer_threshold")
    assert [about[name] for name in fitted] == [stored[name] for name in fitted] == [found[name] for name in fitted]
    assert cli.run(["evaluate", "a.parquet", "--references", "dev.jsonl", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["ece"] == pytest.approx(found["after"]["ece"], abs=1e-4)
    assert figures["f1"] == pytest.approx(found["after"]["f1"])


def test_a_dry_run_stores_nothing(model, capsys) -> None:
    before = sorted(path.name for path in model.iterdir())
    assert calibrated(capsys, "--dry-run", "--limit", "16")["questions"] == 16
    assert sorted(path.name for path in model.iterdir()) == before


def test_progress_does_not_wait_for_the_end_of_a_shard(model) -> None:
    class Watching(SilentObserver):
        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []

        def advanced(self, examples: int, windows: int) -> None:
            self.told.append((examples, windows))

    observer = Watching()
    run(CalibrateOptions(model="model", on="dev.jsonl", dry_run=True, batch_tokens=512), observer=observer)
    examples, windows = map(sum, zip(*observer.told, strict=True))
    assert (examples, min(told[0] for told in observer.told)) == (29, 0)
    assert windows >= 29
    assert sum(told[0] > 0 for told in observer.told) > 2


def test_the_table(model, capsys) -> None:
    assert cli.run(["calibrate", "model", "--on", "dev.jsonl", "--limit", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    few = "these are few: what is fitted may be far off; give 100 questions or more"
    assert lines[:2] == ["16 questions", few]
    assert lines[2].startswith("temperature ")
    assert lines[3].startswith("log odds of an answer: ")
    assert [line.split()[0] for line in lines[7:11]] == ["exact", "F1", "log", "calib."]
    assert lines[-1] == "stored in model/qatool.json"


def test_questions_that_all_have_an_answer_fit_no_threshold(model, capsys) -> None:
    # One that was fitted earlier would be of scores on another scale.
    (model / "qatool.json").write_text(json.dumps({"no_answer_threshold": 0.2}))
    found = calibrated(capsys, "--limit", "14")
    assert found["no_answer_threshold"] is None
    assert (found["answerable_slope"], found["answerable_bias"]) == (1.0, 0.0)
    assert "no_answer_threshold" not in json.loads((model / "qatool.json").read_text())


def test_what_is_never_read_tells_nothing(model, capsys, tmp_path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "dev.jsonl").read_text().splitlines()]
    answerable = [row for row in rows if not row["is_impossible"]]
    blank = [{**row, "context": " "} for row in rows if row["is_impossible"]]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answerable + blank))
    found = calibrated(capsys)
    assert (found["answerable_slope"], found["answerable_bias"], found["no_answer_threshold"]) == (1.0, 0.0, None)
    before = (model / "qatool.json").read_bytes()
    for few in (blank, [row for row in rows if row["is_impossible"]]):
        (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in few))
        assert cli.run(["calibrate", "model", "--on", "dev.jsonl"]) == 3
        assert "--on dev.jsonl: holds no question with an answer" in capsys.readouterr().err
    assert (model / "qatool.json").read_bytes() == before


def test_a_fitted_threshold_counts_for_a_model_that_knows_no_unanswerable_questions(model, capsys) -> None:
    (model / "qatool.json").write_text(json.dumps({"knows_no_answer": False}))
    calibrated(capsys)
    assert cli.run(["extract", "dev.jsonl", "--model", "model", "-o", "a.parquet", "-q"]) == 0
    assert json.loads(pq.read_metadata("a.parquet").metadata[b"qatool"])["options"]["always_answer"] is False


def test_bad_rows(model, capsys, tmp_path) -> None:
    lines = (tmp_path / "dev.jsonl").read_text().splitlines()
    (tmp_path / "dev.jsonl").write_text("\n".join([*lines[:10], '{"question": null, "context": "x"}', *lines[10:]]))
    assert cli.run(["calibrate", "model", "--on", "dev.jsonl"]) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Error: dev.jsonl:11: question is null; mend the row, or add --on-error skip to set such rows aside"
    )
    assert cli.run(["calibrate", "model", "--on", "dev.jsonl", "--on-error", "skip", "--limit", "16", "--json"]) == 5
    told = capsys.readouterr()
    assert json.loads(told.out)["left_out"] == 1
    assert told.err.splitlines()[-1] == "Error: 1 row was rejected and left out"


PROBLEMS = {
    "gone --on dev.jsonl": "gone: is no folder; the fitted values are stored beside the model's weights",
    "model --on empty.jsonl": "--on 'empty.jsonl': holds no question; name labelled questions",
    "model --on plain.jsonl": (
        "plain.jsonl:1: is not labelled: neither answers nor is_impossible says anything; label the row"
    ),
    "model --on dev.jsonl --precision-at 1.5": "--precision-at 1.5: must lie above 0 and not above 1",
    "model --on -": "--on -: standard input cannot be read here; name a file",
    "model --on dev.jsonl --backend constant": (
        "--backend constant: reads nothing, so what is fitted means nothing; add --dry-run"
    ),
}


@pytest.mark.parametrize(("words", "message"), PROBLEMS.items())
def test_problems(model, capsys, tmp_path, words, message) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "plain.jsonl").write_text('{"question": "Who?", "context": "She."}\n')
    is_usage = message.startswith(("--precision-at", "--on -:", "--backend"))
    assert cli.run(["calibrate", *words.split()]) == (2 if is_usage else 3)
    assert f"Error: {message}\n" in capsys.readouterr().err
    assert not (model / "qatool.json").exists()


def outcome(*rows: tuple[str | None, float, float]) -> Outcome:
    best, score, no_answer_score = zip(*rows, strict=True)
    return Outcome(best, np.array(score), np.array(no_answer_score))


EXPECTED = expected_answers([("cat",), ("dog",), (), ("owl",)], "squad2.0")
FOUND = outcome(("cat", 0.9, 0.1), ("cow", 0.6, 0.2), ("ant", 0.3, 0.6), (None, math.nan, 1.0))


def test_likelihood_by_hand() -> None:
    expected = -(math.log(0.9) + math.log(0.4) + math.log(0.7) + math.log(1 - 1e-6)) / 4
    assert likelihood(FOUND, EXPECTED) == pytest.approx(expected)


def test_the_threshold_of_the_best_f1() -> None:
    found = fit_threshold(FOUND, EXPECTED)
    assert (found.value, found.threshold) == (50.0, pytest.approx(0.4))
    assert quality(FOUND, EXPECTED, found.threshold).f1 == 50.0
    assert quality(FOUND, EXPECTED, None).f1 == 25.0


def test_a_threshold_between_neighbours() -> None:
    """Extract compares in single precision, in which there is nothing between them."""
    for below in np.float32([0.25, 0.4980807, np.nextafter(np.float32(0.4980807), np.float32(1))]):
        above = np.nextafter(below, np.float32(1))
        threshold = np.float32(between(float(below), float(above)))
        assert below <= threshold < above


def test_the_threshold_of_a_precision() -> None:
    assert fit_precision(FOUND, EXPECTED, 1.0).threshold == pytest.approx(0.15)
    assert fit_precision(FOUND, EXPECTED, 0.5).threshold == pytest.approx(0.4)
    with pytest.raises(UnreachableError, match=r"the best precision is 0\.000"):
        fit_precision(outcome(("cow", 0.6, 0.2)), EXPECTED[:1], 0.5)


@pytest.mark.parametrize("best", [0.3, 1.0, 2.5])
def test_the_temperature_of_least_loss(best) -> None:
    assert fit_temperature(lambda value: (math.log(value) - math.log(best)) ** 2) == pytest.approx(best, rel=0.01)


def test_slope_and_bias_of_the_log_odds() -> None:
    dice = np.random.default_rng(0)
    log_odds = dice.normal(5, 12, 40_000)
    has_answer = dice.random(40_000) < 1 / (1 + np.exp(-(0.25 * log_odds - 1.5)))
    slope, bias = fit_answerable(log_odds, has_answer)
    assert (slope, bias) == (pytest.approx(0.25, rel=0.05), pytest.approx(-1.5, rel=0.05))


def test_log_odds_that_tell_all_apart_have_a_slope_all_the_same() -> None:
    log_odds = np.array([-3.0, -1.0, 2.0, 4.0, math.inf, -math.inf])
    slope, bias = fit_answerable(log_odds, np.array([False, False, True, True, False, True]))
    assert 0 < slope < 10
    assert abs(bias) < 10


def test_log_odds_that_tell_nothing_or_the_wrong_way_leave_the_share_of_answers() -> None:
    log_odds = np.array([-1.0, 0.0, 1.0, 2.0])
    assert fit_answerable(log_odds, np.array([True, True, True, False])) == (0.0, round(math.log(4 / 2), 4))
    assert fit_answerable(np.zeros(4), np.array([True, True, True, False])) == (0.0, round(math.log(4 / 2), 4))
