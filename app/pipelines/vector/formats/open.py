"""Opening a vector source of any format: unpack it, check it, hand it to the module of its format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from app.jobs.shared_state import record_current_file
from app.messages.common import (
    ARCHIVE_AMBIGUOUS,
    ARCHIVE_NO_SOURCE,
    COLUMNS_TOO_MANY,
    CONTENT_MISMATCH,
    FILE_EMPTY,
    FILE_MISSING,
    FILE_TOO_LARGE,
    MEMBER_WITHOUT_ARCHIVE,
    ROWS_TOO_MANY,
)
from app.messages.vector import (
    ARCHIVE_LAYER_AMBIGUOUS,
    LAYER_EMPTY,
    LAYERS_OF_ONE_NAME,
    NO_FEATURES,
    NOT_VECTOR,
    ZIP_NOT_ACCEPTED,
)
from app.models.formats import Format, find_format
from app.models.manifests.manifest import ManifestFile
from app.pipelines.common.archives import choose_member, is_zip, unpack_once
from app.pipelines.common.column_names import distinct_names
from app.pipelines.common.unknown_layer import unknown_layer
from app.pipelines.contract.context import FetchedFile
from app.pipelines.vector.columns import columns_renamed
from app.pipelines.vector.formats.reader import SourceFile, reader_of
from app.pipelines.vector.source import VectorSource
from app.settings import Limits

_HEAD_BYTES = 4096


def inspect(fetched: FetchedFile, limits: Limits, threads: int) -> list[VectorSource]:
    """Open and check the layers of one file of a manifest, reading no more of it than their description needs.

    An archive is unpacked beside the file. Only the drivers of the declared format can open the file, under a neutral
    name and in a directory without other files. Null and empty geometries and the order of the rows stay as they are.

    Raises:
        RunRefused: with the codes of this module and of the format's: file_*, archive_*, content_mismatch,
            sidecar_missing, layer_*, crs_*, encoding_*, columns_too_many, rows_too_many, no_features,
            format_not_vector, geometry_columns, columns_duplicate, value_invalid.
    """
    declared = fetched.declared
    record_current_file(declared.key)
    fmt = find_format(declared.format)
    if fmt is None or fmt.type != "vector" or not fmt.available:
        raise NOT_VECTOR(file=declared.key, type=declared.type, format=declared.format)
    opened: list[VectorSource] = []
    for path in _locate(fetched.path, fmt, declared, limits):
        file = SourceFile(path, fmt, declared, limits, threads)
        if fmt.files_are_layers and path != fetched.path:
            file = file.unnamed()  # the layers that the manifest names are the files that were located
        _check_content(file)
        opened += reader_of(fmt).open_sources(file)
    for source in opened:
        _check_size_of_layer(source, limits, named=bool(declared.named_layers) or declared.all_layers)
    return [replace(_with_distinct_names(source), part=_part(declared, source.layer)) for source in opened]


def _with_distinct_names(source: VectorSource) -> VectorSource:
    """A recipe and readers need columns of different names: later ones of exactly one name get another."""
    old = source.schema.names
    new = distinct_names(old, key=str)
    if new == old:
        return source
    schema = pa.schema([field.with_name(name) for field, name in zip(source.schema, new, strict=True)])
    changed = {after: before for after, before in zip(new, old, strict=True) if after != before}
    warning = columns_renamed(changed, source.file)
    return replace(source, schema=schema, titles={**source.titles, **changed}, warnings=(*source.warnings, warning))


def _part(declared: ManifestFile, layer: str | None) -> str:
    """Which part of its file a source is, as far as the manifest says so."""
    named = {"member": declared.member, "layer": layer if declared.layers else declared.layer}
    return ", ".join(f"{what} {name!r}" for what, name in named.items() if name is not None)


def _locate(path: Path, fmt: Format, declared: ManifestFile, limits: Limits) -> list[Path]:
    """The file itself, or the one member of its archive that is of the declared format; several if they are layers."""
    file = declared.key
    if not path.is_file() or not is_zip(path):
        if declared.member is not None:
            raise MEMBER_WITHOUT_ARCHIVE(file=file, member=declared.member)
        return [path]
    if not fmt.zipped:
        raise ZIP_NOT_ACCEPTED(file=file, format=fmt.name)
    into, members = unpack_once(path, limits, file)
    if declared.member is not None:
        folders = {m.parent for m in members if m.name == fmt.directory_marker}
        return [choose_member({str(m.relative_to(into)): m for m in (*folders, *members)}, declared.member, file)]
    if fmt.directory_marker:
        found = sorted({m.parent for m in members if m.name == fmt.directory_marker})
    else:
        found = sorted(m for m in members if m.suffix.lower() in fmt.suffixes and not _is_clutter(m.relative_to(into)))
    names = ", ".join(repr(str(m.relative_to(into))) for m in found)
    if not found:
        listed = ", ".join(repr(str(m.relative_to(into))) for m in members[:5]) or "no files"
        raise ARCHIVE_NO_SOURCE(file=file, format=fmt.name, suffixes=", ".join(fmt.suffixes), found=listed)
    if fmt.files_are_layers and (declared.named_layers or declared.all_layers):
        return _layer_files(found, declared)
    if len(found) > 1:
        ambiguous = ARCHIVE_LAYER_AMBIGUOUS if fmt.files_are_layers else ARCHIVE_AMBIGUOUS
        raise ambiguous(file=file, number=len(found), format=fmt.name, found=names)
    return found


def _layer_files(found: list[Path], declared: ManifestFile) -> list[Path]:
    """The files that are the layers which the manifest names, in that order."""
    by_name: dict[str, list[Path]] = {}
    for member in found:
        by_name.setdefault(member.stem, []).append(member)
    chosen: list[Path] = []
    for name in list(by_name) if declared.all_layers else declared.named_layers:
        if name not in by_name:
            raise unknown_layer(name, list(by_name), declared.key)
        if len(by_name[name]) > 1:
            raise LAYERS_OF_ONE_NAME(file=declared.key, count=len(by_name[name]), layer=name)
        chosen += by_name[name]
    return chosen


def _is_clutter(member: Path) -> bool:
    """What archivers add without being asked: resource forks and hidden files."""
    return member.parts[0] == "__MACOSX" or member.name.startswith(".")


def _check_content(source: SourceFile) -> None:
    """Refuse a file that is missing, empty, too large, or not of its declared format."""
    path, file = source.path, source.file
    if not path.exists():
        raise FILE_MISSING(file=file)
    if path.is_dir():
        marker = source.format.directory_marker
        if not marker or not (path / marker).is_file():
            raise CONTENT_MISMATCH(file=file, format=source.format.name, found="a directory")
        return
    if source.size > source.limits.file_bytes:
        raise FILE_TOO_LARGE(file=file, limit=source.limits.file_bytes)
    if source.size == 0:
        raise FILE_EMPTY(file=file)
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    reader_of(source.format).check_content(source, head)


def _check_size_of_layer(source: VectorSource, limits: Limits, *, named: bool) -> None:
    """named: the manifest names the layer."""
    if len(source.schema) > limits.columns:
        raise COLUMNS_TOO_MANY(file=source.file, columns=len(source.schema), limit=limits.columns)
    if source.rows is not None and source.rows > limits.rows:
        raise ROWS_TOO_MANY(file=source.file, limit=limits.rows)
    if source.rows == 0:
        raise LAYER_EMPTY(file=source.file, layer=source.layer) if named else NO_FEATURES(file=source.file)
