"""Local copies of landing-zone objects, with the sidecars that a format keeps beside its main file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.errors import BodyTooLarge, NotFound
from app.messages.common import FILE_EMPTY, FILE_MISSING, FILE_TOO_LARGE
from app.models.asset import SourceInput
from app.models.formats import Format, find_format
from app.models.manifests.manifest import LANDING_BUCKET, ManifestFile
from app.objects import ObjectInfo, ObjectStore, Progress
from app.pipelines.contract.context import Call, FetchedFile
from app.settings import Limits


def fetch_with_sidecars(
    file: ManifestFile,
    directory: Path,
    objects: ObjectStore,
    call: Call,
    limits: Limits,
    progress: Progress | None = None,
) -> FetchedFile:
    """Download the object and any sidecars into `directory`.

    Args:
        file: the file's entry in the manifest.
        directory: an existing directory.
        objects: the object store.
        call: runs its coroutines.
        limits: of sources.
        progress: called during each transfer with the bytes so far; what it raises ends the transfer.

    Raises:
        RunRefused: file_missing, file_empty, file_too_large.
    """
    name = file.key.rpartition("/")[2]
    path = directory / name
    inputs = [_source(_fetch(file.key, path, objects, call, limits, progress))]
    fmt = find_format(file.format)
    if fmt is not None and Path(name).suffix.lower() in fmt.suffixes:
        inputs += [_source(info) for info in _fetch_sidecars(file.key, path, fmt, objects, call, limits, progress)]
    return FetchedFile(file, path, tuple(inputs))


def _fetch(
    key: str, path: Path, objects: ObjectStore, call: Call, limits: Limits, progress: Progress | None
) -> ObjectInfo:
    async def fetch() -> ObjectInfo:
        return await objects.fetch(LANDING_BUCKET, key, path, max_bytes=limits.file_bytes, progress=progress)

    try:
        info = call(fetch)
    except NotFound:
        raise FILE_MISSING(file=key) from None
    except BodyTooLarge:
        raise FILE_TOO_LARGE(file=key, limit=limits.file_bytes) from None
    if info.size == 0:
        raise FILE_EMPTY(file=key)
    return info


def _fetch_sidecars(
    key: str,
    path: Path,
    fmt: Format,
    objects: ObjectStore,
    call: Call,
    limits: Limits,
    progress: Progress | None,
) -> list[ObjectInfo]:
    """Suffixes are found in lower and in upper case. The copies have the main file's stem and lower-case suffixes.

    Empty ones are left out where the format has them.
    """
    found: list[ObjectInfo] = []
    stem = key.rpartition(".")[0]
    for suffix in (*fmt.required_sidecars, *fmt.optional_sidecars):
        spellings = [suffix, suffix.upper()]
        if suffix.startswith(path.suffix.lower()):  # SQLite adds to the name as it is: X.GPKG-wal
            added = suffix.removeprefix(path.suffix.lower())
            spellings = [path.suffix + added, *([suffix.upper()] if path.suffix.isupper() else [])]
        for spelling in spellings:
            there: Any = call(objects.stat, LANDING_BUCKET, stem + spelling)
            if there is not None and (there.size or suffix not in fmt.empty_sidecars):
                found.append(_fetch(stem + spelling, path.with_suffix(suffix), objects, call, limits, progress))
                break
    return found


def _source(info: ObjectInfo) -> SourceInput:
    if info.sha256 is None:
        raise ValueError(f"{info.key}: a fetched object carries its sha256")
    return SourceInput(s3_key=f"{LANDING_BUCKET}/{info.key}", size=info.size, etag=info.etag, sha256=info.sha256)
