"""What the routers ask for, as annotated dependencies. Not plain functions: FastAPI calls those in a thread."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from app.clients import Clients
from app.models.caller import Caller
from app.models.page import Page
from app.services.election import LeaderWatch
from app.services.runs import RunWatch
from app.settings import Settings


async def _clients(request: Request) -> Clients:
    clients: Clients = request.app.state.clients
    return clients


async def _run_watch(request: Request) -> RunWatch:
    watch: RunWatch = request.app.state.run_watch
    return watch


async def _sweep_watch(request: Request) -> LeaderWatch:
    watch: LeaderWatch = request.app.state.sweep_watch
    return watch


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _page(
    limit: Annotated[int, Query(ge=1, le=1000, description="Items of one page.")] = 50,
    cursor: Annotated[str | None, Query(description="Where the page begins: taken from the Link header.")] = None,
) -> Page:
    return Page(limit, cursor)


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


ClientsDep = Annotated[Clients, Depends(_clients)]
RunWatchDep = Annotated[RunWatch, Depends(_run_watch)]
SweepWatchDep = Annotated[LeaderWatch, Depends(_sweep_watch)]
SettingsDep = Annotated[Settings, Depends(_settings)]
PageDep = Annotated[Page, Depends(_page)]
CallerDep = Annotated[Caller, Depends(_caller)]
