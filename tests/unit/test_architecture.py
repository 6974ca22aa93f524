"""ARCHITECTURE.md held by the syntax trees: who may import whom, when, and how long a file may be."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ampzero import COMMANDS, INTERNAL
from lib import errors

ROOT = Path(errors.__file__).resolve().parent.parent
FOLDERS = ("lib", "keys", "deploy")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
HEAVY = {
    "redis",
    "starlette",
    "uvicorn",
    "cryptography",
    "jinja2",
    "rich",
    "zmq",
    "yaml",
    "msgspec",
    "asyncio",
}
"""Too slow to load for a command that may not need it."""

LONG = {
    "lib/signed.py": "one file on purpose: it can be copied beside an application that runs elsewhere",
    "lib/keyspace/client.py": "the verbs of one store, each a few lines, are read side by side",
    "lib/view/app.py": "Textual calls actions and handlers by their names as methods of the one App",
    "lib/supervisor/process.py": "the whole life of one process: its states and the ways between them",
    "lib/supervisor/supervisor.py": "the commands on all services, which share who is wanted and who waits",
}
"""Files above 300 lines, each with its reason."""


def imports(tree: ast.AST, *, only_on_import: bool = False) -> Iterator[str]:
    """The modules that a file imports; with `only_on_import` those that its own import loads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (only_on_import and is_for_later(node)):
            yield from imports(node, only_on_import=only_on_import)


def is_for_later(node: ast.AST) -> bool:
    """Whether what stands in it does not run when the file is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def parse(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def tops(path: Path) -> set[str]:
    """The top-level packages that a file imports anywhere."""
    return {name.split(".")[0] for name in imports(parse(path))}


def short(path: Path) -> str:
    """The path as it is written in messages."""
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    """The name by which the file is imported."""
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def test_no_file_imports_itself_by_way_of_others() -> None:
    names = {module_name(path): path for path in SOURCES}
    graph = {
        name: {other for other in imports(parse(path)) if other in names and other != name}
        for name, path in names.items()
    }
    for name, others in graph.items():
        # `from lib.x import y` names the package as well, which is only loaded on the way to its module.
        others -= {other for other in set(others) if any(one.startswith(f"{other}.") for one in others)}
        others -= {name.rpartition(".")[0]}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_imports_go_one_way(path: Path) -> None:
    name = short(path)
    if name.startswith("lib/commands/"):
        return
    forbidden = {"lib": {"keys", "deploy"}, "keys": {"deploy"}, "deploy": set()}[name.split("/")[0]]
    assert not tops(path) & forbidden
    assert not any(module.startswith("lib.commands") for module in imports(parse(path)))


AGENT = sorted((ROOT / "deploy/agent").rglob("*.py"))
OF_THE_HOST = {"deploy/agent/patch.py": {"backports"}}
"""What a host's own Ampify tree gives beyond the standard library; loaded when it is used."""


@pytest.mark.parametrize("path", AGENT, ids=short)
def test_what_runs_on_a_host_needs_nothing_but_python(path: Path) -> None:
    extra = OF_THE_HOST.get(short(path), set())
    assert tops(path) - sys.stdlib_module_names - extra - {"compression"} <= {"deploy"}
    assert all(name == "deploy" or name.startswith("deploy.agent") for name in imports(parse(path))
               if name.split(".")[0] == "deploy")  # fmt: skip
    loaded = {name.split(".")[0] for name in imports(parse(path), only_on_import=True)}
    assert not loaded & (extra | {"compression"})


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_nothing_imports_the_command_line_tests_or_template(path: Path) -> None:
    assert not tops(path) & {"ampzero", "tests", "bench", "instance_template"}


@pytest.mark.parametrize("path", sorted((ROOT / "lib/commands").rglob("*.py")), ids=short)
def test_a_command_loads_what_it_uses_when_it_runs(path: Path) -> None:
    loaded = {name.split(".")[0] for name in imports(parse(path), only_on_import=True)}
    assert not loaded & HEAVY


def test_every_command_of_the_table_is_a_file_and_every_file_is_in_it() -> None:
    files = {path.stem for path in (ROOT / "lib/commands").glob("*.py")} - {"__init__"}
    # deploy's place is kept free; its file comes with its issue.
    assert files <= {*COMMANDS, *INTERNAL}


@pytest.mark.parametrize("path", [ROOT / "ampzero.py", *SOURCES], ids=short)
def test_a_long_file_has_a_reason(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 300 or LONG.get(short(path)), f"{lines} lines: split it along its nouns"


def test_reasons_are_for_files_that_are_there() -> None:
    assert all((ROOT / name).is_file() for name in LONG)


def test_the_exit_codes_are_documented() -> None:
    rows = {}
    for line in (ROOT / "docs/exit-codes.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            rows[int(cells[0])] = cells[1]
    classes = {code: kind.__name__ for code, kind in errors.BY_EXIT_CODE.items()}
    assert {code: name for code, name in rows.items() if name} == classes
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, errors.AmpzeroError)} == set(classes)
    described = {int(word) for word in (errors.__doc__ or "").split() if word.isdigit()}
    assert described == set(rows)
