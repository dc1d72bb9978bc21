"""The audit of the locks, against an advisory database of our own."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]
LOCK = f"good==1.0 \\\n    --hash=sha256:{'0' * 64}\nbad==2.0 \\\n    --hash=sha256:{'1' * 64}\n"
ADVISORY = {
    "id": "GHSA-xxxx",
    "aliases": ["CVE-2026-1"],
    "summary": "It opens the door.",
    "published": "2026-01-01T00:00:00Z",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "bad", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


class Database(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # the standard library's name
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"vulns": [ADVISORY]} if asked["package"]["name"] == "bad" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def database() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("locks_audit", ROOT / "locks" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(LOCK)
    return path


def test_a_known_vulnerability_fails_until_it_is_mended_or_accepted(audit: Any, lock: Path, database: str) -> None:
    code, said = audit.audit([lock], {}, database)
    assert code == 1
    assert "bad 2.0: CVE-2026-1, GHSA-xxxx; mended in 2.1" in said
    for name in ("CVE-2026-1", "GHSA-xxxx"):
        assert audit.audit([lock], {name: "we do not call it"}, database)[0] == 0
    code, said = audit.audit([lock], {"CVE-2026-1": "we do not call it", "CVE-2020-1": "long ago"}, database)
    assert (code, "CVE-2020-1" in said) == (1, True)


def test_without_a_database_it_says_so_and_does_not_fail(audit: Any, lock: Path) -> None:
    code, said = audit.audit([lock], {}, f"http://127.0.0.1:{free_port()}/")
    assert code == 0
    assert said.startswith("NOT AUDITED")


def test_what_cannot_be_audited_fails(audit: Any, lock: Path, database: str) -> None:
    lock.write_text("good==1.0\n")
    assert audit.audit([lock], {}, database)[0] == 1


def test_every_lock_is_audited_and_every_exception_has_a_reason(audit: Any) -> None:
    there = {path.name for path in (ROOT / "locks").glob("*.txt")}
    assert there - set(audit.AUDITED) == {"runtime.txt", "demo.txt"}
    pins = {name: set(_pins(name)) for name in there}
    assert pins["runtime.txt"] <= pins["demo.txt"] <= pins["dev.txt"]
    for reason in audit.tomllib.loads(audit.ACCEPTED.read_text(encoding="utf-8")).values():
        assert len(reason) > 20


def _pins(name: str) -> list[str]:
    lines = (ROOT / "locks" / name).read_text(encoding="utf-8").splitlines()
    return [line.split(" ")[0] for line in lines if "==" in line and not line.startswith((" ", "#"))]
