from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Processes under test import the patches by name.
sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))

from jobs_tools import NODE_BYTES, add_node, rows, write_rows
from processes import Runner


@pytest.fixture
def runner(tmp_path: Path, tiny_model: Path):
    """A folder with 200 small examples, which are 10 shards."""
    write_rows(tmp_path / "in.jsonl", rows(200))
    runner = Runner(tmp_path, tiny_model)
    yield runner
    for process in runner.started:
        if process.process.is_alive():
            process.process.kill()
            process.process.join()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> bytes:
    """The bytes of an uninterrupted run of that input: the same in every folder."""
    folder = tmp_path_factory.mktemp("whole")
    write_rows(folder / "in.jsonl", rows(200))
    runner = Runner(folder, tiny_model)
    runner.done("in.jsonl")
    return runner.output.read_bytes()


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster: a head without cores of its own, and two nodes with one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": NODE_BYTES}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        add_node(made)
    yield made
    made.shutdown()


@pytest.fixture
def ray_words(cluster) -> tuple[str, ...]:
    """The words of the command line that have the work done there."""
    return ("--engine", "ray", "--ray-address", cluster.address)
