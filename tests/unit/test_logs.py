"""Log lines: what each carries, in either form, and that a machine reads them."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError
from anyio.from_thread import start_blocking_portal

from app.models.runs.trace import new_traceparent, parse_traceparent
from app.system import logs

logger = logging.getLogger("app.tests")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What is written to standard error; the process's own logging is put back."""
    root, names = logging.getLogger(), ("app", "rq", "uvicorn")
    handlers, level, levels = root.handlers[:], root.level, [logging.getLogger(name).level for name in names]
    # Else configuring would close pytest's own handlers.
    root.handlers = []
    yield lambda: capsys.readouterr().err
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    for name, before in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(before)


def lines(said: Callable[[], str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said().splitlines()]


def test_a_line_is_one_object_with_the_log_context(said: Callable[[], str]) -> None:
    logs.configure("json", "info", "worker")
    with logs.bound(run_id="r1", attempt=2, traceparent=TRACE, lane=None):
        logger.info("two\nlines of %s", "text", extra={"event": "step.finished"})
    logger.warning("after")
    first, second = lines(said)
    assert list(first)[:6] == ["time", "level", "logger", "role", "pid", "message"]
    assert (first["level"], first["logger"], first["role"]) == ("info", "app.tests", "worker")
    assert first["message"] == "two\nlines of text"
    assert (first["run_id"], first["attempt"], first["event"]) == ("r1", 2, "step.finished")
    assert first["traceparent"] == TRACE
    assert "lane" not in first
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert "run_id" not in second


def test_an_exception_is_one_field(said: Callable[[], str]) -> None:
    logs.configure("json", "warning", "api")
    try:
        raise ValueError("Zürich \udcff\n")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(said)
    assert line["message"] == "it failed"
    assert "Traceback" in line["exception"]
    assert "ValueError" in line["exception"]
    assert "exc_info" not in line


def test_levels_are_ours_only(said: Callable[[], str]) -> None:
    """A driver that debugs prints what it sends."""
    logs.configure("json", "debug", "api")
    logger.debug("ours")
    logging.getLogger("uvicorn.error").info("its")
    logging.getLogger("botocore.auth").debug("a signature")
    logging.getLogger("pymongo.command").info("a document")
    assert [line["message"] for line in lines(said)] == ["ours", "its"]


def test_text_is_a_line_for_people(said: Callable[[], str]) -> None:
    logs.configure("text", "warning", "sweep")
    logger.info("not said")
    logger.warning("said")
    assert re.fullmatch(r"\S+ \S+ sweep \d+ WARNING app\.tests: said\n", said())


def test_the_log_context_reaches_the_event_loop_beside_a_job_and_no_other_thread(said: Callable[[], str]) -> None:
    logs.configure("json", "info", "worker")

    async def say() -> None:
        logger.info("on the loop")

    with start_blocking_portal() as portal, logs.bound(run_id="r1"):
        portal.call(say)
        other = threading.Thread(target=logger.info, args=("elsewhere",))
        other.start()
        other.join()
    found = {line["message"]: line.get("run_id") for line in lines(said)}
    assert found == {"on the loop": "r1", "elsewhere": None}


@pytest.mark.parametrize("given", [TRACE, TRACE.replace("00-", "01-", 1) + "-more", TRACE[:-2] + "00"])
def test_a_trace_is_kept(given: str) -> None:
    assert parse_traceparent([given]) == given


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00-1",
        TRACE.upper(),
        TRACE + "-more",
        "ff" + TRACE[2:],
        TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        TRACE.replace("00f067aa0ba902b7", "0" * 16),
        TRACE + "x" * 1000,
        "01" + TRACE[2:] + "-" + "x" * 200,
        TRACE + "\n{}",
    ],
)
def test_what_is_no_trace_is_replaced(given: str) -> None:
    made = parse_traceparent([given])
    assert made != given
    assert parse_traceparent([made]) == made
    assert parse_traceparent([given, TRACE]) != TRACE, "of several none is believed"
    assert parse_traceparent([]) != parse_traceparent([])


def test_new_traces_differ() -> None:
    assert len({new_traceparent() for _ in range(100)}) == 100


def test_a_connection_that_breaks_under_a_request_is_told_once(said: Callable[[], str]) -> None:
    """aiohttp raises it where the answer is awaited, and leaves it in the task that wrote the request."""
    logs.configure("json", "warning", "worker")
    for error in (ClientConnectionResetError("Cannot write to closing transport"), LookupError("a defect")):
        logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)
    (line,) = lines(said)
    assert "a defect" in line["exception"]
