"""Which faults, in which order: drawn from a seed, so that the same seed gives the same faults and victims."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["kill", "stop", "term", "cut", "drop", "break", "delay", "hold", "lose", "lock"]

# What each kind does to a process, or to the connections to a server.
PROCESS_KINDS: tuple[Kind, ...] = ("kill", "stop", "term")
LINK_KINDS: tuple[Kind, ...] = ("cut", "drop", "break", "delay", "hold", "lose")
WORDS: dict[Kind, str] = {
    "kill": "kill -9",
    "stop": "stood still (SIGSTOP)",
    "term": "SIGTERM and restart",
    "cut": "connections reset and refused",
    "drop": "connections taken and closed",
    "break": "transfers broken off",
    "delay": "connections slow",
    "hold": "nothing gets through",
    "lose": "connections lost silently",
    "lock": "ledger file locked by another",
}
# Seconds between two faults: they often overlap.
_PAUSES = (0.2, 3.0)
# Seconds until a victim comes back. Every seventh fault outlasts a lease: a stopped worker then returns without one.
_LASTS = (0.3, 3.5)
_LASTS_LONG = (5.0, 8.0)
_SHARE_OF_LONG = 1 / 7


@dataclass(frozen=True, slots=True)
class Target:
    """Something that faults can meet. weight: how often it is chosen, compared with the others."""

    name: str
    kinds: tuple[Kind, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """pause: seconds after the one before. seconds: until it is undone. pick: 0 to 1, which of several victims."""

    number: int
    kind: Kind
    victim: str
    pause: float
    seconds: float
    pick: float


def faults(seed: int, targets: tuple[Target, ...]) -> Iterator[Fault]:
    """An endless sequence; a longer campaign begins with the faults of a shorter one."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        target = chance.choices(targets, [each.weight for each in targets])[0]
        kind = chance.choice(target.kinds)
        lasts = _LASTS_LONG if chance.random() < _SHARE_OF_LONG else _LASTS
        yield Fault(
            number, kind, target.name, round(chance.uniform(*_PAUSES), 2), round(chance.uniform(*lasts), 2),
            round(chance.random(), 3),
        )  # fmt: skip
