"""Dependencies of the routers. All are coroutines, because FastAPI runs plain functions in a thread."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from app.clients import Clients
from app.http.waiting import WaitingRoom, client_of
from app.models.caller import Caller
from app.models.page import Page
from app.services.runs.read import RunWatch
from app.services.sweep.election import LeaderWatch
from app.settings import Settings


async def _clients(request: Request) -> Clients:
    clients: Clients = request.app.state.clients
    return clients


async def _run_watch(request: Request) -> RunWatch:
    watch: RunWatch = request.app.state.run_watch
    return watch


async def _waiting_room(request: Request) -> WaitingRoom:
    room: WaitingRoom = request.app.state.waiting_room
    return room


async def _client(request: Request) -> str:
    return client_of(request)


async def _sweep_watch(request: Request) -> LeaderWatch:
    watch: LeaderWatch = request.app.state.sweep_watch
    return watch


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _page(
    limit: Annotated[int, Query(ge=1, le=1000, description="Items of one page.")] = 50,
    cursor: Annotated[
        str | None, Query(description="Position of the page, from the Link header of the page before.")
    ] = None,
) -> Page:
    return Page(limit, cursor)


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


ClientsDep = Annotated[Clients, Depends(_clients)]
RunWatchDep = Annotated[RunWatch, Depends(_run_watch)]
WaitingRoomDep = Annotated[WaitingRoom, Depends(_waiting_room)]
ClientDep = Annotated[str, Depends(_client)]
SweepWatchDep = Annotated[LeaderWatch, Depends(_sweep_watch)]
SettingsDep = Annotated[Settings, Depends(_settings)]
PageDep = Annotated[Page, Depends(_page)]
CallerDep = Annotated[Caller, Depends(_caller)]
