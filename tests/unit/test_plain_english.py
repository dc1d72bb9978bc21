"""docs/messages.md, rule 4, for all strings, docstrings and comments of the code: no archaic or riddling words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "app"
SOURCES = sorted(path.relative_to(APP).as_posix() for path in APP.rglob("*.py"))

_RIDDLES = (
    r"nobody|whoever|somebody|anybody|everybody|whatever|mend(s|ed|ing)?|of (its|their|your|our) own"
    r"|(is|are) none of|told|save that"
)
FOR_USERS = re.compile(rf"\b({_RIDDLES}|(is|are) none|said|dict|tuple|NoneType)\b", re.IGNORECASE)
FOR_READERS = re.compile(rf"\b({_RIDDLES})\b", re.IGNORECASE)

# (file, string): why a user never reads it as a sentence.
ALLOWED = {("storage/mongo/outbox.py", "told"): "the name of a stored field"}


def _docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constant nodes that are docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and node.body and isinstance(node.body[0], ast.Expr)
    }


def _strings(source: str, *, docstrings: bool) -> Iterator[tuple[int, str]]:
    """(line, text) of the string constants that are docstrings, or of those that are not."""
    tree = ast.parse(source)
    found = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (id(node) in found) is docstrings:
            yield node.lineno, node.value


def _comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _found(pattern: re.Pattern[str], texts: Iterator[tuple[int, str]]) -> list[str]:
    return [f"line {line}: {match[0]!r} in {text[:120]!r}" for line, text in texts if (match := pattern.search(text))]


@pytest.mark.parametrize("name", SOURCES)
def test_strings_for_users(name: str) -> None:
    texts = _strings((APP / name).read_text(encoding="utf-8"), docstrings=False)
    assert _found(FOR_USERS, ((line, text) for line, text in texts if (name, text) not in ALLOWED)) == []


@pytest.mark.parametrize("name", SOURCES)
def test_docstrings_and_comments(name: str) -> None:
    source = (APP / name).read_text(encoding="utf-8")
    assert _found(FOR_READERS, _strings(source, docstrings=True)) == []
    assert _found(FOR_READERS, _comments(source)) == []


def test_the_exceptions_are_needed() -> None:
    for name, text in ALLOWED:
        assert text in {found for _, found in _strings((APP / name).read_text(encoding="utf-8"), docstrings=False)}
