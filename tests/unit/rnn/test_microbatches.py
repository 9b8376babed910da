"""A batch taken in parts has the gradient of the whole, and a training that runs out of memory goes
on in smaller parts."""

import math
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from rnn import training_state
from rnn.classification.work import ClassificationWork
from rnn.config import TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.errors import MemoryShortError
from rnn.events import BatchDivided, CheckpointDue, Event, Finished, StepDone
from rnn.forecasting.targets import Targets
from rnn.forecasting.work import ForecastingWork
from rnn.generation.work import GenerationWork
from rnn.gradients import BatchGradient, batch_gradient
from rnn.memory import Shortage, within_memory
from rnn.tasks import prepare
from rnn.training_state import Progress
from rnn.work import WHOLE, Batch, PartLoss, Work, recurrent_stack
from tests.unit.rnn.trainings import (
    Scripted,
    classification,
    events,
    forecasting,
    generation,
    weights_hash,
)

CPU = torch.device("cpu")
Configure = Callable[..., TaskConfig]


class Case(NamedTuple):
    configure: Configure
    examples: str
    architecture: dict[str, Any]
    training: dict[str, Any]


PENALTIES = {"activation_penalty": 0.3, "temporal_activation_penalty": 0.7, "l1_penalty": 1e-3}
POOLED = {"channels": 6, "kernel_size": 3, "num_layers": 2, "pooling": 2}
CASES = {
    "forecasting": Case(forecasting, "series", {}, PENALTIES),
    "segments": Case(forecasting, "series", {"decoding": "segments", "num_layers": 2}, PENALTIES),
    "student_t": Case(forecasting, "series", {"distribution": "student_t"}, {}),
    "classification": Case(
        classification,
        "sentences",
        {"bidirectional": True, "convolution": POOLED},
        {**PENALTIES, "label_smoothing": 0.1},
    ),
    "attention": Case(classification, "sentences", {"pooling": "attention"}, PENALTIES),
    "generation": Case(generation, "corpus", {}, PENALTIES),
    "mixture": Case(
        generation, "corpus", {"softmax": "mixture", "mixture_components": 3}, {"batch_size": 7}
    ),
    "gru": Case(generation, "corpus", {"cell": "gru", "num_layers": 2}, {"random_bptt": True}),
}
STILL = dict.fromkeys(["dropout", "input_dropout", "output_dropout"], 0.0)


@pytest.fixture
def examples(
    series: SeriesExamples, sentences: TextExamples, corpus: CorpusExamples
) -> dict[str, Examples]:
    """One series has many gaps: a part may have fewer targets than another."""
    series.values[4][20::3] = math.nan
    return {"series": series, "sentences": sentences, "corpus": corpus}


def configured(case: Case, **architecture: Any) -> TaskConfig:
    document = case.configure(**case.training).model_dump(mode="json")
    document["architecture"].update(case.architecture, **architecture)
    return type(case.configure()).model_validate(document)


def prepared(config: TaskConfig, examples: Examples, dtype: torch.dtype) -> Work:
    """A work whose network, inputs and targets are in the given precision."""
    work = prepare(config, examples, CPU, Randomness(3, CPU))
    work.network.to(dtype)

    def widened(x: Tensor) -> Tensor:
        return x.to(dtype) if x.is_floating_point() else x

    work.network.register_forward_pre_hook(lambda _, arguments: tuple(map(widened, arguments)))
    if isinstance(work, ForecastingWork):
        narrow = work._distribution.loss

        def loss(outputs_bho: Tensor, targets: Targets) -> Tensor:
            return narrow(outputs_bho, Targets(*map(widened, vars(targets).values())))

        work._distribution = SimpleNamespace(loss=loss)
    recurrent_stack(work).keeps_outputs = bool(config.training.activation_penalty)
    return work


class Taken(NamedTuple):
    figures: list[BatchGradient]
    gradients: dict[str, Tensor]
    carried: dict[str, Tensor]


