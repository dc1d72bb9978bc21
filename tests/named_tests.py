"""Tests that tables of codes name: whether they exist, and which codes they have in their source."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def _module(path: str) -> dict[str, ast.AST]:
    """{name: node} of what a module defines at its top level: functions, and values that tests are made from."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def _words(node: ast.AST) -> set[str]:
    """The string constants."""
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def names_code(test: str, code: str, error: str = "") -> bool:
    """Whether a test has this code as a string constant, in its source or in a value of its module that it uses.

    Args:
        test: `path::name` from the root of the project, without parameters; in a class, `path::Class::name`.
        code: of the catalogue.
        error: the class of errors that has the code: its name in the source will do too.
    """
    path, *names = test.split("::")
    defined = _module(path) if (ROOT / path).is_file() else {}
    node = defined.get(names[0])
    for name in names[1:]:
        node = next((each for each in getattr(node, "body", ()) if getattr(each, "name", "") == name), None)
    if not isinstance(node, _FUNCTIONS) or not node.name.startswith("test_"):
        return False
    used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    values = [defined[name] for name in used if isinstance(defined.get(name), ast.Assign | ast.AnnAssign)]
    attributes = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    return error in used | attributes or any(code in _words(each) for each in (node, *values))
