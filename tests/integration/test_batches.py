"""Whole data sets through real networks by a real worker, asked for and read back over HTTP."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from service.db.engine import Database
from tests.integration.asking import Asking, asking
from tests.integration.machine import Machine
from tests.job_records import outcomes_of
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION

WORKER = "workers.app"
NAMES = {FORECASTING: "demand", CLASSIFICATION: "reviews", GENERATION: "verses"}
WORDS = ["a", "warm", "and", "lovely", "film", "cold", "awful", "mess", "unheard"]


@pytest.fixture
def service(machine: Machine, trained: Mapping[str, Path]) -> Iterator[Asking]:
    """With a network of each task."""
    with asking(machine) as service:
        for task, name in NAMES.items():
            service.publish(name, task, trained[task])
        yield service


def test_the_answers_are_those_of_the_routes(machine: Machine, service: Asking) -> None:
    """To the last digit: for series, one a row and in rows sorted by time, texts and prompts."""
    forecasts, expected_forecasts = forecast(service)
    labels, expected_labels = classify(service)
    texts, expected_texts = generate(service, temperature=0.8, stop=["dog"], seed=5)
    likeliest, expected_likeliest = generate(service, num_beams=3, stop=["dog"])
    machine.start_worker(WORKER)
    for batch_id in forecasts:
        assert service.rows(batch_id) == expected_forecasts
    assert service.rows(labels) == expected_labels
    assert service.rows(texts) == expected_texts
    assert service.rows(likeliest) == expected_likeliest
    batch = service.ask("GET", f"/batches/{texts}")
    assert (batch["progress"]["rows"], batch["progress"]["failed_rows"]) == (100, 0)


def forecast(service: Asking) -> tuple[list[UUID], list[dict[str, Any]]]:
    time = np.arange(40)
    each: dict[str, list[float | None]] = {
        f"shop-{number}": [
            None if (number + step) % 17 == 0 else round(float(value), 3)
            for step, value in enumerate(10 + number + np.sin(time + number))
        ]
        for number in range(70)
    }
    wide = [{"id": name, "target": values} for name, values in each.items()]
    long = [
        f"{np.datetime64('2024-01-01') + step},{name},{'' if value is None else value}"
        for step in time
        for name, value in ((name, values[step]) for name, values in each.items())
    ]
    options = {"model": "demand", "horizon": 5, "quantiles": [0.1, 0.5, 0.95]}
    columns = {"target_column": "sales", "series_column": "shop"}
    batches = [
        service.submit_batch(service.upload("wide.jsonl", lines(wide)), **options),
        service.submit_batch(
            service.upload("long.csv", "\n".join(["date,shop,sales", *long])),
            **options,
            data=columns,
        ),
    ]
    answer = service.ask("POST", "/forecasts", {**options, "series": list(each.values())})
    return batches, [
        {
            "id": name,
            "mean": found["mean"],
            **{f"quantile_{level}": band for level, band in found["quantiles"].items()},
        }
        for name, found in zip(each, answer["forecasts"], strict=True)
    ]


def classify(service: Asking) -> tuple[UUID, list[dict[str, Any]]]:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, size=size)) for size in random.integers(1, 70, 300)]
    dataset = service.upload("reviews.jsonl", lines({"text": text} for text in texts))
    options = {"model": "reviews", "all_scores": True}
    batch_id = service.submit_batch(dataset, **options)
    answer = service.ask("POST", "/sentiment", {**options, "texts": texts})
    return batch_id, [
        {
            "row": row,
            **{name: found[name] for name in ("label", "score", "truncated", "known_share")},
            **{f"score_{each['label']}": each["score"] for each in found["scores"]},
        }
        for row, found in enumerate(answer["results"], 1)
    ]


def generate(service: Asking, **options: Any) -> tuple[UUID, list[dict[str, Any]]]:
    prompts = ["the quick", "lazy dog\tthe", "jumps", "o", "brown fox jumps over the lazy"] * 20
    dataset = service.upload("prompts.txt", "\n".join(prompts) + "\n")
    options |= {"model": "verses", "max_new_tokens": 30}
    batch_id = service.submit_batch(dataset, **options)
    expected = []
    for number, prompt in enumerate(prompts):
        body = {**options, "prompt": prompt}
        if "seed" in options:
            body["seed"] += number
        (choice,) = service.ask("POST", "/generations", body)["choices"]
        row = {"row": number + 1, "text": choice["text"]}
        expected.append({**row, "finish_reason": choice["finish_reason"]})
    return batch_id, expected


def test_a_killed_worker_changes_no_byte(
    machine: Machine, service: Asking, database: Database
) -> None:
    prompts = [" ".join(WORDS[: 1 + number % 9]) for number in range(1_000)]
    dataset = service.upload("prompts.txt", "\n".join(prompts))
    options = {"model": "verses", "max_new_tokens": 60, "seed": 1}
    whole, killed = (service.submit_batch(dataset, **options) for _ in range(2))
    worker = machine.start_worker(WORKER)
    expected = service.result(whole)
    machine.wait_checkpoint(killed, timeout_seconds=60)
    worker.kill()
    worker.wait()
    assert machine.job(killed).state == "running"  # it was killed in the middle
    machine.start_worker(WORKER)
    with machine.reaper():
        assert service.result(killed) == expected
    with database.transaction() as db:
        assert outcomes_of(db, killed) == ["lease_expired", "finished"]
    texts = [e.data["text"] for e in machine.events(killed) if e.type == "message"]
    (resumed,) = [text for text in texts if text.startswith("resumes from step")]
    assert 0 < int(resumed.split()[3].rstrip(",")) < len(prompts)


def lines(rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
