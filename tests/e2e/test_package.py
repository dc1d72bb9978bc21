"""What the Dockerfile does, without Docker: the same commands on the same files, then the package from elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition(" AS build\n")[2].partition("\nFROM ")[0]


def sh(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPATIAL_ETL_", "PYTHON"))}
    done = subprocess.run(
        ["sh", "-euc", script], check=False, capture_output=True, text=True, cwd=cwd, env={**clean, **environment}
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def let_through() -> list[str]:
    """What .dockerignore, which begins by shutting everything out, lets through."""
    first, *rest = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert first == "*"
    return [line[1:] for line in rest if line.startswith("!")]


@pytest.mark.registry
def test_the_image_can_be_built_and_its_commands_work_elsewhere(tmp_path: Path) -> None:
    source, image = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    # Each in its order, so that a step which needs a file that is copied later fails as it would there.
    for line in BUILD.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                assert any(name == path or name.startswith(f"{path}/") for path in let_through()), name
                to = source / target if target == name else source / target / Path(name).name
                to.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, to, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, to)
        elif word == "RUN":
            script = rest.replace("/opt/", f"{image}/").replace("/tmp/wheel", str(tmp_path / "wheel"))  # noqa: S108
            script = re.sub(r"\bpython -m venv", f"{sys.executable} -m venv", script)
            sh(script, source, PIP_DISABLE_PIP_VERSION_CHECK="1")
    command = image / "venv" / "bin" / "spatial-etl"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    data = {"SPATIAL_ETL_DATA_DIR": str(tmp_path / "data")}
    assert "worker" in sh(f"{command} --help", elsewhere).stdout
    done = sh(f"{command} migrate --no-buckets --json", elsewhere, **data)
    known = sorted(path.stem for path in (ROOT / "migrations" / "sql" / "versions").glob("[0-9]*.py"))
    assert json.loads(done.stdout)["applied"] == known
    assert json.loads(sh(f"{command} openapi", elsewhere).stdout)["info"]["title"] == "spatial-etl"
    found = {path.name for path in (image / "venv" / "lib").glob("*/site-packages/app/_migrations/*")}
    assert found >= {path.name for path in (ROOT / "migrations").iterdir()}
    assert not list((image / "venv" / "bin").glob("pip*")), "the image installs nothing any more"
