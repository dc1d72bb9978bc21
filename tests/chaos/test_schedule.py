"""The faults follow from the seed."""

from __future__ import annotations

from itertools import islice

from chaos.deployed import targets
from chaos.schedule import Fault, faults


def first(number: int, seed: int) -> list[Fault]:
    return list(islice(faults(seed, targets(ledger="mongodb", store="radosgw")), number))


def test_the_same_seed_gives_the_same_faults() -> None:
    assert first(50, 7) == first(50, 7)
    assert first(50, 7)[:20] == first(20, 7)
    assert first(50, 7) != first(50, 8)


def test_every_victim_meets_each_of_its_faults() -> None:
    met = {(fault.victim, fault.kind) for fault in first(3000, 1)}
    assert met == {
        (target.name, kind) for target in targets(ledger="mongodb", store="radosgw") for kind in target.kinds
    }
