"""Health: the two routes that need no key."""

from importlib.metadata import version
from typing import Literal

import redis
from fastapi import Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from rnn.kernels import library
from service.api.deps import Services, ServicesDep
from service.api.routing import public_router
from service.api.schemas.base import View
from service.errors import UnavailableError

router = public_router(tags=["health"])

REDIS_SECONDS = 1.0
State = Literal["up", "down", "starting"]


class Kernels(View):
    """What computes the recurrences on a CPU, and why that: compiled code of a level, or torch,
    slower."""

    level: Literal["avx512", "avx2", "plain", "torch"]
    reason: str


class Health(View):
    status: Literal["ok"]
    version: str
    kernels: Kernels
    device: Literal["cpu", "cuda"] | None  # of the engine; null until it is up for the first time


class Readiness(View):
    """Redis is not needed to be ready: jobs are found without it, only later."""

    status: Literal["ready", "unavailable"]
    database: State
    engine: State
    redis: State


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health(services: ServicesDep) -> Health:
    """Whether this process answers. Asks nothing of others, so it is safe to restart on."""
    kernels = Kernels.model_validate(library.status())
    return Health(
        status="ok",
        version=version("reprise"),
        kernels=kernels,
        device=services.engine.device,
    )


@router.head("/ready", include_in_schema=False)
@router.get("/ready")
def ready(response: Response, services: ServicesDep) -> Readiness:
    """Whether requests can be served now: 503 while the database or the engine is away."""
    database, engine = _database(services), _engine(services)
    is_ready = database == engine == "up"
    if not is_ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(round(UnavailableError.wait_seconds))
    return Readiness(
        status="ready" if is_ready else "unavailable",
        database=database,
        engine=engine,
        redis=_redis(services),
    )


def _database(services: Services) -> State:
    try:
        with services.database.transaction() as db:
            db.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return "down"
    return "up"


def _engine(services: Services) -> State:
    return "up" if services.engine.ready else "starting"


def _redis(services: Services) -> State:
    client = redis.Redis.from_url(
        services.settings.redis_url.get_secret_value(),
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
    )
    try:
        client.ping()
    except redis.RedisError:
        return "down"
    finally:
        client.close()
    return "up"
