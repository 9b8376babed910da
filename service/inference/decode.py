"""Continuous batching of text generation: at every step texts join, advance together and leave.

A recurrent state has a fixed size, so joining is a concatenation and leaving is an index. Every
row has its own settings, random generator, decoder and stop strings: what it draws does not depend
on its neighbours. All of it runs on the engine's thread.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnn.generation.predictor import Generator
from rnn.generation.sampling import SamplingSettings, sample
from rnn.state import HiddenState
from service.errors import ContextTooLongError, Fault
from service.inference.generation import Generation
from service.inference.requests import (
    FinishReason,
    GenerationEvent,
    PromptRead,
    TextFinished,
    TokenDrawn,
)
from service.inference.stops import StopFilter

PREFILL_TOKENS = 512  # of all prompts together between two steps, so that a long one stalls nobody
MIN_TEMPERATURE = 1e-4


class _Row:
    """One text being generated."""

    def __init__(self, generation: Generation, index: int, prompt: list[int]) -> None:
        request = generation.request
        self.generation = generation
        self.settings = SamplingSettings(
            # Scores divided by less would overflow, and the likeliest token wins anyhow.
            temperature=request.temperature if request.temperature >= MIN_TEMPERATURE else 0.0,
            top_k=request.top_k,
            top_p=request.top_p,
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty,
        )
        self.last = prompt[-1]
        self.seen = list(dict.fromkeys(prompt))  # all that the repetition penalty needs to know
        self.random = torch.Generator().manual_seed(request.seed + index)
        self._index = index
        self._decoder = generation.model.decoder(request.prompt)
        self._stops = StopFilter(request.stop)
        self._tokens = 0

    def take(self, token: int, logprob: float) -> list[GenerationEvent]:
        """Appends a token; a last TextFinished says that the text is complete."""
        self.last = token
        if token not in self.seen:
            self.seen.append(token)
        self._tokens += 1
        text = self._stops.push(self._decoder.push(token))
        events: list[GenerationEvent] = [TokenDrawn(self._index, token, logprob, text)]
        if self._stops.stopped:
            events.append(TextFinished(self._index, "", "stop", self._tokens))
        elif self._tokens == self.generation.request.max_new_tokens:
            rest = self._stops.push(self._decoder.finish()) + self._stops.finish()
            reason: FinishReason = "stop" if self._stops.stopped else "length"
            events.append(TextFinished(self._index, rest, reason, self._tokens))
        return events


@dataclass(eq=False)
class _Prompt:
    """A prompt being read, a piece between two steps; its rows wait for the end of it."""

    generation: Generation
    tokens: list[int]
    rows: list[_Row]
    state: HiddenState
    read: int = 0


@dataclass(eq=False)
class _Batch:
    """The texts of one network, row by row beside their hidden states."""

    model: Generator
    rows: list[_Row] = field(default_factory=list)
    state: HiddenState | None = None

    def keep(self, wanted: list[int]) -> None:
        if self.state is not None and len(wanted) < len(self.rows):
            self.rows = [self.rows[i] for i in wanted]
            self.state = self.state.select(wanted) if wanted else None

    def join(self, rows: list[_Row], state: HiddenState) -> None:
        self.state = state if self.state is None else HiddenState.cat([self.state, state])
        self.rows = self.rows + rows


class Decoder:
    """All texts being generated, of all networks, in at most `slots` rows."""

    def __init__(self, slots: int, max_prompt_tokens: int) -> None:
        self._slots = slots
        self._max_prompt_tokens = max_prompt_tokens
        self._waiting: deque[Generation] = deque()
        self._prompts: deque[_Prompt] = deque()
        self._batches: dict[int, _Batch] = {}
        self._outbox: list[tuple[Generation, GenerationEvent | Exception]] = []

    @property
    def rows(self) -> int:
        """Slots in use."""
        return sum(map(len, self._held_rows()))

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._prompts or self._batches)

    def add(self, generation: Generation) -> None:
        self._waiting.append(generation)

    def turn(self) -> list[tuple[Generation, GenerationEvent | Exception]]:
        """Leave, join, one step of every network; returns what there is to tell, in order."""
        self._drop_cancelled()
        self._admit()
        self._read_prompts()
        for batch in self._batches.values():
            self._step(batch)
        self._drop_empty()
        outbox, self._outbox = self._outbox, []
        return outbox

    def fail_all(self, error: Exception) -> list[tuple[Generation, GenerationEvent | Exception]]:
        """Forgets everything; returns what the broken turn had to tell, then the errors."""
        held = [row.generation for rows in self._held_rows() for row in rows]
        for generation in [*self._waiting, *held]:
            self._fail(generation, error)
        self._waiting.clear()
        self._prompts.clear()
        self._batches.clear()
        outbox, self._outbox = self._outbox, []
        return outbox

    def _held_rows(self) -> list[list[_Row]]:
        prompts = [prompt.rows for prompt in self._prompts]
        return prompts + [batch.rows for batch in self._batches.values()]

    def _drop_cancelled(self) -> None:
        self._waiting = deque(g for g in self._waiting if not g.cancelled)
        self._prompts = deque(p for p in self._prompts if not p.generation.cancelled)
        for batch in self._batches.values():
            batch.keep([i for i, row in enumerate(batch.rows) if not row.generation.cancelled])
        self._drop_empty()

    def _drop_empty(self) -> None:
        self._batches = {key: batch for key, batch in self._batches.items() if batch.rows}

    def _fail(self, generation: Generation, error: Exception) -> None:
        """Ends every text of a request: its rows leave at the next turn."""
        if not generation.cancelled:
            generation.cancelled = True
            self._outbox.append((generation, error))

    def _admit(self) -> None:
        """In the order of arrival, as many as there are free rows."""
        while self._waiting and self.rows + self._waiting[0].request.n <= self._slots:
            generation = self._waiting.popleft()
            try:
                tokens = self._encode(generation)
                rows = [_Row(generation, index, tokens) for index in range(generation.request.n)]
                state = generation.model.initial_state(1)
            except Exception as error:
                self._fail(generation, error)
                continue
            self._prompts.append(_Prompt(generation, tokens, rows, state))
            self._outbox.append((generation, PromptRead(len(tokens))))

    def _encode(self, generation: Generation) -> list[int]:
        tokens = generation.model.encode(generation.request.prompt)
        if len(tokens) > self._max_prompt_tokens:
            message = f"{len(tokens)} tokens, the limit is {self._max_prompt_tokens}"
            raise ContextTooLongError(
                f"The prompt is too long: {message}.", faults=[Fault(("body", "prompt"), message)]
            )
        return tokens

    def _read_prompts(self) -> None:
        budget = PREFILL_TOKENS
        while self._prompts and budget > 0:
            prompt = self._prompts[0]
            piece = prompt.tokens[prompt.read : prompt.read + budget]
            try:
                logits_v, prompt.state = prompt.generation.model.prefill(piece, prompt.state)
                prompt.read += len(piece)
                if prompt.read == len(prompt.tokens):
                    self._begin(prompt, logits_v)
            except Exception as error:
                self._fail(prompt.generation, error)
                self._prompts.popleft()
                continue
            budget -= len(piece)
            if prompt.read == len(prompt.tokens):
                self._prompts.popleft()

    def _begin(self, prompt: _Prompt, logits_v: Tensor) -> None:
        """Draws the first token of each text; those that go on join their network's batch."""
        alive = self._draw(prompt.rows, logits_v.expand(len(prompt.rows), -1))
        if alive:
            model = prompt.generation.model
            state = prompt.state.select([0] * len(alive))
            batch = self._batches.setdefault(id(model), _Batch(model))
            batch.join([prompt.rows[i] for i in alive], state)

    def _step(self, batch: _Batch) -> None:
        assert batch.state is not None
        tokens_b = torch.tensor([row.last for row in batch.rows])
        try:
            logits_bv, batch.state = batch.model.step(tokens_b, batch.state)
            alive = self._draw(batch.rows, logits_bv)
        except Exception as error:
            for row in batch.rows:
                self._fail(row.generation, error)
            alive = []
        batch.keep(alive)

    def _draw(self, rows: list[_Row], logits_bv: Tensor) -> list[int]:
        """One token for each row; returns the rows that go on.

        A row whose logits are not finite, or whose token has no text, fails alone.
        """
        for i in torch.nonzero(~torch.isfinite(logits_bv).all(dim=1)).flatten().tolist():
            self._fail(rows[i].generation, ArithmeticError("the network's output is not finite"))
        drawn = [i for i, row in enumerate(rows) if not row.generation.cancelled]
        if not drawn:
            return []
        tokens, logprobs = sample(
            logits_bv if len(drawn) == len(rows) else logits_bv[drawn],
            [rows[i].settings for i in drawn],
            [rows[i].seen for i in drawn],
            [rows[i].random for i in drawn],
        )
        alive = []
        for i, token, logprob in zip(drawn, tokens, logprobs, strict=True):
            try:
                events = rows[i].take(token, logprob)
            except Exception as error:
                self._fail(rows[i].generation, error)
                continue
            self._outbox.extend((rows[i].generation, event) for event in events)
            if not isinstance(events[-1], TextFinished):
                alive.append(i)
        return alive
