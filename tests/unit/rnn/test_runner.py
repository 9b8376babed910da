"""What computes a stack: chosen by what it can compute, and the same answers from all."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from rnn.kernels import library
from rnn.kernels.cuda import CudaNetwork
from rnn.kernels.inference import NativeNetwork
from rnn.runner import TorchRunner, make_runner
from rnn.stack import RecurrentStack
from tests.unit.rnn.stacks import (
    HIDDEN,
    INPUTS,
    LENGTHS_B,
    NATIVE_CELLS,
    NATIVE_CONNECTIONS,
    assert_same_state,
    every_cell,
    every_connection,
    random_inputs,
    random_stack,
)

VOCABULARY = 11
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(params=["off", "auto"])
def kernels(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Torch alone, then whatever this machine has: whether that are the native kernels."""
    library.select(request.param)
    yield library.load() is not None
    library.select("auto")


def parts(stack: RecurrentStack) -> tuple[torch.Tensor, nn.Linear]:
    """An embedding and an output layer."""
    torch.manual_seed(0)
    return random_inputs(1, VOCABULARY)[0].float(), nn.Linear(stack.output_size, VOCABULARY)


@every_cell
@every_connection
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.inference_mode()
def test_the_kernels_get_what_they_compute_and_nothing_else(
    cell: str, connection: str, bidirectional: bool, kernels: bool
) -> None:
    stack = random_stack(cell, connection, bidirectional=bidirectional).float()
    native = cell in NATIVE_CELLS and connection in NATIVE_CONNECTIONS
    runner = make_runner(stack)
    assert isinstance(runner, NativeNetwork if native and kernels else TorchRunner)
    x_btd = random_inputs(4, 6).float()
    y_bth, end = runner.sequences(x_btd, LENGTHS_B)
    exact = random_stack(cell, connection, bidirectional=bidirectional)
    exact_bth, exact_end = exact(random_inputs(4, 6), lengths_b=LENGTHS_B)
    valid_bt = torch.arange(6) < LENGTHS_B[:, None]
    # An mLSTM divides by small numbers: in float32 it is up to 1.2e-4 off where it is dense.
    close = {**CLOSE, "atol": 2e-4} if (cell, connection) == ("mlstm", "dense") else CLOSE
    torch.testing.assert_close(y_bth[valid_bt].double(), exact_bth[valid_bt], **close)
    torch.testing.assert_close(end.hidden_lbh.double(), exact_end.hidden_lbh, **close)


@every_cell
@every_connection
@torch.inference_mode()
def test_prefill_equals_steps_and_can_go_on_from_a_state(
    cell: str, connection: str, kernels: bool
) -> None:
    stack = random_stack(cell, connection).float()
    embedding_vd, output = parts(stack)
    runner = make_runner(stack, embedding_vd=embedding_vd, output=output)
    tokens = torch.arange(20) % VOCABULARY
    state = stack.initial_state(2)
    for token in tokens:
        logits_bv, state = runner.step(torch.stack([token, token]), state)
    whole_v, whole = runner.prefill([tokens], stack.initial_state(1))
    _, half = runner.prefill([tokens[:7]], stack.initial_state(1))
    parts_v, _ = runner.prefill([tokens[7:]], half)
    torch.testing.assert_close(whole_v[0], logits_bv[1], **CLOSE)
    torch.testing.assert_close(parts_v, whole_v, **CLOSE)
    assert_same_state(whole, state.row(1), **CLOSE)


@torch.inference_mode()
def test_a_row_of_a_batch_equals_the_row_alone(kernels: bool) -> None:
    stack = random_stack("lstm", "plain").float()
    embedding_vd, output = parts(stack)
    runner = make_runner(stack, embedding_vd=embedding_vd, output=output)
    tokens_b = torch.tensor([5, 7, 10])
    _, state = runner.step(tokens_b, stack.initial_state(3))
    logits_bv, _ = runner.step(tokens_b, state)
    alone_bv, _ = runner.step(tokens_b[1:2], state.row(1))
    assert torch.equal(logits_bv[1], alone_bv[0])


@every_cell
@every_connection
def test_the_kernels_refuse_what_they_would_compute_wrongly(cell: str, connection: str) -> None:
    stack = random_stack(cell, connection).float()
    found = library.load()
    builders = [lambda: CudaNetwork(stack)]
    if found is not None:
        builders.append(lambda: NativeNetwork(found, stack))
    for build in builders:
        if cell in NATIVE_CELLS and connection in NATIVE_CONNECTIONS:
            assert build().sequences(random_inputs(1, 2))[0].shape == (1, 2, HIDDEN)
        else:
            with pytest.raises(ValueError, match="no such cell or connections"):
                build()


def test_outputs_kept_for_penalties_do_not_keep_a_stack_from_the_gpu() -> None:
    """A tensor with a gradient behind it cannot be copied, so neither could the stack."""
    stack = random_stack("lstm", "plain").float().train()
    stack.keeps_outputs = True
    stack(random_inputs(1, 2).float())
    assert stack.outputs is not None
    network = CudaNetwork(stack)
    assert network.sequences(torch.zeros(1, 2, INPUTS))[0].shape == (1, 2, HIDDEN)
    assert stack.outputs is not None


@every_cell
@every_connection
@torch.inference_mode()
def test_reading_to_the_end_gives_what_is_there(cell: str, connection: str, kernels: bool) -> None:
    runner = make_runner(random_stack(cell, connection).float())
    x_btd = random_inputs(3, 6).float()
    y_bth, end = runner.sequences(x_btd)
    last_bh, state = runner.read(x_btd)
    assert torch.equal(last_bh, y_bth[:, -1])
    assert torch.equal(state.hidden_lbh, end.hidden_lbh)
