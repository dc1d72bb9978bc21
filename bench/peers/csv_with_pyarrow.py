"""CSV to Parquet with pyarrow as it comes, as a stream: python -m bench.peers.csv_with_pyarrow SOURCE CRS TARGET."""

from __future__ import annotations

import sys

import pyarrow.csv
import pyarrow.parquet


def main(source: str, target: str) -> None:
    options = pyarrow.csv.ReadOptions(block_size=8 << 20)
    with (
        pyarrow.csv.open_csv(source, options) as reader,
        pyarrow.parquet.ParquetWriter(target, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
