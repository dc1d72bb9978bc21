"""Patterns in the paths of a manifest become lists of objects when it is accepted; its runs all read those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import Fault
from app.messages.manifest import (
    FILES_TOO_MANY,
    PATH_DUPLICATE,
    PATTERN_TOO_BROAD,
    PATTERN_TOO_MANY,
    PATTERN_UNMATCHED,
    PATTERNS_TOO_MANY,
)
from app.models.json_values import shown
from app.models.manifests.manifest import LANDING_BUCKET, MAX_FILES, FilesFound, Manifest
from app.models.manifests.path_patterns import before_wildcard, is_pattern, matcher
from app.models.manifests.sources_listed import SourcesListed
from app.objects import ObjectStore

# Objects that are looked at for all patterns of a manifest, and how many of these it may have.
MOST_LOOKED_AT = 100_000
MOST_PATTERNS = 100
# What the service keeps in the landing zone is no data.
_OWN = ("manifests/", "archive/")


class _TooBroad(Exception):  # control flow
    """More objects would have to be looked at than allowed."""


@dataclass
class _Search:
    """Finds the objects of patterns. left: how many objects may still be looked at."""

    objects: ObjectStore
    left: int

    async def find(self, pattern: str, most: int) -> list[str]:
        """The first keys that match, up to `most`, in order. Raises _TooBroad."""
        prefix = before_wildcard(pattern)
        matches = self._counted(matcher(pattern), prefix)
        found: list[str] = []
        after: str | None = ""
        while after is not None and len(found) < most:
            page = await self.objects.list_objects(LANDING_BUCKET, prefix, after, most - len(found), only=matches)
            found += [info.key for info in page.objects]
            after = page.next_after
        return found

    def _counted(self, matches: Callable[[str], bool], prefix: str) -> Callable[[str], bool]:
        def only(key: str) -> bool:
            self.left -= 1
            if self.left < 0:
                raise _TooBroad
            return (prefix.startswith(_OWN) or not key.startswith(_OWN)) and matches(key)

        return only


async def find_files(manifest: Manifest, objects: ObjectStore) -> tuple[tuple[FilesFound, ...], list[Fault]]:
    """The objects that the patterns of a manifest stand for, and what is wrong with them.

    A path with `*` or `?` that is the key of an object names that object.

    Raises:
        StoreUnavailable.
    """
    search = _Search(objects, MOST_LOOKED_AT)
    found: dict[str, FilesFound] = {}
    faults: list[Fault] = []
    patterns = [index for index, file in enumerate(manifest.files) if is_pattern(file.key)]
    if len(patterns) > MOST_PATTERNS:
        return (), [PATTERNS_TOO_MANY("/files", limit=MOST_PATTERNS, found=len(patterns))]
    room = MAX_FILES - (len(manifest.files) - len(patterns))
    for index in patterns:
        file, pointer = manifest.files[index], f"/files/{index}/path"
        if file.path not in found:
            if await objects.stat(LANDING_BUCKET, file.key) is not None:
                keys = [file.key]
            else:
                try:
                    keys = await search.find(file.key, room + 1)
                except _TooBroad:
                    faults.append(PATTERN_TOO_BROAD(pointer, path=shown(file.path), limit=MOST_LOOKED_AT))
                    break
            found[file.path] = FilesFound(path=file.path, keys=tuple(keys))
        keys = list(found[file.path].keys)
        room -= len(keys)
        if not keys:
            faults.append(PATTERN_UNMATCHED(pointer, path=shown(file.path), bucket=LANDING_BUCKET))
        if room < 0:
            faults.append(PATTERN_TOO_MANY(pointer, path=shown(file.path), limit=MAX_FILES))
            break
    expanded = tuple(found.values())
    return expanded, faults or _faults_of_all(manifest, expanded)


def _faults_of_all(manifest: Manifest, found: Sequence[FilesFound]) -> list[Fault]:
    """What is wrong with the files together. The pointers lead to the entries of the manifest as it was sent."""
    faults: list[Fault] = []
    intent, number = manifest.intent_row, 0
    listed = SourcesListed()
    for index, file in enumerate(manifest.files):
        for each in file.of_keys(found):
            number += 1
            twin = listed.add(index, each.model_dump(include={"type", "member", "layer", "layers"}), each.path)
            if twin is not None:
                faults.append(PATH_DUPLICATE(f"/files/{index}/path", path=shown(each.path), other=twin))
                break
    if intent.max_files is not None and number > intent.max_files:
        faults.append(FILES_TOO_MANY("/files", intent=intent.name, limit=intent.max_files, found=number))
    return faults
