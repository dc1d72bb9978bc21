"""`python -m chaos`: random faults under a steady load, in a sequence that a seed gives; then a look at what must hold.

Profiles: embedded (one `serve` with all below it), deployed (API, workers, sweep; their servers each behind a proxy).
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
from typing import Any

from chaos.book import Book
from chaos.client import Answers
from chaos.deployed import Deployed
from chaos.embedded import Embedded
from chaos.evidence import Watch, add_logs, gather, settle
from chaos.parts import wait_until
from chaos.report import progress, report, say, show, write, write_evidence
from chaos.schedule import faults
from chaos.stories import Load
from chaos.strike import Striker
from chaos.system import MAX_ATTEMPTS, System

_STORY_THREADS = 4
_REPORT_EVERY = 50


def main() -> int:
    args = arguments()
    # Stops everything that was started, however the campaign ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = args.keep or Path(tempfile.mkdtemp(prefix="spatial-etl-chaos-"))
    made = []
    for profile in args.profile or ["embedded", "deployed"]:
        directory = folder / profile
        directory.mkdir(parents=True)
        open_system: Callable[[], System] = {
            "embedded": lambda directory=directory: Embedded(directory),
            "deployed": lambda directory=directory: Deployed(directory, args.ledger, args.store),
        }[profile]
        number = args.faults if args.profile else args.faults // 2
        made.append(campaign(open_system(), args.seed, number, args.pace))
    if args.json:
        write(made, args.json)
    wrong = any(faults for each in made for faults in each["checks"].values())
    if wrong:
        say(f"\nWRONG. Again: python -m chaos {' '.join(sys.argv[1:])}. Logs and data: {folder}")
    elif args.keep is None:
        shutil.rmtree(folder)
    return 1 if wrong else 0


def campaign(system: System, seed: int, number: int, pace: float) -> dict[str, Any]:
    """Run a campaign and return its report. pace: factor for the pauses between faults."""
    book, answers, watch = Book(), Answers(), Watch()
    striker = Striker(system.parts, system.links, system.ledger_file)
    problems: list[str] = []
    try:
        striker.start_all(system.starts)
        wait_until(system.ready, "everything to be there")
        load = Load(system.url, seed, _STORY_THREADS, book, answers)
        load.prepare()
        load.start()
        began = time.monotonic()
        with watch.looking(system):
            strike(system, striker, seed, number, pace)
            striker.wait_for_calm()
        load.finish()
        seconds = time.monotonic() - began
        progress(f"{system.name}: settling")
        settled = settle(system)
        found = gather(system, book, answers, watch, MAX_ATTEMPTS)
    finally:
        striker.wait_for_calm()
        problems += system.stop()
        striker.end()
    add_logs(found, system)
    found.problems = [*striker.problems, *problems]
    figures = {"profile": system.name, "seed": seed, "seconds": round(seconds, 1), "settled_seconds": round(settled, 1),
               "missed": striker.missed}  # fmt: skip
    made = report(found, striker.struck, figures)
    write_evidence(found, system.directory / "evidence.json")
    show(made, found)
    return made


def strike(system: System, striker: Striker, seed: int, number: int, pace: float) -> None:
    """Strike until that many faults have hit a victim."""
    done = 0
    for fault in faults(seed, system.targets):
        if done >= number:
            return
        time.sleep(fault.pause * pace)
        done += striker.strike(fault)
        text = f"{system.name}: fault {done} of {number}: {fault.kind} {fault.victim}"
        progress(text, now_and_then=fault.number % _REPORT_EVERY == 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the sequence of faults (default 1)")
    parser.add_argument("--faults", type=int, default=500, help="in all, over both profiles (default 500)")
    parser.add_argument(
        "--profile", action="append", choices=["embedded", "deployed"], help="only this one; all its faults"
    )
    parser.add_argument(
        "--ledger", choices=["mongodb", "postgresql"], default="mongodb", help="of the deployed profile"
    )
    parser.add_argument("--store", choices=["radosgw", "moto"], default="radosgw", help="of the deployed profile")
    parser.add_argument("--pace", type=float, default=1.0, help="multiplies the pauses between faults (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and data there; else only when it fails")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
