"""The memo file beside a .dbf: long texts, of which a record has the block. .dbt: dBase III and IV; .fpt: FoxPro."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.messages.vector_formats import DBF_MEMO, DBF_MEMOS_SHARED
from app.pipelines.vector.formats.shapefile.header import Bytes

_HEADER = 512
_DBASE_III_BLOCK = 512
_DBASE_IV = b"\xff\xff\x08\x00"
_END = b"\x1a"
_MOST_SHARED = 4


@dataclass(slots=True)
class MemoFile:
    """data: all its bytes, mapped. block: size of a block in bytes. suffix: .dbt or .fpt. proven: bytes of memos."""

    data: np.memmap[tuple[int], np.dtype[np.uint8]]
    block: int
    suffix: str
    file: str
    proven: int = 0

    def prove(self, block: int, place: str) -> bytes:
        """As `read`, once for each value: rows that share long memos would make far more of a file than it is.

        Raises RunRefused file_damaged.
        """
        found = self.read(block, place)
        self.proven += len(found)
        if self.proven > _MOST_SHARED * len(self.data):
            raise DBF_MEMOS_SHARED(file=self.file, suffix=self.suffix, size=len(self.data))
        return found

    def read(self, block: int, place: str) -> bytes:
        """What is in a block. place: which value refers to it. Raises RunRefused file_damaged."""
        start = block * self.block
        head = self.data[start : start + 8].tobytes()
        if start < self.block or len(head) < 8:
            raise self._damaged(block, place)
        if self.suffix == ".fpt":
            start, size = start + 8, int.from_bytes(head[4:], "big")
        elif head[:4] == _DBASE_IV:
            start, size = start + 8, int.from_bytes(head[4:], "little") - 8
        else:
            return self._until_end(start)
        if size < 0 or start + size > len(self.data):
            raise self._damaged(block, place)
        return self.data[start : start + size].tobytes()

    def _until_end(self, start: int) -> bytes:
        """Text of dBase III ends at the byte 0x1a."""
        found = []
        while start < len(self.data):
            part, end, _ = self.data[start : start + 16 * _DBASE_III_BLOCK].tobytes().partition(_END)
            found.append(part)
            if end:
                break
            start += 16 * _DBASE_III_BLOCK
        return b"".join(found)

    def _damaged(self, block: int, place: str) -> Exception:
        return DBF_MEMO(file=self.file, place=place, block=block, suffix=self.suffix)


def open_memo(path: Path | None, file: str) -> MemoFile | None:
    """The memo file; None if it is missing or has not even a header."""
    if path is None or path.stat().st_size < _HEADER:
        return None
    data = np.memmap(path, np.uint8, "r")
    suffix = path.suffix.lower()
    if suffix == ".fpt":
        block = int.from_bytes(data[6:8].tobytes(), "big") or 1
    else:
        block = int.from_bytes(data[20:22].tobytes(), "little") or _DBASE_III_BLOCK
    return MemoFile(data, block, suffix, file)


def blocks_of(part: Bytes) -> list[int]:
    """The numbers of blocks in (rows, width) bytes, four bytes or digits: 0 without a memo, -1 for other text."""
    if part.shape[1] == 4:
        return [int(number) for number in np.ascontiguousarray(part).view("<u4").ravel()]
    texts = [value.strip(b" \0") for value in np.ascontiguousarray(part).view(f"S{part.shape[1]}").ravel().tolist()]
    return [int(text or 0) if not text or text.isdigit() else -1 for text in texts]
