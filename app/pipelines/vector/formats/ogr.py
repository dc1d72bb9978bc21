"""Choosing and describing layers with GDAL.

This module is also the reader of formats that need no special care; the modules of other formats build on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from app.errors import RunRefused
from app.messages.common import CONTENT_MISMATCH, LAYERS_TOO_MANY
from app.messages.vector import (
    COLUMNS_DUPLICATE,
    GDAL_NOTE,
    GEOMETRY_MISSING,
    LAYER_AMBIGUOUS,
    LAYERS_IGNORED,
    LAYERS_OF_ONE_NAME,
    NO_FEATURES,
    OTHER_DRIVER,
    UNREADABLE,
    VALUES_NULLED,
)
from app.models.formats import find_format
from app.models.manifests.manifest import ManifestFile
from app.pipelines.common import gdal
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import parse_crs, resolve_crs
from app.pipelines.common.unknown_layer import unknown_layer
from app.pipelines.vector.formats.files import neutral_copy
from app.pipelines.vector.formats.layer import DEFAULTS, Layer, OpenOptions, is_geometry, reported
from app.pipelines.vector.formats.misfits import Misfits, warnings_of
from app.pipelines.vector.formats.read_layer import read_layer
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.formats.times import time_types
from app.pipelines.vector.source import VectorSource, cut
from app.system.memory import raise_lack_of_memory

# GDAL's word for a column of an XML schema that it leaves out.
_SKIPPED = re.compile(r"Field with same name \((.*?)\) already exists")


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: the file must begin with one of the format's signatures."""
    if not head.startswith(source.format.signatures):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat."""
    copy = neutral_copy(source.path, source.format.suffixes[0])
    return [layer_source(source, layer) for layer in open_layers(copy, source)]


def list_layers(source: VectorSource) -> tuple[str, ...]:
    """See VectorFormat."""
    fmt = find_format(source.format)
    with gdal.only_drivers(fmt.drivers if fmt is not None else ()):
        return tuple(str(name) for name, _ in pyogrio.list_layers(source.path))


def layer_source(
    source: SourceFile, layer: Layer, *, name: str | None = None, encoding: str = "utf-8", crs_fix: str = ""
) -> VectorSource:
    """An opened layer as a source.

    Args:
        source: the file that the manifest declares.
        layer: its layer; attributes are named by `layer.fields`.
        name: of the layer, where the file was opened under a name that is not its own.
        encoding: in which the file's text is written.
        crs_fix: how to give the CRS of a source that has none, in place of the usual advice.

    Raises:
        RunRefused: crs_missing, crs_conflict, crs_unknown.
    """
    file = source.file
    found = parse_crs(layer.crs, file, "in the source") if layer.crs else None
    return VectorSource(
        file=file,
        path=layer.path,
        format=source.format.name,
        driver=layer.driver,
        layer=name or layer.name,
        crs=resolve_crs(found, source.declared.crs, file, crs_fix),
        schema=layer.fields,
        rows=layer.rows,
        geometry_type=layer.geometry_type,
        encoding=encoding,
        warnings=layer.warnings,
        counted=layer.counted,
        open_chunks=lambda: cut(read_layer(layer, file), file),
        carries_crs=found is not None,
    )


def open_layers(path: Path, source: SourceFile, how: OpenOptions = DEFAULTS) -> list[Layer]:
    """Describe the layers that the manifest names; the only one with geometries if it names none.

    Args:
        path: the file as GDAL opens it, a neutral copy of `source.path`.
        source: the file that the manifest declares.
        how: what is special about the format.

    Raises:
        RunRefused: content_mismatch, layers_too_many, no_features, layer_ambiguous, layer_unknown, geometry_missing,
            columns_duplicate, and what `how.check_layer` raises.
    """
    try:
        with gdal.only_drivers(source.format.drivers, how.config):
            found = [(str(name), geometry is not None) for name, geometry in pyogrio.list_layers(path)]
    except (DataSourceError, DataLayerError) as err:
        raise _unreadable(err, source, path) from None
    layers = [_open_layer(path, source, name, how) for name in _choose(found, source)]
    ignored = [name for name, is_spatial in found if not is_spatial]
    if ignored and source.declared.all_layers:
        warning = LAYERS_IGNORED(
            file=source.file, count=len(ignored), samples=ignored, names=", ".join(map(repr, ignored))
        )
        layers[0] = replace(layers[0], warnings=(warning, *layers[0].warnings))
    return layers


def _open_layer(path: Path, source: SourceFile, name: str, how: OpenOptions) -> Layer:
    file, fmt = source.file, source.format
    try:
        with gdal.only_drivers(fmt.drivers, how.config) as notes:
            if how.check_layer is not None:
                how.check_layer(name)
            info = pyogrio.read_info(path, layer=name, force_feature_count=True, **how.options)
            # A key column that the source names itself is data; a generated one is not.
            fid_column = str(info["fid_column"] or "")
            fid = None if fid_column.lower() in how.generated_keys else fid_column
            with pyogrio.open_arrow(path, layer=name, use_pyarrow=True, return_fids=fid is not None, **how.options) as (
                _,
                reader,
            ):
                schema = reader.schema
            times, misfits = ({}, {}) if how.times_in_utc else _time_types(path, name, schema, how.options, source)
    except (DataSourceError, DataLayerError, pa.ArrowException) as err:
        raise _unreadable(err, source, path) from None
    if skipped := [found[1] for note in notes if (found := _SKIPPED.search(note))]:
        raise COLUMNS_DUPLICATE(file=file, names=", ".join(dict.fromkeys(skipped)))
    if info["driver"] not in fmt.drivers:
        raise OTHER_DRIVER(file=file, format=fmt.name, driver=info["driver"])
    return Layer(
        path=path,
        drivers=fmt.drivers,
        driver=info["driver"],
        name=name,
        how=how,
        crs=_known_crs(info["crs"]),
        geometry_type=info["geometry_type"] or "Unknown",
        rows=info["features"] if info["features"] >= 0 else None,
        fields=pa.schema([_plain_field(f, times) for f in schema if not is_geometry(f)]),
        fid=fid,
        fid_column=fid_column,
        geometry_name=info["geometry_name"],
        times=times,
        warnings=(
            *(GDAL_NOTE(file=file, note=note) for note in dict.fromkeys(notes) if "Measured (M)" not in note),
            *(() if how.times_proven else warnings_of(misfits, VALUES_NULLED, file)),
        ),
    )


def _unreadable(err: Exception, source: SourceFile, path: Path) -> RunRefused:
    """The refusal for what GDAL reports when a file or a layer is opened. Raises MemoryError if it is lack of it."""
    raise_lack_of_memory(err)
    return UNREADABLE(file=source.file, format=source.format.name, error=reported(err, path))


def _choose(layers: list[tuple[str, bool]], source: SourceFile) -> list[str]:
    """The names of the layers to read. layers: (name, whether it has geometries) of all."""
    file, declared, names = source.file, source.declared, [name for name, _ in layers]
    if len(names) > source.limits.layers:
        raise LAYERS_TOO_MANY(file=file, layers=len(names), limit=source.limits.layers)
    if not names:
        raise NO_FEATURES(file=file)
    spatial = [name for name, is_spatial in layers if is_spatial]
    wanted = spatial if declared.all_layers else _named(declared, names)
    if not spatial:
        raise GEOMETRY_MISSING(file=file, subject=f"Layer {wanted[0]!r} of {file}" if wanted else file)
    for name in wanted:
        if name not in spatial:
            raise GEOMETRY_MISSING(file=file, subject=f"Layer {name!r} of {file}")
        # GDAL would open the first of them twice.
        if declared.layers and names.count(name) > 1:
            raise LAYERS_OF_ONE_NAME(file=file, count=names.count(name), layer=name)
    if not wanted and len(spatial) > 1:
        raise LAYER_AMBIGUOUS(file=file, count=len(spatial), names=", ".join(map(repr, spatial)))
    return wanted or spatial


def _named(declared: ManifestFile, names: list[str]) -> list[str]:
    """The layers that the manifest names. Raises RunRefused layer_unknown."""
    for name in declared.named_layers:
        if name not in names:
            raise unknown_layer(name, names, declared.key)
    return list(declared.named_layers)


def _time_types(
    path: Path, layer: str, schema: pa.Schema, options: Mapping[str, str], source: SourceFile
) -> tuple[dict[str, pa.DataType], dict[str, Misfits]]:
    """See `time_types`, of the timestamp columns."""
    names = [column.name for column in schema if pa.types.is_timestamp(column.type)]
    if not names:
        return {}, {}
    # pyogrio reads columns by their names.
    if twice := sorted(name for name in set(names) if schema.names.count(name) > 1):
        raise COLUMNS_DUPLICATE(file=source.file, names=", ".join(twice))
    with pyogrio.open_arrow(
        path, layer=layer, columns=names, read_geometry=False, use_pyarrow=True, datetime_as_string=True, **options
    ) as (_, reader):
        types, misfits = time_types(names, reader)
    kept = {name for name, found in misfits.items() if found.count and name in source.text_columns}
    types |= dict.fromkeys(kept, pa.string())
    return types, {name: found for name, found in misfits.items() if name not in kept}


def _known_crs(text: str | None) -> str | None:
    """None also for the `undefined` CRS with which GeoPackage says that it does not know."""
    if text is None or "Undefined geographic SRS" in text[:60] or "Undefined Cartesian SRS" in text[:60]:
        return None
    return text


def _plain_field(column: pa.Field, times: dict[str, pa.DataType]) -> pa.Field:
    """The field without GDAL's annotations; a JSON text keeps the mark that it is one."""
    metadata = column.metadata or {}
    is_json = metadata.get(b"ARROW:extension:name") in (b"ogc.json", b"arrow.json") or isinstance(
        column.type, pa.JsonType
    )
    return pa.field(
        column.name,
        times.get(column.name) or _plain_type(column.type),
        True,
        {"logical_type": "json"} if is_json else None,
    )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    # GDAL gives fields with a coded domain as a dictionary; the code is the value, its label is not.
    return kind.index_type if pa.types.is_dictionary(kind) else kind
