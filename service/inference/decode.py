"""Continuous batching of text generation: at every step texts join, advance together and leave.

A recurrent state has a fixed size, so joining is a concatenation and leaving is an index. Every
row has its own settings, random numbers, decoder and stop strings: what it draws does not depend
on its neighbours. All of it runs on the engine's thread, but for what tokens are to their callers
(`service.inference.telling`).
"""

from collections import deque
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.generation.predictor import Generator
from rnn.generation.sampling import Sampler, make_sampler
from rnn.kernels.library import kernel_threads
from rnn.state import HiddenState
from service.errors import ContextTooLongError, Fault
from service.inference.beams import Beams
from service.inference.crowd import CROWD, LARGE
from service.inference.generation import Generation
from service.inference.prefix_cache import Prefix, PrefixCache, Snapshot, prefixes
from service.inference.requests import PromptRead
from service.inference.telling import Drawn, Teller, fail, take
from service.inference.texts import Outbox, Text, sampling_settings

TOKENS_AT_ONCE = 512  # of prompts: whoever comes meanwhile waits
PROMPTS_ABREAST = 4  # a timestep of four takes hardly longer than one of a single prompt


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

    def drop(self, over: set[Text]) -> None:
        if over:
            self.keep([i for i, text in enumerate(self.texts) if text not in over])

    def join(self, other: "_Batch") -> None:
        self.texts = self.texts + other.texts
        self.sampler = Sampler.cat([self.sampler, other.sampler])
        self.state = HiddenState.cat([self.state, other.state])
        self.last_b = np.concatenate([self.last_b, other.last_b])