def taken(config: TaskConfig, examples: Examples, parts: int, dtype: torch.dtype) -> Taken:
    """The gradient of the third batch, after two whose end it may go on from."""
    work = prepared(config, examples, dtype)
    work.network.train()
    figures = []
    for index in range(3):
        work.network.zero_grad()
        batch = work.batch(0, index)
        figures.append(batch_gradient(work, batch, parts, config.training, bfloat16=False))
    gradients = {
        name: parameter.grad
        for name, parameter in work.network.named_parameters()
        if parameter.grad is not None
    }
    return Taken(figures, gradients, work.carried_state())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parts", [2, 3, 64])
def test_the_parts_of_a_batch_have_the_gradient_of_the_whole(
    name: str, parts: int, examples: dict[str, Examples]
) -> None:
    case = CASES[name]
    config, data = configured(case, **STILL), examples[case.examples]
    whole = taken(config, data, 1, torch.float64)
    divided = taken(config, data, parts, torch.float64)
    torch.testing.assert_close(divided.figures, whole.figures, rtol=1e-11, atol=0)
    torch.testing.assert_close(divided.gradients, whole.gradients, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(divided.carried, whole.carried, rtol=1e-12, atol=1e-14)
    assert (len(whole.carried) > 0) == (case.configure is generation)


@pytest.mark.parametrize("name", ["forecasting", "classification", "generation"])
def test_so_it_is_with_the_kernels(name: str, examples: dict[str, Examples]) -> None:
    case = CASES[name]
    config, data = configured(case, **STILL), examples[case.examples]
    whole, divided = (taken(config, data, parts, torch.float32) for parts in (1, 4))
    torch.testing.assert_close(divided.gradients, whole.gradients, rtol=1e-3, atol=1e-5)


def test_parts_with_fewer_targets_count_less(examples: dict[str, Examples]) -> None:
    config = configured(CASES["forecasting"], **STILL)
    batch = prepared(config, examples["series"], torch.float32).batch(0, 0)
    shares = [batch.share(rows).targets for rows in batch.parts(batch.rows)]
    assert sum(shares) == pytest.approx(1)
    assert len(set(shares)) > 1


@pytest.mark.parametrize("name", ["forecasting", "classification", "generation"])
def test_with_dropout_the_gradient_is_the_same_on_average(
    name: str, examples: dict[str, Examples]
) -> None:
    """The means of many draws differ by no more than chance explains."""
    case = CASES[name]
    noise = {"dropout": 0.0, "input_dropout": 0.3, "output_dropout": 0.3}
    work = prepared(configured(case, **noise), examples[case.examples], torch.float64)
    work.network.train()
    training = configured(case).training.model_copy(update={"gradient_clip_norm": None})
    batch = work.batch(0, 0)

    def draws(parts: int, count: int) -> Tensor:
        found = []
        for _ in range(count):
            work.network.zero_grad()
            batch_gradient(work, batch, parts, training, bfloat16=False)
            gradients = [parameter.grad for parameter in work.network.parameters()]
            found.append(torch.cat([each.flatten() for each in gradients if each is not None]))
        return torch.stack(found)

    whole, divided = draws(1, 40), draws(3, 40)
    expected_square = (whole.var(0).sum() + divided.var(0).sum()) / 40
    square = (whole.mean(0) - divided.mean(0)).square().sum()
    assert 0 < square < 3 * expected_square
    assert 3 * expected_square < whole.mean(0).square().sum() / 9  # it is not all chance
    assert whole.var(0).sum() == pytest.approx(float(divided.var(0).sum()), rel=0.4)


NO_LOSS = PartLoss(torch.zeros(()), 0)


def test_rows_are_cut_evenly() -> None:
    batch = Batch(7, lambda _: NO_LOSS, lambda _: WHOLE, timesteps=0)
    assert batch.parts(1) == [slice(0, 7)]
    assert batch.parts(3) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert batch.parts(9) == [slice(row, row + 1) for row in range(7)]
    assert [batch.largest_part(parts) for parts in (1, 2, 4, 7, 8)] == [7, 4, 2, 1, 1]


# ---- running out of memory ----------------------------------------------------------------------

SHORTAGES = {
    "forward": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "backward": RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator:"
                             " can't allocate memory: you tried to allocate 8 bytes."),
}  # fmt: skip
WORKS: dict[str, Any] = {
    "forecasting": ForecastingWork,
    "classification": ClassificationWork,
    "generation": GenerationWork,
}
TRAININGS = {
    "forecasting": Case(forecasting, "series", STILL, {}),
    "classification": Case(classification, "sentences", STILL, {}),
    "generation": Case(generation, "corpus", STILL, {}),
}


