"""`python -m differential`: generated files, read by this service and by others; every value compared with the file.

A file is made from a seed and a number, so that the same one can be made again (--only). A difference that no reason
of `differential/reasons.py` explains is wrong, be it the service's or another reader's. Exits with 1 then.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from differential.campaign import Books, campaign
from differential.layers import LAYERS
from differential.reasons import SERVICE
from differential.tables import TABLES
from tests.place import a_place

KINDS = (*TABLES, *LAYERS)
_SHOWN = 30


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    warnings.simplefilter("ignore")
    logging.getLogger("app.runs.dispatch").setLevel(logging.ERROR)  # there is no queue
    folder = args.keep or Path(tempfile.mkdtemp(prefix="spatial-etl-differential-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = args.format or [kind.format for kind in KINDS]
    every = range(args.files) if args.only is None else args.only
    numbers = [number for number in every if KINDS[number % len(KINDS)].format in wanted]
    began, books = time.monotonic(), Books()
    with a_place(folder / "data") as place:
        for done, books in enumerate(campaign(place, args.seed, numbers, KINDS, folder / "files"), 1):
            progress(f"{done:,} of {len(numbers):,} files, {len(books.wrong)} wrong")
    progress("")
    show(books, time.monotonic() - began)
    if args.json:
        args.json.write_text(json.dumps(as_json(books, args.seed), indent=2, default=str) + "\n", encoding="utf-8")
    if books.wrong:
        again = sorted({each.number for each in books.wrong})[:5]
        print(f"\nAgain: python -m differential --seed {args.seed} --only {' '.join(map(str, again))}. Files: {folder}")
    elif args.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if books.wrong else 0


def progress(text: str) -> None:
    """One line that is overwritten on a terminal; elsewhere nothing."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{text}")
        sys.stdout.flush()


def show(books: Books, seconds: float) -> None:
    files, values = sum(books.files.values()), sum(books.values.values())
    print(f"{files:,} files, {values:,} values compared, {seconds:.0f} s")
    for (fmt, reader), readings in sorted(books.readings.items()):
        about = [(number, text) for (f, r, text), number in books.explained.items() if (f, r) == (fmt, reader)]
        wrong = sum(1 for each in books.wrong if (each.format, each.reader) == (fmt, reader))
        state = f"{wrong} WRONG" if wrong else "ok"
        print(f"  {fmt:12} {reader:10} {readings:6,} files  {books.values[fmt, reader]:9,} values  {state}")
        for number, text in sorted(about, reverse=True):
            print(f"  {'':23} {number:6,} differences: {text}")
    for each in books.wrong[:_SHOWN]:
        print(f"\nWRONG: file {each.number} ({each.format}), read by {each.reader}")
        for line in each.lines:
            print(f"  {line}")
    if len(books.wrong) > _SHOWN:
        print(f"\nand {len(books.wrong) - _SHOWN} more")


def as_json(books: Books, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "files": dict(books.files),
        "compared": [
            {"format": fmt, "reader": reader, "files": number, "values": books.values[fmt, reader]}
            for (fmt, reader), number in sorted(books.readings.items())
        ],
        "explained": [
            {"format": fmt, "reader": reader, "reason": reason, "differences": number}
            for (fmt, reader, reason), number in sorted(books.explained.items())
        ],
        "warnings": [{"format": fmt, "code": code, "files": n} for (fmt, code), n in sorted(books.warnings.items())],
        "wrong": [
            {"file": each.number, "format": each.format, "reader": each.reader, "lines": each.lines}
            for each in books.wrong
        ],
        "holds": not books.wrong,
        "service": SERVICE,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m differential", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5_500, help="how many (default 5500)")
    parser.add_argument("--format", action="append", choices=[kind.format for kind in KINDS], help="only this one")
    parser.add_argument("--seed", type=int, default=1, help="of the files (default 1)")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="only the files of these numbers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the files there; else only wrong ones")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