class Decoder:
    """All texts being generated, of all networks, in at most `slots` rows.

    Args:
        prefill_tokens: of each prompt, read between two tokens of texts for which somebody waits;
            None: nobody does, and prompts are read as fast as can be.
        crowd_threads: of the kernels, for steps of many texts of a network that is not `LARGE`.
            None: as many as everywhere.
        teller: of the tokens of many texts. None: they are told like all else.
    """

    def __init__(
        self,
        slots: int,
        max_prompt_tokens: int,
        cache: PrefixCache | None = None,
        prefill_tokens: int | None = None,
        crowd_threads: int | None = None,
        teller: Teller | None = None,
    ) -> None:
        self._slots = slots
        self._max_prompt_tokens = max_prompt_tokens
        self._prefill_tokens = prefill_tokens or TOKENS_AT_ONCE
        self._abreast = slots if prefill_tokens is None else PROMPTS_ABREAST
        self._crowd_threads = crowd_threads
        self._teller = teller
        self._cache = PrefixCache(0) if cache is None else cache
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
    def busy(self) -> bool:
        return bool(self._waiting or self._prompts or self._batches or self._searches)

    def add(self, generation: Generation) -> None:
        self._waiting.append(generation)

    def read(self) -> Outbox:
        """Leave, join, and a piece of some prompts; returns what there is to tell, in order.

        It is told before those who wait for their next token take their step.
        """
        self._drop_cancelled()
        self._admit()
        self._read_prompts()
        return self._taken()

    def step(self) -> Outbox:
        """One step of every network; likewise."""
        for batch in self._batches.values():
            if batch.texts:
                self._step(batch)
        self._searches = [search for search in self._searches if self._search_on(search)]
        self._drop_empty()
        return self._taken()

    def fail_all(self, error: Exception) -> Outbox:
        """Forgets everything; returns what the broken turn had to tell, then the errors."""
        with suppress(Exception):
            self._end_telling()
        self._forget_untold()
        begun = [text.generation for batch in self._batches.values() for text in batch.texts]
        for generation in [*self._waiting, *self._not_in_a_batch(), *begun]:
            self._fail(generation, error)
        self._waiting.clear()
        self._prompts.clear()
        self._batches.clear()
        self._searches.clear()
        return self._taken()

    def _taken(self) -> Outbox:
        outbox, self._outbox = self._outbox, []
        return outbox

    @property
    def _somebody_waits(self) -> bool:
        """For the next token of a text."""
        return bool(self._batches or self._searches)

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
        if not self._batches:
            self._end_telling()
            self._forget_untold()

    def _fail(self, generation: Generation, error: Exception) -> None:
        fail(generation, error, self._outbox)

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
        """One more piece of some, and the first tokens after those that end."""
        if not self._prompts:
            return
        if together := self._next_to_read():
            self._read_on(together)
        complete = [prompt for prompt in self._prompts if prompt.complete]
        if complete:
            self._prompts = deque(prompt for prompt in self._prompts if not prompt.complete)
            self._begin(complete)
        self._prompts = deque(p for p in self._prompts if not p.generation.cancelled)

    def _next_to_read(self) -> list[_Prompt]:
        """The one that came first, and of its network those that are read soonest, so that no short
        one waits for long ones. Who goes on as another one of them waits for what is kept of that.
        """
        together: list[_Prompt] = []
        keys: set[bytes] = set()
        budget = TOKENS_AT_ONCE
        first, *others = self._prompts
        for prompt in [first, *sorted(others, key=lambda p: len(p.tokens) - p.read)]:
            if len(together) == self._abreast or budget <= 0:
                break
            model = prompt.generation.model
            if model is not first.generation.model:
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
            budget -= self._end_of_piece(prompt) - prompt.read
        return together

    def _end_of_piece(self, prompt: _Prompt) -> int:
        """Up to where a prompt is read at once: the end of a prefix, and sooner where others wait
        for their next token and the digits do not depend on it."""
        end = prompt.missing.tokens
        if self._somebody_waits and prompt.generation.model.exact_in_pieces:
            return min(end, prompt.read + self._prefill_tokens)
        return end

    def _read_on(self, together: list[_Prompt]) -> None:
        """Each by a piece."""
        model = together[0].generation.model
        try:
            ends = [self._end_of_piece(prompt) for prompt in together]
            pieces = [p.tokens[p.read : end] for p, end in zip(together, ends, strict=True)]
            states = [
                prompt.snapshot.state if prompt.snapshot else model.initial_state(1)
                for prompt in together
            ]
            self._begin_telling()
            with self._threads(model):
                logits_bv, state = model.prefill_rows(pieces, HiddenState.cat(states))
            for row, (prompt, end) in enumerate(zip(together, ends, strict=True)):
                # Copies, so that what is kept of one does not keep the others.
                prompt.snapshot = Snapshot(logits_bv[row].clone(), state.row(row))
                if end == prompt.missing.tokens:
                    self._cache.store(model, prompt.missing.key, prompt.snapshot)
                prompt.read = end
        except Exception as error:
            for prompt in together:
                self._fail(prompt.generation, error)

    def _begin(self, complete: list[_Prompt]) -> None:
        """Beams are searched by themselves, all other texts go on in their networks' batches."""
        of_model: dict[int, list[_Prompt]] = {}
        for prompt in complete:
            generation = prompt.generation
            read = PromptRead(len(prompt.tokens), prompt.cached)
            self._outbox.append((generation, read))
            if generation.request.num_beams == 1:
                of_model.setdefault(id(generation.model), []).append(prompt)
                continue
            assert prompt.snapshot is not None
            try:
                self._searches.append(Beams(generation, prompt.texts, prompt.snapshot))
            except Exception as error:
                self._fail(generation, error)
        for together in of_model.values():
            try:
                self._join(together)
            except Exception as error:
                for prompt in together:
                    self._fail(prompt.generation, error)

    def _join(self, together: list[_Prompt]) -> None:
        """Draws the first token of each text; those that go on join their network's batch."""
        model = together[0].generation.model
        read = [prompt for prompt in together for _ in prompt.texts]  # row by row
        snapshots = [prompt.snapshot for prompt in read if prompt.snapshot is not None]
        texts = [text for prompt in together for text in prompt.texts]
        begun = _Batch(
            model,
            texts,
            make_sampler(
                [sampling_settings(text.generation.request, text.index) for text in texts],
                [prompt.tokens for prompt in read],
                len(snapshots[0].logits_v),
            ),
            HiddenState.cat([snapshot.state for snapshot in snapshots]),
            np.zeros(len(texts), np.int64),
        )
        drawn = self._draw(begun, torch.stack([snapshot.logits_v for snapshot in snapshots]))
        begun.drop(take(drawn, self._outbox))
        if begun.texts:
            batch = self._batches.setdefault(id(model), begun)
            if batch is not begun:
                batch.join(begun)

    def _step(self, batch: _Batch) -> None:
        try:
            tokens_b, texts = torch.from_numpy(batch.last_b), batch.texts
            self._begin_telling()
            with self._threads(batch.model):
                logits_bv, batch.state = batch.model.step(tokens_b, batch.state)
            if over := self._end_telling():
                logits_bv = logits_bv[[i for i, text in enumerate(texts) if text not in over]]
            if not batch.texts:
                return
            now = drawn = self._draw(batch, logits_bv)
            if self._teller is not None and len(drawn) >= CROWD:
                now = [each for each in drawn if each.text.ends_with_next]
                self._teller.add([each for each in drawn if not each.text.ends_with_next])
            batch.drop(take(now, self._outbox))
        except Exception as error:
            with suppress(Exception):  # who is complete by now is told so
                self._end_telling()
            for text in batch.texts:
                self._fail(text.generation, error)
            batch.keep([])

    def _begin_telling(self) -> None:
        if self._teller is not None:
            self._teller.begin()

    def _end_telling(self) -> set[Text]:
        """The texts that turned out to be over, which have left."""
        if self._teller is None:
            return set()
        over, outbox = self._teller.end()
        self._outbox += outbox
        for batch in self._batches.values():
            batch.drop(over)
        return over

    def _forget_untold(self) -> None:
        if self._teller is not None:
            self._teller.forget()

    def _threads(self, model: Generator) -> AbstractContextManager[None]:
        """Those of the kernels, while a network is asked."""
        small_crowd = not self._somebody_waits or self.rows < CROWD
        if self._crowd_threads is None or small_crowd or model.multiplications >= LARGE:
            return nullcontext()
        return kernel_threads(self._crowd_threads)

    def _search_on(self, search: Beams) -> bool:
        """One step; False when it has ended."""
        try:
            return search.turn(self._outbox)
        except Exception as error:
            self._fail(search.generation, error)
            return False

    def _draw(self, batch: _Batch, logits_bv: Tensor) -> list[Drawn]:
        """One token for each row. A row whose logits are not finite fails alone."""
        draws = batch.sampler.draw(logits_bv)
        batch.last_b = draws.tokens_b
        for row in np.flatnonzero(~draws.finite_b):
            error = ArithmeticError("the network's output is not finite")
            self._fail(batch.texts[row].generation, error)
        return [
            Drawn(text, token, draws.logprobs.get(row))
            for row, (text, token) in enumerate(
                zip(batch.texts, draws.tokens_b.tolist(), strict=True)
            )
        ]
