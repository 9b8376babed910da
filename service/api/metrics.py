"""`/metrics`: jobs and alarms of the whole machine, prompts of this process, for Prometheus."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

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
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject
from service.inference.engine import Engine
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
        figures = _Figures(count_jobs(db), alarms_now(db, services), services.engine)
    registry = CollectorRegistry()
    registry.register(figures)
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Figures(Collector):
    def __init__(self, statistics: Statistics, alarms: list[Alarm], engine: Engine) -> None:
        self._statistics = statistics
        self._alarms = alarms
        self._engine = engine

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
        counts: Counter[AlarmKind] = Counter()
        for alarm in self._alarms:
            counts[alarm.kind] += alarm.count
        alarms = GaugeMetricFamily(
            "reprise_alarms", "What each alarm is about; 0: all is well.", labels=["kind"]
        )
        for kind in AlarmKind:
            alarms.add_metric([kind], counts[kind])
        yield alarms
        yield GaugeMetricFamily(
            "reprise_models_loaded",
            "Networks in the memory of this process's engine, or on their way there.",
            self._engine.held.networks,
        )
        yield GaugeMetricFamily(
            "reprise_model_cache_bytes",
            "What those networks take.",
            self._engine.held.size_bytes,
        )
        yield CounterMetricFamily(
            "reprise_prefix_cache_queries",
            "Tokens of the prompts that this process has read.",
            self._engine.prompt_tokens,
        )
        yield CounterMetricFamily(
            "reprise_prefix_cache_hits",
            "Of those, tokens that were read for an earlier request.",
            self._engine.cached_prompt_tokens,
        )
        yield GaugeMetricFamily(
            "reprise_prefix_cache_bytes",
            "What this process keeps of prompts that it has read.",
            self._engine.cache_bytes,
        )
        yield GaugeMetricFamily(
            "reprise_predictions_in_flight",
            "Predictions and steps of sessions that this process has not answered yet.",
            self._engine.in_flight,
        )
        yield GaugeMetricFamily(
            "reprise_decode_slots_in_use",
            "Texts that this process generates now.",
            self._engine.decode_rows,
        )
