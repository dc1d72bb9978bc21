"""Measures the folders of `app`: lines and files of each, and the imports that cross their borders.

    python -m tools.house

Exits with 1 when a limit is broken. `make house` runs it, and so does `make lint`.

An arrow is a pair of folders (importing, imported), however many imports lie behind it: what counts is how many
folders a reader has to know to understand one. Imports for type checkers only are left out, as import-linter does.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

APP = Path(__file__).parents[1] / "app"
# The folders inside `app` that hold folders of their own, and how many arrows there may be between those.
LIMITS: Mapping[str, int] = {"app.pipelines": 40, "app.storage": 10, "app.services": 15}
# Parts of one package that must not import each other at all.
INDEPENDENT: Mapping[str, tuple[str, ...]] = {
    "app.pipelines": ("vector", "raster", "tabular", "join"),
    "app.storage": ("sql", "mongo", "s3", "local", "postgis"),
}

Arrow = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Size:
    files: int
    lines: int


def sizes(root: Path = APP) -> dict[str, Size]:
    """{folder: files and lines of the Python modules in it and below}, for `root` and every package below it."""
    counted = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(root.rglob("*.py"))}
    return {
        ".".join(init.parent.relative_to(root.parent).parts): Size(len(inside), sum(inside))
        for init in sorted(root.rglob("__init__.py"))
        if (inside := [lines for path, lines in counted.items() if path.is_relative_to(init.parent)])
    }


def imports() -> list[Arrow]:
    """(importing module, imported module) of all imports inside `app`, without those for type checkers only."""
    graph = grimp.build_graph("app", exclude_type_checking_imports=True)
    return sorted(
        (module, target) for module in graph.modules for target in graph.find_modules_directly_imported_by(module)
    )


def arrows(found: Iterable[Arrow], package: str, folders: Iterable[str]) -> dict[Arrow, list[Arrow]]:
    """{(folder, folder): the imports behind it} between the folders inside one package, at any depth.

    Args:
        found: (importing module, imported module) pairs.
        package: dotted name; imports that leave it or come from outside are not counted.
        folders: dotted names of all packages. A module directly in `package` counts as a folder.
    """
    packages = frozenset(folders)

    def folder(module: str) -> str:
        inside = module if module in packages else module.rpartition(".")[0]
        return module if inside == package else inside

    behind: dict[Arrow, list[Arrow]] = defaultdict(list)
    for module, target in found:
        if all(each.startswith(f"{package}.") for each in (module, target)) and folder(module) != folder(target):
            behind[folder(module), folder(target)].append((module, target))
    return dict(behind)


def faults(found: Iterable[Arrow], folders: Iterable[str]) -> list[str]:
    """One line for each limit that is broken; empty when the house is in order."""
    found, folders, broken = list(found), list(folders), []
    for package, limit in LIMITS.items():
        between = arrows(found, package, folders)
        if len(between) > limit:
            broken.append(f"{package}: {len(between)} arrows between its folders, the limit is {limit}.")
        parts = INDEPENDENT.get(package, ())
        for (start, end), behind in sorted(between.items()):
            first, second = (name[len(package) + 1 :].split(".")[0] for name in (start, end))
            if first != second and first in parts and second in parts:
                broken += [
                    f"{module} imports {target}: {first} and {second} must not know each other."
                    for module, target in behind
                ]
    return broken


def main() -> int:
    """Print the measures; the exit code."""
    found, measured = imports(), sizes()
    print(f"{'folder':<42}{'files':>7}{'lines':>8}")
    for folder, size in measured.items():
        print(f"{folder:<42}{size.files:>7}{size.lines:>8}")
    for package, limit in LIMITS.items():
        between = arrows(found, package, measured)
        print(f"\n{package}: {len(between)} arrows between its folders (at most {limit})")
        for (start, end), behind in sorted(between.items()):
            names = (name.removeprefix(f"{package}.") for name in (start, end))
            print("  {} → {} ({} import{})".format(*names, len(behind), "" if len(behind) == 1 else "s"))
    broken = faults(found, measured)
    print("", *(broken or ["Every limit is kept."]), sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
