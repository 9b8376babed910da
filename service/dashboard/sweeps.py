"""The list of sweeps, and the page of one: its trials, which choices mattered, the best network."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Request
from starlette.responses import Response

from service.api import sweeps
from service.api.deps import ServicesDep
from service.api.pagination import PageDep
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject
from service.dashboard.model_pages import dataset_names
from service.dashboard.pages import figure, render
from service.db.paging import PageRequest

router = protected_router("/sweeps", tags=["dashboard"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]

DRAWN = ("succeeded", "pruned")  # the others have no value that stays
SHOWN_TRIALS = PageRequest(limit=1_000)


@router.get("", include_in_schema=False)
@produces("text/html")
def sweeps_page(
    request: Request, subject: Reader, services: ServicesDep, page: PageDep
) -> Response:
    found = sweeps.list_sweeps(subject, services, page)
    return render(
        request, "sweeps.html", sweeps=found.data, has_more=found.has_more, after=page.after
    )


@router.get("/{sweep_id}", include_in_schema=False)
@produces("text/html")
def sweep_page(
    request: Request, sweep_id: UUID, subject: Reader, services: ServicesDep
) -> Response:
    sweep = sweeps.get_sweep(sweep_id, subject, services)
    trials = sweeps.list_trials(sweep_id, subject, services, SHOWN_TRIALS)
    importance = sweeps.get_importance(sweep_id, subject, services).importance or {}
    return render(
        request,
        "sweep.html",
        sweep=sweep,
        trials=trials.data,
        has_more=trials.has_more,
        ranges={path: in_words(dimension) for path, dimension in sweep.space.items()},
        importance=sorted(importance.items(), key=lambda each: -each[1]),
        dataset_name=dataset_names([sweep.dataset], subject, services).get(sweep.dataset),
        drawn={
            "metric": sweep.metric,
            "space": sweep.space,
            "trials": [
                trial.model_dump(mode="json", include={"number", "state", "value", "params"})
                for trial in trials.data
                if trial.state in DRAWN and trial.value is not None
            ],
        },
    )


def in_words(dimension: Mapping[str, Any]) -> str:
    """What a choice of a sweep may be."""
    if dimension["type"] == "categorical":
        return ", ".join(
            each if isinstance(each, str) else json.dumps(each) for each in dimension["choices"]
        )
    words = f"{figure(dimension['low'])} to {figure(dimension['high'])}"
    if dimension["log"]:
        return f"{words}, logarithmic"
    if dimension["step"] in (None, 1):
        return words
    return f"{words} in steps of {figure(dimension['step'])}"
