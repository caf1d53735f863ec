"""A module imports only from lower floors or from its own folder; nothing imports in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from support import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FLOORS = (
    ("redaction", "places", "names", "wording"),
    ("errors",),
    ("options", "schema", "logs"),
    ("observers",),
    ("files", "squad"),
    # Spans are found in windows, so they lie above them; a job knows of neither.
    ("windows", "jobs"),
    ("spans",),
    ("features", "models"),
    ("extraction", "evaluation"),
    # Validates as extract answers and evaluate counts.
    ("training",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""Files and folders of the package, lowest first; those of one row do not know each other."""

LOWER_BUT_UNKNOWN = {"jobs": {"schema", "squad"}}
"""A job schedules work; that the work is to answer questions is not its business."""

ONLY_IN = {
    "lightning": {"training"},
    "datasets": {"training"},
    "click": {"cli"},
    "ray": {"jobs"},
    "torch": {"spans", "features", "models", "extraction", "training", "evaluation", "commands"},
    "transformers": {"windows", "features", "models", "extraction", "training", "evaluation", "commands"},
}
"""Libraries that only some floors may use, even inside a function."""

LIGHT = ("options", "redaction", "places", "errors", "schema", "logs", "observers", "wording", "cli")
HEAVY = {"torch", "transformers", "pyarrow", "numpy"}


def floor_of(name: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if name in floor)


def top_of(module: str) -> str:
    """Return the file or folder of the package that a module is or lies in, empty for the package itself."""
    return f"{module}.".split(".")[1]


def imports_of(source: str) -> Iterator[tuple[str, str | None]]:
    """Yield what a source imports when it runs, lazily or not: a module, and the name taken from it."""
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            pending += node.orelse
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        pending += ast.iter_child_nodes(node)


def sources() -> dict[str, str]:
    """Return the source of every module of the package by its name."""
    found = {}
    for path in sorted((PROJECT / "qatool").rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def graph_of(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which modules of the package each one imports."""
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        wanted = (
            f"{base}.{name}" if f"{base}.{name}" in modules else base
            for base, name in imports_of(source)
            if base.split(".")[0] == "qatool"
        )
        graph[module] = set(wanted) - {module}
    return graph


def problems(modules: Mapping[str, str]) -> list[str]:
    """Return every import that the floors do not allow."""
    found = []
    for module, targets in graph_of(modules).items():
        own = top_of(module)
        for target in sorted(targets):
            other = top_of(target)
            allowed = other in {"", own} or (own and floor_of(other) < floor_of(own))
            if not allowed or other in LOWER_BUT_UNKNOWN.get(own, ()):
                found.append(f"{module} imports {target}")
    for module, source in modules.items():
        libraries = {base.split(".")[0] for base, _ in imports_of(source)}
        own = top_of(module)
        found += [f"{module} imports {name}" for name in sorted(libraries & set(ONLY_IN)) if own not in ONLY_IN[name]]
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return modules, or rooms, that import each other in a circle, empty where there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def rooms_of(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which rooms of the package each one imports from: a folder in a folder, else the module itself."""
    folders = {name.rpartition(".")[0] for name in modules}

    def room(module: str) -> str:
        three = ".".join(module.split(".")[:3])
        return three if three in folders else module

    graph: dict[str, set[str]] = {}
    for module, targets in graph_of(modules).items():
        graph.setdefault(room(module), set()).update(map(room, targets))
    return {name: targets - {name} for name, targets in graph.items()}


def test_every_module_has_a_floor() -> None:
    known = {name for floor in FLOORS for name in floor}
    assert {top_of(module) for module in sources()} - {""} <= known


def test_imports_go_down() -> None:
    assert problems(sources()) == []


def test_no_circles() -> None:
    assert circle(graph_of(sources())) == []


def test_no_circles_of_rooms() -> None:
    assert circle(rooms_of(sources())) == []


def test_light_modules_stay_light() -> None:
    """``qatool --help`` must not wait for what only the work needs."""
    code = f"import {', '.join(f'qatool.{name}' for name in LIGHT)}, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("module", "line", "fine"),
    [
        ("qatool.windows.cut", "from qatool.errors import UsageError", True),
        ("qatool.windows.cut", "from qatool.windows.ragged import ranges", True),
        ("qatool.windows.cut", "from qatool import __version__", True),
        ("qatool.windows.cut", "import qatool.spans.search", False),
        ("qatool.windows.cut", "from qatool.spans import search", False),
        ("qatool.windows.cut", "from qatool import spans", False),
        ("qatool.windows.cut", "def late():\n    from qatool.spans import search", False),
        ("qatool.windows.cut", "if TYPE_CHECKING:\n    from qatool.spans import search", True),
        ("qatool.windows.cut", "if TYPE_CHECKING:\n    pass\nelse:\n    from qatool.spans import search", False),
        ("qatool.windows.cut", "try:\n    import torch\nexcept ImportError:\n    pass", False),
        ("qatool.spans.search", "from qatool.windows import cut", True),
        ("qatool.spans.search", "import torch.nn", True),
        ("qatool.jobs.runfolder.plan", "from qatool.windows.cut import Windows", False),
        ("qatool.jobs.runfolder.plan", "from qatool.schema import Example", False),
        ("qatool.jobs.runfolder.plan", "from qatool.files.storage.atomic import write", True),
        ("qatool.options", "from qatool.logs import Observer", False),
        ("qatool.commands.extract", "import click", False),
        ("qatool.__main__", "from qatool.cli import main", True),
        ("qatool", "from qatool.errors import QatoolError", False),
    ],
)
def test_the_check_sees(module, line, fine) -> None:
    package = {"qatool": "", "qatool.spans": "", "qatool.spans.search": "", "qatool.windows.cut": ""}
    assert (problems({**package, module: line}) == []) is fine


def test_the_check_sees_circles() -> None:
    made = {
        "qatool.spans.a": "def late():\n    from qatool.spans import b",
        "qatool.spans.b": "import qatool.spans.c",
        "qatool.spans.c": "from qatool.spans.a import one",
    }
    assert set(circle(graph_of(made))) == set(made)
    made["qatool.spans.c"] = "if TYPE_CHECKING:\n    from qatool.spans.a import one"
    assert circle(graph_of(made)) == []


def test_the_check_sees_circles_of_rooms() -> None:
    made = {
        "qatool.files.low": "",
        "qatool.files.low.a": "from qatool.files.high import b",
        "qatool.files.low.c": "",
        "qatool.files.high": "",
        "qatool.files.high.b": "from qatool.files.low import c",
    }
    assert circle(graph_of(made)) == []
    assert set(circle(rooms_of(made))) == {"qatool.files.low", "qatool.files.high"}
