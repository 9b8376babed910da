"""What is kept of prompts, and that texts are the same with it as without."""

import gc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnn.checkpoint import load_model
from rnn.generation.predictor import Generator
from rnn.state import HiddenState
from service.inference import prefix_cache
from service.inference.prefix_cache import Prefix, PrefixCache, Snapshot
from service.inference.requests import GenerationRequest, PromptRead
from tests.unit.inference.conftest import write_generator
from tests.unit.inference.test_decode import Caller


class Network:
    """Stands for one: the cache only tells them apart."""


def network() -> Any:
    return Network()


def snapshot(value: float = 0.0) -> Snapshot:
    return Snapshot(torch.full((10,), value), HiddenState(torch.full((2, 1, 3), value)))


SNAPSHOT_BYTES = snapshot().size_bytes


def prefixes(tokens: list[int], owner: str = "u") -> list[Prefix]:
    return prefix_cache.prefixes(tokens, owner)


def test_prefixes_end_at_blocks_and_at_the_end() -> None:
    tokens = list(range(700))
    assert [prefix.tokens for prefix in prefixes(tokens)] == [256, 512, 700]
    assert [prefix.tokens for prefix in prefixes(tokens[:512])] == [256, 512]
    assert [prefix.tokens for prefix in prefixes(tokens[:3])] == [3]


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=9),
    st.lists(st.integers(0, 2), min_size=1, max_size=9),
)
def test_keys_are_equal_where_all_tokens_up_to_there_are(a: list[int], b: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_cache, "BLOCK_TOKENS", 2)
        for one in prefixes(a):
            for other in prefixes(b):
                assert (one.key == other.key) == (a[: one.tokens] == b[: other.tokens])


def test_the_longest_prefix_is_found_even_where_a_shorter_one_has_left() -> None:
    cache, model, tokens = PrefixCache(10 * SNAPSHOT_BYTES), network(), list(range(600))
    first, second, whole = prefixes(tokens)
    assert cache.longest(model, [first, second, whole]) is None
    cache.store(model, second.key, snapshot(2))
    found = cache.longest(model, prefixes([*tokens, 1, 2, 3]))
    assert found is not None
    assert found[0] == second
    assert found[1].logits_v[0] == 2
    cache.store(model, whole.key, snapshot(3))
    found = cache.longest(model, [first, second, whole])
    assert found is not None
    assert found[0] == whole
    assert cache.longest(network(), [first, second, whole]) is None


def test_owners_share_nothing() -> None:
    """Two workspaces may ask the same bytes: `cached_tokens` would tell one the other's prompts."""
    for one in prefixes(list(range(300)), "u"):
        assert one.key not in {other.key for other in prefixes(list(range(300)), "v")}


@given(st.lists(st.tuples(st.sampled_from("uv"), st.booleans(), st.integers(0, 7)), max_size=60))
def test_it_keeps_the_most_recently_used_within_its_bytes(
    calls: list[tuple[str, bool, int]],
) -> None:
    cache, models = PrefixCache(3 * SNAPSHOT_BYTES + 1), {"u": network(), "v": network()}
    expected: OrderedDict[tuple[str, int], float] = OrderedDict()
    for number, (name, stores, token) in enumerate(calls):
        (prefix,) = prefixes([token])
        if stores:
            cache.store(models[name], prefix.key, snapshot(float(number)))
            expected[name, token] = number
            expected.move_to_end((name, token))
            while len(expected) > 3:
                expected.popitem(last=False)
        else:
            found = cache.longest(models[name], [prefix])
            value = None if found is None else float(found[1].logits_v[0])
            assert value == expected.get((name, token))
            if found:
                expected.move_to_end((name, token))
        assert cache.size_bytes == len(expected) * SNAPSHOT_BYTES


