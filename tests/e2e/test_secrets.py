"""Passwords, keys and tokens of the settings appear in nothing that the service says, least of all when things fail."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from app.models.api_key import new_token
from tests.deployment import Deployment
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer
from tests.service import POINTS, manifest, wait_for

LEDGERS = {
    "postgresql": "postgresql://ledger-user:ledger%2Fhidden@127.0.0.1:{port}/ledger",
    "mongodb": "mongodb://ledger-user:ledger%2Fhidden@127.0.0.1:{port}/ledger",
    "no such kind": "oracle://ledger-user:ledger%2Fhidden@127.0.0.1:{port}/ledger",
    "password not quoted": "postgresql://ledger-user:ledger/hidden@127.0.0.1:{port}/ledger",
}
QUEUES = {
    "nobody there": "redis://:queue-hidden@127.0.0.1:{port}/0",
    "password not quoted": "redis://:queue/hidden@127.0.0.1:{port}/0",
    "no such kind": "http://:queue-hidden@127.0.0.1:{port}/0",
}
TOKEN = new_token()
# Also what is left of a value when a parser cuts it at a character that was not quoted.
HIDDEN = ("hidden", TOKEN, "ledger%2F", "ledger/", "queue-h", "queue/", ":queue")


def settings(ledger: str, queue: str) -> dict[str, str]:
    port = str(free_port())
    return {
        "SPATIAL_ETL_LEDGER__URL": ledger.format(port=port),
        "SPATIAL_ETL_QUEUE__REDIS_URL": queue.format(port=port),
        "SPATIAL_ETL_OBJECTS__BACKEND": "s3",
        "SPATIAL_ETL_OBJECTS__ENDPOINT": f"http://127.0.0.1:{port}",
        "SPATIAL_ETL_OBJECTS__ACCESS_KEY": "access-hidden",
        "SPATIAL_ETL_OBJECTS__SECRET_KEY": "secret-hidden",
        "SPATIAL_ETL_ENGINE__NAME": "postgis",
        "SPATIAL_ETL_ENGINE__POSTGIS_URL": f"postgresql://gis:postgis-hidden@127.0.0.1:{port}/gis",
        "SPATIAL_ETL_WEBHOOK__TOKEN": "webhook-hidden",
    }


def silent(text: str) -> str:
    for part in HIDDEN:
        assert part not in text, f"{part!r} in:\n{text}"
    return text


def silent_processes(service: Deployment) -> None:
    """Neither their arguments nor their titles, which workers change."""
    for role in service.roles:
        if role.poll() is None:
            process = psutil.Process(role.pid)
            for one in (process, *process.children(recursive=True)):
                silent(" ".join(one.cmdline()) + one.name())


@pytest.mark.parametrize("ledger", LEDGERS)
def test_commands_keep_secrets_to_themselves(data_dir: Path, ledger: str) -> None:
    service = Deployment(data_dir, **settings(LEDGERS[ledger], QUEUES["nobody there"]))
    for words in (["doctor"], ["--verbose", "doctor", "--json"], ["--verbose", "migrate"]):
        done = service.command(*words)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr, done.stderr
        assert len(silent(done.stdout + done.stderr)) > 50


@pytest.mark.parametrize("queue", sorted(set(QUEUES) - {"nobody there"}))
def test_a_redis_url_that_is_none_is_not_repeated(data_dir: Path, queue: str) -> None:
    service = Deployment(data_dir, SPATIAL_ETL_QUEUE__REDIS_URL=QUEUES[queue].format(port=free_port()))
    done = service.command("doctor")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "is not a Redis URL" in silent(done.stdout + done.stderr)


@pytest.mark.parametrize("name", ["SPATIAL_ETL_OBJECTS__SECRETKEY", "SPATIAL_ETL_LEDGER", "SPATIAL_ETL_OBJECTS"])
def test_a_secret_under_a_wrong_name_is_not_repeated(data_dir: Path, name: str) -> None:
    for value in ("mongodb://u:hidden@host/db", '"hidden"', '{"wrong": "hidden"}'):
        done = Deployment(data_dir / value[:3], **{name: value}).command("doctor")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert name.removeprefix("SPATIAL_ETL_").lower() in silent(done.stdout + done.stderr).lower()


@pytest.mark.parametrize("ledger", ["postgresql", "mongodb"])
def test_roles_and_problems_keep_secrets_to_themselves(data_dir: Path, ledger: str) -> None:
    logs = {"SPATIAL_ETL_LOG__FORMAT": "json", "SPATIAL_ETL_LOG__LEVEL": "debug"} if ledger == "mongodb" else {}
    service = Deployment(data_dir, **settings(LEDGERS[ledger], QUEUES["nobody there"]), **logs)
    try:
        service.start_api()
        service.start_role("--verbose", "worker")
        service.start_role("--verbose", "sweep")
        ready = service.http.get("/ready")
        assert ready.status_code == 503
        assert [check["ok"] for check in ready.json()["checks"]] == [False] * 5
        assert all(check["fix"] for check in ready.json()["checks"])
        silent(ready.text)
        problems = [
            service.post(manifest("x", ("p.geojson", "GeoJSON"))),
            service.http.get("/landing"),
            service.http.put("/landing/p.geojson", content=POINTS),
            service.http.get("/runs/x"),
            service.http.post("/webhooks/minio", headers={"Authorization": "Bearer wrong"}, json={}),
            service.http.get("/runs", headers={"Authorization": f"Bearer {TOKEN}"}),
            service.http.get("/runs", headers={"Authorization": "Bearer hidden-and-no-key"}),
        ]
        for response in problems:
            assert response.status_code >= 400
            silent(response.text + str(response.headers))
        wait_for(lambda: service.log.read_text().count("the worker waits") == 1, "the worker to say what is missing")
        wait_for(lambda: "the sweep failed" in service.log.read_text(), "the sweep to say what is missing")
        silent_processes(service)
    finally:
        codes = service.stop_roles()
    assert codes == [0, 0, 0], service.log.read_text()
    assert "Traceback" not in silent(service.log.read_text())
    if logs:
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
        assert {line["role"] for line in lines} == {"api", "worker", "sweep"}


def test_a_wrong_password_of_redis_is_said_and_not_shown(data_dir: Path, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", password="the-right-one") as redis:  # noqa: S106 # of a test
        wrong = redis.url.replace("the-right-one", "hidden")
        service = Deployment(data_dir, SPATIAL_ETL_QUEUE__REDIS_URL=wrong)
        try:
            done = service.command("doctor")
            assert "Check user and password" in silent(done.stdout)
            assert done.returncode == 1
            service.start_role("worker")
            wait_for(lambda: "the worker waits" in service.log.read_text(), "the worker to say what is missing")
            time.sleep(1)
            silent_processes(service)
        finally:
            assert service.stop_roles() == [0]
        silent(service.log.read_text())
