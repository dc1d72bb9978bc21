"""`make house`: the folders of `app` keep to their limits, and the program that says so notices when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import house
from tools.house import Size, arrows, faults, imports, sizes

FOLDERS = ("app.pipelines", "app.pipelines.raster", "app.pipelines.vector", "app.pipelines.vector.formats")


def test_the_house_is_in_order() -> None:
    assert faults(imports(), sizes()) == []


def test_every_limit_is_about_a_folder_that_there_is() -> None:
    measured = sizes()
    assert set(house.LIMITS) <= set(measured)
    for package, parts in house.INDEPENDENT.items():
        assert {f"{package}.{part}" for part in parts} <= set(measured)


def test_arrows_join_folders_at_any_depth() -> None:
    found = [
        ("app.pipelines.ingest.pipeline", "app.pipelines.vector.pipeline"),
        ("app.pipelines.vector.pipeline", "app.pipelines.vector.source"),
        ("app.pipelines.vector.pipeline", "app.pipelines.vector.formats.open"),
        ("app.pipelines.vector.pipeline", "app.pipelines.vector.formats.ogr"),
        ("app.worker", "app.pipelines.vector.pipeline"),
    ]
    between = arrows(found, "app.pipelines", FOLDERS)
    assert {arrow: len(behind) for arrow, behind in between.items()} == {
        ("app.pipelines.ingest", "app.pipelines.vector"): 1,
        ("app.pipelines.vector", "app.pipelines.vector.formats"): 2,
    }


def test_too_many_arrows_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "LIMITS", {"app.pipelines": 0})
    found = [("app.pipelines.vector.pipeline", "app.pipelines.vector.formats.open")]
    assert faults(found, FOLDERS) == ["app.pipelines: 1 arrows between its folders, the limit is 0."]


def test_one_kind_of_data_that_imports_another_is_a_fault() -> None:
    found = [("app.pipelines.vector.formats.open", "app.pipelines.raster.cog")]
    (fault,) = faults(found, FOLDERS)
    assert fault.startswith("app.pipelines.vector.formats.open imports app.pipelines.raster.cog")


def test_the_program_ends_with_1_when_a_limit_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.main() == 0
    assert "Every limit is kept." in capsys.readouterr().out
    monkeypatch.setattr(house, "LIMITS", {"app.pipelines": 1})
    assert house.main() == 1
    assert "the limit is 1." in capsys.readouterr().out


def test_lines_and_files_are_those_of_a_folder_and_below(tmp_path: Path) -> None:
    root = tmp_path / "app"
    (root / "part").mkdir(parents=True)
    for name, lines in {"__init__.py": 1, "one.py": 3, "part/__init__.py": 0, "part/two.py": 2}.items():
        (root / name).write_text("pass\n" * lines)
    assert sizes(root) == {"app": Size(4, 6), "app.part": Size(2, 2)}
