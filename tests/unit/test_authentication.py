"""Where the API opens: not to the network without a key that lets somebody in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app.clients import open_ledger
from app.errors import UnsafeBind
from app.http.authentication import is_loopback
from app.models.api_key import Scope
from app.serve.roles import check_bind_address
from app.services.access import api_keys as keys
from app.settings import ApiSettings, Settings

pytestmark = pytest.mark.anyio

EVERYWHERE = "0.0.0.0"  # noqa: S104 # nothing is bound


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        (EVERYWHERE, False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_loopback_is_told_from_elsewhere(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("api", "key", "opens"),
    [
        ({}, None, True),
        ({"auth": "off"}, None, True),
        ({"host": EVERYWHERE}, None, False),
        ({"host": EVERYWHERE}, "good", True),
        ({"host": EVERYWHERE}, "revoked", False),
        ({"host": EVERYWHERE}, "expired", False),
        ({"host": EVERYWHERE, "auth": "required"}, None, True),
        ({"host": EVERYWHERE, "auth": "off"}, "good", False),
        ({"host": EVERYWHERE, "auth": "off", "allow_anonymous": True}, None, True),
        ({"host": EVERYWHERE, "allow_anonymous": True}, None, False),
    ],
)
async def test_elsewhere_it_does_not_open_without_a_key(
    tmp_path: Path, api: dict[str, str], key: str | None, opens: bool
) -> None:
    settings = Settings(data_dir=tmp_path, api=ApiSettings.model_validate(api))
    async with open_ledger(settings) as ledger:
        await ledger.migrate()
        if key is not None:
            lifetime = timedelta(microseconds=1) if key == "expired" else None
            await keys.create(ledger, "k", Scope.READ, (), lifetime)
        if key == "revoked":
            await keys.revoke(ledger, "k")
        if opens:
            await check_bind_address(settings, ledger)
            return
        with pytest.raises(UnsafeBind) as refused:
            await check_bind_address(settings, ledger)
        assert "spatial-etl keys create NAME --scope admin" in refused.value.fix
        assert "SPATIAL_ETL_API__ALLOW_ANONYMOUS=true" in refused.value.fix
