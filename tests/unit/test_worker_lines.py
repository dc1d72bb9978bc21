"""What a worker logs when a server is away under a job: one line that says what, where and what happens next."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.exceptions import InvalidJobOperation
from rq.serializers import JSONSerializer

from app.errors import DomainError, LedgerUnavailable, StoreUnavailable
from app.jobs.shared_state import job_state
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.queue.jobs import JOB, PLAN_JOB, OwnJob
from app.settings import Settings
from app.worker import RunWorker

RUN_ID = "257c918a941753d09ddba98c9652b0aa"
AWAY = LedgerUnavailable("The ledger (postgresql db/etl) does not answer.", "Check that it runs.")
END = AttemptEnd(outcome=AttemptOutcome.SERVER_AWAY, detail="x")


@pytest.fixture
def worker(tmp_path: Path) -> RunWorker:
    """A worker that has not signed on: what is called here needs no queue."""
    made = RunWorker.__new__(RunWorker)
    made.name = "w"
    made.log = logging.getLogger("rq.worker")
    made._exc_handlers = []
    made._owner = "w"
    made._unreported = {}
    made._settings = Settings(data_dir=tmp_path / "none")
    return made


@pytest.fixture(autouse=True)
def _clean_state() -> Iterator[None]:
    job_state.clear()
    yield
    job_state.clear()


def a_job(function: str = JOB) -> OwnJob:
    return OwnJob.create(
        function, (RUN_ID,), description=RUN_ID, connection=Redis(), serializer=JSONSerializer, id="j", origin="q"
    )


def handled(worker: RunWorker, err: Exception, function: str = JOB) -> None:
    try:
        raise err
    except Exception as raised:
        worker.handle_exception(a_job(function), type(raised), raised, raised.__traceback__)


@pytest.mark.parametrize(
    ("state", "next_step"),
    [
        ({}, "It stays queued in the ledger, and the sweep hands it out again."),
        ({"attempt": 1}, "Its lease runs out, and the sweep starts the next attempt."),
        ({"attempt": 1, "end": END.model_dump(mode="json")}, "Its worker records the end of the attempt as soon as"),
    ],
)
@pytest.mark.parametrize("err", [AWAY, StoreUnavailable("The store s3:9000 does not answer.", "Start it.")])
def test_a_server_that_is_away_is_one_line(
    worker: RunWorker, caplog: pytest.LogCaptureFixture, state: dict[str, object], next_step: str, err: DomainError
) -> None:
    job_state.write(**state)
    handled(worker, err)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"run {RUN_ID}: {err.detail} {err.fix} {next_step}")
    assert "\n" not in record.getMessage()
    assert record.exc_info is None


def test_a_plan_is_named_as_one(worker: RunWorker, caplog: pytest.LogCaptureFixture) -> None:
    handled(worker, AWAY, PLAN_JOB)
    assert caplog.messages == [f"the plan: {AWAY} The plan is not made; its request is answered so."]


def test_a_defect_keeps_its_traceback(worker: RunWorker, caplog: pytest.LogCaptureFixture) -> None:
    handled(worker, LookupError("a defect"))
    assert "Traceback" in caplog.text
    assert "a defect" in caplog.text


@pytest.mark.parametrize(
    "err", [InvalidJobOperation("Failed to retrieve status for job: j"), RedisConnectionError("gone")]
)
def test_an_entry_that_the_queue_lost_is_one_line_once_the_run_has_ended(
    worker: RunWorker, caplog: pytest.LogCaptureFixture, err: Exception
) -> None:
    handled(worker, err)
    assert "Traceback" in caplog.text
    caplog.clear()
    job_state.finish()
    handled(worker, err)
    assert caplog.messages == [f"run {RUN_ID}: its end is recorded, but not in the queue ({err})"]
    assert "Traceback" not in caplog.text


def test_an_end_that_cannot_be_recorded_is_logged_once(worker: RunWorker, caplog: pytest.LogCaptureFixture) -> None:
    """The data directory is not there, so no ledger answers."""
    for _ in range(3):
        worker._report_end(RUN_ID, END)
    (message,) = caplog.messages
    assert message.startswith(f"run {RUN_ID}: the end of its attempt is reported later: ")
    assert worker._unreported == {RUN_ID: END}
