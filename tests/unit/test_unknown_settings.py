"""Variables that look like settings and are none are reported when a role starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.unknown_settings import setting_names, unknown_settings
from app.settings import ENV_FILE, Settings
from tests.unit.test_readme import variables


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(("SPATIAL_ETL_", "MANIFEST_ROUTER_")):
            monkeypatch.delenv(name)


def test_the_names_are_those_of_the_readme() -> None:
    assert list(setting_names()) == [name for name, _ in variables(Settings)]


def test_all_settings_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*setting_names(), ENV_FILE, "SPATIAL_ETL_API_KEY", "SPATIAL_ETL_URL", "spatial_etl_data_dir"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("SOMETHING_ELSE", "x")
    assert unknown_settings() == []


def test_unknown_ones_are_named_with_the_nearest_and_without_their_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "service.env"
    file.write_text("SPATIAL_ETL_RECIPE_FILE=secret\nSPATIAL_ETL_DATA_DIR=x\nOTHER=1\n# SPATIAL_ETL_COMMENT=1\n")
    monkeypatch.setenv(ENV_FILE, str(file))
    monkeypatch.setenv("SPATIAL_ETL_WEBHOOK_TOKEN", "secret")
    monkeypatch.setenv("SPATIAL_ETL_ZZZ", "secret")
    monkeypatch.setenv("MANIFEST_ROUTER_ENABLED_LANE", "secret")
    assert unknown_settings() == [
        "Ignored MANIFEST_ROUTER_ENABLED_LANE of the environment: unknown setting. "
        "Did you mean MANIFEST_ROUTER_ENABLED_LANES?",
        "Ignored SPATIAL_ETL_WEBHOOK_TOKEN of the environment: unknown setting. "
        "Did you mean SPATIAL_ETL_WEBHOOK__TOKEN?",
        "Ignored SPATIAL_ETL_ZZZ of the environment: unknown setting. The README lists all settings.",
        f"Ignored SPATIAL_ETL_RECIPE_FILE of {file}: unknown setting. Did you mean SPATIAL_ETL_RECIPES_FILE?",
    ]
