"""The commands of the page on object storage run as typed, on a server on this machine."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from jobs_tools import rows
from support import PROJECT

pytestmark = pytest.mark.cluster


def test_the_commands_of_the_page(runner, store) -> None:
    page = (PROJECT / "docs" / "object-storage.md").read_text(encoding="utf-8")
    calls = [
        line
        for block in re.findall(r"^```shell\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(calls) > 4
    labelled = [{**row, "answers": {"text": [], "answer_start": []}} for row in rows(20)]
    data = "".join(json.dumps(row) + "\n" for row in labelled).encode()
    for key in ("corpus/a.jsonl", "labelled.jsonl", "partitioned/year=2024/lang=en/part-0.jsonl"):
        store.put(key, data)
    store.put("questions.jsonl", b'{"question": "Which one?"}\n')
    for call in calls:
        words = [word.replace("s3://lake/", store.uri("")) for word in shlex.split(call)[1:]]
        extra = ["--model", str(runner.model), "--backend", "constant"] if words[0] == "extract" else []
        done = runner.raw(*words, *extra)
        assert done.wait() == 0, (call, done.err)
