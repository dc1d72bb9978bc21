"""What may be asked of a lane: to hold its runs back, to go on, and how many it may carry at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.clients import Clients
from app.dispatch import fill
from app.errors import NotFound
from app.lanes import LanesNow
from app.ledger.told import Told
from app.models.activity import done_by
from app.models.caller import ANYBODY, Caller
from app.models.intents import LANES
from app.models.lane import LaneLimit

State = Literal["open", "paused", "closed"]


@dataclass(frozen=True, slots=True)
class Lane:
    """closed: MANIFEST_ROUTER_ENABLED_LANES leaves it out, so it takes no manifests. running: canceling ones too."""

    lane: str
    state: State
    queued: int
    running: int
    limit: int | None


async def list_lanes(clients: Clients) -> tuple[Lane, ...]:
    """All lanes, up to a second old. Raises LedgerUnavailable."""
    now = await clients.lanes.now()
    return tuple(_seen(lane, now) for lane in LANES)


async def get_lane(lane: str, clients: Clients) -> Lane:
    """Raises NotFound."""
    _check(lane)
    return _seen(lane, await clients.lanes.now())


async def pause(lane: str, clients: Clients, *, caller: Caller = ANYBODY) -> Lane:
    """Nothing of the lane begins any more; what runs goes on. Raises NotFound."""
    _check(lane)
    await clients.ledger.change_lane(lane, _told("lane.paused", lane, caller), paused=True)
    return await _changed(lane, clients)


async def resume(lane: str, clients: Clients, *, caller: Caller = ANYBODY) -> Lane:
    """Raises NotFound."""
    _check(lane)
    await clients.ledger.change_lane(lane, _told("lane.resumed", lane, caller), paused=False)
    await fill(lane, clients)
    return await _changed(lane, clients)


async def limit(lane: str, runs: LaneLimit, clients: Clients, *, caller: Caller = ANYBODY) -> Lane:
    """`default`: as the settings say. Runs over a lower limit go on. Raises NotFound."""
    _check(lane)
    await clients.ledger.change_lane(lane, _told("lane.limited", lane, caller, limit=runs), limit=runs)
    await fill(lane, clients)
    return await _changed(lane, clients)


def _told(action: str, lane: str, caller: Caller, **details: object) -> Told:
    return Told(entries=(done_by(caller, action, lane, **details),))


async def _changed(lane: str, clients: Clients) -> Lane:
    clients.lanes.forget()
    return _seen(lane, await clients.lanes.now())


def _seen(lane: str, now: LanesNow) -> Lane:
    state: State = "paused" if now.state(lane).paused else "open"
    if lane not in now.rules.enabled:
        state = "closed"
    return Lane(lane, state, now.queued.get(lane, 0), now.carried.get(lane, 0), now.limit(lane))


def _check(lane: str) -> None:
    if lane not in LANES:
        raise NotFound(f"There is no lane {lane!r}.", f"Lanes are {', '.join(LANES)}.")
