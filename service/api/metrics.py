"""`/metrics`: jobs, alarms and sessions of the whole machine, predictions of this process, for
Prometheus."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from anyio import from_thread
from fastapi import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from service.alarms.kinds import Alarm, AlarmKind
from service.api.alarms import alarms_now
from service.api.deps import ServicesDep
from service.api.engine_metrics import engine_metrics
from service.api.routing import produces, protected_router, requires
from service.auth.store import workspace_ids
from service.auth.subjects import Scope, Subject
from service.errors import UnavailableError
from service.inference.engine import Engine
from service.inference.messages import Figures
from service.jobs.statistics import Statistics, count_jobs

router = protected_router("/metrics", tags=["metrics"])


@router.get("", response_class=Response)
@produces("text/plain")
def get_metrics(
    subject: Annotated[Subject, requires(Scope.JOBS_READ)],  # noqa: ARG001
    services: ServicesDep,
) -> Response:
    """Figures in the text format of Prometheus."""
    with services.database.transaction() as db:
        statistics, alarms = count_jobs(db), alarms_now(db, services)
        workspaces = workspace_ids(db)
    figures = from_thread.run(services.engine.figures)
    try:
        sessions = from_thread.run(services.sessions.totals, workspaces)
    except UnavailableError:
        sessions = None
    registry = CollectorRegistry()
    registry.register(_Everything(statistics, alarms, services.engine, figures, sessions))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Everything(Collector):
    """`figures` and `sessions` None: the engine or Redis does not answer."""

    def __init__(
        self,
        statistics: Statistics,
        alarms: list[Alarm],
        engine: Engine,
        figures: Figures | None,
        sessions: tuple[int, int] | None,
    ) -> None:
        self._statistics = statistics
        self._alarms = alarms
        self._engine = engine
        self._figures = figures
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        found = self._statistics
        jobs = GaugeMetricFamily("reprise_jobs", "Jobs by state.", labels=["state"])
        for state, count in found.by_state.items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily(
            "reprise_oldest_queued_job_seconds",
            "How long the oldest job that could run has waited.",
            found.oldest_seconds,
        )
        buckets = [(str(float(most)), float(count)) for most, count in found.waits.items()]
        yield HistogramMetricFamily(
            "reprise_job_queue_seconds",
            "From a job's submission to its first start.",
            buckets=[*buckets, ("+Inf", found.started)],
            sum_value=found.waited_seconds,
        )
        yield CounterMetricFamily(
            "reprise_train_tokens",
            "Tokens of texts, and timesteps of series, that trainings have read.",
            found.trained_timesteps,
        )
        counts: Counter[AlarmKind] = Counter()
        for alarm in self._alarms:
            counts[alarm.kind] += alarm.count
        alarms = GaugeMetricFamily(
            "reprise_alarms", "What each alarm is about; 0: all is well.", labels=["kind"]
        )
        for kind in AlarmKind:
            alarms.add_metric([kind], counts[kind])
        yield alarms
        yield from engine_metrics(self._engine, self._figures)
        if self._sessions is not None:
            count, state_bytes = self._sessions
            yield GaugeMetricFamily("reprise_sessions", "Live sessions.", count)
            yield GaugeMetricFamily(
                "reprise_session_state_bytes", "What Redis holds of their states.", state_bytes
            )
