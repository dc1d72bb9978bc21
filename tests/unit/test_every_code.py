"""Every code of the catalogue and of the REST interface is provoked by a test, or the table says why none can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from app.errors import ApiKeyTaken
from app.http.problems import STATUS, problem_codes
from app.messages.catalogue import codes
from app.messages.message import Notice, Refusal
from tests.api.local_api import local_api
from tests.corpus.case import Refused
from tests.corpus.test_corpus import CASES
from tests.named_tests import names_code
from tests.unit.every_code import ANSWERED, REFUSED, WARNED, Never

ERRORS = {error.code: error.__name__ for error in STATUS}
ROWS = [(code, row) for table in (REFUSED, WARNED, ANSWERED) for code, row in table.items()]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("table", "known"), [(REFUSED, codes(Refusal)), (WARNED, codes(Notice)), (ANSWERED, problem_codes())]
)
def test_every_code_has_its_row_and_no_other(table: Mapping[str, str | Never], known: Mapping[str, object]) -> None:
    assert table.keys() == known.keys()


def test_each_row_names_a_test_that_has_the_code() -> None:
    outcomes = {
        case.id: {case.wanted.code} if isinstance(case.wanted, Refused) else case.wanted.warns for case in CASES
    }
    wrong = []
    for code, row in ROWS:
        if isinstance(row, Never):
            assert row.why.endswith(".")
        elif row.startswith("corpus: "):
            if code not in outcomes.get(row.removeprefix("corpus: "), ()):
                wrong.append(f"{code}: {row}")
        elif not names_code(f"tests/{row}", code, ERRORS.get(code, "")):
            wrong.append(f"{code}: {row}")
    assert not wrong, "\n".join(wrong)


def test_a_test_that_is_not_there_or_lacks_the_code_is_found() -> None:
    here = "tests/unit/test_every_code.py::test_a_test_that_is_not_there_or_lacks_the_code_is_found"
    assert names_code(here, "a code in this test")
    assert not names_code(here, "a code in " + "no test")
    assert not names_code(f"{here}_not", "a code in this test")
    assert not names_code("tests/unit/test_nothing.py::test_a", "a code in this test")
    assert not names_code("tests/unit/test_every_code.py::ROWS", "ANSWERED")


@pytest.mark.anyio
async def test_answers_that_no_other_test_names(tmp_path: Path) -> None:
    async with local_api(tmp_path) as api:
        await api.key("ada")
        with pytest.raises(ApiKeyTaken):
            await api.key("ada")
        admin = await api.key("eve")
        as_json = {**admin, "Content-Type": "application/json"}
        answer = await api.http.put("/lanes/join/limit", content=b"\xff", headers=as_json)
        assert answer.json()["code"] == "request_unreadable"
        # A defect: there is none that a request can provoke.
        del api.app.state.clients
        answer = await api.http.get("/runs", headers=admin)
        assert answer.json()["code"] == "internal_error"
