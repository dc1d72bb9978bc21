"""API keys as an operator and a user meet them, in real processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from app.services.access.api_keys import CACHE_SECONDS
from tests.e2e.test_command_line import cli, points, written
from tests.service import Service, manifest, running_service, wait_for

__all__ = ["points"]


def environment(service: Service | None = None, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SPATIAL_ETL_")}
    return {**clean, **({"SPATIAL_ETL_URL": service.url} if service else {}), **more}


def test_from_the_first_key_to_its_end(data_dir: Path, tmp_path: Path, points: Path) -> None:
    """Two keys are made, one of them for one team; it uploads, submits and is revoked."""
    where: tuple[str, ...] = ("--data-dir", str(data_dir))
    with running_service(data_dir) as service:
        assert service.http.get("/runs").status_code == 200
        made = json.loads(cli("keys", "create", "ops", "--scope", "admin", *where, "--json").stdout)
        assert set(made) == {"key", "name", "scope", "prefixes", "created_at", "expires_at", "last_used_at",
                             "revoked_at", "state"}  # fmt: skip
        team = cli("keys", "create", "team-a", "--scope", "submit", "--prefix", "team-a", "--expires", "90d", *where)
        token = team.stdout.strip()
        assert token.startswith("setl_")
        assert token not in team.stderr
        wait_for(lambda: service.http.get("/runs").status_code == 401, "the door to be shut", CACHE_SECONDS + 30)
        known = environment(service, SPATIAL_ETL_API_KEY=token)

        refused = cli("runs", env=environment(service), code=2)
        assert "SPATIAL_ETL_API_KEY" in refused.stderr
        assert cli("runs", "--key", token, env=environment(service)).stdout
        mine = written(tmp_path, manifest("keys-a", ("team-a/points.geojson", "GeoJSON")))
        assert "success" in cli("submit", mine, "--file", str(points), "--watch", env=known).stdout
        foreign = written(tmp_path, manifest("keys-b", ("team-b/points.geojson", "GeoJSON")))
        outside = cli("submit", foreign, env=known, code=2)
        assert "/files/0/path" in outside.stderr
        assert "team-a/" in outside.stderr

        rows = {row["name"]: row for row in json.loads(cli("keys", "list", *where, "--json").stdout)}
        assert (rows["team-a"]["prefixes"], rows["team-a"]["state"]) == (["team-a/"], "good")
        assert rows["team-a"]["last_used_at"] is not None
        assert rows["ops"]["last_used_at"] is None
        cli("keys", "revoke", "team-a", *where)
        header = {"Authorization": f"Bearer {token}"}
        gone = wait_for(
            lambda: answer if (answer := service.http.get("/runs", headers=header)).status_code == 401 else None,
            "the key to be refused",
            CACHE_SECONDS + 30,
        )
        assert "revoked" in gone.json()["detail"]
        assert "revoked" in cli("keys", "list", *where).stdout
        admin = {"Authorization": f"Bearer {made['key']}"}
        said = service.http.get("/activity", headers=admin).text
        assert "key.revoked" in said
    everything = "".join(path.read_text(errors="replace") for path in data_dir.glob("ledger.sqlite*"))
    for secret in (token, made["key"]):
        assert secret not in everything + said + service.log.read_text()
        assert secret.removeprefix("setl_") not in everything


def test_the_service_does_not_open_to_the_network_without_a_key(data_dir: Path) -> None:
    done = cli("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(data_dir), code=3)  # noqa: S104 # it is refused
    assert "other hosts could use the API without authentication" in done.stderr
    assert "spatial-etl keys create NAME --scope admin" in done.stderr
