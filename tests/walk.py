"""The console blocks of a document, run in their order beside a service: they have to answer as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.service import Service, wait_for

ROOT = Path(__file__).parents[1]
# What changes nothing may be asked again, where a document says "a few seconds later".
_CHANGES = re.compile(r" -X | -d | -T |[<>|]|^(?:cp|sed|spatial-etl (?:submit|rerun|lanes (?:pause|resume|limit)))\\b")
# A field of JSON with a plain value, up to its end.
_FIELD = re.compile(r'"\w+":(?:"(?:[^"\\]|\\.)*"|(?:-?\d[\d.]*|true|false|null)(?=[,}\]\s]))')


def lines_of(text: str) -> list[tuple[str, str]]:
    """(command, printed answer) of each `$` line of the console blocks; a command may have several lines."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            rows = part.split("\n")
            used = next(n for n in range(1, len(rows) + 1) if is_complete("\n".join(rows[:n])))
            found.append(("\n".join(rows[:used]), "\n".join(rows[used:]).strip()))
    return found


def is_complete(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:  # an open quotation mark
        return False
    return True


def fragments(printed: str) -> list[str]:
    """What an answer has to contain: the fields of JSON with plain values, and whole lines of anything else."""
    fields = [match.group() for match in _FIELD.finditer(printed)]
    lines = [line for line in printed.splitlines() if not re.match(r"[\s{…]|data:", line)]
    return fields + lines


def answers(printed: str, actual: str) -> bool:
    """Whether the answer has all that is printed; each `…` stands for something that is left out."""
    actual = re.sub(r'("\w+":) ', r"\1", actual)  # JSON for people has a space there
    patterns = (".*?".join(map(re.escape, fragment.split("…"))) for fragment in fragments(printed))
    return all(re.search(rf"{pattern}(?![\w.])", actual) for pattern in patterns)


class Shell:
    """Runs lines where a reader runs them: beside `samples` and `data`."""

    def __init__(self, folder: Path, service: Service) -> None:
        self._folder, self._service = folder, service
        own = folder / "bin"
        own.mkdir()
        for name, words in (("spatial-etl", " -m app"), ("python", "")):
            (own / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
            (own / name).chmod(0o755)
        (folder / "samples").symlink_to(ROOT / "samples")
        self._environment = {
            **service.environment,
            "PATH": f"{own}:{service.environment['PATH']}",
            "SPATIAL_ETL_URL": service.url,
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        own = command.replace("localhost:8000", self._service.url.removeprefix("http://"))
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", own],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def walk(text: str, shell: Shell) -> None:
    """Run the lines of the text. What changes nothing may take a while to answer as printed."""
    for command, printed in lines_of(text):
        done = shell.run(command)

        def is_right(command: str = command, printed: str = printed) -> bool:
            nonlocal done
            if done.returncode == 0 and (not printed or answers(printed, done.stdout)):
                return True
            if not _CHANGES.search(command):
                done = shell.run(command)
            return False

        if _CHANGES.search(command):
            assert is_right(), f"{command}\n{done.stdout}\n{done.stderr}"
            continue
        try:
            wait_for(is_right, command, patience=60)
        except AssertionError:
            raise AssertionError(f"{command}\n{done.stdout}\n{done.stderr}") from None
