"""The loss of a step: several answers, teachers, rows that fill up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from traininghelpers import RECIPE, batch_of, tiny_bert

from qatool.commands import prep
from qatool.commands.finetune import run
from qatool.errors import EnvironmentUnfitError, InputError, UsageError
from qatool.features.reader import FeaturesFolder
from qatool.options import PrepOptions
from qatool.training.batches import Grain
from qatool.training.module import QuestionAnsweringModule
from qatool.training.teachers import TEMPERATURE, Teachers
from qatool.training.windows import TrainingWindows


def module_of(teachers: Teachers | None = None, weight: float = 0.5) -> QuestionAnsweringModule:
    recipe = RECIPE.__class__(**{**RECIPE.__dict__, "teacher_weight": weight})
    made = QuestionAnsweringModule(tiny_bert(), recipe, None, teachers)
    return made.eval()


def probabilities(model, batch, temperature: float = 1.0) -> list[list[list[float]]]:
    """Start and end probabilities of each window's own tokens, read one window at a time."""
    found: list[list[list[float]]] = [[], []]
    for ids, mask in zip(batch.input_ids[: batch.windows], batch.attention_mask[: batch.windows], strict=True):
        with torch.no_grad():
            output = model.eval()(input_ids=ids[mask == 1][None])
        for side, logits in zip(found, (output.start_logits, output.end_logits), strict=True):
            side.append((logits[0] / temperature).softmax(0).tolist())
    return found


def flat(sides: list[list[list[float]]]) -> np.ndarray:
    """Return the probabilities of all tokens one after the other."""
    return np.concatenate([window for side in sides for window in side])


def test_each_of_several_answers_counts_by_its_share() -> None:
    labels = [[(1, 3), (2, 3), (1, 1)], [(2, 2)]]
    batch = batch_of(labels)
    module = module_of()
    starts, ends = probabilities(module.model, batch)
    expected = 0.0
    for row, spans in enumerate(labels):
        for start, end in spans:
            cost = -np.log(starts[row][start]) - np.log(ends[row][end])
            expected += cost / 2 / len(spans) / len(labels)
    assert float(module._loss(batch).detach()) == pytest.approx(expected, rel=1e-5)


def test_rows_and_tokens_that_fill_up_change_nothing() -> None:
    module = module_of(Teachers([tiny_bert(2)]))
    losses = []
    for filled in ({}, {"width": 9, "rows": 6}):
        module.zero_grad()
        loss = module._loss(batch_of([[(1, 3)], [(2, 2)]], **filled))
        loss.backward()
        gradient = torch.cat([value.grad.flatten() for value in module.model.parameters() if value.grad is not None])
        losses.append((loss.detach(), gradient))
    torch.testing.assert_close(*losses)


def test_teachers_are_learnt_from_in_the_mean() -> None:
    batch = batch_of([[(1, 3)], [(2, 2)]])
    others = [tiny_bert(2), tiny_bert(3)]
    taught = module_of(Teachers(others), weight=1.0)
    own = probabilities(taught.model, batch, TEMPERATURE)
    theirs = np.mean([flat(probabilities(one, batch, TEMPERATURE)) for one in others], axis=0)
    expected = -(TEMPERATURE**2) * (theirs * np.log(flat(own))).sum() / 2 / 2
    assert float(taught._loss(batch).detach()) == pytest.approx(expected, rel=1e-5)
    half, labels_alone = module_of(Teachers(others), weight=0.5), module_of()
    mean = (expected + float(labels_alone._loss(batch).detach())) / 2
    assert float(half._loss(batch).detach()) == pytest.approx(mean, rel=1e-5)
    assert not any(value.requires_grad for one in others for value in one.parameters())


@pytest.fixture
def several(tmp_path, tiny_model) -> Path:
    """Features of three questions: of two answers, of one, of none."""
    rows = [
        {"text": ["red house", "house"], "answer_start": [4, 8]},
        {"text": ["The"], "answer_start": [0]},
        {"text": [], "answer_start": []},
    ]
    path = tmp_path / "rows.jsonl"
    context = "The red house stands on a hill."
    path.write_text(
        "".join(
            json.dumps({"id": str(i), "question": "What?", "context": context, "answers": answers}) + "\n"
            for i, answers in enumerate(rows)
        )
    )
    return path


def windows_of(path: Path, tiny_model: Path, folder: Path, answers: str) -> TrainingWindows:
    prep.run(PrepOptions(inputs=(str(path),), output=str(folder), model=str(tiny_model), answers=answers))
    return TrainingWindows(
        [FeaturesFolder(folder)], pad_token_id=0, cache=folder.parent / "arrow", all_answers=answers == "all"
    )