def test_what_alone_is_too_large_displaces_nothing() -> None:
    cache, model = PrefixCache(SNAPSHOT_BYTES), network()
    (small,), (large,) = prefixes([1]), prefixes([2])
    cache.store(model, small.key, snapshot())
    cache.store(model, large.key, Snapshot(torch.zeros(1_000), HiddenState(torch.zeros(2, 1, 3))))
    assert cache.longest(model, [small]) is not None
    assert cache.longest(model, [large]) is None


def test_a_network_that_leaves_takes_its_snapshots_along() -> None:
    cache, model, other = PrefixCache(10 * SNAPSHOT_BYTES), network(), network()
    (prefix,) = prefixes([1])
    cache.store(model, prefix.key, snapshot())
    cache.store(other, prefix.key, snapshot())
    del model
    gc.collect()
    assert cache.size_bytes == SNAPSHOT_BYTES
    assert cache.longest(other, [prefix]) is not None


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    """Cells of the kernels and one that torch computes, which takes many timesteps at once."""
    found = {}
    for cell in ("lstm", "gru", "mlstm"):
        model = load_model(write_generator(tmp_path_factory.mktemp("cells") / cell, cell=cell))
        assert isinstance(model, Generator)
        found[cell] = model
    return found


def text(caller: Caller, request: GenerationRequest, model: Generator) -> tuple[Any, list[Any]]:
    generation = caller.add(request, model)
    caller.finish()
    read, *rest = caller.events[generation]
    assert isinstance(read, PromptRead)
    return read, rest


@pytest.mark.parametrize("cell", ["lstm", "gru", "mlstm"])
@given(
    st.lists(
        st.tuples(st.sampled_from(["ab", "abba" * 7, "b"]), st.integers(0, 9)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, 40_000, 10**9]),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_texts_are_the_same_bit_for_bit_with_and_without_it(
    models: dict[str, Generator], cell: str, parts: list[tuple[str, int]], max_bytes: int
) -> None:
    """Logarithmic probabilities too. Of prompts that go on from each other, some are cut within a
    block, and some snapshots have had to make room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_cache, "BLOCK_TOKENS", 5)
        caller = Caller(prefix_cache_bytes=max_bytes)
        prompt = ""
        for part, seed in [*parts, ("", 3)]:
            prompt += part
            request = GenerationRequest(prompt, 4, n=2, seed=seed, logprobs=2)
            read, events = text(caller, request, models[cell])
            cold, expected = text(Caller(), request, models[cell])
            assert events == expected
            assert (read.tokens, cold.cached_tokens) == (len(prompt), 0)
        assert read.cached_tokens == (len(prompt) if max_bytes == 10**9 else read.cached_tokens)
        assert max_bytes or not read.cached_tokens


def test_equal_prompts_that_come_together_are_read_once(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    prefill = Generator.prefill_rows

    def counted(model: Generator, rows: list[list[int]], state: HiddenState) -> Any:
        lengths.append([len(tokens) for tokens in rows])
        return prefill(model, rows, state)

    monkeypatch.setattr(Generator, "prefill_rows", counted)
    caller = Caller(prefix_cache_bytes=2**20)
    prompt = "x" * 600
    together = [caller.add(GenerationRequest(prompt, 3, seed=i), generator) for i in range(5)]
    longer = caller.add(GenerationRequest(prompt + "yy", 3), generator)
    caller.finish()
    assert lengths == [[256], [256], [88, 90]]
    assert [caller.events[one][0] for one in together] == [
        PromptRead(600, 0),
        *[PromptRead(600, 600)] * 4,
    ]
    assert caller.events[longer][0] == PromptRead(602, 512)


def test_a_loaded_network_that_is_dropped_frees_its_snapshots(tmp_path: Path) -> None:
    caller = Caller(prefix_cache_bytes=2**20)
    model = load_model(write_generator(tmp_path / "model"))
    assert isinstance(model, Generator)
    text(caller, GenerationRequest("abc", 2), model)
    assert caller.decoder._cache.size_bytes > 0
    caller.events.clear()
    del model
    gc.collect()
    assert caller.decoder._cache.size_bytes == 0
