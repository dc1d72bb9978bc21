"""The guides in docs/: links lead somewhere, indexes are complete, and the language is plain."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from app.models.formats import FORMATS
from app.models.runs.run import TRANSITIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RECORDS = sorted(DOCS.glob("adr/[0-9]*.md"))
INDEX = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
GUIDES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# Words that docs/messages.md rules out; it quotes them itself.
FORBIDDEN = re.compile(
    r"\b(nobody|whoever|somebody|whatever|mend(s|ed)?|(is|are) none|told|said|save that)\b", re.IGNORECASE
)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """As the usual renderers make them of headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]+))?\)", prose):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


@pytest.mark.parametrize(
    "path", [path for path in GUIDES if path.name != "messages.md"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_language_is_plain(path: Path) -> None:
    # Names of tests, and output of the service, are quoted as they are.
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text_of(path), flags=re.DOTALL)
    assert [match.group() for match in FORBIDDEN.finditer(prose)] == []


def test_the_index_lists_every_decision_record() -> None:
    rows = re.findall(
        r"^\| \[(\d+)\]\(([^)]+)\) \| (.+?) \| (.+?) \| (\d{4}-\d\d-\d\d) \| (.+) \|$", INDEX, re.MULTILINE
    )
    assert [file for _, file, *_ in rows] == [path.name for path in RECORDS]
    for number, file, title, status, date, _ in rows:
        first, _, third, *_ = text_of(DOCS / "adr" / file).splitlines()
        assert first == f"# {number}. {title}"
        state, _, more = status.partition(", ")
        assert third == f"Status: {state} ({date})" + (f", {more}" if more else "")
        assert int(number) == int(file[:4])


def test_numbers_without_a_record_are_explained() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    missing = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
    assert [int(number) for number in re.findall(r"^- \*\*(\d+)\*\*", INDEX, re.MULTILINE)] == missing


def test_a_record_names_records_that_there_are() -> None:
    numbers = {int(path.name[:4]) for path in RECORDS}
    for path in (*RECORDS, DOCS / "architecture.md", DOCS / "operations.md", DOCS / "security.md"):
        named = re.sub(r"formerly ADR \d+|includes \d+", "", text_of(path))
        for group in re.findall(r"(?:ADR|amended by) ((?:\d+(?:, | and )?)+)", named):
            assert {int(number) for number in re.findall(r"\d+", group)} <= numbers, path.name


@pytest.mark.parametrize("path", [*RECORDS, DOCS / "architecture.md", DOCS / "glossary.md"], ids=lambda path: path.name)
def test_files_that_a_guide_names_exist(path: Path) -> None:
    for name in re.findall(r"`((?:app|tests|docs|tools|migrations)/[\w./-]+)`", text_of(path)):
        assert (ROOT / name).exists(), name


def test_the_architecture_has_every_room() -> None:
    named = set(re.findall(r"^\| `(app/[\w/.]+)` \|", text_of(DOCS / "architecture.md"), re.MULTILINE))
    app = ROOT / "app"
    rooms = [*app.glob("*.py"), *(init.parent for init in app.glob("*/__init__.py"))]
    for folder in ("pipelines", "services"):
        rooms += [init.parent for init in (app / folder).glob("*/__init__.py")]
    wanted = {str(room.relative_to(ROOT)) for room in rooms} - {"app/__init__.py", "app/__main__.py"}
    assert wanted - named == set()
    assert all((ROOT / name).exists() for name in named)


def test_the_layers_of_the_diagram_are_those_of_the_contract() -> None:
    contracts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["name"] == "imports run one way"]
    diagram = (
        text_of(DOCS / "architecture.md").partition("## The rooms")[2].partition("```mermaid\n")[2].partition("```")[0]
    )
    drawn = [label.replace(" · ", " | ") for label in re.findall(r'\["([^"]+)"\]', diagram)]
    assert ["__main__", *drawn] == layers


def test_the_states_of_the_diagram_are_those_of_a_run() -> None:
    diagram = text_of(DOCS / "architecture.md").partition("stateDiagram-v2\n")[2].partition("```")[0]
    drawn = {(start, end) for start, end in re.findall(r"(\w+) --> (\w+)", diagram)}
    assert drawn == {(start.value, end.value) for start, ends in TRANSITIONS.items() for end in ends}


def test_the_glossary_is_in_order_and_has_each_word_once() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text_of(DOCS / "glossary.md"), re.MULTILINE)[1:]
    listed = [word.lower() for word, _, _ in rows if not word.startswith("---")]
    assert listed == sorted(set(listed))
    assert len(listed) > 50
    assert all("`" in place for word, _, place in rows if not word.startswith("---"))


def test_every_format_has_a_row_in_the_guide_to_formats() -> None:
    rows = re.findall(r"^\| (\w[\w, ]+) \| ", text_of(DOCS / "formats.md"), re.MULTILINE)
    named = {name.strip() for row in rows for name in row.split(",")}
    assert {fmt.name for fmt in FORMATS if fmt.available} <= named