def test_batches_list_every_answer(several, tiny_model, tmp_path) -> None:
    windows = windows_of(several, tiny_model, tmp_path / "f", "all")
    batch = windows.batch(np.arange(3), share=0.5, grain=Grain(rows=4, tokens=16))
    assert batch.shape[0] == 4
    assert batch.shape[1] == windows.lengths.max()
    assert batch.windows == 3
    torch.testing.assert_close(batch.weights * 6, torch.tensor([[0.5, 0.5], [1, 0], [1, 0], [0, 0]]))
    assert float(batch.weights.sum()) == pytest.approx(0.5)
    (first, second), (the, _), (none, _), _ = batch.start_positions.tolist()
    assert second == first + 1 == the + 2
    assert none == 0
    assert batch.attention_mask[3].tolist() == [1] + [0] * (batch.shape[1] - 1)
    assert batch.attention_mask[0].sum() == windows.lengths[0]


def test_batches_list_the_first_answer(several, tiny_model, tmp_path) -> None:
    batch = windows_of(several, tiny_model, tmp_path / "f", "first").batch(np.arange(3), share=1.0)
    assert batch.start_positions.shape == (3, 1)
    torch.testing.assert_close(batch.weights, torch.full((3, 1), 1 / 3))


def test_features_of_one_answer_are_no_features_of_all(options, several, tiny_model, tmp_path) -> None:
    folder = tmp_path / "f"
    prep.run(PrepOptions(inputs=(str(several),), output=str(folder), model=str(tiny_model), max_length=96, stride=16))
    with pytest.raises(InputError, match=r"lists the first answer of each window only.*--answers all"):
        run(options(inputs=(str(folder),), answers="all"))


def test_a_training_with_all_answers_and_a_teacher(options, several, tmp_path) -> None:
    first = run(options(inputs=(str(several),), epochs=3, output=str(tmp_path / "first"))).folder
    every = run(options(inputs=(str(several),), epochs=3, output=str(tmp_path / "every"), answers="all")).folder
    taught = run(options(inputs=(str(several),), epochs=3, output=str(tmp_path / "taught"), teacher=(str(first),)))
    one, two, three = (load_file(folder / "model.safetensors") for folder in (first, every, taught.folder))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one)
    card = (taught.folder / "README.md").read_text()
    assert "| `teacher` | first |" in card
    assert "| `answers` | all |" in (every / "README.md").read_text()


def test_a_teacher_brings_the_learner_nearer(options, labelled, tmp_path) -> None:
    """With the teacher's word alone, the learner's probabilities approach the teacher's, whatever the labels say."""
    from transformers import AutoModelForQuestionAnswering

    teacher = run(options(output=str(tmp_path / "teacher"), epochs=6)).folder
    batch = batch_of([[(1, 3)], [(2, 2)]])

    def distance(folder: Path) -> float:
        one, other = (
            flat(probabilities(AutoModelForQuestionAnswering.from_pretrained(name), batch))
            for name in (folder, teacher)
        )
        return float(np.abs(one - other).sum())

    chosen = {"teacher": (str(teacher),), "teacher_weight": 1.0, "seed": 5}
    before = run(options(output=str(tmp_path / "before"), epochs=0.2, **chosen)).folder
    after = run(options(output=str(tmp_path / "after"), epochs=12, **chosen)).folder
    assert distance(after) < 0.7 * distance(before)


def test_a_teacher_of_another_tokenizer(options, tmp_path, tiny_model) -> None:
    from tokenizerhelpers import byte_level_bpe

    other = tmp_path / "other"
    byte_level_bpe().save_pretrained(other)
    (other / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    with pytest.raises(UsageError, match=r"--teacher .*other: has another tokenizer than --model"):
        run(options(teacher=(str(other),)))


def test_a_teacher_that_wants_to_know_what_is_the_question(options, tmp_path, tiny_model) -> None:
    """Windows that are made without token types would tell it nothing of that."""
    import shutil

    learner = Path(shutil.copytree(tiny_model, tmp_path / "learner"))
    path = learner / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "model_input_names": ["input_ids", "attention_mask"]}))
    with pytest.raises(UsageError, match=r"--teacher .*: has another tokenizer than --model"):
        run(options(model=str(learner), teacher=(str(tiny_model),)))


def test_a_teacher_s_weight_needs_a_teacher(options) -> None:
    with pytest.raises(UsageError, match="--teacher-weight: needs someone to learn from"):
        options(teacher_weight=0.9)


def test_a_teacher_without_a_head(options, tmp_path, tiny_model) -> None:
    import shutil

    from safetensors.torch import save_file

    bare = Path(shutil.copytree(tiny_model, tmp_path / "bare"))
    weights = load_file(bare / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "qa_outputs" not in name}
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EnvironmentUnfitError, match="is not a question-answering model"):
        run(options(teacher=(str(bare),)))
