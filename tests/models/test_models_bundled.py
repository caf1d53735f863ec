"""The model that ships with qatool: there, small, and able to say no."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from support import FIXTURES, PROJECT

from qatool.commands import extract
from qatool.models.named import BUNDLED
from qatool.models.settings import ModelSettings
from qatool.options import ExtractOptions
from qatool.squad import best

SARAH = "Sarah went to The Mirthless Cafe last night to meet her friend."
ANSWERS = {
    "Where did Sarah go?": "The Mirthless Cafe",
    "Who did Sarah meet?": "her friend",
    "When did Sarah meet her friend?": "last night",
    "Who went to the restaurant?": "Sarah",
    "How did Sarah get to the restaurant?": None,
    "What is a possible reason for why Sarah met her friend?": None,
}
"""The classic demonstration."""


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory) -> dict[str, str | None]:
    """The answers to the classic demonstration, with nothing but defaults."""
    folder = tmp_path_factory.mktemp("sarah")
    rows = [json.dumps({"question": question, "context": SARAH}) + "\n" for question in ANSWERS]
    (folder / "sarah.jsonl").write_text("".join(rows))
    output = folder / "answers.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QATOOL_MODEL", raising=False)
        extract.run(ExtractOptions(inputs=(str(folder / "sarah.jsonl"),), output=str(output)))
    table = pq.read_table(output)
    return dict(zip(table["question"].to_pylist(), table["answer"].to_pylist(), strict=True))


@pytest.mark.parametrize("question", ANSWERS)
def test_the_classic_demonstration(demonstrated, question) -> None:
    answer, expected = demonstrated[question], ANSWERS[question]
    assert answer is expected if expected is None else best("exact_match", answer, [expected])


def test_it_is_small_and_in_half_precision() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*")) < 50_000_000
    with safe_open(BUNDLED / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_it_is_calibrated_and_knows_no_answer() -> None:
    settings = ModelSettings.load(str(BUNDLED))
    assert settings.knows_no_answer
    assert settings.temperature != 1.0
    assert settings.answerable_slope != 1.0
    assert settings.no_answer_threshold is not None


def test_its_card_tells_data_licences_and_figures() -> None:
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    for wanted in ("Apache", "CC BY-SA 4.0", "qatool finetune", "SQuAD 1.1", "SQuAD 2.0", "F1"):
        assert wanted in card


def test_it_is_part_of_the_package() -> None:
    """Whatever lies in the folder goes into a wheel."""
    import tomllib

    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "models/default/*" in packages["qatool"]


def test_no_network_is_asked(tmp_path) -> None:
    """With sockets that refuse to be made and no cache of the hub, the fixtures are answered all the same."""
    code = (
        "import socket, sys\n"
        "def refused(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = refused\n"
        "socket.getaddrinfo = refused\n"
        "from qatool.cli import run\n"
        f"sys.exit(run(['extract', {str(FIXTURES / 'corpus.parquet')!r}, '-o', 'a.parquet', '--limit', '2', '-q']))\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "a.parquet")["error"].null_count == 2