class Failing(torch.autograd.Function):
    """Passes a value through, and has no gradient for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, _gradient: Tensor) -> Tensor:  # noqa: ARG004
        raise SHORTAGES["backward"]


def limit_memory(
    monkeypatch: pytest.MonkeyPatch, task: str, rows: int, *, where: str, first: int = 1
) -> None:
    """From a batch on, counted from 1 over the training, no part of more rows has the memory."""
    work_class, honest = WORKS[task], WORKS[task].batch

    def batch(work: Any, epoch: int, index: int) -> Batch:
        found: Batch = honest(work, epoch, index)
        if epoch * work.steps_per_epoch + index + 1 < first:
            return found

        def loss(part: slice) -> PartLoss:
            if part.stop - part.start <= rows:
                return found.loss(part)
            if where == "forward":
                raise SHORTAGES[where]
            result = found.loss(part)  # the state that is carried on has moved
            return replace(result, loss=Failing.apply(result.loss))  # type: ignore[no-untyped-call]

        return replace(found, loss=loss)

    monkeypatch.setattr(work_class, "batch", batch)


def in_parts(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Trainings begin with batches cut in so many."""
    monkeypatch.setattr(training_state, "Progress", partial(Progress, parts=parts))


def run(case: Case, examples: dict[str, Examples], **options: Any) -> list[Event]:
    return list(events(configured(case), examples[case.examples], **options))


def last_of(told: list[Event]) -> Finished:
    assert isinstance(told[-1], Finished)
    return told[-1]


