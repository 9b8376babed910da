"""Continuous batching of text generation: at every step texts join, advance together and leave.

A recurrent state has a fixed size, so joining is a concatenation and leaving is an index. Every
row has its own settings, random numbers, decoder and stop strings: what it draws does not depend
on its neighbours. All of it runs on the engine's thread.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.generation.predictor import Generator
from rnn.generation.sampling import Sampler, make_sampler
from rnn.state import HiddenState
from service.errors import ContextTooLongError, Fault
from service.inference.beams import Beams
from service.inference.generation import Generation
from service.inference.prefix_cache import Prefix, PrefixCache, Snapshot, prefixes
from service.inference.requests import PromptRead
from service.inference.texts import Outbox, Text, sampling_settings

PREFILL_TOKENS = 512  # of all prompts together between two steps, so that a long one stalls nobody


@dataclass(eq=False)
class _Prompt:
    """A prompt being read; its texts wait for the end of it.

    It is read from one of its prefixes to the next. Where they end does not depend on what was read
    before nor on who reads beside it, so neither do the numbers.
    """

    generation: Generation
    tokens: list[int]
    texts: list[Text]
    prefixes: list[Prefix]
    read: int = 0  # of the tokens
    cached: int = 0  # of those read
    snapshot: Snapshot | None = None  # after them

    @property
    def complete(self) -> bool:
        return self.read == len(self.tokens)

    @property
    def missing(self) -> Prefix:
        """The next one to be read to its end."""
        return next(prefix for prefix in self.prefixes if prefix.tokens > self.read)


@dataclass(eq=False)
class _Batch:
    """The texts of one network, row by row beside their hidden states.

    Attributes:
        last_b: the token that each text ends with, not yet read.
    """

    model: Generator
    texts: list[Text]
    sampler: Sampler
    state: HiddenState
    last_b: NDArray[np.int64]

    def keep(self, wanted: list[int]) -> None:
        if len(wanted) < len(self.texts):
            self.texts = [self.texts[i] for i in wanted]
            self.sampler = self.sampler.select(wanted)
            self.state = self.state.select(wanted)
            self.last_b = self.last_b[wanted]

    def join(self, other: "_Batch") -> None:
        self.texts = self.texts + other.texts
        self.sampler = Sampler.cat([self.sampler, other.sampler])
        self.state = HiddenState.cat([self.state, other.state])
        self.last_b = np.concatenate([self.last_b, other.last_b])


class Decoder:
    """All texts being generated, of all networks, in at most `slots` rows."""

    def __init__(self, slots: int, max_prompt_tokens: int, prefix_cache_bytes: int = 0) -> None:
        self._slots = slots
        self._max_prompt_tokens = max_prompt_tokens
        self._cache = PrefixCache(prefix_cache_bytes)
        self._waiting: deque[Generation] = deque()
        self._prompts: deque[_Prompt] = deque()
        self._batches: dict[int, _Batch] = {}
        self._searches: list[Beams] = []
        self._outbox: Outbox = []

    @property
    def rows(self) -> int:
        """Slots in use."""
        begun = sum(len(batch.texts) for batch in self._batches.values())
        return begun + sum(generation.request.rows for generation in self._not_in_a_batch())

    @property
    def cache_bytes(self) -> int:
        return self._cache.size_bytes

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._prompts or self._batches or self._searches)

    def add(self, generation: Generation) -> None:
        self._waiting.append(generation)

    def turn(self) -> Outbox:
        """Leave, join, one step of every network; returns what there is to tell, in order."""
        self._drop_cancelled()
        self._admit()
        self._read_prompts()
        for batch in self._batches.values():
            self._step(batch)
        self._searches = [search for search in self._searches if self._search_on(search)]
        self._drop_empty()
        outbox, self._outbox = self._outbox, []
        return outbox

    def fail_all(self, error: Exception) -> Outbox:
        """Forgets everything; returns what the broken turn had to tell, then the errors."""
        begun = [text.generation for batch in self._batches.values() for text in batch.texts]
        for generation in [*self._waiting, *self._not_in_a_batch(), *begun]:
            self._fail(generation, error)
        self._waiting.clear()
        self._prompts.clear()
        self._batches.clear()
        self._searches.clear()
        outbox, self._outbox = self._outbox, []
        return outbox

    def _not_in_a_batch(self) -> list[Generation]:
        """Requests whose prompt is being read, and those that search."""
        reading = [prompt.generation for prompt in self._prompts]
        return reading + [search.generation for search in self._searches]

    def _drop_cancelled(self) -> None:
        self._waiting = deque(g for g in self._waiting if not g.cancelled)
        self._prompts = deque(p for p in self._prompts if not p.generation.cancelled)
        self._searches = [s for s in self._searches if not s.generation.cancelled]
        for batch in self._batches.values():
            batch.keep([i for i, text in enumerate(batch.texts) if not text.generation.cancelled])
        self._drop_empty()

    def _drop_empty(self) -> None:
        self._batches = {key: batch for key, batch in self._batches.items() if batch.texts}

    def _fail(self, generation: Generation, error: Exception) -> None:
        """Ends every text of a request: its rows leave at the next turn."""
        if not generation.cancelled:
            generation.cancelled = True
            self._outbox.append((generation, error))

    def _admit(self) -> None:
        """In the order of arrival, as many as there are free rows."""
        while self._waiting and self.rows + self._waiting[0].request.rows <= self._slots:
            generation = self._waiting.popleft()
            try:
                tokens = self._encode(generation)
                texts = [Text(generation, index) for index in range(generation.request.n)]
            except Exception as error:
                self._fail(generation, error)
                continue
            known = prefixes(tokens, generation.request.owner)
            self._prompts.append(_Prompt(generation, tokens, texts, known))

    def _encode(self, generation: Generation) -> list[int]:
        tokens = generation.model.encode(generation.request.prompt)
        if len(tokens) > self._max_prompt_tokens:
            message = f"{len(tokens)} tokens, the limit is {self._max_prompt_tokens}"
            raise ContextTooLongError(
                f"The prompt is too long: {message}.", faults=[Fault(("body", "prompt"), message)]
            )
        return tokens

    def _read_prompts(self) -> None:
        """Pieces of many prompts at once: a batch takes little longer than one of them."""
        budget = PREFILL_TOKENS
        while self._prompts and budget > 0:
            together = self._next_to_read(budget)
            budget -= sum(prompt.missing.tokens - prompt.read for prompt in together)
            self._read_on(together)
            for prompt in [prompt for prompt in self._prompts if prompt.complete]:
                self._prompts.remove(prompt)
                try:
                    self._begin(prompt)
                except Exception as error:
                    self._fail(prompt.generation, error)
            self._prompts = deque(p for p in self._prompts if not p.generation.cancelled)

    def _next_to_read(self, budget: int) -> list[_Prompt]:
        """In the order of arrival, of the first one's network. Who goes on as another one of them
        waits for what is kept of that."""
        together: list[_Prompt] = []
        keys: set[bytes] = set()
        for prompt in self._prompts:
            if budget <= 0:
                break
            model = prompt.generation.model
            if model is not self._prompts[0].generation.model:
                continue
            if prompt.read == prompt.cached:  # it has read nothing itself
                found = self._cache.longest(model, prompt.prefixes)
                if found is not None:
                    prefix, prompt.snapshot = found
                    prompt.read = prompt.cached = prefix.tokens
            if prompt.complete or (self._cache.keeps and prompt.missing.key in keys):
                continue
            keys.add(prompt.missing.key)
            together.append(prompt)
            budget -= prompt.missing.tokens - prompt.read
        return together

    def _read_on(self, together: list[_Prompt]) -> None:
        """Each up to the end of one more prefix."""
        if not together:
            return
        model = together[0].generation.model
        try:
            pieces = [prompt.tokens[prompt.read : prompt.missing.tokens] for prompt in together]
            states = [
                prompt.snapshot.state if prompt.snapshot else model.initial_state(1)
                for prompt in together
            ]
            logits_bv, state = model.prefill_rows(pieces, HiddenState.cat(states))
            for row, prompt in enumerate(together):
                # Copies, so that what is kept of one does not keep the others.
                prompt.snapshot = Snapshot(logits_bv[row].clone(), state.row(row))
                self._cache.store(model, prompt.missing, prompt.snapshot)
                prompt.read = prompt.missing.tokens
        except Exception as error:
            for prompt in together:
                self._fail(prompt.generation, error)

    def _begin(self, prompt: _Prompt) -> None:
        """Draws the first token of each text; those that go on join their network's batch. Beams
        are searched by themselves."""
        generation, snapshot, rows = prompt.generation, prompt.snapshot, len(prompt.texts)
        assert snapshot is not None
        read = PromptRead(len(prompt.tokens), prompt.cached)
        self._outbox.append((generation, read))
        if generation.request.num_beams > 1:
            self._searches.append(Beams(generation, prompt.texts, snapshot))
            return
        begun = _Batch(
            generation.model,
            prompt.texts,
            make_sampler(
                [sampling_settings(generation.request, index) for index in range(rows)],
                [prompt.tokens] * rows,
                len(snapshot.logits_v),
            ),
            snapshot.state.select([0] * rows),
            np.zeros(rows, np.int64),
        )
        self._draw(begun, snapshot.logits_v.expand(rows, -1))
        if begun.texts:
            batch = self._batches.setdefault(id(generation.model), begun)
            if batch is not begun:
                batch.join(begun)

    def _step(self, batch: _Batch) -> None:
        try:
            tokens_b = torch.from_numpy(batch.last_b)
            logits_bv, batch.state = batch.model.step(tokens_b, batch.state)
            self._draw(batch, logits_bv)
        except Exception as error:
            for text in batch.texts:
                self._fail(text.generation, error)
            batch.keep([])

    def _search_on(self, search: Beams) -> bool:
        """One step; False when it has ended."""
        try:
            return search.turn(self._outbox)
        except Exception as error:
            self._fail(search.generation, error)
            return False

    def _draw(self, batch: _Batch, logits_bv: Tensor) -> None:
        """One token for each row; those that are complete leave.

        A row whose logits are not finite, or whose token has no text, fails alone.
        """
        draws = batch.sampler.draw(logits_bv)
        batch.last_b = draws.tokens_b
        for row in np.flatnonzero(~draws.finite_b):
            error = ArithmeticError("the network's output is not finite")
            self._fail(batch.texts[row].generation, error)
        alive = []
        for i, (text, token) in enumerate(zip(batch.texts, draws.tokens_b.tolist(), strict=True)):
            if text.generation.cancelled:
                continue
            try:
                if text.take(token, draws.logprobs.get(i), self._outbox):
                    alive.append(i)
            except Exception as error:
                self._fail(text.generation, error)
        batch.keep(alive)
