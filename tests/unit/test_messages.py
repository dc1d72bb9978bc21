"""The catalogue of messages: every refusal and warning of a run comes from it, and documents show its tables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.messages.catalogue import SUBJECTS, codes, messages, table
from app.messages.message import Count, FaultMessage, Notice, Refusal, fields
from app.pipelines.vector.engines.report import _WARNINGS

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "app").rglob("*.py"))

CATALOGUE = {
    f"{subject.__name__}.{name}": message
    for subjects in SUBJECTS.values()
    for subject in subjects
    for name, message in messages(subject).items()
}

# Words that docs/messages.md rules out, in texts for users.
FORBIDDEN = re.compile(
    r"\b(nobody|whoever|somebody|whatever|mend(s|ed)?|of (its|their|your|our) own|(is|are) none|told"
    r"|dict|tuple|NoneType)\b",
    re.IGNORECASE,
)


def _message_of(call: ast.Call) -> ast.expr:
    """`X` of `X(…)`, of `X.texts(…)`, and of `wrong(X, …)` and `_fault(loc, raw, X, …)` in the rules of manifests."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "texts":
        return call.func.value
    by_name = isinstance(call.func, ast.Name) and call.func.id in ("wrong", "_fault") and call.args
    return call.args[-1] if by_name else call.func


def _calls() -> Iterator[tuple[str, ast.Call, str]]:
    """(place, call, name in the catalogue) of every use of a message in the code."""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app.messages."):
                names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.walk(tree):
            used = _message_of(node) if isinstance(node, ast.Call) else None
            if isinstance(node, ast.Call) and isinstance(used, ast.Name) and names.get(used.id) in CATALOGUE:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node, names[used.id]


def test_a_count_brings_its_words_along() -> None:
    assert f"{Count(1):# row|# rows} {Count(1):is|are}" == "1 row is"
    assert f"{Count(1200):# row|# rows} {Count(0):is|are} {Count(7):,}" == "1200 rows are 7"


def test_a_warning_keeps_the_first_five_samples() -> None:
    assert Notice("code", "when", "text")(count=7, samples=range(7)).samples == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_text_keeps_to_the_rules(name: str) -> None:
    message = CATALOGUE[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", message.code)
    assert message.when
    assert not message.when.endswith(".")
    texts = (message.text,) if isinstance(message, Notice) else (message.detail, message.fix)
    for text in texts:
        assert not FORBIDDEN.search(text), FORBIDDEN.search(text)
        assert not text or text.rstrip().endswith((".", "?", "}", "`")), text


@pytest.mark.parametrize("kind", [FaultMessage, Refusal, Notice])
def test_a_code_has_one_meaning_and_a_text_one_constant(kind: type[FaultMessage | Refusal | Notice]) -> None:
    whens: dict[str, set[str]] = {}
    texts: dict[FaultMessage | Refusal | Notice, list[str]] = {}
    for name, message in CATALOGUE.items():
        if isinstance(message, kind):
            whens.setdefault(message.code, set()).add(message.when)
            texts.setdefault(message, []).append(name)
    assert {code: found for code, found in whens.items() if len(found) > 1} == {}
    assert [names for names in texts.values() if len(names) > 1] == []


def test_every_use_gives_the_values_that_its_templates_ask_for() -> None:
    wrong, used = [], set()
    for place, call, name in _calls():
        used.add(name)
        message = CATALOGUE[name]
        if any(keyword.arg is None for keyword in call.keywords):
            continue
        given = {keyword.arg for keyword in call.keywords}
        places = 0
        if isinstance(message, Refusal):
            asked, own = fields(message.detail, message.fix), {"file"}
        elif isinstance(message, FaultMessage):
            asked, own, places = fields(message.detail, message.fix), set(), len(call.args)
        else:
            asked, own = fields(message.text), {"count", "samples"}
        if (
            len(call.args) != places
            or asked - own - given
            or given - own - asked
            or ("file" in asked and "file" not in given)
        ):
            wrong.append(f"{place}: {name} asks for {sorted(asked)}, gets {sorted(given)}")
    assert not wrong, "\n".join(wrong)
    assert len(used) > 3


def test_the_catalogue_has_nothing_that_is_not_used() -> None:
    words = {
        word for path in SOURCES if path.parent.name != "messages" for word in re.findall(r"\w+", path.read_text())
    }
    assert [name for name in CATALOGUE if name.rpartition(".")[2].partition("[")[0] not in words] == []


def test_documents_are_found_wrong_only_through_the_catalogue() -> None:
    """A fault with a code that is written where it is found would be in no table."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (place := {"Fault": 1, "wrong": 0, "PydanticCustomError": 0}.get(node.func.id)) is not None
        and isinstance(node.args[place], ast.Constant)
    ]
    assert found == []


def test_runs_are_refused_and_warned_only_through_the_catalogue() -> None:
    """Also what becomes of an error that another process or library raised."""
    found = []
    for path in SOURCES:
        if path.parent.name == "messages" or path.name in ("errors.py", "relayed_errors.py"):
            continue
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("RunRefused", "RunWarning")
        ]
    assert found == []


def test_a_code_is_a_refusal_or_a_notice() -> None:
    kinds: dict[str, set[type]] = {}
    for message in CATALOGUE.values():
        if not isinstance(message, FaultMessage):
            kinds.setdefault(message.code, set()).add(type(message))
    # Older than this rule: about a few rows of a source they are warnings, about too many of them refusals.
    older = {"outside_area_of_use", "rows_quarantined"}
    assert {code for code, found in kinds.items() if found == {Refusal, Notice}} <= older


def test_a_table_has_every_code_and_no_name_of_a_value() -> None:
    for kind in (FaultMessage, Refusal, Notice):
        text = table(kind)
        assert codes(kind).keys() == set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE))
        rows = [line for line in text.splitlines() if line.startswith("| `")]
        assert len({row.replace(r"\|", "").count("|") for row in rows}) == 1
        assert not re.search(r"\{\w+[^}]*\}", text)
    row = next(line for line in table(Refusal).splitlines() if "`file_too_large`" in line)
    assert row.endswith("| Split the data, or raise SPATIAL_ETL_LIMITS__FILE_BYTES. |")
    missing = next(line for line in table(Refusal).splitlines() if "`sidecar_missing`" in line)
    assert "Upload … beside it" in missing


def test_what_a_vector_reader_counts_is_warned_of() -> None:
    """A code that is counted and not in `_WARNINGS` would be silent; a text with more than its count would fail."""
    warned = {notice.code for notice in _WARNINGS}
    assert {name for notice in _WARNINGS for name in fields(notice.text)} <= {"count"}
    notices = {message.code for message in CATALOGUE.values() if isinstance(message, Notice)}
    counted: set[str] = set()
    for path in (ROOT / "app" / "pipelines" / "vector" / "formats").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"\bcounted\[(?:\"([a-z_]+)\"|(\w+)\.code)\]", text)
        constants = {name.rpartition(".")[2]: message.code for name, message in CATALOGUE.items()}
        counted |= {literal or constants[constant] for literal, constant in names}
    assert counted, "else the pattern finds nothing"
    assert counted & notices <= warned
