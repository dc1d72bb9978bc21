"""Look the locked packages up in an advisory database: python locks/audit.py. Part of `make lint`.

Exit 1 for a known vulnerability that accepted-advisories.toml does not list with a reason. Without a database in reach
nothing is known, which is said, and is no failure: the rest of `make lint` must work without internet.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

LOCKS = Path(__file__).parent
ACCEPTED = LOCKS / "accepted-advisories.toml"
# dev.txt holds what runtime.txt and demo.txt do.
AUDITED = ("build.txt", "dev.txt", "bench.txt")
DATABASE = "https://api.osv.dev/v1/query"
_AWAY = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|ServiceError|HTTPError")


def audit(locks: list[Path], accepted: Mapping[str, str], url: str) -> tuple[int, str]:
    """The exit code, and what is to be said."""
    words = [
        sys.executable,
        "-m",
        "pip_audit",
        "--vulnerability-service=osv",
        f"--osv-url={url}",
        "--disable-pip",
        "--require-hashes",
    ]
    words += ["--format=json", "--aliases=on", "--desc=off", "--progress-spinner=off", "--timeout=5"]
    for lock in locks:
        words += ["-r", str(lock)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)  # noqa: S603 # our own words
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if _AWAY.search(last):
            return 0, f"NOT AUDITED: the advisory database at {url} could not be reached ({last[:200]})."
        return 1, f"pip-audit failed: {last}"
    skipped = sorted(f"{each['name']}: {each['skip_reason']}" for each in found if "skip_reason" in each)
    lines, used = [], set()
    for package in found:
        for advisory in package.get("vulns", ()):
            names = {advisory["id"], *advisory["aliases"]}
            used |= names & accepted.keys()
            if not names & accepted.keys():
                fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
                known = ", ".join(sorted(names))
                lines.append(f"{package['name']} {package['version']}: {known}; mended in {fixed}")
    if lines or skipped:
        fix = f"Raise the pins with `make lock`, or write into {ACCEPTED.name} why it does not reach us."
        return 1, "\n".join([*dict.fromkeys(lines), *skipped, fix])
    stale = sorted(accepted.keys() - used)
    if stale:
        return 1, f"{ACCEPTED.name} lists what is no longer found: {', '.join(stale)}. Take it out."
    return 0, f"{len(found)} locked packages are without a known vulnerability that is not accepted."


def main() -> None:
    accepted = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))
    code, said = audit([LOCKS / name for name in AUDITED], accepted, DATABASE)
    print(said)
    sys.exit(code)


if __name__ == "__main__":
    main()
