"""One generation request between the event loop, which awaits it, and the engine's thread."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from service.inference.requests import GenerationEvent, GenerationRequest, TextFinished

if TYPE_CHECKING:  # the server makes these without paying for torch
    from rnn.generation.predictor import Generator


class Generation:
    """Made on the event loop. The thread reads everything and writes nothing but `cancelled`, which
    both sides only ever set."""

    def __init__(self, request: GenerationRequest, model: "Generator") -> None:
        self.request = request
        self.model = model
        self.cancelled = False  # nobody listens or it failed: its rows leave before the next step
        self._arrived: asyncio.Queue[GenerationEvent | Exception] = asyncio.Queue()

    def arrive(self, event: GenerationEvent | Exception) -> None:
        """Called on the event loop with what the thread sent."""
        self._arrived.put_nowait(event)

    async def events(self) -> AsyncGenerator[GenerationEvent, None]:
        """Everything until the last text is finished; raises what the thread failed with."""
        try:
            unfinished = self.request.n
            while unfinished:
                event = await self._arrived.get()
                if isinstance(event, Exception):
                    raise event
                unfinished -= isinstance(event, TextFinished)
                yield event
        finally:
            self.cancelled = True
