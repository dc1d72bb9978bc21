"""Manifests that are made to be hard to read: of other structure, size, depth, repeats, numbers, bytes. From a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.service import manifest

SEED = 20261122
MiB = 1 << 20
JSON_TYPE = "application/json"

Random = random.Random

SCALARS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**63, -(2**70), 10**4000, 1e308, "", " ", "\0", "\ud800", "x\udfff", "é" * 300,
    "x" * 5_000, "🗺" * 2_000, "s3://landing-zone/" + "/x" * 600, "EPSG:4326", "../..", "{detail}", "%s",
)  # fmt: skip
TYPES: tuple[Callable[[Random], Any], ...] = (
    lambda r: r.choice(SCALARS),
    lambda r: [r.choice(SCALARS) for _ in range(r.randrange(8))],
    lambda r: {name(r): r.choice(SCALARS) for _ in range(r.randrange(8))},
    lambda r: nested(r.randrange(1, 60)),
    lambda r: [{}] * r.choice((1, 99, 4_000, 9_000)),
)


def name(r: Random) -> str:
    return r.choice(("path", "type", "fles", "titel", "a/b~c", "", "\ud800", "x" * r.choice((1, 200, 5_000)))) + str(
        r.randrange(99)
    )


def nested(levels: int) -> Any:
    inner: Any = 1
    for level in range(levels):
        inner = {"a": inner} if level % 2 else [inner]
    return inner


def whole(r: Random) -> dict[str, Any]:
    document = manifest(f"fuzz-{r.getrandbits(40)}", ("a.csv", "CSV"))
    document["intent"] = "ingest_tabular"
    document["files"][0] |= {"type": "tabular", "options": {"encoding": "UTF-8", "types": {"a": "text"}}}
    document["metadata"] |= {"keywords": ["a"], "project": "p", "tags": {"level": 3}}
    return document


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


def of_other_structure(r: Random) -> bytes:
    document = whole(r)
    for _ in range(r.randrange(1, 4)):
        container, key = r.choice(list(places(document)))
        kind = r.randrange(4)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[name(r)] = r.choice(TYPES)(r)
        else:
            container[key] = r.choice(TYPES)(r)
    return json.dumps(document).encode()


def of_many(r: Random) -> bytes:
    """Many of one thing, up to the largest body."""
    document = whole(r)
    count = r.choice((100, 1_000, 5_000, 14_000, 29_000, 90_000))
    file = document["files"][0]
    kind = r.randrange(8)
    if kind == 0:
        document["files"] = [r.choice(({}, [], 0, None))] * count
    elif kind == 1:
        document["files"] = [{**file, "path": f"s3://landing-zone/{n}", "format": f"CS{n}"} for n in range(count // 9)]
    elif kind == 2:
        document["files"] = [file] * (count // 9)
    elif kind == 3:
        document["metadata"][r.choice(("keywords", "tags"))] = r.choice(
            (["k"] * count, {str(n): n for n in range(count)})
        )
    elif kind == 4:
        types = {f"{r.choice(('', chr(0xD800)))}{n}": "z" for n in range(count)}
        document["files"] = [{**file, "options": {"types": types}}]
    elif kind == 5:
        document |= {f"fles{n}": n for n in range(count)}
    elif kind == 6:
        document["files"] = [
            {**file, "options": {"nulls": [0] * 199, "encoding": "x" * n}} for n in range(count // 200)
        ]
    else:
        document["metadata"]["title"] = r.choice('a\0,[{"\\\ud800é') * count
    return json.dumps(document).encode()[:MiB]


def of_levels(r: Random) -> bytes:
    opening, closing = r.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ('{"files":[', "]}")))
    levels = r.choice((5, 31, 33, 500, 5_000, 80_000))
    return (opening * levels + "1" + r.choice((closing * levels, ""))).encode()


def of_repeated_names(r: Random) -> bytes:
    count = r.choice((2, 300, 29_000, 60_000))
    different = r.choice((1, count // 2, count - 1))
    pairs = ",".join(f'"{r.choice(("", "x"))}{n % different}":{r.randrange(9)}' for n in range(count))
    good = json.dumps(whole(r))[1:-1]
    return r.choice(
        (f"{{{pairs}}}", f"{{{good},{pairs}}}", f"{{{good},{good}}}", f'{{"files":[{{{pairs}}}]}}')
    ).encode()


def of_numbers(r: Random) -> bytes:
    digits = r.choice(
        ("9" * 20, "9" * 4_300, "9" * 5_000, "1e999", "-1e-999", "0." + "1" * 9_000, "1" * 400 + ".5", "NaN")
    )
    text = json.dumps(whole(r)).replace('"level": 3', f'"level": {",".join([f"{digits}"] * r.choice((1, 1, 100)))}')
    return text.encode()


def of_other_bytes(r: Random) -> bytes:
    raw = bytearray(json.dumps(whole(r), ensure_ascii=r.random() < 0.5).encode(r.choice(("utf-8", "utf-16", "utf-32"))))
    for _ in range(r.randrange(1, 9)):
        raw[r.randrange(len(raw))] = r.choice((*b'"\\{}[],:0', 0, 0xFF, r.randrange(256)))
    return bytes(raw[: r.choice((len(raw), r.randrange(len(raw))))]) * r.choice((1, 1, 1, 300))


def of_names_of_encodings(r: Random) -> bytes:
    document = whole(r)
    spelled = "".join(chr(r.randrange(32, 0x250)) for _ in range(r.choice((3, 60, 64, 65, 9_000))))
    document["files"][0]["options"]["encoding"] = r.choice(("utf 8", "rot13", "base64", "idna", spelled, spelled))
    return json.dumps(document).encode()


def of_several_files(r: Random) -> bytes:
    """Patterns, layers, members and unions: many, long, wrong, and hard to match."""
    document = manifest(f"fuzz-{r.getrandbits(40)}")
    words = ("*", "**", "?", "a", "*a" * 300, "[a]", "ä", "", "..", "**/" * 200, "a" * 300)
    layers = ("*", [], ["*", "a"], ["a", "a "], [str(n) for n in range(r.choice((3, 999, 5_000)))], [[]], {}, 3)
    odd = (*SCALARS, *layers, ("a",) * 200)
    count = r.choice((1, 3, 99, 101, 1_500))
    for number in range(count):
        path = "/".join(r.choice(words) for _ in range(r.randrange(1, 4)))
        entry = {"path": f"s3://landing-zone/{path}", "type": "vector", "format": r.choice(("GPKG", "GeoJSON", "SHP"))}
        given = {"layer": "a", "layers": r.choice(layers), "member": str(number), "options": {"union": "by_name"}}
        entry |= {field: given[field] for field in r.sample(sorted(given), r.randrange(4))}
        if r.random() < 0.1:
            entry[r.choice(sorted(given))] = r.choice(odd)
        if r.random() < 0.3:
            entry["options"] = {
                "union": r.choice(("strict", "by_name", "x", 1)),
                "types": r.choice(({"a": "text"}, [], 1)),
            }
        document["files"].append(entry)
    if r.random() < 0.3:
        document["supersedes"] = r.choice(("sha256:" + "0" * 64, "sha256:0", *SCALARS))
    return json.dumps(document).encode()[:MiB]


CONDITIONS: tuple[str, ...] = (
    "a > 1",
    "a IN (1, 2)",
    "NOT (a = 'x' AND b IS NULL)",
    "s_intersects(geom, BBOX(0, 0, 1, 1))",
    "a LIKE '%'",
    "a = a",
    "(" * 300 + "a = 1" + ")" * 300,
    " AND ".join(["a = 1"] * 2_000),
    "a = '" + "x" * 9_000 + "'",
    "a == 1",
    "1",
    "",
    "NOT " * 500 + "a = 1",
    "'; DROP TABLE x; --",
    "a = '\0'",
    "casei(a) = 'ü'",
    "a BETWEEN 1 AND 1e400",
    "s_within(geom, POINT(1 2)",
)
CHECKS: tuple[dict[str, Any], ...] = (
    {"check": "not_null", "column": "a"},
    {"check": "unique", "column": "a"},
    {"check": "between", "column": "a", "min": 1, "max": 2},
    {"check": "in", "column": "a", "values": [1, "x"]},
    {"check": "matches", "column": "a", "pattern": "^(a+)+$"},
    {"check": "valid_geometry"},
    {"check": "geometry_types", "types": ["Polygon"]},
    {"check": "no_overlaps"},
    {"check": "within", "dataset": "b"},
    {"check": "within", "bbox": [0, 0, 1, 1]},
    {"check": "rows", "min": 1, "max": 9, "change": 0.5},
    {"check": "area_kept", "min": 0.9},
    {"check": "custom", "sql": "a > 0"},
)
HARD_CHECKS: tuple[dict[str, Any], ...] = (
    {"check": "matches", "column": "a", "pattern": "(" * 400},
    {"check": "in", "column": "a", "values": ["x"] * 5_000},
    {"check": "custom", "sql": "1) OR (SELECT 1 FROM read_csv('/etc/passwd'))"},
    {"check": "custom", "sql": "(" * 900},
    {"check": "rows", "min": 9, "max": 1},
    {"check": "x"},
    {},
    {"check": ["rows"]},
)
RECIPE: dict[str, Any] = {
    "crs": "EPSG:25832",
    "repair": "structure",
    "simplify": {"tolerance": 0.5, "unit": "m", "coverage": True},
    "dimensions": "2d",
    "multi": "promote",
    "order": "hilbert",
    "where": "a > 1",
    "columns": {"select": ["a", "b"], "rename": {"a": "c"}},
}
TABLE_OPTIONS: dict[str, Any] = {
    "decimal": ",",
    "thousands": ".",
    "date_format": "dmy",
    "skip_rows": 1,
    "header": True,
    "header_row": 2,
    "trim": True,
    "nulls": ["-"],
    "quote": '"',
    "delimiter": ";",
    "short_rows": "null_fill",
    "quarantine_share": 0.1,
    "encoding": "UTF-8",
    "geometry": {"x": "lon", "y": "lat", "crs": "EPSG:4326"},
    "types": {"a": "text"},
}


def of_recipes_and_checks(r: Random) -> bytes:
    """Recipes, conditions, checks and options of tables: good ones, hard ones, and with anything in any place."""
    of_points = r.random() < 0.5
    document = manifest(f"fuzz-{r.getrandbits(40)}", ("a.csv", "CSV") if of_points else ("a.gpkg", "GPKG"))
    file, recipe = (
        document["files"][0],
        {key: RECIPE[key] for key in r.sample(sorted(RECIPE), r.randrange(len(RECIPE)))},
    )
    if of_points:
        file |= {
            "type": "tabular",
            "options": {k: TABLE_OPTIONS[k] for k in r.sample(sorted(TABLE_OPTIONS), r.randrange(9))},
        }
    if r.random() < 0.5:
        recipe["where"] = r.choice(CONDITIONS)
    count = r.choice((0, 1, 3, 12, 60, 3_000))
    document |= {"recipe": recipe, "dataset": {"checks": [r.choice((*CHECKS, *HARD_CHECKS)) for _ in range(count)]}}
    document = json.loads(json.dumps(document))
    for _ in range(r.randrange(3)):
        container, key = r.choice(list(places({each: document[each] for each in ("recipe", "dataset", "files")}))[1:])
        container[key] = r.choice(TYPES)(r)
    return json.dumps(document).encode()[:MiB]


KINDS = (of_other_structure, of_other_structure, of_many, of_levels, of_repeated_names, of_numbers, of_other_bytes,
         of_names_of_encodings, of_several_files, of_recipes_and_checks, of_recipes_and_checks)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """kind: the name of the function that made it."""

    kind: str
    content: bytes
    content_type: str


def made(number: int, seed: int = SEED) -> Made:
    """The same body for the same numbers."""
    r = Random(f"{seed}/{number}")
    make = KINDS[number % len(KINDS)]
    content = make(r)
    return Made(make.__name__, content, r.choice((JSON_TYPE, JSON_TYPE, JSON_TYPE, JSON_TYPE, "text/plain")))