@pytest.mark.parametrize("task", TRAININGS)
@pytest.mark.parametrize("where", SHORTAGES)
def test_a_training_that_runs_out_of_memory_goes_on_in_smaller_parts(
    task: str,
    where: str,
    examples: dict[str, Examples],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    case = TRAININGS[task]
    config = configured(case)
    batch_size = config.training.batch_size
    limit_memory(monkeypatch, task, batch_size // 4, where=where)
    told = run(case, examples)
    divided = [event for event in told if isinstance(event, BatchDivided)]
    assert divided == [
        BatchDivided(1, 2, batch_size // 2, str(SHORTAGES[where])),
        BatchDivided(1, 4, batch_size // 4, str(SHORTAGES[where])),
    ]
    steps = [event.step for event in told if isinstance(event, StepDone)]
    assert steps == list(range(1, last_of(told).step + 1))
    in_parts(monkeypatch, 4)
    from_the_start = last_of(run(case, examples))
    assert weights_hash(last_of(told), tmp_path / "a") == weights_hash(
        from_the_start, tmp_path / "b"
    )


def test_every_batch_after_it_is_cut_and_none_before(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(TRAININGS["generation"], examples)
    limit_memory(monkeypatch, "generation", 2, where="backward", first=6)
    told = run(TRAININGS["generation"], examples)
    place = told.index(BatchDivided(6, 2, 2, str(SHORTAGES["backward"])))
    assert told[:place] == whole[:place]
    assert [event for event in told if isinstance(event, BatchDivided)] == [told[place]]
    losses = [
        [event.loss for event in each if isinstance(event, StepDone)] for each in (whole, told)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_resumed_training_stays_in_parts_and_takes_the_same_steps(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit_memory(monkeypatch, "generation", 1, where="forward", first=3)
    case = TRAININGS["generation"]
    whole = run(case, examples)
    for event in events(configured(case), examples["corpus"], Scripted({5}, 5)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "five")
    rest = run(case, examples, resume=tmp_path / "five")
    assert not any(isinstance(event, BatchDivided) for event in rest)
    assert rest[1:-1] == whole[-len(rest) + 1 : -1]
    assert weights_hash(last_of(rest), tmp_path / "a") == weights_hash(
        last_of(whole), tmp_path / "b"
    )


def test_a_training_whose_memory_is_not_enough_for_one_row_gives_up(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, "generation", 0, where="forward")
    told: deque[Event] = deque()
    source = events(configured(TRAININGS["generation"]), examples["corpus"])
    with pytest.raises(MemoryShortError, match="one row of a batch at a time: CUDA out of memory"):
        told.extend(source)
    reason = str(SHORTAGES["forward"])
    assert list(told)[1:] == [BatchDivided(1, 2, 2, reason), BatchDivided(1, 4, 1, reason)]


def run_out_in_updates(monkeypatch: pytest.MonkeyPatch, *updates: int) -> None:
    """In these updates, counted from 1, memory runs out when half of the weights have changed."""
    honest, numbers = torch.optim.AdamW.step, count(1)

    def step(self: torch.optim.AdamW) -> None:
        number, groups = next(numbers), self.param_groups
        if number in updates:
            self.param_groups = groups[: len(groups) // 2]
        honest(self)
        self.param_groups = groups
        if number in updates:
            raise MemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


def test_a_first_update_that_runs_out_of_memory_is_taken_back(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The optimizer takes its memory then, group by group."""
    case = TRAININGS["classification"]
    run_out_in_updates(monkeypatch, 1)
    told = run(case, examples)
    assert told[1] == BatchDivided(1, 2, 4, "MemoryError")
    monkeypatch.undo()
    in_parts(monkeypatch, 2)
    same = last_of(run(case, examples))
    assert weights_hash(last_of(told), tmp_path / "a") == weights_hash(same, tmp_path / "b")


def test_a_later_one_goes_back_to_the_last_evaluation_and_the_batch_comes_again(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = TRAININGS["classification"]
    run_out_in_updates(monkeypatch, 9)
    told = run(case, examples)
    assert BatchDivided(9, 2, 4, "MemoryError") in told
    steps = [event.step for event in told if isinstance(event, StepDone)]
    assert steps == list(range(1, last_of(told).step + 1))


def test_without_a_good_state_to_go_back_to_it_gives_up(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_in_updates(monkeypatch, 1)
    config = classification(max_rollbacks=0)
    with pytest.raises(MemoryShortError, match="optimizer"):
        list(events(config, examples["sentences"]))


@pytest.mark.parametrize(("shortages", "ends_well"), [(1, True), (2, False)])
def test_an_evaluation_is_tried_again_once(
    shortages: int, ends_well: bool, examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, honest, calls = TRAININGS["classification"], ClassificationWork.evaluate, count(1)
    whole = run(case, examples)

    def evaluate(work: ClassificationWork) -> dict[str, float]:
        if next(calls) <= shortages:
            raise MemoryError
        return honest(work)

    monkeypatch.setattr(ClassificationWork, "evaluate", evaluate)
    with nullcontext() if ends_well else pytest.raises(MemoryError):
        assert run(case, examples)[:-1] == whole[:-1]


def test_other_errors_are_no_shortage(
    examples: dict[str, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHORTAGES, "forward", RuntimeError("mat1 and mat2 cannot be multiplied"))
    limit_memory(monkeypatch, "generation", 1, where="forward")
    with pytest.raises(RuntimeError, match="mat1"):
        run(TRAININGS["generation"], examples)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.empty(2**50),
        lambda: torch.ones(2**17).expand(2**26, -1).contiguous(),
        lambda: np.ones(2**50),
        lambda: bytearray(2**60),
    ],
)
def test_what_allocators_really_say_is_understood(ask: Callable[[], object]) -> None:
    assert isinstance(within_memory(ask), Shortage)


def test_what_a_failed_action_held_is_free_again() -> None:
    class Held:
        pass

    seen = []

    def action() -> None:
        held = Held()
        held.itself = held  # type: ignore[attr-defined]
        seen.append(weakref.ref(held))
        raise MemoryError

    assert within_memory(action) == Shortage("MemoryError")
    assert seen[0]() is None
    assert within_memory(lambda: 7) == 7
