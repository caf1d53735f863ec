"""Every label of real data, decoded back, gives the annotated answer."""

from __future__ import annotations

import pytest
from prephelpers import load
from support import needs_shared

FILES = [
    "squad1.1-train-44-articles.json",
    "squadshifts-new-wikipedia.json",
    "squadshifts-reddit.json",
    "squadshifts-amazon.json",
    "squad2.0-dev-part-a-train.json",
]


def check(qatool, folder, name, *words) -> None:
    source, model = needs_shared("data", name), needs_shared("models", "minilm-qa")
    assert qatool("prep", source, "-o", folder / "f", "--model", model, "-q", *words).code == 0
    found = load(folder / "f")
    audit = found.audit
    assert (audit["rejected"], audit["answers_repaired"], audit["answers_no_window_holds"]) == (0, 0, 0)
    assert audit["examples"] == audit["answerable"] + audit["unanswerable"] == len(found.examples)
    examples = found.examples.to_pylist()
    held, columns = set(), ["start_positions", "end_positions", "context_start", "context_end", "offset_mapping"]
    for row in found.features.select([*columns, "overflow_to_sample_mapping"]).to_pylist():
        start, end, first, behind, offsets, sample = row.values()
        assert (start, end) == (0, 0) or first <= start <= end < behind
        if start == 0:
            continue
        held.add(sample)
        answers = examples[sample]["answers"]
        begin = answers["answer_start"][0]
        stop = begin + len(answers["text"][0])
        # Covered, and by less than one token more: at either end the outermost token is needed.
        assert offsets[start][0] <= begin < offsets[start][1]
        assert offsets[end][0] < stop <= offsets[end][1]
    assert held == {number for number, one in enumerate(examples) if one["answers"]["text"]}


def test_a_sample(qatool, tmp_path) -> None:
    check(qatool, tmp_path, FILES[0], "--limit", 1500, "--workers", 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_everything(qatool, tmp_path, name) -> None:
    check(qatool, tmp_path, name)
