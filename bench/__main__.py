"""`python -m bench`: this service beside its peers, in interleaved rounds of whole processes.

Parts: gpkg, geojson (buildings in either format), big (polygons of 5,000 vertices), raster (three bands of uint16 to a
COG), tabular (a CSV to Parquet), join (a table to features), memory (ours at 200 thousand and 2 million features),
latency (POST to success through the real service), load (posts, polls and runs a second), s3 (our store beside the bare
client), postgis (the PostGIS engine beside a table for each step).
This process imports nothing heavy, because a child's peak memory is never reported as less than its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import FOLDER, Case, speed_cases
from bench.measure import Cost, MiB, run

PROGRAMS = {
    "ours": "bench.ours",
    "sedonadb": "bench.peers.with_sedonadb",
    "duckdb": "bench.peers.with_duckdb",
    "geopandas": "bench.peers.with_geopandas",
}
PACKAGES = (
    "pyogrio",
    "shapely",
    "pyproj",
    "pyarrow",
    "sedonadb",
    "duckdb",
    "duckdb-ext-spatial",
    "geopandas",
    "rasterio",
    "rio-cogeo",
)
PARTS = ("gpkg", "geojson", "big", "raster", "tabular", "join", "memory", "latency", "load", "s3", "postgis")
RASTER_PROGRAMS = {"ours": "bench.ours", "rio-cogeo": "bench.peers.with_riocogeo"}
TABULAR_PROGRAMS = {
    "ours": "bench.ours",
    "duckdb": "bench.peers.csv_with_duckdb",
    "pyarrow": "bench.peers.csv_with_pyarrow",
}
JOIN_PROGRAMS = {"ours": "bench.ours_join", "duckdb": "bench.peers.join_with_duckdb"}
# On one separate server, with the same settings; its processor time is not in the table.
POSTGIS_PROGRAMS = {
    "postgis": "bench.ours_postgis",
    "steps": "bench.peers.with_postgis_steps",
}
MODULES = {**PROGRAMS, **POSTGIS_PROGRAMS}
# A run in which other processes had more of the processors than this says little; all programs get the same retries.
DISTURBED = 0.08
# Peers carry other versions of GEOS and PROJ: their results may differ from ours by these shares, no more.
AREA_TOLERANCE = 1e-3
VERTEX_TOLERANCE = 5e-3


def main() -> int:
    args = arguments()
    FOLDER.mkdir(exist_ok=True)
    report: dict[str, Any] = {"machine": machine(), "cases": {}}
    say(json.dumps(report["machine"]))
    faults: list[str] = []
    cases = speed_cases(args.rows, args.big_rows)
    others: dict[str, Callable[[], dict[str, Any]]] = {
        "raster": lambda: raster(args.pixels, args.rounds, args.retries),
        "tabular": lambda: tabular(args.table_rows, args.rounds, args.retries),
        "join": lambda: join(args.rows, args.rounds, args.retries),
        "memory": lambda: memory([args.rows // 5, args.rows * 2], args.rounds, args.retries),
        "latency": lambda: latency(args.posts),
        "load": lambda: load(args.load_runs),
        "s3": lambda: s3(args.rounds, args.s3_mebibytes),
        "postgis": lambda: postgis(cases["gpkg"], args.rounds),
    }
    for name in args.parts:
        if name in cases:
            found = report["cases"][name] = compare(cases[name], args.programs, args.rounds, args.retries)
        else:
            found = report[name] = others[name]()
        faults += found.get("faults", [])
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    for fault in faults:
        say(f"WRONG: {fault}")
    return 1 if faults else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all of them")
    parser.add_argument("--rows", type=int, default=1_000_000, help="buildings (default 1,000,000)")
    parser.add_argument("--big-rows", type=int, default=5_000, help="polygons of 5,000 vertices (default 5,000)")
    parser.add_argument("--pixels", type=int, default=10_000, help="rows and columns of the raster (default 10,000)")
    parser.add_argument("--table-rows", type=int, default=10_000_000, help="rows of the table (default 10,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program (default 3)")
    parser.add_argument(
        "--retries", type=int, default=3, help=f"for a run that is disturbed over {DISTURBED * 100:.0f} %% (default 3)"
    )
    parser.add_argument("--posts", type=int, default=20, help="runs of the latency part (default 20)")
    parser.add_argument("--load-runs", type=int, default=1000, help="runs of the load part (default 1,000)")
    parser.add_argument("--s3-mebibytes", type=int, default=500, help="size of the s3 part's object (default 500)")
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=list(PROGRAMS), help="default: all of them")
    parser.add_argument(
        "--quick", action="store_true", help="20,000 buildings, 50 big polygons, one round: does it work?"
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    args.parts = args.parts or list(PARTS)
    if args.quick:
        args.rows, args.big_rows, args.rounds, args.posts, args.pixels = 20_000, 50, 1, 3, 1_000
        args.table_rows = 50_000
        args.s3_mebibytes = 40
    return args


def machine() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = {name: version(name) for name in PACKAGES}
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "python": platform.python_version(),
        **packages,
    }


def compare(case: Case, programs: Sequence[str], rounds: int, retries: int) -> dict[str, Any]:
    """Run the programs alternately, `rounds` times each, and compare their outputs."""
    generate(case)
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    outputs: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        for name in programs:
            target = FOLDER / "out" / f"{name}.parquet"
            costs[name].append(undisturbed(name, MODULES[name], case.path, case.crs, target, retries))
            if number == 0:
                outputs[name] = json.loads(subprocess.check_output(command("bench.check", str(target))))
            target.unlink()
    say(f"\n{case.title}; rounds: {rounds}")
    table(costs, {name: f"{found['vertices']:11,}  {found['area']:.9g}" for name, found in outputs.items()})
    return {
        "case": {**asdict(case), "bytes": case.path.stat().st_size},
        "costs": {name: [asdict(cost) for cost in runs] for name, runs in costs.items()},
        "outputs": outputs,
        "faults": [f"{case.title}: {fault}" for fault in disagreements(case, outputs)],
    }


def undisturbed(name: str, module: str, source: Path, crs: str, target: Path, retries: int) -> Cost:
    """Run once; repeat while other processes disturb it, and return the least disturbed run."""
    target.parent.mkdir(exist_ok=True)
    tries: list[Cost] = []
    while len(tries) <= retries and (not tries or tries[-1].others > DISTURBED):
        target.unlink(missing_ok=True)
        tries.append(run(command(module, str(source), crs, str(target)), FOLDER / f"{name}.log"))
    return min(tries, key=lambda cost: cost.others)


def memory(sizes: Sequence[int], rounds: int, retries: int) -> dict[str, Any]:
    """Peak memory of ours at sizes far apart: it must not grow with the input."""
    found = {size: compare(Case("buildings", "GPKG", "EPSG:25832", size), ["ours"], rounds, retries) for size in sizes}
    peaks = {size: median(cost["peak_bytes"] for cost in each["costs"]["ours"]) for size, each in found.items()}
    say("peak memory: " + ", ".join(f"{size:,} rows {peak / MiB:.0f} MiB" for size, peak in peaks.items()))
    return {"peak_bytes": peaks, "cases": list(found.values())}


def raster(size: int, rounds: int, retries: int) -> dict[str, Any]:
    """A COG with overviews by ours and by rio-cogeo, compressed alike; ours computes exact statistics as well."""
    source = FOLDER / "data" / f"raster-{size}.tif"
    source.parent.mkdir(exist_ok=True)
    if not source.exists():
        say(f"making {source} …")
        run(command("bench.raster", "make", str(source), str(size)), FOLDER / "generate.log")
    costs: dict[str, list[Cost]] = {name: [] for name in RASTER_PROGRAMS}
    outputs: dict[str, dict[str, Any]] = {}
    wanted = json.loads(subprocess.check_output(command("bench.raster", "check", str(source))))["pixels"]
    for number in range(rounds):
        for name, module in RASTER_PROGRAMS.items():
            target = FOLDER / "out" / f"{name}.tif"
            costs[name].append(undisturbed(name, module, source, "EPSG:25832", target, retries))
            if number == 0:
                outputs[name] = json.loads(subprocess.check_output(command("bench.raster", "check", str(target))))
            target.unlink()
    say(f"\n{size:,} x {size:,} pixels, 3 bands of uint16, to a COG; rounds: {rounds}")
    table(costs, {name: f"{found['bytes'] / MiB:8.0f} MiB" for name, found in outputs.items()}, "file size")
    faults = [f"{name} wrote other pixels" for name, found in outputs.items() if found["pixels"] != wanted]
    faults += [f"{name} wrote no valid COG" for name, found in outputs.items() if not found["valid"]]
    return {"costs": {name: [asdict(cost) for cost in runs] for name, runs in costs.items()}, "outputs": outputs,
            "faults": faults}  # fmt: skip


def tabular(rows: int, rounds: int, retries: int) -> dict[str, Any]:
    """A CSV of eight columns to Parquet. The types of two columns show who keeps leading zeros and decimal digits; ours
    proves that, counts every row twice and writes a profile as well."""
    source = FOLDER / "data" / f"table-{rows}.csv"
    source.parent.mkdir(exist_ok=True)
    if not source.exists():
        say(f"making {source} …")
        run(command("bench.tabular", "make", str(source), str(rows)), FOLDER / "generate.log")
    costs: dict[str, list[Cost]] = {name: [] for name in TABULAR_PROGRAMS}
    outputs: dict[str, dict[str, Any]] = {}
    for number in range(rounds):
        for name, module in TABULAR_PROGRAMS.items():
            target = FOLDER / "out" / f"{name}.parquet"
            costs[name].append(undisturbed(name, module, source, "", target, retries))
            if number == 0:
                outputs[name] = json.loads(subprocess.check_output(command("bench.tabular", "check", str(target))))
            target.unlink()
    say(f"\n{rows:,} rows of 8 columns ({source.stat().st_size / MiB:.0f} MiB), CSV to Parquet; rounds: {rounds}")
    ends = {name: f"{each['bytes'] / MiB:5.0f} MiB  {each['code']}, {each['price']}" for name, each in outputs.items()}
    table(costs, ends, "file size, types of a code and a price")
    same = {name: (each["rows"], each["ids"], each["prices"]) for name, each in outputs.items()}
    faults = [f"{name} wrote {each}, ours {same['ours']}" for name, each in same.items() if each != same["ours"]]
    return {"costs": {name: [asdict(cost) for cost in runs] for name, runs in costs.items()}, "outputs": outputs,
            "faults": faults}  # fmt: skip


def join(features: int, rounds: int, retries: int) -> dict[str, Any]:
    """A table joined to features on a text key. Ours counts keys, keeps the order of rows and writes GeoParquet."""
    source = FOLDER / "data" / f"join-{features}"
    if not source.exists():
        say(f"making {source} …")
        run(command("bench.join", "make", str(source), str(features)), FOLDER / "generate.log")
    costs: dict[str, list[Cost]] = {name: [] for name in JOIN_PROGRAMS}
    outputs: dict[str, dict[str, Any]] = {}
    for number in range(rounds):
        for name, module in JOIN_PROGRAMS.items():
            target = FOLDER / "out" / f"{name}.parquet"
            costs[name].append(undisturbed(name, module, source, "", target, retries))
            if number == 0:
                outputs[name] = json.loads(subprocess.check_output(command("bench.join", "check", str(target))))
            target.unlink()
    say(f"\n{features * 5:,} rows joined to {features:,} polygons on a text key; rounds: {rounds}")
    ends = {
        name: f"{each['bytes'] / MiB:5.0f} MiB  order {'kept' if each['in_order'] else 'lost'}, "
        f"{'GeoParquet' if each['geo'] else 'Parquet'}"
        for name, each in outputs.items()
    }
    table(costs, ends, "file size, what it is")
    same = {name: (each["rows"], each["matched"], each["sum"]) for name, each in outputs.items()}
    faults = [f"{name} wrote {each}, ours {same['ours']}" for name, each in same.items() if each != same["ours"]]
    return {"costs": {name: [asdict(cost) for cost in runs] for name, runs in costs.items()}, "outputs": outputs,
            "faults": faults}  # fmt: skip


def latency(posts: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(subprocess.check_output(command("bench.latency", str(posts))))
    say(
        f"\nPOST to success of {found['features']} features, GeoJSON: median {found['median_seconds']:.3f} s of {posts}"
    )
    spread = f"{min(found['seconds']):.3f} to {max(found['seconds']):.3f}"
    say(f"  from {spread} s; from start to end of the run itself {found['median_run']:.3f} s")
    return found


def load(runs: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for profile in ("embedded", "deployed"):
        found[profile] = json.loads(subprocess.check_output(command("bench.load", profile, str(runs))))
        say(f"\n{runs:,} tiny runs, {profile}, workers busy all the time")
        if "skipped" in found[profile]:
            say(f"  left out: {found[profile]['skipped']}")
            continue
        for name in ("posts", "polls"):
            row = found[profile][name]
            say(f"  {name} {row['per_second']:8.1f}/s, median {row['median_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms")
        say(f"  runs  {found[profile]['runs']['per_second']:8.2f}/s, {found[profile]['runs']['by_status']}")
    return found


def s3(rounds: int, mebibytes: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(subprocess.check_output(command("bench.s3", str(rounds), str(mebibytes))))
    if "skipped" in found:
        say(f"\ns3 was left out: {found['skipped']}")
        return found
    say(f"\n{mebibytes} MiB to and from a private radosgw; rounds: {rounds}")
    say(f"{'':19} median s  ratio peak MiB")
    for name, seconds in found["median_seconds"].items():
        ratio = f"{found['ratios'].get(name, 1.0):5.2f}x"
        say(f"{name:19} {seconds:8.2f} {ratio} {found['peak_mib'][name]:8.0f}")
    return found


def postgis(case: Case, rounds: int) -> dict[str, Any]:
    """The PostGIS engine beside the described path: a table for each step, an index, an export."""
    from tests.servers.postgres import execute, start_server

    server = start_server("shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=30min")
    execute(server.url, "CREATE EXTENSION postgis")
    os.environ["BENCH_POSTGIS_URL"] = server.url
    # The server's own load looks like a disturbance, so a disturbed run cannot be recognised, and none is repeated.
    return compare(case, list(POSTGIS_PROGRAMS), rounds, 0)


def generate(case: Case) -> None:
    if not case.path.exists():
        say(f"making {case.path} …")
        run(command("bench.generate", case.kind, case.driver, case.crs, str(case.rows)), FOLDER / "generate.log")


def command(module: str, *args: str) -> list[str]:
    return [sys.executable, "-m", module, *args]


def disagreements(case: Case, outputs: dict[str, dict[str, float]]) -> list[str]:
    """Other rows, invalid geometries or another area than the first program's: not the same work."""
    first = next(iter(outputs.values()))
    faults = []
    for name, found in outputs.items():
        if found["rows"] != case.rows or found["nulls"]:
            faults.append(f"{name} wrote {found['rows']} rows, {found['nulls']} of them null, instead of {case.rows}")
        if found["invalid"]:
            faults.append(f"{name} wrote {found['invalid']} invalid geometries")
        for quantity, tolerance in (("area", AREA_TOLERANCE), ("vertices", VERTEX_TOLERANCE)):
            off = found[quantity] / first[quantity] - 1
            if abs(off) > tolerance:
                faults.append(f"{name}'s {quantity} differ by {off:+.2%}")
    return faults


def table(costs: dict[str, list[Cost]], ends: dict[str, str], title: str = "   vertices  area") -> None:
    """ends: what else to say of each program's result, under `title`."""
    first = median(cost.seconds for cost in next(iter(costs.values())))
    say(f"{'':10} median s  ratio fastest s  cpu s peak MiB others {title}")
    for name, runs in costs.items():
        seconds, cpu = median(cost.seconds for cost in runs), median(cost.cpu_seconds for cost in runs)
        fastest, peak = min(cost.seconds for cost in runs), median(cost.peak_bytes for cost in runs) / MiB
        others = max(cost.others for cost in runs)
        say(
            f"{name:10} {seconds:8.2f} {seconds / first:5.2f}x {fastest:9.2f} {cpu:6.1f} {peak:8.0f} {others:6.1%}"
            f" {ends[name]}"
        )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
