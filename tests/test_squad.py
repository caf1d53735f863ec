"""SQuAD's measures: cases worked by hand, and the figures of the official script."""

from __future__ import annotations

import json

import pytest
from support import needs_shared

from qatool.squad import best, exact_match, f1, normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Piano!", "piano"),
        ("an apple, a pear and the rest", "apple pear and rest"),
        ("A", ""),
        ("theatre another a.n", "theatre another"),
        ("the-end", "theend"),
        ("U.S.", "us"),
        ("a_b", "ab"),
        ("$5.00", "500"),
        ("\u201cquoted\u201d \u2014 caf\u00e9", "\u201cquoted\u201d \u2014 caf\u00e9"),
        ("\u00c9COLE \u0391\u0398\u0397\u039d\u0391", "\u00e9cole \u03b1\u03b8\u03b7\u03bd\u03b1"),
        ("\t two\nwords\u00a0here ", "two words here"),
        ("", ""),
        ("...", ""),
        ("\u4f60\u597d\u3002", "\u4f60\u597d\u3002"),
    ],
)
def test_normalize(text, expected) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "shared"),
    [
        ("the old piano", "Old piano.", 1.0, 1.0),
        ("old piano", "piano", 0.0, 2 / 3),
        ("red blue", "blue green", 0.0, 1 / 2),
        ("no no no", "no", 0.0, 1 / 2),
        ("no no", "no no yes", 0.0, 4 / 5),
        ("cat", "dog", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("the", "", 1.0, 1.0),
        ("cat", "", 0.0, 0.0),
        ("", "cat", 0.0, 0.0),
        ("a b c d", "c d e", 0.0, 2 * (2 / 3) * (2 / 3) / (4 / 3)),
    ],
)
def test_exact_match_and_f1(answer, reference, exact, shared) -> None:
    assert exact_match(answer, reference) == exact
    assert f1(answer, reference) == pytest.approx(shared)
    assert f1(reference, answer) == pytest.approx(shared)


@pytest.mark.parametrize(
    ("answer", "references", "exact", "shared"),
    [
        ("old piano", ["piano", "the old piano"], 1.0, 1.0),
        ("old piano", ["cat", "piano"], 0.0, 2 / 3),
        (None, [], 1.0, 1.0),
        ("", [], 1.0, 1.0),
        ("cat", [], 0.0, 0.0),
        (None, ["cat"], 0.0, 0.0),
        (None, ["the", "cat"], 0.0, 0.0),
        (None, ["the", "!"], 1.0, 1.0),
    ],
)
def test_best_over_references(answer, references, exact, shared) -> None:
    assert best("exact_match", answer, references) == exact
    assert best("f1", answer, references) == pytest.approx(shared)


@pytest.mark.parametrize(
    ("system", "data"),
    [
        ("r-net-ensemble-squad1.1-part-b", "squad1.1-dev-part-b.json"),
        ("bert-single-squad2.0-part-b", "squad2.0-dev-part-b.json"),
        ("minilm-qa-squad2.0-part-b", "squad2.0-dev-part-b.json"),
    ],
)
def test_figures_of_the_official_script(system, data) -> None:
    official = json.loads(needs_shared("oracles", "evaluate", f"{system}.official.json").read_text())
    answers = json.loads(needs_shared("oracles", "evaluate", f"{system}.predictions.json").read_text())
    articles = json.loads(needs_shared("data", data).read_text())["data"]
    asked = [qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    kinds = {
        "": asked,
        "HasAns_": [q for q in asked if q["answers"]],
        "NoAns_": [q for q in asked if not q["answers"]],
    }
    for prefix, chosen in kinds.items():
        if not chosen:
            continue
        assert len(chosen) == official[f"{prefix}total"]
        for measure, name in (("exact_match", "exact"), ("f1", "f1")):
            total = sum(best(measure, answers[q["id"]], [a["text"] for a in q["answers"]]) for q in chosen)
            assert 100 * total / len(chosen) == pytest.approx(official[prefix + name], abs=1e-6)
