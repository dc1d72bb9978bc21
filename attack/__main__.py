"""`python -m attack`: what one sender, or a file that takes over its reader, can do to the others; measured.

Parts: bodies (hostile bodies by kind and size), fuzz (mutated manifests), walls (what a reader, a job and the queue
reach), leak (memory after refused manifests), growth (requests to a service with many runs, beside one with few).
A time above its bound is measured twice again before it counts. Exits with 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from attack.growth import growth
from attack.manifests import SEED
from attack.report import Part, say, show, write
from attack.senders import bodies, fuzz, leak
from attack.walls import walls

PARTS: dict[str, Callable[..., Part]] = {"bodies": bodies, "fuzz": fuzz, "walls": walls, "leak": leak, "growth": growth}


def main() -> int:
    args = arguments()
    # Stops everything that was started, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = args.keep or Path(tempfile.mkdtemp(prefix="spatial-etl-attack-"))
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Part] = []
    for name in args.part or PARTS:
        began = time.monotonic()
        part = PARTS[name](folder / name, short=args.short, seed=args.seed)
        part.seconds = time.monotonic() - began
        show(part)
        made.append(part)
    if args.json:
        write(made, {"short": args.short, "seed": args.seed}, args.json)
    wrong = [part.name for part in made if not part.holds]
    if wrong:
        say(f"\nWRONG: {', '.join(wrong)}. Again: python -m attack {' '.join(sys.argv[1:])}. Logs and data: {folder}")
    elif args.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m attack", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be repeated")
    parser.add_argument("--short", action="store_true", help="fewer and smaller: a minute or two")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the mutated manifests (default {SEED})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and data there; else only when it fails")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
