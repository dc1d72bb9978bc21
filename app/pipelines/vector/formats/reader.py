"""What the module of a vector format provides, and how it is found.

The table in `app.models.formats` names the module of each format. `open.inspect` asks it to check and open a file. To
support a format that GDAL reads without special care, a row with `reader="app.pipelines.vector.formats.ogr"` and the
`signatures` of its files is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from app.models.formats import Format
from app.models.manifests.manifest import ManifestFile
from app.pipelines.common.unknown_layer import unknown_layer
from app.pipelines.vector.source import VectorSource
from app.settings import Limits


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on its way to being opened.

    Attributes:
        path: the file in scratch, unpacked if it came in an archive; a directory for formats that are one.
        format: the format that the manifest declares.
        declared: the manifest's entry with layer, CRS and options.
        limits: what one source may hold at most.
        threads: how many threads may read.
    """

    path: Path
    format: Format
    declared: ManifestFile
    limits: Limits
    threads: int

    @property
    def file(self) -> str:
        """The key in the landing zone, for messages."""
        return self.declared.key

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def unnamed(self) -> SourceFile:
        """The same, without the layers that the manifest names: for a format whose driver knows another name."""
        return replace(self, declared=self.declared.model_copy(update={"layer": None, "layers": None}))

    @property
    def text_columns(self) -> frozenset[str]:
        """The columns that the manifest declares as text: what does not fit their own type is kept, not null."""
        types = (self.declared.options and self.declared.options.types) or {}
        return frozenset(name for name, kind in types.items() if kind == "text")

    @property
    def encoding(self) -> str | None:
        """The encoding that the manifest declares."""
        return self.declared.options.encoding if self.declared.options else None


class VectorFormat(Protocol):
    """The functions of a format's module."""

    def check_content(self, source: SourceFile, head: bytes) -> None:
        """Prove by its bytes, before any driver opens it, that a file is of the format and not cut short.

        Called for plain files only; a directory is recognised by the format's `directory_marker`.

        Args:
            source: the file.
            head: its first 4096 bytes, at least 1.

        Raises:
            RunRefused: content_mismatch, file_truncated, and what the format itself adds.
        """
        ...

    def open_sources(self, source: SourceFile) -> list[VectorSource]:
        """Choose the layers and describe them, reading no more of the file than that takes.

        Returns:
            One source for each layer that the manifest names, in that order (`*`: for each that has geometries); for
            the only layer if it names none. Rows in source order, null and empty geometries as they are, the CRS
            settled against the manifest's.

        Raises:
            RunRefused: layer_*, crs_*, encoding_*, and what the format itself adds.
        """
        ...

    def list_layers(self, source: VectorSource) -> tuple[str, ...]:
        """The names of all layers of the file of an open source, for the plan of a run."""
        ...


def only_layer(source: VectorSource) -> tuple[str, ...]:
    """The `list_layers` of formats whose files are one layer."""
    return (source.layer,) if source.layer else ()


def check_only_layer(source: SourceFile, name: str) -> None:
    """Check the layers that the manifest names against the only one of a file. Raises RunRefused layer_unknown."""
    for wanted in source.declared.named_layers:
        if wanted != name:
            raise unknown_layer(wanted, [name], source.file)


def reader_of(fmt: Format) -> VectorFormat:
    """The module that reads files of a format; imported when the first of them is opened."""
    return cast("VectorFormat", import_module(fmt.reader))
