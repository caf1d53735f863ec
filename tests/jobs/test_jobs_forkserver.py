"""The process that the workers of both pools are forked from."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import forkserver

import pytest
from pooltools import NumberWorkerFactory

from qatool.jobs.workers.actors import ProcessActors
from qatool.jobs.workers.processpool import ProcessWorkerPool

POOLS = {
    "actors": "ProcessActors(int, 1, preload=['deadly']).call(0, int)",
    "pool": "ProcessWorkerPool(NumberWorkerFactory(Path()), ['one'], preload=['deadly']).__enter__()",
}


@pytest.mark.parametrize("pool", POOLS)
def test_one_that_dies_of_an_import_is_told_of(tmp_path, pool) -> None:
    (tmp_path / "deadly.py").write_text("import os\nos._exit(1)\n")
    script = tmp_path / "main.py"
    script.write_text(
        "from pathlib import Path\n"
        "from pooltools import NumberWorkerFactory\n"
        "from qatool.errors import EnvironmentUnfitError\n"
        "from qatool.jobs.workers.actors import ProcessActors\n"
        "from qatool.jobs.workers.processpool import ProcessWorkerPool\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        f"        {POOLS[pool]}\n"
        "    except EnvironmentUnfitError as error:\n"
        "        print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.startswith("a worker process died (killed from outside, or out of memory)"), done.stderr


def test_it_imports_what_was_imported_here_of_the_package_and_what_is_asked_for(tmp_path, monkeypatch) -> None:
    server = forkserver._forkserver
    for make in (
        lambda: ProcessActors(int, 1, preload=["wave"]),
        lambda: ProcessWorkerPool(NumberWorkerFactory(tmp_path), [], preload=["wave"]),
    ):
        monkeypatch.setattr(server, "_preload_modules", [])
        make()
        assert {"qatool.jobs.workers.processpool", "wave"} <= set(server._preload_modules)
