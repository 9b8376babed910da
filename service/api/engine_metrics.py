"""What an API process and its engine measure of predictions, for Prometheus."""

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from service.inference.engine import Engine
from service.inference.histogram import Histogram
from service.inference.messages import Figures


def engine_metrics(engine: Engine, figures: Figures | None) -> Iterator[Metric]:
    """`figures` None: the engine does not answer."""
    for gauge, about, value in (
        (
            "reprise_models_loaded",
            "Networks in the memory of this process's engine, or on their way there.",
            engine.held.networks,
        ),
        ("reprise_model_cache_bytes", "What those networks take.", engine.held.size_bytes),
        (
            "reprise_predictions_in_flight",
            "Predictions and steps of sessions that this process has not answered yet.",
            engine.in_flight,
        ),
        (
            "reprise_decode_slots_in_use",
            "Texts that this process generates now.",
            engine.decode_rows,
        ),
    ):
        yield GaugeMetricFamily(gauge, about, value)
    yield CounterMetricFamily(
        "reprise_prefix_cache_queries",
        "Tokens of the prompts that this process has read.",
        engine.prompt_tokens,
    )
    yield CounterMetricFamily(
        "reprise_prefix_cache_hits",
        "Of those, tokens that were read for an earlier request.",
        engine.cached_prompt_tokens,
    )
    yield _histogram(
        "reprise_request_latency_seconds",
        "From a prediction's start in this process to its answer, its failure or its cancel.",
        engine.latency_seconds,
    )
    yield _histogram(
        "reprise_time_to_first_token_seconds",
        "Of generations.",
        {"": engine.first_token_seconds},
    )
    yield _histogram(
        "reprise_inter_token_latency_seconds",
        "Between two arrivals of tokens of a generation.",
        {"": engine.token_gap_seconds},
    )
    if figures is None:
        return
    for gauge, about, value in (
        ("reprise_requests_running", "Requests that this engine computes.", figures.running),
        (
            "reprise_requests_waiting",
            "Requests that wait for their network, or for others.",
            figures.waiting,
        ),
        (
            "reprise_prefix_cache_bytes",
            "What this engine keeps of texts that it has read.",
            figures.cache_bytes,
        ),
    ):
        yield GaugeMetricFamily(gauge, about, value)
    for name, about, histogram in (
        (
            "reprise_request_queue_time_seconds",
            "How long requests waited so; texts until their prompt was read.",
            figures.queue_seconds,
        ),
        (
            "reprise_batch_size",
            "Rows computed together: series, texts, or texts that get a token.",
            figures.batch_rows,
        ),
        (
            "reprise_model_load_seconds",
            "From the first request for a network to its being ready.",
            figures.load_seconds,
        ),
    ):
        yield _histogram(name, about, {"": histogram})


def _histogram(name: str, about: str, by_kind: Mapping[str, Histogram]) -> HistogramMetricFamily:
    labels = [] if "" in by_kind else ["kind"]
    family = HistogramMetricFamily(name, about, labels=labels)
    for kind, found in by_kind.items():
        bounds = [*map(str, found.bounds), "+Inf"]
        counts = [float(count) for count in accumulate(found.counts)]
        buckets = list(zip(bounds, counts, strict=True))
        family.add_metric([kind] if labels else [], buckets, found.total)
    return family
