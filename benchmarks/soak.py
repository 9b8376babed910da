"""Ten thousand requests, of which many are left before their answer: who is told what, and what
stays behind.

    .venv/bin/python -m benchmarks.soak --out benchmarks/results/soak.md

Forecasts, labels, texts (at once and streamed) and sessions go to a service of its own by 32
clients at a time. What each is told must be exactly what the same request was told alone. Who
leaves a step of a session sends it again, and must be told what it would have been.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.quality.rows import Place
from benchmarks.service import own_service

CLIENTS = 32
LEFT_SHARE, LEFT_AFTER_SECONDS = 0.3, 0.03  # on average
TIMEOUT_SECONDS = 120.0
SETTLE_SECONDS = 10.0
LOOKS = 5  # at the memory, in equal parts of the requests
MIB = 2**20
LIMITS = {
    "REPRISE_REQUESTS_PER_MINUTE": "100000000",
    "REPRISE_MAX_CONCURRENT_PREDICTIONS": "512",
}
STARTERS = ("starter-forecaster", "starter-sentiment", "starter-english")
GAUGES = (
    "reprise_predictions_in_flight",
    "reprise_decode_slots_in_use",
    "reprise_prefix_cache_bytes",
)
WORDS = (
    "the",
    "film",
    "was",
    "not",
    "very",
    "good",
    "bad",
    "warm",
    "cold",
    "lovely",
    "story",
    "awful",
)

Told = list[Any]


@dataclass(frozen=True)
class Visit:
    """What one caller wants: one request, or a session with its steps."""

    kind: str
    path: str
    bodies: tuple[dict[str, Any], ...]


@dataclass
class Report:
    """What was seen.

    Attributes:
        requests: of each kind that were sent.
        left: of these, before they were answered.
        wrong: answers that were not those of the same request alone.
        memory: after so many requests, bytes of the API process and of the engine.
        gauges: at the first and at the last of these looks.
        sessions: that are still there.
    """

    requests: Counter[str] = field(default_factory=Counter)
    left: int = 0
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[int, int, int]] = field(default_factory=list)
    gauges: list[dict[str, float]] = field(default_factory=list)
    sessions: int = 0
    seconds: float = 0.0


def visits(models: Sequence[str], seed: int = 0) -> list[Visit]:
    """So few that the answer to each is known, so many that no two callers often want the same.

    Args:
        models: names of a forecaster, a classifier and a language model.
    """
    chance = random.Random(seed)
    forecaster, classifier, language_model = models

    def series(longest: int) -> list[float | None]:
        level, length = chance.uniform(-50, 50), chance.randint(1, longest)
        return [
            None if i and chance.random() < 0.05 else round(level + chance.gauss(0, 3), 3)
            for i in range(length)
        ]

    def text(longest: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, longest)))

    found = []
    for number in range(24):
        many = [series(120) for _ in range(chance.randint(1, 3))]
        found.append(
            Visit("forecast", "/forecasts", ({"model": forecaster, "series": many, "horizon": 6},))
        )
        texts = [text(40) for _ in range(chance.randint(1, 4))]
        found.append(Visit("labels", "/sentiment", ({"model": classifier, "texts": texts},)))
        drawn: dict[str, Any] = {
            "model": language_model,
            "prompt": text(30),
            "max_new_tokens": chance.randint(2, 40),
            "temperature": chance.choice([0.0, 0.8, 1.3]),
            "seed": number,
            "n": chance.randint(1, 2),
            "logprobs": chance.choice([None, 2]),
        }
        found.append(Visit("text", "/generations", (drawn,)))
        found.append(Visit("stream", "/generations", ({**drawn, "stream": True},)))
        begun: dict[str, Any] = {"model": models[number % 3]}
        steps: list[dict[str, Any]]
        match number % 3:
            case 0:
                steps = [{"values": series(40), "horizon": 3} for _ in range(4)]
            case 1:
                steps = [{"text": f"{text(9)} "} for _ in range(4)]
            case _:
                begun["seed"] = number
                steps = [{"text": text(9)}, *[{"max_new_tokens": 8, "temperature": 1.2}] * 3]
        found.append(Visit("session", "/sessions", (begun, *steps)))
    return found


async def soak(
    url: str, key: str, pid: int, models: Sequence[str], requests: int, seed: int = 0
) -> Report:
    """Asks the service at `url`, whose processes are below `pid`.

    The first fifth of the requests is there to fill caches; what the memory is compared with comes
    after it.
    """
    limits = httpx.Limits(max_connections=2 * CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(
        base_url=f"{url}/api/v1",
        headers={"Authorization": f"Bearer {key}"},
        limits=limits,
        timeout=TIMEOUT_SECONDS,
    ) as http:
        wanted = visits(models)
        alone = [await _Caller(http, Report()).visit(visit) for visit in wanted]
        report, chance = Report(), random.Random(seed)
        started = time.monotonic()
        for part in range(1, LOOKS + 1):
            upto = requests * part // LOOKS
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    own = random.Random(chance.random())
                    group.create_task(_come_and_go(http, report, wanted, alone, upto, own))
            report.gauges.append(await _settled(http, url, key))
            report.memory.append((report.requests.total(), *_resident(pid)))
        report.seconds = time.monotonic() - started
        report.sessions = len((await http.get("/sessions")).json()["data"])
    return report


async def _come_and_go(
    http: httpx.AsyncClient,
    report: Report,
    wanted: list[Visit],
    alone: list[Told],
    upto: int,
    chance: random.Random,
) -> None:
    while report.requests.total() < upto:
        place = chance.randrange(len(wanted))
        caller = _Caller(http, report, chance)
        try:
            told = await caller.visit(wanted[place])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            report.wrong.append(f"{wanted[place].kind} {place}: {type(error).__name__}: {error}")
            continue
        expected = alone[place]
        if told != (expected[: len(told)] if caller.gone else expected):
            report.wrong.append(f"{wanted[place].kind} {place}: {told} is not {expected}")


class _Caller:
    """One caller, who may leave: without random numbers it never does."""

    def __init__(
        self, http: httpx.AsyncClient, report: Report, chance: random.Random | None = None
    ) -> None:
        self._http, self._report, self._chance = http, report, chance
        self.gone = False

    async def visit(self, visit: Visit) -> Told:
        """What was told, in order; a beginning of it where the caller has gone."""
        match visit.kind:
            case "stream":
                return await self._stream(visit)
            case "session":
                return await self._session(visit)
        answer = await self._until_bored(visit.kind, visit.path, visit.bodies[0])
        if answer is None:
            self.gone = True
            return []
        return [_lasting(_read(answer))]

    async def _stream(self, visit: Visit) -> Told:
        self._report.requests[visit.kind] += 1
        chance = self._leaving()
        leaves_after = chance.randint(0, 40) if chance else None
        told: Told = []
        async with self._http.stream("POST", visit.path, json=visit.bodies[0]) as response:
            if response.is_error:
                await response.aread()
                _read(response)
            async for event in _events(response):
                if leaves_after is not None and len(told) == leaves_after:
                    self.gone = True
                    self._report.left += 1
                    break
                told.append(_lasting(event))
        return told

    async def _session(self, visit: Visit) -> Told:
        begun, *steps = visit.bodies
        self._report.requests["session"] += 1
        made = _read(await self._http.post(visit.path, json=begun))
        path, told = f"{visit.path}/{made['id']}", []
        for number, body in enumerate(steps, start=1):
            step = {"seq": number, **body}
            answer = await self._until_bored("step", f"{path}/steps", step)
            while answer is None or answer.status_code == 409:  # the first may be under way still
                await asyncio.sleep(0.01)
                self._report.requests["step"] += 1
                answer = await self._http.post(f"{path}/steps", json=step)
            told.append(_read(answer)["result"])
        self._report.requests["session"] += 1
        (await self._http.delete(path)).raise_for_status()
        return told

    async def _until_bored(
        self, kind: str, path: str, body: dict[str, Any]
    ) -> httpx.Response | None:
        """The answer; None: the caller hung up before it."""
        self._report.requests[kind] += 1
        chance = self._leaving()
        patience = chance.expovariate(1 / LEFT_AFTER_SECONDS) if chance else None
        try:
            async with asyncio.timeout(patience):
                return await self._http.post(path, json=body)
        except TimeoutError:
            self._report.left += 1
            return None

    def _leaving(self) -> random.Random | None:
        """Its random numbers, where it leaves this time."""
        if self._chance is None or self._chance.random() >= LEFT_SHARE:
            return None
        return self._chance


def _read(response: httpx.Response) -> Any:
    if response.is_error:
        raise ValueError(f"{response.status_code} {response.text[:300]}")
    return response.json()


def _lasting(answer: Any) -> Any:
    """Without what may be another number each time: how much of a prompt was in the cache."""
    if isinstance(answer, dict):
        return {name: _lasting(each) for name, each in answer.items() if name != "cached_tokens"}
    return answer


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    event = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield {"event": event, **json.loads(line.removeprefix("data: "))}


async def _settled(http: httpx.AsyncClient, url: str, key: str) -> dict[str, float]:
    """The gauges, as soon as nothing is under way; or as they are after a while."""
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        text = (await http.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})).text
        found = {
            name: float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0]) for name in GAUGES
        }
        if not (found[GAUGES[0]] or found[GAUGES[1]]) or time.monotonic() > until:
            return found
        await asyncio.sleep(0.05)


def _resident(pid: int) -> tuple[int, int]:
    """Bytes of the API process and of the engine, below `pid` or itself."""
    root = psutil.Process(pid)
    sizes = {"service.serve": 0, "service.inference.process": 0}
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            for name in sizes:
                if name in process.cmdline():
                    sizes[name] += process.memory_info().rss
    return sizes["service.serve"], sizes["service.inference.process"]


def page(report: Report) -> str:
    """The report as Markdown."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.requests.items()))
    first, last = report.gauges[0], report.gauges[-1]
    place = Place.here("cpu")
    rows = [
        f"| {count:,} | {api / MIB:.1f} | {engine / MIB:.1f} |"
        for count, api, engine in report.memory
    ]
    lines = [
        "# Soak",
        "",
        "`python -m benchmarks.soak`: the networks that come with the program, asked by "
        f"{CLIENTS} clients at a",
        "time over HTTP. Three of ten hang up before their answer, or within a stream; a step of a "
        "session that",
        "was left is sent again. Every answer is compared, digit for digit, with the answer to the "
        "same request",
        "alone; of a stream that was left, its beginning.",
        "",
        f"{place.machine}, {place.cores} cores, commit {place.commit}, {place.day}.",
        "",
        f"- {report.requests.total():,} requests in {report.seconds:.0f} s ({kinds}), "
        f"{report.left:,} of them left.",
        f"- Answers that were not those alone: **{len(report.wrong)}**.",
        f"- Sessions left behind: **{report.sessions}**. Predictions in flight at the end: "
        f"**{last[GAUGES[0]]:.0f}**, decode slots in use: **{last[GAUGES[1]]:.0f}**.",
        f"- Prefix cache: {first[GAUGES[2]] / MIB:.2f} MiB after the first fifth, "
        f"{last[GAUGES[2]] / MIB:.2f} MiB at the end.",
        "",
        "| requests | API process, MiB | engine, MiB |",
        "| ---: | ---: | ---: |",
        *rows,
    ]
    return (
        "\n".join([*lines, "", *(f"- {wrong[:300]}" for wrong in report.wrong[:10])]).rstrip()
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where the page goes")
    options = parser.parse_args()
    with own_service(workers=1, **LIMITS) as service:
        url = str(service.http.base_url).removesuffix("/api/v1/")
        key = service.http.headers["Authorization"].removeprefix("Bearer ")
        report = asyncio.run(soak(url, key, service.pid, STARTERS, options.requests, options.seed))
    text = page(report)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    in_flight, decoding, *_ = (report.gauges[-1][name] for name in GAUGES)
    sys.exit(bool(report.wrong or report.sessions or in_flight or decoding))


if __name__ == "__main__":
    main()
