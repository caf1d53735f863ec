from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

# Processes under test import the patches by name, those of the jobs among them.
sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:2], *filter(None, [os.environ.get("PYTHONPATH")])])

from jobs_tools import rows, write_rows
from processes import Runner


class Store:
    """A bucket of a server, and what tests do with it besides qatool."""

    def __init__(self, client: Any, endpoint: str, bucket: str) -> None:
        self.client = client
        self.endpoint = endpoint
        self.bucket = bucket

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, data: bytes | Path) -> str:
        body = data if isinstance(data, bytes) else data.read_bytes()
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return self.uri(key)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def uploads(self) -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [upload["Key"] for upload in found]

    def faults(self, **wanted: Any) -> None:
        self._ask("_faults", json.dumps(wanted).encode())

    def asked(self) -> dict[str, Any]:
        return self._ask("_requests", b"")

    def _ask(self, what: str, data: bytes) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.endpoint}/{what}", data=data, timeout=60) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="session")
def s3_server():
    """The address of a server."""
    pytest.importorskip("moto", reason="needs the extra `test`")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("s3server.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.stdout.close()
        server.wait(30)


@pytest.fixture
def store(s3_server, tmp_path, monkeypatch) -> Store:
    """An empty bucket; this process and those it starts find the server as any would, by their environment."""
    import boto3

    settings = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    bucket = f"bucket-{tmp_path.name.replace('_', '-').lower()}"[:60].rstrip("-")
    client.create_bucket(Bucket=bucket)
    found = Store(client, s3_server, bucket)
    found.environment = settings
    found.faults()
    yield found
    found.faults()
    client.close()


class StoreRunner(Runner):
    """Starts runs that find the store."""

    store: Store

    def raw(self, *words: str, **setting: Any):
        setting["environment"] = {**self.store.environment, **setting.get("environment", {})}
        return super().raw(*words, **setting)

    def markers(self) -> int:
        return len(self.store.names("answers.parquet.qatool/done/"))


@pytest.fixture
def runner(tmp_path, tiny_model, store):
    """A folder with 200 small examples, which are 10 shards, and a store with the same."""
    write_rows(tmp_path / "in.jsonl", rows(200))
    store.put("in.jsonl", tmp_path / "in.jsonl")
    runner = StoreRunner(tmp_path, tiny_model)
    runner.store = store
    yield runner
    for process in runner.started:
        if process.process.is_alive():
            process.process.kill()
            process.process.join()


@pytest.fixture(scope="session")
def whole(tmp_path_factory, tiny_model) -> bytes:
    """The bytes of a run of that input on a disk."""
    folder = tmp_path_factory.mktemp("whole")
    write_rows(folder / "in.jsonl", rows(200))
    local = Runner(folder, tiny_model)
    local.done("in.jsonl")
    return local.output.read_bytes()
