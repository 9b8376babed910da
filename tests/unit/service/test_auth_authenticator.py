"""What is remembered of a key, and for how long. The database is played by a function."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.auth.authenticator import Authenticator
from service.auth.keys import PlainKey, new_key
from service.auth.store import Authenticated
from service.auth.subjects import ALL_SCOPES, Subject
from service.errors import UnauthenticatedError, UnavailableError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted(Authenticator):
    """Answers from `answer` in place of the database and counts how often it was asked."""

    def __init__(self, clock: Clock, answer: Callable[[], Authenticated]) -> None:
        super().__init__(None, cache_seconds=2.0, clock=clock)  # type: ignore[arg-type]
        self.answer = answer
        self.asked = 0

    def _authenticate(self, _key: PlainKey) -> Authenticated:
        self.asked += 1
        return self.answer()


KEY_ID = uuid4()


def right(key_id: UUID = KEY_ID, seconds_left: float | None = None) -> Callable[[], Authenticated]:
    answer = Authenticated(Subject(key_id, uuid4(), ALL_SCOPES), seconds_left)
    return lambda: answer


def wrong(error: Exception) -> Callable[[], Authenticated]:
    def answer() -> Authenticated:
        raise error

    return answer


def ask(authenticator: Authenticator, *texts: str) -> list[Any]:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(
            *(authenticator.subject(text) for text in texts), return_exceptions=True
        )

    return asyncio.run(all_at_once())


def test_a_right_key_is_remembered_for_the_cache_time() -> None:
    clock, text = Clock(), new_key().text
    authenticator = Scripted(clock, right())
    ask(authenticator, text)
    clock.now += 0.9
    ask(authenticator, text)
    assert authenticator.asked == 1
    clock.now += 1.2
    ask(authenticator, text)
    assert authenticator.asked == 2


def test_a_key_in_use_is_looked_up_again_and_nobody_waits_for_it() -> None:
    """Every two seconds all requests of a client waited for the database."""
    clock, text = Clock(), new_key().text
    authenticator, go_on = Scripted(clock, right()), threading.Event()
    ask(authenticator, text)

    def slow() -> Authenticated:
        assert go_on.wait(10)
        return right()()

    authenticator.answer = slow

    async def meanwhile() -> None:
        clock.now += 1.5
        subjects = {await authenticator.subject(text) for _ in range(20)}
        assert {subject.key_id for subject in subjects} == {KEY_ID}
        look_ups = list(authenticator._look_ups.values())
        go_on.set()
        await asyncio.gather(*look_ups)
        clock.now += 0.9  # the answer of before would be too old by now
        await authenticator.subject(text)

    asyncio.run(meanwhile())
    assert authenticator.asked == 2


def test_a_key_that_is_found_revoked_is_refused_at_once() -> None:
    clock, text = Clock(), new_key().text
    authenticator = Scripted(clock, right())
    ask(authenticator, text)
    authenticator.answer = wrong(UnauthenticatedError("no"))

    async def scenario() -> None:
        clock.now += 1.0
        await authenticator.subject(text)
        await asyncio.gather(*authenticator._look_ups.values(), return_exceptions=True)
        with pytest.raises(UnauthenticatedError):
            await authenticator.subject(text)

    asyncio.run(scenario())


def test_a_revocation_elsewhere_takes_effect_after_the_cache_time() -> None:
    clock, text = Clock(), new_key().text
    authenticator = Scripted(clock, right())
    ask(authenticator, text)
    authenticator.answer = wrong(UnauthenticatedError("no"))
    clock.now += 2.0
    assert isinstance(ask(authenticator, text)[0], UnauthenticatedError)


def test_a_key_is_not_remembered_beyond_its_own_end() -> None:
    clock, text = Clock(), new_key().text
    authenticator = Scripted(clock, right(seconds_left=0.5))
    ask(authenticator, text)
    clock.now += 0.6
    ask(authenticator, text)
    assert authenticator.asked == 2


def test_a_forgotten_key_is_looked_up_again() -> None:
    text = new_key().text
    authenticator = Scripted(Clock(), right())
    ask(authenticator, text)
    authenticator.forget(uuid4())
    ask(authenticator, text)
    assert authenticator.asked == 1
    authenticator.forget(KEY_ID)
    ask(authenticator, text)
    assert authenticator.asked == 2


def test_a_look_up_across_a_revocation_is_not_remembered() -> None:
    """It had read the row before the revocation was committed and was remembered after `forget`:
    the key worked for the cache time although the answer to the revocation had been sent."""
    text = new_key().text

    class Revoking(Scripted):
        def _authenticate(self, key: PlainKey) -> Authenticated:
            answer = super()._authenticate(key)
            self.forget(KEY_ID)
            return answer

    authenticator = Revoking(Clock(), right())
    assert ask(authenticator, text)[0].key_id == KEY_ID
    authenticator.answer = wrong(UnauthenticatedError("no"))
    assert isinstance(ask(authenticator, text)[0], UnauthenticatedError)


def test_who_comes_after_a_revocation_does_not_share_an_older_look_up() -> None:
    """A request that came after the revocation joined a look-up that had begun before it."""
    text = new_key().text
    read, revoked = threading.Event(), threading.Event()

    class Slow(Scripted):
        def _authenticate(self, key: PlainKey) -> Authenticated:
            answer = super()._authenticate(key)
            read.set()
            assert revoked.wait(10)
            return answer

    authenticator = Slow(Clock(), right())

    async def before_and_after() -> tuple[Any, Any]:
        before = asyncio.create_task(authenticator.subject(text))
        await asyncio.to_thread(read.wait, 10)
        authenticator.answer = wrong(UnauthenticatedError("no"))
        authenticator.forget(KEY_ID)
        after = asyncio.create_task(authenticator.subject(text))
        await asyncio.sleep(0)
        revoked.set()
        first, second = await asyncio.gather(before, after, return_exceptions=True)
        return first, second

    first, second = asyncio.run(before_and_after())
    assert first.key_id == KEY_ID
    assert isinstance(second, UnauthenticatedError)


def test_requests_at_the_same_time_share_one_look_up() -> None:
    text = new_key().text
    authenticator = Scripted(Clock(), right())
    subjects = ask(authenticator, *[text] * 50)
    assert authenticator.asked == 1
    assert len(set(subjects)) == 1


def test_keys_never_get_the_subject_of_another() -> None:
    texts = [new_key().text for _ in range(20)]
    by_id = {text.split("_")[1]: right(uuid4()) for text in texts}

    class ByKey(Scripted):
        def _authenticate(self, key: PlainKey) -> Authenticated:
            return by_id[key.public_id]()

    subjects = ask(ByKey(Clock(), right()), *texts)
    assert subjects == [by_id[text.split("_")[1]]().subject for text in texts]


@pytest.mark.parametrize("text", ["", "Bearer", "rp_a_b_c", "\udcff", "x" * 10_000])
def test_what_is_no_key_is_refused_without_a_look_up(text: str) -> None:
    """bad_inputs keys-02."""
    authenticator = Scripted(Clock(), right())
    assert isinstance(ask(authenticator, text)[0], UnauthenticatedError)
    assert authenticator.asked == 0


def test_a_failure_is_not_remembered() -> None:
    text = new_key().text
    authenticator = Scripted(Clock(), wrong(UnavailableError("down")))
    assert isinstance(ask(authenticator, text)[0], UnavailableError)
    authenticator.answer = right()
    assert ask(authenticator, text)[0].key_id == KEY_ID


def test_a_caller_that_goes_away_does_not_fail_the_others() -> None:
    text = new_key().text
    authenticator = Scripted(Clock(), right())

    async def two_of_which_one_leaves() -> Subject:
        leaving = asyncio.create_task(authenticator.subject(text))
        staying = asyncio.create_task(authenticator.subject(text))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert asyncio.run(two_of_which_one_leaves()).key_id == KEY_ID
