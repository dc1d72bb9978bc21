"""Waiting for runs: long polls, streamed logs, and what becomes of those who wait when somebody leaves or stops."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app.clients import open_clients
from app.errors import NotFound
from app.ledger import Guard, Ledger
from app.main import create_app
from app.models.base import utcnow
from app.models.runs.run import Progress, Run, RunStatus
from app.serve.roles import _Server
from app.services.runs import read as runs
from app.services.runs.read import RunWatch, Shared
from app.settings import ApiSettings, Settings
from tests.contract.ledgers import put_run, put_running
from tests.service import PATIENCE, POINTS, Service, manifest

pytestmark = pytest.mark.anyio

RUNNING = Guard(frozenset({RunStatus.RUNNING}))
STREAM = {"Accept": "text/event-stream"}


@dataclass
class Api:
    """The API in this event loop, behind a real socket, and the ledger it reads."""

    http: httpx.AsyncClient
    ledger: Ledger
    watch: RunWatch
    server: uvicorn.Server
    serving: asyncio.Task[None]


@asynccontextmanager
async def running_api(data_dir: Path, **own: Any) -> AsyncIterator[Api]:
    settings = Settings(data_dir=data_dir, api=ApiSettings(**own))
    async with open_clients(settings) as clients:
        await clients.ledger.migrate()
        app = create_app(settings)
        server = _Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=20), app)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:  # noqa: ASYNC110 # uvicorn has no event for it
                await asyncio.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
                yield Api(http, clients.ledger, app.state.run_watch, server, serving)
            server.should_exit = True
            await serving


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as started:
        yield started


async def until(look: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline, f"waited 10 s for {what}"
        await asyncio.sleep(0.02)


async def change(api: Api, run: Run, **changes: Any) -> Run:
    changed = await api.ledger.change_run(run.run_id, RUNNING, **changes)
    assert changed is not None
    return changed


def etag_of(run: Run) -> dict[str, str]:
    return {"If-None-Match": f'"{run.revision}"'}


async def test_a_poll_with_an_etag_is_answered_by_the_next_change(api: Api) -> None:
    run = await put_running(api.ledger)
    began = time.monotonic()
    waiting = asyncio.create_task(api.http.get(f"/runs/{run.run_id}?wait=30", headers=etag_of(run)))
    await until(lambda: api.watch.runs.watched == {run.run_id: 1}, "the poll")
    assert not waiting.done()
    changed = await change(api, run, progress=Progress(rows_done=7))
    answer = await waiting
    assert time.monotonic() - began < 10
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{changed.revision}"')
    assert answer.json()["progress"]["rows_done"] == 7


async def test_a_poll_whose_etag_is_old_already_does_not_wait(api: Api) -> None:
    run = await put_running(api.ledger)
    began = time.monotonic()
    answer = await api.http.get(f"/runs/{run.run_id}?wait=30", headers={"If-None-Match": '"0"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{run.revision}"')
    assert time.monotonic() - began < 5


async def test_a_poll_without_news_ends_with_304_when_its_time_is_over(api: Api) -> None:
    run = await put_running(api.ledger)
    began = time.monotonic()
    answer = await api.http.get(f"/runs/{run.run_id}?wait=1.5", headers=etag_of(run))
    assert 1.5 <= time.monotonic() - began < 8
    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (304, b"", "1")
    assert api.watch.runs.watched == {}


async def test_a_poll_without_an_etag_waits_for_the_end(api: Api) -> None:
    run = await put_running(api.ledger)
    as_it_is = await api.http.get(f"/runs/{run.run_id}?wait=0.3")
    assert (as_it_is.status_code, as_it_is.json()["status"]) == (200, "running")
    waiting = asyncio.create_task(api.http.get(f"/runs/{run.run_id}?wait=30"))
    await until(lambda: api.watch.runs.watched, "the poll")
    await change(api, run, step="load")
    await asyncio.sleep(1)
    assert not waiting.done(), "a change is not the end"
    await change(api, run, status=RunStatus.SUCCESS, completed_at=utcnow())
    assert (await waiting).json()["status"] == "success"


async def test_nobody_waits_for_a_run_that_is_over(api: Api) -> None:
    run = await put_running(api.ledger)
    over = await change(api, run, status=RunStatus.FAILURE, completed_at=utcnow())
    began = time.monotonic()
    assert (await api.http.get(f"/runs/{run.run_id}?wait=60", headers=etag_of(over))).status_code == 304
    assert (await api.http.get(f"/runs/{run.run_id}?wait=60")).status_code == 200
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "long"])
async def test_the_wait_has_bounds(api: Api, wait: str) -> None:
    run = await put_run(api.ledger)
    answer = await api.http.get(f"/runs/{run.run_id}", params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_a_poller_that_hangs_up_is_not_waited_for(api: Api) -> None:
    run = await put_running(api.ledger)
    waiting = asyncio.create_task(api.http.get(f"/runs/{run.run_id}?wait=60"))
    await until(lambda: api.watch.runs.watched, "the poll")
    waiting.cancel()
    await until(lambda: not api.watch.runs.watched, "the poll to be given up")


async def test_those_who_wait_do_not_hold_up_a_stop(api: Api) -> None:
    run = await put_running(api.ledger)
    polls = [asyncio.create_task(api.http.get(f"/runs/{run.run_id}?wait=60")) for _ in range(3)]
    streams = [asyncio.create_task(api.http.get(f"/runs/{run.run_id}/events", headers=STREAM)) for _ in range(3)]
    await until(lambda: [*api.watch.runs.watched.values(), *api.watch.logs.watched.values()] == [3, 3], "all of them")
    began = time.monotonic()
    api.server.should_exit = True
    await api.serving
    assert time.monotonic() - began < 4
    assert {answer.json()["status"] for answer in await asyncio.gather(*polls)} == {"running"}
    assert {answer.status_code for answer in await asyncio.gather(*streams)} == {200}


async def test_many_who_wait_cost_one_look_at_a_time(api: Api) -> None:
    run = await put_running(api.ledger)
    looks: list[float] = []

    async def look(before: Mapping[str, Run | None]) -> Mapping[str, Run | Exception]:
        looks.append(time.monotonic())
        return {run_id: await runs.get_run(api.ledger, run_id) for run_id in before}

    shared = Shared(look)
    crowd = [asyncio.create_task(shared.next(run.run_id, lambda r: r.step == "load", 30)) for _ in range(500)]
    await until(lambda: len(looks) >= 6, "six looks")
    assert shared.watched == {run.run_id: 500}
    pauses = [later - sooner for sooner, later in itertools.pairwise(looks)]
    assert all(pause > 0.095 * 1.5**n for n, pause in enumerate(pauses)), "0.1 s, and longer each time"
    await change(api, run, step="load")
    found = await asyncio.gather(*crowd)
    assert {each.step for each in found if each} == {"load"}
    assert None not in found
    assert shared.watched == {}
    seen = len(looks)
    await asyncio.sleep(1.2)
    assert len(looks) == seen, "nobody waits, nobody looks"


async def test_what_a_look_meets_is_told_to_all_who_wait(api: Api) -> None:
    polls = (api.watch.runs.next("nowhere", bool, 30) for _ in range(3))
    found = await asyncio.gather(*polls, return_exceptions=True)
    assert [type(each) for each in found] == [NotFound] * 3
    assert api.watch.runs.watched == {}


async def test_streams_and_waits_of_one_client_have_a_limit(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_waiting=2) as api:
        run = await put_running(api.ledger)
        url = f"/runs/{run.run_id}"
        held = [
            asyncio.create_task(api.http.get(f"{url}?wait=60")),
            asyncio.create_task(api.http.get(f"{url}/events", headers=STREAM)),
        ]
        await until(lambda: api.watch.runs.watched and api.watch.logs.watched, "both")
        for refused in (await api.http.get(f"{url}?wait=60"), await api.http.get(f"{url}/events", headers=STREAM)):
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0
            assert "SPATIAL_ETL_API__MAX_WAITING" in refused.json()["fix"]
        assert (await api.http.get(url)).status_code == 200, "those who do not wait are not counted"
        for task in held:
            task.cancel()
        await until(lambda: not api.watch.runs.watched and not api.watch.logs.watched, "both to be given up")
        assert (await api.http.get(f"{url}?wait=0.1")).status_code == 200


async def test_many_streams_of_many_runs_share_their_looks(api: Api) -> None:
    watched = [await put_running(api.ledger, partition_key=f"many-{n}") for n in range(40)]
    asked: list[int] = []
    look = api.watch.logs._look

    async def counted(before: Mapping[str, int | None]) -> Mapping[str, int | Exception]:
        asked.append(len(before))
        return await look(before)

    api.watch.logs._look = counted
    url = "/runs/{}/events"
    streams = [asyncio.create_task(api.http.get(url.format(run.run_id), headers=STREAM)) for run in watched]
    await until(lambda: len(api.watch.logs.watched) == len(watched), "all streams")
    began, before = time.monotonic(), len(asked)
    await asyncio.sleep(2)
    # One look of each grid of 50 ms at most, whatever the number of runs.
    assert len(asked) - before <= (time.monotonic() - began) / 0.05 + 1
    for run in watched:
        await api.ledger.add_event(run.run_id, code="run.success", message="The run ended in success.")
    assert all("run.success" in answer.text for answer in await asyncio.gather(*streams))


# --- logs


def parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream, read as the HTML standard says; comments are {"comment": …}."""
    event: dict[str, Any] = {}
    for line in lines:
        if not line:
            if event:
                yield event
            event = {}
        elif line.startswith(":"):
            yield {"comment": line[1:].strip()}
        else:
            name, _, value = line.partition(":")
            event[name] = json.loads(value) if name == "data" else value.strip()


