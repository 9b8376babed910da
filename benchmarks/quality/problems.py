"""Three made-up problems that ask for a long memory, each as random batches with their figure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SYMBOLS, REMEMBERED = 8, 10  # of the copy problem: kinds of symbols, and how many come
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1


@dataclass(frozen=True)
class Batch:
    """Inputs [B, T, D] and what the outputs [B, T, O] are compared with."""

    x_btd: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Problem:
    """One problem at the length of its figures.

    Attributes:
        draw: (rows, length, random numbers) to a batch.
        loss: of outputs [B, T, O] and targets, what is trained.
        figures: of the same, what is judged; the first is compared with `target`.
        loss_without_memory: of a length, the best loss of an answer that remembers nothing.
        target: the figure that solves it; `goal` is the one at which training may end, on sequences
            that are drawn apart from those that are judged.
        train_length, length: of the longest sequences trained on, and of those judged.
        varied: trains on all lengths up to that.
    """

    name: str
    title: str
    inputs: int
    outputs: int
    draw: Callable[[int, int, torch.Generator], Batch]
    loss: Callable[[Tensor, Tensor], Tensor]
    figures: dict[str, Callable[[Tensor, Tensor], float]]
    loss_without_memory: Callable[[int], float]
    target: float
    goal: float
    train_length: int
    length: int
    varied: bool = False
    higher_is_better: bool = False

    @property
    def figure(self) -> str:
        """The name of the figure that is compared."""
        return next(iter(self.figures))

    def judged(self, outputs_bto: Tensor, targets: Tensor) -> dict[str, float]:
        """All figures."""
        return {name: figure(outputs_bto, targets) for name, figure in self.figures.items()}

    def reaches(self, wanted: float, figures: dict[str, float]) -> bool:
        """Whether the compared figure is as good as a wanted one."""
        found = figures[self.figure]
        return found >= wanted if self.higher_is_better else found <= wanted


def draw_adding(rows: int, length: int, random: torch.Generator) -> Batch:
    """Numbers between 0 and 1 beside markers, one in each half; wanted: the sum of the two marked
    numbers (Hochreiter and Schmidhuber 1997, as in Arjovsky et al. 2016)."""
    number_bt = torch.rand(rows, length, generator=random)
    half = length // 2
    first_b1 = torch.randint(0, half, (rows, 1), generator=random)
    second_b1 = torch.randint(half, length, (rows, 1), generator=random)
    marker_bt = torch.zeros(rows, length).scatter_(1, torch.cat([first_b1, second_b1], 1), 1.0)
    sum_b = (number_bt * marker_bt).sum(dim=1)
    return Batch(torch.stack([number_bt, marker_bt], dim=2), sum_b)


def adding_loss(outputs_bto: Tensor, sum_b: Tensor) -> Tensor:
    """Mean squared error of the last output."""
    return functional.mse_loss(outputs_bto[:, -1, 0], sum_b)


def draw_copy(rows: int, length: int, random: torch.Generator) -> Batch:
    """Ten symbols, `length` blanks of which the last is the delimiter, ten blanks; wanted: blanks,
    then the ten symbols again (Arjovsky et al. 2016). In all length + 20 timesteps."""
    symbol_bt = torch.randint(0, SYMBOLS, (rows, REMEMBERED), generator=random)
    input_bt = torch.full((rows, length + 2 * REMEMBERED), BLANK)
    input_bt[:, :REMEMBERED] = symbol_bt
    input_bt[:, -REMEMBERED - 1] = DELIMITER
    target_bt = torch.full_like(input_bt, BLANK)
    target_bt[:, -REMEMBERED:] = symbol_bt
    return Batch(functional.one_hot(input_bt, SYMBOLS + 2).float(), target_bt)


def copy_loss(outputs_bto: Tensor, target_bt: Tensor) -> Tensor:
    """Mean cross-entropy of all timesteps, blanks among them."""
    return functional.cross_entropy(outputs_bto.flatten(0, 1), target_bt.flatten())


def copy_recall(outputs_bto: Tensor, target_bt: Tensor) -> float:
    """Share of the remembered symbols that came back."""
    right_bt = outputs_bto[:, -REMEMBERED:].argmax(dim=2) == target_bt[:, -REMEMBERED:]
    return float(right_bt.float().mean())


def copy_loss_without_memory(length: int) -> float:
    """Of who knows where the symbols come, but not which: 10 ln 8 / (T + 20)."""
    return REMEMBERED * math.log(SYMBOLS) / (length + 2 * REMEMBERED)


def draw_parity(rows: int, length: int, random: torch.Generator) -> Batch:
    """Bits; wanted: whether an odd number of them is set, after the last one."""
    bit_bt = torch.randint(0, 2, (rows, length), generator=random)
    return Batch(functional.one_hot(bit_bt, 2).float(), bit_bt.sum(dim=1) % 2)


def parity_loss(outputs_bto: Tensor, odd_b: Tensor) -> Tensor:
    """Cross-entropy of the last output."""
    return functional.cross_entropy(outputs_bto[:, -1], odd_b)


def parity_accuracy(outputs_bto: Tensor, odd_b: Tensor) -> float:
    """Share of the rows whose last output is right."""
    return float((outputs_bto[:, -1].argmax(dim=1) == odd_b).float().mean())


RECALLED = "symbols recalled"

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            name="adding",
            title="adding problem, 600 timesteps",
            inputs=2,
            outputs=1,
            draw=draw_adding,
            loss=adding_loss,
            figures={
                "squared error": lambda outputs, targets: float(adding_loss(outputs, targets))
            },
            loss_without_memory=lambda _length: 1 / 6,
            target=5e-5,
            goal=2.5e-5,
            train_length=600,
            length=600,
        ),
        Problem(
            name="copy",
            title="copy memory over 1,000 timesteps",
            inputs=SYMBOLS + 2,
            outputs=SYMBOLS + 1,
            draw=draw_copy,
            loss=copy_loss,
            figures={
                "nats per timestep": lambda outputs, targets: float(copy_loss(outputs, targets)),
                RECALLED: copy_recall,
            },
            loss_without_memory=copy_loss_without_memory,
            target=0.0197,
            goal=2e-4,
            train_length=1000,
            length=1000,
        ),
        Problem(
            name="parity",
            title="parity, trained to 40 timesteps and judged at 256",
            inputs=2,
            outputs=2,
            draw=draw_parity,
            loss=parity_loss,
            figures={"accuracy": parity_accuracy},
            loss_without_memory=lambda _length: math.log(2),
            target=0.999,
            goal=1.0,
            train_length=40,
            length=256,
            varied=True,
            higher_is_better=True,
        ),
    )
}
