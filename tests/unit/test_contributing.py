"""CONTRIBUTING.md: every file, symbol and command that it names exists, and its example of a format works."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.models.formats import FORMATS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
CODE = re.compile(r"`([^`\n]+)`")
PATHS = sorted(
    {
        word
        for word in CODE.findall(TEXT)
        if re.fullmatch(r"(app|tests|docs|tools|migrations|locks|openapi)/[^ ]+", word)
    }
)


def how_tos() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(title, [(path, what to do)]) of each how-to."""
    for section in TEXT.partition("\n## How to\n")[2].split("\n### ")[1:]:
        rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE)
        yield section.partition("\n")[0], rows


ROWS = [(title, path, what) for title, rows in how_tos() for path, what in rows]


def words(path: Path) -> set[str]:
    return set(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))


def test_every_how_to_has_a_list_of_files() -> None:
    titles = [title for title, rows in how_tos() if len(rows) >= 3]
    assert titles == [title for title, _ in how_tos()]
    assert len(titles) == 11


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    """Of a file that the reader creates, its folder, or the folder of its folder."""
    if "<" in path:
        assert (ROOT / path.partition("<")[0]).is_dir()
    else:
        assert (ROOT / path).exists()


@pytest.mark.parametrize(("title", "path", "what"), ROWS, ids=[f"{title}: {path}" for title, path, _ in ROWS])
def test_every_symbol_is_in_the_file_that_the_row_names(title: str, path: str, what: str) -> None:
    named = [word for word in CODE.findall(what) if re.fullmatch(r"[A-Za-z_]+", word)]
    if "<" not in path:
        assert (ROOT / path).is_file()
        assert set(named) <= words(ROOT / path), (title, path)
        return
    # In a file that is new: the symbol is in a file of the same folder or of the contract.
    folder = ROOT / path.partition("<")[0]
    others = [*folder.rglob("*.py"), *(ROOT / "app" / "pipelines" / "contract").glob("*.py")]
    known = set().union(*(words(other) for other in others))
    assert set(named) <= known, (title, path)


def test_every_format_reader_is_where_the_guide_looks_for_it() -> None:
    """The folders of the how-tos are those that the table of formats points to."""
    folders = {"vector": "app/pipelines/vector/formats", "raster": "app/pipelines/raster/formats"}
    folders["tabular"] = "app/pipelines/tabular"
    for fmt in FORMATS:
        module = ROOT / (fmt.reader.replace(".", "/") + ".py")
        assert module.is_file(), fmt.name
        assert module.is_relative_to(ROOT / folders[fmt.type]), fmt.name


def test_every_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))
    named = re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE) + re.findall(r"`make ([a-z-]+)`", TEXT)
    assert len(named) > 8
    assert set(named) <= targets


def test_every_folder_of_tests_is_in_the_table() -> None:
    table = TEXT.partition("\n## Tests\n")[2].partition("```")[0]
    named = set(re.findall(r"^\| `(tests/\w+)` \|", table, re.MULTILINE))
    folders = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/__init__.py")}
    assert folders - named <= {"tests/servers"}, "folders without tests: helpers only"
    assert named <= folders


def test_python_examples_are_python_and_import_what_there_is() -> None:
    examples = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app."):
                module = ROOT / (str(node.module).replace(".", "/") + ".py")
                assert {alias.name for alias in node.names} <= words(module), node.module


def test_hooks_run_the_linters_of_make_lint_and_nothing_else() -> None:
    """All but the audit, which needs the network."""
    lint = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0].replace("$(BIN)/", ".venv/bin/")
    wanted = [line.strip() for line in lint.splitlines()[1:] if "locks/audit.py" not in line]
    entries = []
    for repository in HOOKS:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            parts = shlex.split(hook["entry"])
            entries.append(parts[2] if parts[:2] == ["sh", "-c"] else hook["entry"])
    assert entries == [line.partition(" || ")[0] for line in wanted]
