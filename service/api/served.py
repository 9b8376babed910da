"""What the prediction routes share: the version behind a reference, kept and warmed by news."""

import asyncio
import logging
from typing import Any

from service.api.deps import Services
from service.auth.subjects import Subject
from service.errors import ModelTaskMismatchError, OverloadedError, UnavailableError
from service.inference.requests import Network, ServedVersion
from service.registry.rollout import tell_loaded

log = logging.getLogger(__name__)


async def find_version(services: Services, subject: Subject, reference: str) -> ServedVersion:
    """The version that a reference stands for."""
    version = services.models.kept(subject.workspace_id, reference)
    return version or await services.models.ask(subject.workspace_id, reference)


async def served_version(
    services: Services, subject: Subject, reference: str, task: str
) -> ServedVersion:
    """The version that a reference stands for, which must have been trained for `task`."""
    version = await find_version(services, subject, reference)
    if version.task != task:
        raise ModelTaskMismatchError(
            f"The model {version.name!r} was trained for {version.task}, this route is for {task}."
        )
    return version


def follow_model_news(services: Services) -> None:
    """Loads what was just trained before the first request for it, forgets moved aliases, and
    unloads what they stood for."""
    warming: set[asyncio.Task[None]] = set()

    async def warm(network: Network, number: str | None) -> None:
        try:
            await services.engine.load(network)
        except (OverloadedError, UnavailableError) as error:
            log.warning("cannot load %s: %s", network.folder, error)
        if number is not None:
            await asyncio.to_thread(tell_loaded, services.database, number)

    def react(news: dict[str, Any] | None) -> None:
        services.models.forget()
        if not news:  # after a gap, or a removal: nothing to load
            return
        if "unused_sha256" in news:
            services.engine.replaced(news["unused_sha256"])
            return
        folder = services.artifacts.absolute(news["artifact_path"])
        network = Network(folder, news["artifact_sha256"])
        task = asyncio.create_task(warm(network, news.get("number")))
        warming.add(task)
        task.add_done_callback(warming.discard)

    services.news.on_model_version(react)