def stream(service: Service, run_id: str, last: str | None = None, most: int | None = None) -> list[dict[str, Any]]:
    headers = {**STREAM, **({"Last-Event-ID": last} if last else {})}
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + PATIENCE
    with service.http.stream("GET", f"/runs/{run_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert (response.headers["vary"], response.headers["cache-control"]) == ("Accept", "no-cache")
        for event in parsed(response.iter_lines()):
            found += [event] if "comment" not in event else []
            assert time.monotonic() < deadline, f"the run did not end: {service.run(run_id)}\n{service.log.read_text()}"
            if most and len(found) == most:
                break
    return found


def test_a_stream_gives_every_event_of_a_run_once_and_in_order(service: Service) -> None:
    service.put("waiting/points.geojson", POINTS)
    run_id = service.post(manifest("waiting-stream", ("waiting/points.geojson", "GeoJSON"))).json()["run_id"]
    streamed = stream(service, run_id)
    assert service.run(run_id)["status"] == "success"
    log = service.http.get(f"/runs/{run_id}/events", params={"limit": 1000}).json()
    assert [event["data"] for event in streamed] == log
    assert [event["id"] for event in streamed] == [str(n) for n in range(1, len(log) + 1)]
    assert [event["event"] for event in streamed] == [event["code"] for event in log]
    assert streamed[-1]["event"] == "run.success"


@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_stream_that_connects_again_loses_and_repeats_nothing(service: Service, most: int) -> None:
    service.put("waiting/points.geojson", POINTS)
    document = manifest(f"waiting-again-{most}", ("waiting/points.geojson", "GeoJSON"))
    run_id = service.post(document).json()["run_id"]
    first = stream(service, run_id, most=most)
    assert len(first) == most
    rest = stream(service, run_id, last=first[-1]["id"])
    log = service.http.get(f"/runs/{run_id}/events", params={"limit": 1000}).json()
    assert [event["data"] for event in first + rest] == log
    over = service.http.get(f"/runs/{run_id}/events", headers={**STREAM, "Last-Event-ID": str(len(log))})
    assert (over.status_code, over.content) == (204, b""), "an EventSource stops connecting"
    later = service.http.get(f"/runs/{run_id}/events?after=1", headers={**STREAM, "Last-Event-ID": "3"})
    assert [event["id"] for event in parsed(iter(later.text.splitlines()))][:1] == ["4"], "the header goes before"


def test_pages_stay_what_they_are_and_other_types_are_refused(service: Service) -> None:
    service.put("waiting/points.geojson", POINTS)
    run_id = service.ingest(manifest("waiting-pages", ("waiting/points.geojson", "GeoJSON")))["run_id"]
    url = f"/runs/{run_id}/events"
    for accept in ("*/*", "application/json", "application/*", "text/html, */*;q=0.8", "text/event-stream;q=0.1, */*"):
        page = service.http.get(url, headers={"Accept": accept})
        assert page.headers["content-type"] == "application/json", accept
        assert page.headers["vary"] == "Accept"
    refused = service.http.get(url, headers={"Accept": "text/html"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    assert "text/event-stream" in refused.json()["fix"]
    bad = service.http.get(url, headers={**STREAM, "Last-Event-ID": "x"})
    assert bad.status_code == 422
    assert service.http.get("/runs/none/events", headers=STREAM).status_code == 404


async def test_a_silent_stream_shows_signs_of_life_and_then_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "KEEP_ALIVE_SECONDS", 0.2)
    run = await put_running(api.ledger)
    lines: list[str] = []
    async with api.http.stream("GET", f"/runs/{run.run_id}/events", headers=STREAM) as response:
        async for line in response.aiter_lines():
            lines.append(line)
            if lines.count(": ping") == 2 and "id: 1" not in lines:
                await api.ledger.add_event(run.run_id, code="two.lines", message="one\ntwo\r\nid: 99")
                monkeypatch.setattr(runs, "KEEP_ALIVE_SECONDS", 15.0)
            if "id: 1" in lines and line == "":
                break
    (event,) = [event for event in parsed(iter(lines)) if "comment" not in event]
    assert (event["id"], event["event"], event["data"]["message"]) == ("1", "two.lines", "one\ntwo\r\nid: 99")


async def test_a_log_whose_worker_died_before_its_last_line_ends_too(api: Api) -> None:
    run = await put_running(api.ledger)
    await api.ledger.add_event(run.run_id, code="attempt.started", message="Attempt 1 started.")
    await change(api, run, status=RunStatus.FAILURE, completed_at=utcnow() - timedelta(seconds=60))
    began = time.monotonic()
    response = await api.http.get(f"/runs/{run.run_id}/events", headers=STREAM)
    assert [event["event"] for event in parsed(iter(response.text.splitlines()))] == ["attempt.started"]
    assert time.monotonic() - began < 5
    again = await api.http.get(f"/runs/{run.run_id}/events?after=1", headers=STREAM)
    assert again.status_code == 204


async def test_the_last_line_of_a_run_is_waited_for(api: Api) -> None:
    run = await put_running(api.ledger)
    await api.ledger.add_event(run.run_id, code="attempt.started", message="Attempt 1 started.")
    await change(api, run, status=RunStatus.SUCCESS, completed_at=utcnow())
    streaming = asyncio.create_task(api.http.get(f"/runs/{run.run_id}/events?after=1", headers=STREAM))
    await until(lambda: api.watch.logs.watched, "the stream")
    await asyncio.sleep(0.5)
    assert not streaming.done()
    await api.ledger.add_event(run.run_id, code="run.success", message="The run ended in success.")
    assert "id: 2" in (await streaming).text


async def test_a_reader_of_a_stream_that_hangs_up_is_not_waited_for(api: Api) -> None:
    run = await put_running(api.ledger)
    streaming = asyncio.create_task(api.http.get(f"/runs/{run.run_id}/events", headers=STREAM))
    await until(lambda: api.watch.logs.watched, "the stream")
    streaming.cancel()
    await until(lambda: not api.watch.logs.watched, "the stream to be given up")


async def test_a_long_log_is_streamed_whole(api: Api) -> None:
    run = await put_running(api.ledger)
    for n in range(250):
        await api.ledger.add_event(run.run_id, code="line", message=str(n))
    await change(api, run, status=RunStatus.SUCCESS, completed_at=utcnow())
    await api.ledger.add_event(run.run_id, code="run.success", message="The run ended in success.")
    response = await api.http.get(f"/runs/{run.run_id}/events", headers=STREAM)
    assert [int(event["id"]) for event in parsed(iter(response.text.splitlines()))] == list(range(1, 252))
