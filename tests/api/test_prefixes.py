"""API keys that are bound to a part of the landing zone, and what the audit trail says of their holders."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.models.api_key import Scope
from app.models.caller import Caller
from app.services.access.prefixes import prefixes_within
from tests.api.local_api import LocalApi, local_api
from tests.service import Json, manifest

pytestmark = pytest.mark.anyio

ELSEWHERE = "0.0.0.0"  # noqa: S104 # nothing is bound: the setting decides
MINE, FOREIGN = "team-a/x.geojson", "team-b/x.geojson"
BESIDE = "team-ab/x.geojson"


@pytest.fixture
async def two_teams(tmp_path: Path) -> AsyncIterator[tuple[LocalApi, dict[str, str], dict[str, str]]]:
    """Objects of two teams; the headers of an administrator and of a key of the first team."""
    async with local_api(tmp_path, host=ELSEWHERE, peer="192.0.2.7", rate_limit=0) as opened:
        admin, team = await opened.key("boss"), await opened.key("team-a", Scope.SUBMIT, "team-a", "shared/in/")
        for key in (MINE, FOREIGN, BESIDE, "shared/in/y", "shared/out/y", "z"):
            assert (await opened.http.put(f"/landing/{key}", content=b"1", headers=admin)).status_code == 201
        yield opened, admin, team


async def test_objects_outside_are_neither_read_written_nor_removed(
    two_teams: tuple[LocalApi, dict[str, str], dict[str, str]],
) -> None:
    opened, admin, team = two_teams
    for key in (FOREIGN, BESIDE, "z", "shared/out/y", "team-a", "manifests/m.json", "archive/m.json"):
        for method in ("GET", "PUT", "DELETE"):
            answer = await opened.http.request(method, f"/landing/{key}", headers=team)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, key)
        asked = await opened.http.post("/landing/presign", json={"key": key}, headers=team)
        assert asked.status_code == 403, key
    assert (await opened.http.get(f"/landing/{FOREIGN}", headers=admin)).content == b"1"
    assert (await opened.http.get(f"/landing/{MINE}", headers=team)).content == b"1"
    assert (await opened.http.put("/landing/team-a/new", content=b"2", headers=team)).status_code == 201
    # A directory has no presigned URLs: so it came past the check.
    mine = await opened.http.post("/landing/presign", json={"key": MINE}, headers=team)
    assert mine.status_code == 501
    assert (await opened.http.delete(f"/landing/{MINE}", headers=team)).status_code == 204


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["shared/in/y", MINE]),
        ("team", [MINE]),
        ("team-a/", [MINE]),
        ("team-a/x", [MINE]),
        ("team-b/", []),
        ("shared/", ["shared/in/y"]),
        ("z", []),
    ],
)
async def test_listings_show_what_is_below_the_prefixes(
    two_teams: tuple[LocalApi, dict[str, str], dict[str, str]], prefix: str, expected: list[str], limit: int
) -> None:
    opened, _, team = two_teams
    found: list[str] = []
    url: str | None = f"/landing?prefix={prefix}&limit={limit}"
    while url:
        page = (await opened.http.get(url, headers=team)).json()
        assert len(page["items"]) <= limit
        found += [item["key"] for item in page["items"]]
        url = page["next"]
    assert found == expected


@pytest.mark.parametrize(
    ("own", "prefix", "expected"),
    [
        ((), "a", ("a",)),
        (("b/", "a/"), "", ("a/", "b/")),
        (("a/", "a/b/"), "", ("a/",)),
        (("a/", "a/b/"), "a/b/c", ("a/b/c",)),
        (("a/b/",), "a", ("a/b/",)),
        (("a/b/",), "c", ()),
    ],
)
def test_what_of_a_prefix_a_caller_sees(own: tuple[str, ...], prefix: str, expected: tuple[str, ...]) -> None:
    assert prefixes_within(Caller("k", prefixes=own), prefix) == expected


def batch(batch_id: str, *keys: str) -> Json:
    return manifest(batch_id, *((key, "GeoJSON") for key in keys))


@pytest.mark.parametrize("path", ["/manifests", "/manifests/plan"])
async def test_a_manifest_that_names_files_of_others_is_refused(
    two_teams: tuple[LocalApi, dict[str, str], dict[str, str]], path: str
) -> None:
    opened, admin, team = two_teams
    answer = await opened.http.post(path, json=batch("stolen", MINE, FOREIGN, BESIDE), headers=team)
    assert answer.status_code == 403, answer.text
    faults = [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]
    assert faults == [("/files/1/path", "path_forbidden"), ("/files/2/path", "path_forbidden")]
    assert (await opened.http.get("/manifests/stolen", headers=admin)).status_code == 404


async def test_runs_of_others_are_neither_stopped_nor_repeated(
    two_teams: tuple[LocalApi, dict[str, str], dict[str, str]],
) -> None:
    opened, admin, team = two_teams
    posted = await opened.http.post("/manifests", json=batch("theirs", FOREIGN), headers=admin)
    run_id = posted.json()["run_id"]
    for method, path in (
        ("POST", f"/runs/{run_id}/cancel"),
        ("DELETE", "/manifests/theirs"),
        ("POST", f"/runs/{run_id}/rerun"),
        ("POST", "/manifests/theirs/rerun"),
    ):
        answer = await opened.http.request(method, path, headers=team)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    assert (await opened.http.get(f"/runs/{run_id}", headers=admin)).json()["status"] == "queued"
    own = await opened.http.post("/manifests", json=batch("ours", MINE), headers=team)
    assert (await opened.http.post(f"/runs/{own.json()['run_id']}/cancel", headers=team)).status_code == 202


async def test_the_audit_trail_names_the_key_and_the_uploader_stays_a_detail(
    two_teams: tuple[LocalApi, dict[str, str], dict[str, str]],
) -> None:
    opened, _, team = two_teams
    posted = await opened.http.post("/manifests", json=batch("audited", MINE), headers=team)
    await opened.http.post(f"/runs/{posted.json()['run_id']}/cancel", headers=team)
    entries = {entry["action"]: entry for entry in reversed(await opened.entries())}
    for action in ("manifest.accepted", "run.canceled_while_queued"):
        assert (entries[action]["user"], entries[action]["ip"]) == ("team-a", "192.0.2.7")
    assert entries["manifest.accepted"]["details"]["uploader"] == "tests"
    assert entries["object.uploaded"]["user"] == "boss"
    assert (entries["key.created"]["user"], entries["key.created"]["resource_id"]) == ("command-line", "team-a")
    text = str(await opened.entries())
    for header in (team,):
        token = header["Authorization"].removeprefix("Bearer ")
        assert token not in text
        assert hashlib.sha256(token.encode()).hexdigest() not in text


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ("", ["203.0.113.9"], "192.0.2.7"),
        ("198.51.100.0/24", ["203.0.113.9"], "192.0.2.7"),
        ("192.0.2.7", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.0/24", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.0/24", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("192.0.2.0/24", ["1.1.1.1", "203.0.113.9, 192.0.2.99"], "203.0.113.9"),
        ("192.0.2.0/24", ["192.0.2.5"], "192.0.2.5"),
        ("192.0.2.0/24", ["2001:db8::1"], "2001:db8::1"),
        ("192.0.2.0/24", ["203.0.113.9, <script>"], "192.0.2.7"),
        ("192.0.2.0/24", ["203.0.113.9:4711"], "192.0.2.7"),
        ("192.0.2.0/24", [""], "192.0.2.7"),
        ("192.0.2.0/24, 203.0.113.0/24", ["1.1.1.1, 203.0.113.9"], "1.1.1.1"),
    ],
)
async def test_forwarded_addresses_are_believed_of_trusted_proxies_only(
    tmp_path: Path, trusted: str, forwarded: list[str], expected: str
) -> None:
    async with local_api(tmp_path, peer="192.0.2.7", trusted_proxies=trusted) as local:
        headers = [("X-Forwarded-For", value) for value in forwarded]
        assert (await local.http.put("/landing/a", content=b"a", headers=headers)).status_code == 201
        (entry,) = await local.entries()
        assert (entry["ip"], entry["user"]) == (expected, "anonymous")
