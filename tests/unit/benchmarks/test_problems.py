import math

import pytest
import torch

from benchmarks.quality.problems import (
    BLANK,
    DELIMITER,
    PROBLEMS,
    adding_loss,
    copy_loss_without_memory,
    copy_recall,
    draw_adding,
    draw_copy,
    draw_parity,
    parity_accuracy,
)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_adding_marks_one_number_in_each_half_and_wants_their_sum() -> None:
    batch = draw_adding(50, 10, random())
    number_bt, marker_bt = batch.x_btd.unbind(2)
    assert marker_bt[:, :5].sum(1).tolist() == [1] * 50
    assert marker_bt[:, 5:].sum(1).tolist() == [1] * 50
    first, second = marker_bt[0].nonzero().flatten().tolist()
    expected = number_bt[0, first] + number_bt[0, second]
    assert float(batch.targets[0]) == pytest.approx(float(expected))


def test_adding_is_judged_by_its_last_output() -> None:
    outputs_bto = torch.tensor([[[9.0], [1.0]], [[9.0], [2.0]]])
    assert float(adding_loss(outputs_bto, torch.tensor([1.0, 1.0]))) == pytest.approx(0.5)


def test_copy_shows_ten_symbols_blanks_and_a_delimiter_and_wants_the_symbols() -> None:
    batch = draw_copy(4, 30, random())
    read_bt = batch.x_btd.argmax(dim=2)
    assert read_bt.shape == batch.targets.shape == (4, 50)
    assert (read_bt[:, :10] < BLANK).all()
    assert (read_bt[:, 10:39] == BLANK).all()
    assert (read_bt[:, 39] == DELIMITER).all()
    assert (read_bt[:, 40:] == BLANK).all()
    assert (batch.targets[:, :40] == BLANK).all()
    assert torch.equal(batch.targets[:, 40:], read_bt[:, :10])


def test_copy_without_memory_is_what_the_paper_says() -> None:
    assert copy_loss_without_memory(1000) == pytest.approx(10 * math.log(8) / 1020)
    outputs_bto = torch.full((2, 50, 9), -math.inf)
    batch = draw_copy(2, 30, random())
    outputs_bto[:, :40, BLANK] = 0.0
    outputs_bto[:, 40:, :BLANK] = 0.0  # any symbol as likely as any other
    loss = float(PROBLEMS["copy"].loss(outputs_bto, batch.targets))
    assert loss == pytest.approx(copy_loss_without_memory(30))


def test_recall_counts_the_remembered_symbols_alone() -> None:
    target_bt = torch.zeros(1, 30, dtype=torch.long)
    outputs_bto = torch.zeros(1, 30, 9)
    outputs_bto[:, :, 1] = 1.0
    outputs_bto[:, -3:, 0] = 2.0
    assert copy_recall(outputs_bto, target_bt) == pytest.approx(0.3)


def test_parity_is_one_where_an_odd_number_of_bits_is_set() -> None:
    batch = draw_parity(64, 7, random())
    bit_bt = batch.x_btd.argmax(dim=2)
    assert batch.targets.tolist() == [sum(row) % 2 for row in bit_bt.tolist()]
    outputs_bto = torch.zeros(64, 7, 2)
    outputs_bto[:, -1, 1] = 1.0
    assert parity_accuracy(outputs_bto, batch.targets) == pytest.approx(
        batch.targets.float().mean().item()
    )


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("adding", 4e-5, 6e-5), ("copy", 0.019, 0.0204), ("parity", 0.9995, 0.99)],
)
def test_each_problem_knows_what_solves_it(name: str, good: float, bad: float) -> None:
    problem = PROBLEMS[name]
    assert problem.reaches(problem.target, {problem.figure: good})
    assert not problem.reaches(problem.target, {problem.figure: bad})
