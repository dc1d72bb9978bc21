"""Local copies of landing-zone objects, with the sidecars that a format keeps beside its main file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.errors import BodyTooLarge, NotFound, RunRefused
from app.models.asset import SourceInput
from app.models.formats import Format, find_format
from app.models.manifest import LANDING_BUCKET, ManifestFile
from app.objects import ObjectInfo, ObjectStore, Progress
from app.pipelines.context import Call, FetchedFile
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

    progress: told how far each transfer is; what it raises ends it. Raises RunRefused: file_missing, file_empty,
    file_too_large.
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
        raise RunRefused(
            f"There is no object {key!r} in the landing zone.",
            f"Upload it (PUT /landing/{key}) and submit the manifest under a new batch_id.",
            reason="file_missing",
            file=key,
        ) from None
    except BodyTooLarge:
        detail = f"{key} has more than {limits.file_bytes} bytes."
        raise RunRefused(
            detail, "Split it, or raise SPATIAL_ETL_LIMITS__FILE_BYTES.", reason="file_too_large", file=key
        ) from None
    if info.size == 0:
        raise RunRefused(f"{key} is empty (0 bytes).", "Upload it again.", reason="file_empty", file=key)
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
    """Sidecars are found whatever the case of their suffix, and stored under the main file's stem in lower case."""
    found: list[ObjectInfo] = []
    stem = key.rpartition(".")[0]
    for suffix in (*fmt.required_sidecars, *fmt.optional_sidecars):
        for spelling in (suffix, suffix.upper()):
            there: Any = call(objects.stat, LANDING_BUCKET, stem + spelling)
            if there is not None:
                found.append(_fetch(stem + spelling, path.with_suffix(suffix), objects, call, limits, progress))
                break
    return found


def _source(info: ObjectInfo) -> SourceInput:
    if info.sha256 is None:
        raise ValueError(f"{info.key}: a fetched object carries its sha256")
    return SourceInput(s3_key=f"{LANDING_BUCKET}/{info.key}", size=info.size, etag=info.etag, sha256=info.sha256)
