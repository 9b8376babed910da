"""Composes the API process. Nothing is decided here, and nothing is connected before the start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from rnn.errors import KernelsError
from service.alarms.disk import DiskWatch
from service.api import (
    alarms,
    batches,
    browsers,
    changes,
    dataset_aliases,
    datasets,
    forecasts,
    generations,
    health,
    jobs,
    keys,
    metrics,
    models,
    openapi,
    schedules,
    sentiment,
    session_stream,
    sessions,
    sweeps,
    usage,
    workers,
)
from service.api import settings as setting_routes
from service.api.deps import Services
from service.api.direct import Direct
from service.api.middleware import Envelope, Gate, Intake
from service.api.news import News
from service.api.served import follow_model_news
from service.artifacts.store import ArtifactStore
from service.auth.authenticator import Authenticator
from service.auth.limiter import Limiter
from service.dashboard import (
    compare,
    errors,
    model_pages,
    new_job,
    overview,
    sign_in,
    static_files,
    trying,
)
from service.dashboard import datasets as dataset_pages
from service.dashboard import jobs as job_pages
from service.dashboard import keys as key_pages
from service.dashboard import settings as setting_pages
from service.dashboard import sweeps as sweep_pages
from service.dashboard import usage as usage_pages
from service.db.engine import Database, make_engine
from service.errors import UnavailableError
from service.inference.engine import Engine
from service.jobs.wake import Waker
from service.registry.resolver import ModelResolver
from service.sessions.names import Names
from service.sessions.signing import Signer
from service.sessions.store import SessionStore
from service.settings import Settings
from service.usage.counts import Usage

# In the order in which they are tried for a path: those that answer most requests first.
ROUTERS = (
    forecasts,
    sentiment,
    generations,
    sessions,
    session_stream,
    jobs,
    datasets,
    models,
    workers,
    keys,
    usage,
    batches,
    sweeps,
    schedules,
    dataset_aliases,
    alarms,
    setting_routes,
    browsers,
    changes,
)

# A name in a path stands after the paths that it would hide.
PAGES = (
    overview,
    dataset_pages,
    new_job,
    job_pages,
    compare,
    sweep_pages,
    model_pages,
    trying,
    key_pages,
    usage_pages,
    setting_pages,
    sign_in,
    static_files,
)

FILES_AT_ONCE = 2  # more would only fight for the interpreter with everything else


def create_app(settings: Settings) -> FastAPI:
    """The whole HTTP application; its lifespan starts and stops what it is made of."""
    services = _services(settings)
    app = FastAPI(
        title="Reprise",
        summary="Trains deep recurrent networks on your sequences and serves them at once.",
        version=version("reprise"),
        lifespan=_lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: errors.answer,
            RequestValidationError: errors.answer,
        },
    )
    app.state.services = services
    app.state.refusal = None  # why it cannot start here, for whoever started it
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    for module in ROUTERS:
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(metrics.router)
    app.include_router(health.router)
    app.include_router(openapi.router)
    for pages in PAGES:
        app.include_router(pages.router)
    # The last one added is the outermost.
    app.add_middleware(Direct, routes=app.routes)
    app.add_middleware(
        Gate,
        public=[
            *health.router.routes,
            *sign_in.router.routes,
            *static_files.router.routes,
        ],
        authenticator=services.authenticator,
        requests=services.requests,
        wrong_keys=services.wrong_keys,
        usage=services.usage,
    )
    app.add_middleware(
        Intake,
        allowed_hosts=settings.allowed_hosts,
        max_header_bytes=settings.max_header_bytes,
    )
    app.add_middleware(Envelope, answer=errors.answer)
    return app


def _services(settings: Settings) -> Services:
    database = Database(make_engine(settings))
    artifacts = ArtifactStore(settings.artifact_dir)
    signer = Signer(settings.artifact_dir)
    names = Names(signer)
    engine = Engine(
        kernels=settings.kernels,
        device=settings.inference_device,
        threads=settings.inference_threads,
        max_concurrent=settings.max_concurrent_predictions,
        model_cache_bytes=settings.model_cache_bytes,
        max_decode_slots=settings.max_decode_slots,
        max_prompt_tokens=settings.max_prompt_tokens,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        prefill_tokens=settings.prefill_tokens,
        log_level=settings.log_level,
    )
    return Services(
        settings=settings,
        database=database,
        artifacts=artifacts,
        authenticator=Authenticator(database, settings.key_cache_seconds),
        waker=Waker(settings.redis_url.get_secret_value()),
        engine=engine,
        models=ModelResolver(database, artifacts),
        signer=signer,
        names=names,
        sessions=SessionStore(
            settings.redis_url.get_secret_value(),
            names,
            max_input_bytes=settings.max_session_input_bytes,
            recent_bytes=settings.recent_session_bytes,
        ),
        news=News(settings.database_url.get_secret_value()),
        disk=DiskWatch(settings.artifact_dir, settings.min_free_disk_bytes),
        file_work=CapacityLimiter(FILES_AT_ONCE),
        requests=Limiter(settings.requests_per_minute, "requests with this key"),
        wrong_keys=Limiter(settings.failed_logins_per_minute, "wrong keys from this address"),
        usage=Usage(settings.redis_url.get_secret_value()),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    services.artifacts.prepare()
    try:
        await services.engine.start()
    except (KernelsError, UnavailableError) as error:
        app.state.refusal = str(error)
        raise
    follow_model_news(services)
    services.news.start()
    carrying = asyncio.create_task(services.usage.run())
    try:
        yield
    finally:
        carrying.cancel()
        services.news.close()
        await asyncio.to_thread(services.news.stop)
        await services.engine.stop()
        await services.usage.close()
        await services.sessions.close()
        services.waker.close()
        # Keys and models are also looked up by nobody's request, which would open connections anew.
        await asyncio.get_running_loop().shutdown_default_executor()
        services.database.close()
