"""What a route needs beside its input: the parts of the running service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from service.db.engine import Database
from service.settings import Settings

if TYPE_CHECKING:  # for the checker alone: a route module imports the parts that it calls
    from service.alarms.disk import DiskWatch
    from service.api.news import News
    from service.artifacts.store import ArtifactStore
    from service.auth.authenticator import Authenticator
    from service.auth.limiter import Limiter
    from service.inference.engine import Engine
    from service.jobs.wake import Waker
    from service.registry.resolver import ModelResolver
    from service.sessions.names import Names
    from service.sessions.signing import Signer
    from service.sessions.store import SessionStore
    from service.usage.counts import Usage


@dataclass(frozen=True)
class Services:
    """Made once by `create_app`, started and stopped by its lifespan."""

    settings: Settings
    database: Database
    artifacts: ArtifactStore
    authenticator: Authenticator
    waker: Waker
    engine: Engine
    models: ModelResolver
    signer: Signer
    names: Names  # of sessions
    sessions: SessionStore
    news: News
    disk: DiskWatch
    file_work: CapacityLimiter  # for threads that read whole files: the others stay free
    requests: Limiter  # by key, those over WebSockets among them
    wrong_keys: Limiter  # by address, likewise
    usage: Usage


async def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
