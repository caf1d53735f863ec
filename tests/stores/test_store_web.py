"""Web addresses: what a server answers is told, and what signs an address is used and never shown."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from qatool import cli
from qatool.errors import InputError
from qatool.files.formats.readers import open_reader
from qatool.files.sources.paths import resolve
from qatool.jobs.runfolder.objectlock import ObjectLock

ROWS = [{"question": "Who?", "context": "Ada."}, {"question": "When?", "context": "1843."}]
SIGNED = "fields=a,b&sig=sE'CrET,more;t=sE)CrET"


class _Handler(BaseHTTPRequestHandler):
    """Gives the files of its server's folder; ``/403/x`` fails with that status, ``/unsized/x`` tells no size."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        asked = urlsplit(self.path)
        folder, _, name = asked.path.strip("/").rpartition("/")
        path = Path(self.server.folder, name)
        status = int(folder) if folder.isdigit() else 200 if path.is_file() else 404
        if folder == "signed" and asked.query != SIGNED:
            status = 403
        if asked.path == "/a//x.jsonl":
            folder, status, path = "a", 200, Path(self.server.folder, "in.jsonl")
        data = path.read_bytes() if status == 200 else b""
        if status == 200 and folder != "unsized" and (wanted := self.headers.get("Range")):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            status, data = 206, data[int(first) : int(last) + 1]
        self.send_response(status)
        if folder != "unsized":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@pytest.fixture
def web(tmp_path):
    """The address of a server for the files of a folder, on this machine."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.folder = tmp_path
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def answers(tmp_path, tiny_model):
    for suffix in ("parquet", "jsonl"):
        words = ["--backend", "constant", "--always-answer", "--model", str(tiny_model), "-q"]
        (tmp_path / "asked.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
        assert cli.run(["extract", str(tmp_path / "asked.jsonl"), "-o", f"{tmp_path}/out.{suffix}", *words]) == 0


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_answers_at_a_signed_address_are_shown(web, answers, suffix, tmp_path, capsys) -> None:
    address = f"{web}/signed/out.{suffix}?{SIGNED}"
    assert cli.run(["inspect", address]) == 0, capsys.readouterr().err
    assert "question: Who?" in capsys.readouterr().out
    assert cli.run(["report", address, "-o", str(tmp_path / "page.html")]) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "CrET" not in told.out + told.err + (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("/403/in.jsonl", r"access denied \(the server answers 403 Forbidden\)"),
        ("/401/in.jsonl", r"access denied \(the server answers 401 Unauthorized\)"),
        ("/500/in.jsonl", r"cannot be looked up \(the server answers 500 Internal Server Error\); check the URI"),
        ("/410/in.jsonl", "no such object, and nothing under it"),
        ("/none.jsonl", "no such object, and nothing under it"),
    ],
)
def test_what_a_server_answers_is_told(web, where, told) -> None:
    with pytest.raises(InputError, match=told):
        resolve([web + where])


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match=r"in\.jsonl: cannot be looked up \(Connect call failed"):
        resolve(["http://127.0.0.1:1/in.jsonl"])


def test_an_address_is_asked_for_as_typed(web) -> None:
    (source,) = resolve([f"{web}/a//x.jsonl"])
    assert [row.values for row in open_reader(source).rows()] == ROWS


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_without_a_size_text_is_read_and_parquet_refused(web, answers, suffix) -> None:
    (source,) = resolve([f"{web}/unsized/out.{suffix}"])
    if suffix == "jsonl":
        assert len(list(open_reader(source).rows())) == 1
        return
    with pytest.raises(InputError, match="the server tells no size or gives no ranges; fetch the file and name that"):
        next(iter(open_reader(source).rows()))


@pytest.mark.parametrize("ahead", [0, 700, -700])
def test_a_live_lock_is_held_whatever_the_local_clock_says(ahead, monkeypatch) -> None:
    import time

    import fsspec

    from qatool.files.storage.locations import location

    plain = time.time
    with ObjectLock(location("memory://lake/run/lock")) as lock:
        monkeypatch.setattr("qatool.jobs.runfolder.objectlock.time.time", lambda: plain() + ahead)
        assert lock.is_held()
        assert [path.name for path in lock.path.parent.iterdir()] == ["lock"]
    fsspec.filesystem("memory").store.clear()
