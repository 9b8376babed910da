"""POST /api/v1/generations on a tiny trained network, whole and streamed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from service.app import create_app
from service.auth.subjects import Scope
from service.inference.decode import Decoder
from service.settings import Settings
from tests.api.bad_rows import Row, check_rows
from tests.api.conftest import MakeKey, bearer, problem
from tests.serving import LINE

PATH = "/api/v1/generations"
GOOD: dict[str, Any] = {"model": "verses", "prompt": "the quick ", "max_new_tokens": 24, "seed": 5}

pytestmark = pytest.mark.usefixtures("models")


def ask(client: TestClient, headers: dict[str, str], **change: Any) -> Any:
    response = client.post(PATH, json={**GOOD, **change}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def events_of(text: str) -> Iterator[tuple[str, Any]]:
    for block in text.removesuffix("\n\n").split("\n\n"):
        first, second = block.split("\n")
        yield first.removeprefix("event: "), json.loads(second.removeprefix("data: "))


def stream(client: TestClient, headers: dict[str, str], **change: Any) -> list[tuple[str, Any]]:
    response = client.post(PATH, json={**GOOD, "stream": True, **change}, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return list(events_of(response.text))


def test_the_answer(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(client, headers, temperature=0)
    assert answer["model"] == {"name": "verses", "version": 1}
    (choice,) = answer["choices"]
    assert choice["index"] == 0
    assert choice["finish_reason"] == "length"
    assert choice["text"] == LINE[10:34]
    assert "logprobs" not in choice
    assert answer["usage"] == {"prompt_tokens": 10, "cached_tokens": 0, "completion_tokens": 24}


def test_the_same_seed_is_the_same_text(client: TestClient, headers: dict[str, str]) -> None:
    """completions-09."""
    hot = {"temperature": 3.0}
    first = ask(client, headers, **hot)["choices"]
    assert ask(client, headers, **hot)["choices"] == first
    assert ask(client, headers, **hot, seed=6)["choices"] != first
    unseeded = [ask(client, headers, **hot, seed=None)["choices"][0]["text"] for _ in range(3)]
    assert len(set(unseeded)) > 1
    cold = {"temperature": 0, "seed": None}
    assert ask(client, headers, **cold) == ask(client, headers, **cold)
    penalties = {"presence_penalty": 0.5, "frequency_penalty": 0.5}
    assert ask(client, headers, **hot, **penalties)["choices"] != first


def test_several_texts(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(client, headers, n=4, temperature=2.0)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert len({choice["text"] for choice in answer["choices"]}) > 1
    assert answer["usage"]["completion_tokens"] == 4 * 24
    assert (
        answer["choices"][2]["text"]
        == (ask(client, headers, temperature=2.0, seed=7)["choices"][0]["text"])
    )


def test_a_stop_string_is_no_part_of_the_text(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(client, headers, temperature=0, stop=["zebra", " jumps"], max_new_tokens=100)
    (choice,) = answer["choices"]
    assert choice["text"] == "brown fox"
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len("brown fox jumps")


def test_logprobs(client: TestClient, headers: dict[str, str]) -> None:
    (choice,) = ask(client, headers, logprobs=3, temperature=0)["choices"]
    drawn = choice["logprobs"]
    assert bytes(each["token"] for each in drawn).decode() == choice["text"]
    assert all(each["logprob"] <= 0 for each in drawn)
    assert sum(each["logprob"] for each in drawn) > -24  # it knows this line well
    for each in drawn:
        best = {"token": each["token"], "text": chr(each["token"]), "logprob": each["logprob"]}
        assert each["likeliest"][0] == best
        assert len(each["likeliest"]) == 3
    (choice,) = ask(client, headers, logprobs=0, temperature=0)["choices"]
    assert choice["logprobs"] == [{**each, "likeliest": []} for each in drawn]


def test_a_prompt_is_read_once_and_the_answer_says_so(
    client: TestClient, headers: dict[str, str], make_key: MakeKey, app: FastAPI
) -> None:
    long = LINE * 8
    cold = ask(client, headers, prompt=long)
    assert cold["usage"]["cached_tokens"] == 0
    warm = ask(client, headers, prompt=long)
    assert warm["usage"]["cached_tokens"] == warm["usage"]["prompt_tokens"] == len(long)
    assert warm["choices"] == cold["choices"]
    longer = ask(client, headers, prompt=long + "the quick")
    assert longer["usage"]["cached_tokens"] == 256
    *_, (_, done) = stream(client, headers, prompt=long)
    assert done["usage"] == warm["usage"]
    metrics = client.get("/metrics", headers=headers | {"Accept": "text/plain"}).text
    queries, hits = 4 * len(long) + len("the quick"), 2 * len(long) + 256
    assert f"reprise_prefix_cache_queries_total {float(queries)}" in metrics
    assert f"reprise_prefix_cache_hits_total {float(hits)}" in metrics
    assert "reprise_models_loaded 1.0" in metrics
    assert "reprise_model_cache_bytes 0.0" not in metrics


def test_beams(client: TestClient, headers: dict[str, str]) -> None:
    search = {"seed": None, "num_beams": 4, "n": 2, "logprobs": 0}
    answer = ask(client, headers, **search)
    best, second = answer["choices"]
    assert best["text"] == LINE[10:34]  # it knows this line well
    assert second["text"] != best["text"]
    assert answer["usage"]["completion_tokens"] == 2 * 24
    totals = [sum(each["logprob"] for each in choice["logprobs"]) for choice in (best, second)]
    assert totals[0] > totals[1]
    assert ask(client, headers, **search)["choices"] == answer["choices"]
    (stopped,) = ask(client, headers, seed=None, num_beams=3, stop=[" jumps"])["choices"]
    assert (stopped["text"], stopped["finish_reason"]) == ("brown fox", "stop")


def test_null_is_the_default_length(client: TestClient, headers: dict[str, str]) -> None:
    """completions-05."""
    assert ask(client, headers, max_new_tokens=None)["usage"]["completion_tokens"] == 128


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.8},
        {"temperature": 0, "stop": ["jumps", "\n"], "max_new_tokens": 80},
        {"n": 3, "temperature": 5.0, "max_new_tokens": 100},  # bytes that are no UTF-8 too
    ],
)
def test_streamed_equals_whole(
    client: TestClient, headers: dict[str, str], change: dict[str, Any]
) -> None:
    whole = ask(client, headers, **change)
    *tokens, (last, done) = stream(client, headers, **change)
    assert last == "done"
    assert {name for name, _ in tokens} == {"token"}
    for choice in whole["choices"]:
        pieces = [data["text"] for _, data in tokens if data["index"] == choice["index"]]
        assert "".join(pieces) == choice["text"]
        assert all(pieces)
    assert done["usage"] == whole["usage"] | {"cached_tokens": done["usage"]["prompt_tokens"]}
    assert done["model"] == whole["model"]
    assert done["choices"] == [
        {"index": choice["index"], "finish_reason": choice["finish_reason"]}
        for choice in whole["choices"]
    ]


def test_a_stream_with_logprobs_has_an_event_for_each_token(
    client: TestClient, headers: dict[str, str]
) -> None:
    *tokens, _ = stream(client, headers, logprobs=2, temperature=0)
    (whole,) = ask(client, headers, logprobs=2, temperature=0)["choices"]
    told = ("token", "logprob", "likeliest")
    assert [{name: data[name] for name in told} for _, data in tokens] == whole["logprobs"]


def test_what_is_wrong_from_the_start_is_no_stream(
    client: TestClient, headers: dict[str, str]
) -> None:
    body = {**GOOD, "stream": True, "model": "demand"}
    response = client.post(PATH, json=body, headers=headers)
    assert (response.status_code, problem(response)) == (409, "model-task-mismatch")


def test_an_error_in_the_middle_is_the_last_event(
    client: TestClient,
    headers: dict[str, str],
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask(client, headers)
    draw = Decoder._draw
    calls = 0

    def fails_later(self: Decoder, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise RuntimeError("the secret detail")
        return draw(self, *arguments)

    monkeypatch.setattr(Decoder, "_draw", fails_later)
    *tokens, (last, data) = stream(client, headers, temperature=0)
    assert len(tokens) == 5
    assert last == "error"
    assert data["type"] == "urn:reprise:problem:internal"
    assert "secret" not in json.dumps(data)
    monkeypatch.undo()
    assert ask(client, headers, temperature=0)["choices"][0]["text"] == LINE[10:34]
    assert app.state.services.engine.decode_rows == 0


INVALID = (422, "validation-error")
NOT_JSON = (400, "malformed-json")
ROWS = [
    Row("completions-01", *INVALID, {"n": 10**9}, location="body.n"),
    *(
        Row("completions-02", *INVALID, {"n": n}, location="body.n")
        for n in (0, -1, 1.5, "2", True)
    ),
    Row("completions-03", *INVALID, {"prompt": ["a"] * 100_000}, location="body.prompt"),
    *(
        Row("completions-05", *INVALID, {"max_new_tokens": n}, location="body.max_new_tokens")
        for n in (0, -1, 10**9, 8_193)
    ),
    Row("n x tokens", *INVALID, {"n": 5, "max_new_tokens": 8_000}, location="body.max_new_tokens"),
    Row("completions-07", *INVALID, {"temperature": -1}, location="body.temperature"),
    Row("completions-07 NaN", *NOT_JSON, raw=b'{"model":"verses","prompt":"a","temperature":NaN}'),
    Row("completions-07 1e6", *INVALID, {"temperature": 1e6}, location="body.temperature"),
    Row("completions-08 top_p", *INVALID, {"top_p": 0}, location="body.top_p"),
    Row("completions-08 top_p", *INVALID, {"top_p": 1.1}, location="body.top_p"),
    Row("completions-08 top_k", *INVALID, {"top_k": -5}, location="body.top_k"),
    Row("completions-08 top_k", *INVALID, {"top_k": 10**9}, location="body.top_k"),
    *(
        Row("completions-10", *INVALID, {"seed": seed}, location="body.seed")
        for seed in (-1, 2**64, "x")
    ),
    Row("completions-11 many", *INVALID, {"stop": ["a"] * 10_000}, location="body.stop"),
    Row("completions-11 17", *INVALID, {"stop": ["a"] * 17}, location="body.stop"),
    Row("completions-11 long", *INVALID, {"stop": ["a" * 2**20]}, location="body.stop.0"),
    Row("completions-11 empty", *INVALID, {"stop": ["a", ""]}, location="body.stop.1"),
    *(
        Row("completions-13", *INVALID, {"logprobs": count}, location="body.logprobs")
        for count in (10**6, 21, -1, True)
    ),
    Row("completions-14", *INVALID, {"logit_bias": {"-1": 1}}),
    Row("completions-14 NaN", *NOT_JSON, raw=b'{"logit_bias":{"1":NaN}}'),
    Row("completions-15", *INVALID, {"prompt": ""}, location="body.prompt"),
    Row("completions-16", 422, "context-too-long", {"prompt": "é" * 8_193}),
    Row("completions-16 chars", *INVALID, {"prompt": "a" * 100_001}, location="body.prompt"),
    Row("completions-17", *INVALID, {"prompt": [1, 2, 2**63]}, location="body.prompt"),
    Row("completions-18 NUL", *INVALID, {"prompt": "a\0b"}, location="body.prompt"),
    Row("completions-18", *INVALID, raw=b'{"model":"verses","prompt":"\\udc00"}'),
    Row("completions-19", *INVALID, {"regex": "a*"}, location="body.regex"),
    Row("completions-21", *INVALID, {"chat_template": "x", "extra_body": {}}),
    Row("completions-23", *INVALID, {"stream": "true"}, location="body.stream"),
    Row("completions-28 other", 409, "model-task-mismatch", {"model": "demand"}),
    Row("completions-28 unknown", 404, "not-found", {"model": "nobody"}),
    *(
        Row("completions-29", *INVALID, {"model": name}, location="body.model")
        for name in ("../../x", "a/b", "x" * 10_240, "", "verses:0", "verses@", "verses:1@x", "v\n")
    ),
    Row("completions-33", *INVALID, {"user": "x" * 10_240}, location="body.user"),
    Row("completions-34 deep", *NOT_JSON, raw=b'{"a":' * 100_000),
    Row("completions-34 twice", *NOT_JSON, raw=b'{"prompt":"a","prompt":"b"}'),
    Row("completions-35", 413, "body-too-large", raw=b" " * (8 * 2**20 + 1)),
    Row("completions-36", 401, "unauthenticated", headers={"Authorization": "Bearer no"}),
    Row("completions-39", *INVALID, {"tools": [], "function_call": "auto"}),
    *(
        Row("beams", *INVALID, {"num_beams": count}, location="body.num_beams")
        for count in (0, 17, 1.5, True)
    ),
    Row("beams and n", *INVALID, {"num_beams": 2, "n": 3, "seed": None}, location="body.n"),
    Row("beams and seed", *INVALID, {"num_beams": 2}, location="body.seed"),
    *(
        Row(
            "beams and more",
            *INVALID,
            {"num_beams": 2, "seed": None, name: value},
            location=f"body.{name}",
        )
        for name, value in (("temperature", 0), ("top_k", 5), ("stream", True))
    ),
    Row("length_penalty", *INVALID, {"length_penalty": 1}, location="body.length_penalty"),
    Row(
        "length_penalty",
        *INVALID,
        {"num_beams": 2, "seed": None, "length_penalty": 11},
        location="body.length_penalty",
    ),
    Row("min_p", *INVALID, {"min_p": 1.5}, location="body.min_p"),
    Row("penalty", *INVALID, {"repetition_penalty": 0}, location="body.repetition_penalty"),
    Row("penalty", *INVALID, {"presence_penalty": 11}, location="body.presence_penalty"),
    Row("penalty", *INVALID, {"frequency_penalty": -11}, location="body.frequency_penalty"),
]


def test_bad_inputs(client: TestClient, headers: dict[str, str]) -> None:
    """completions-40 too: the same good request after every row."""
    ask(client, headers)  # from now on its prompt is a cached one
    check_rows(client, PATH, headers, GOOD, ROWS)


def test_a_tiny_temperature_is_a_cold_one(client: TestClient, headers: dict[str, str]) -> None:
    """completions-07: 1e-45 is no number to divide by."""
    for temperature in (1e-45, 1e-12, 1e-5):
        answer = ask(client, headers, temperature=temperature)
        assert answer["choices"][0]["text"] == LINE[10:34]


def test_the_longest_prompt_is_read(settings: Settings, headers: dict[str, str]) -> None:
    """completions-16: one token less than too long."""
    short = settings.model_copy(update={"max_prompt_tokens": 1_000})
    with TestClient(create_app(short), base_url="http://localhost") as client:
        assert ask(client, headers, prompt="a" * 1_000)["usage"]["prompt_tokens"] == 1_000
        response = client.post(PATH, json={**GOOD, "prompt": "a" * 1_001}, headers=headers)
        assert (response.status_code, problem(response)) == (422, "context-too-long")
        assert response.json()["errors"][0]["location"] == "body.prompt"


def test_an_error_holds_no_long_prompt(client: TestClient, headers: dict[str, str]) -> None:
    """completions-30."""
    secret = "swordfish " * 100
    response = client.post(PATH, json={**GOOD, "prompt": [secret], "n": 0}, headers=headers)
    assert response.status_code == 422
    assert response.text.count("swordfish") <= 20


def test_scopes_and_workspaces(client: TestClient, make_key: MakeKey) -> None:
    """completions-28 and completions-36."""
    stranger = client.post(PATH, json=GOOD, headers=bearer(make_key(workspace_name="other")))
    assert (stranger.status_code, problem(stranger)) == (404, "not-found")
    powerless = client.post(PATH, json=GOOD, headers=bearer(make_key([Scope.MODELS_READ])))
    assert (powerless.status_code, problem(powerless)) == (403, "forbidden")
