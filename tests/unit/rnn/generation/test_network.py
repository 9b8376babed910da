"""The language model as a whole: dropped tokens, saved weights, its size, its answers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnn.checkpoint import Content, load_model, write
from rnn.determinism import Randomness
from rnn.errors import CheckpointError
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.kernels import library
from rnn.resolve import parameter_count
from rnn.tokenizers import SpacedWordTokenizer
from rnn.train import parameter_count as counted
from tests.unit.rnn.generation.cases import CPU, HEADS, config, network

WORDS = " ".join(f"w{index}" for index in range(38))


@pytest.fixture(params=["auto", "off"])
def kernels(request: pytest.FixtureRequest) -> Any:
    library.select(request.param)
    yield
    library.select("auto")


@pytest.mark.parametrize("architecture", HEADS)
def test_the_number_of_weights_is_known_beforehand(architecture: dict[str, Any]) -> None:
    chosen = config(architecture, {"vocabulary_size": 300})
    built = GenerationNetwork(chosen, Randomness(0, CPU), 300)
    assert parameter_count(chosen, {}) == counted(built)


def test_embedding_dropout_drops_a_token_everywhere_or_nowhere() -> None:
    net = network({"embedding_dropout": 0.5}, vocabulary=30)
    tokens_bt = torch.randint(30, (4, 50), generator=torch.Generator().manual_seed(0))
    seen = []
    net.stack.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    net.train()
    net.outputs(tokens_bt)
    net.eval()
    net.outputs(tokens_bt)
    factors_bt = (seen[0] / seen[1]).mean(dim=2)
    assert set(factors_bt.unique().tolist()) == {0.0, 2.0}
    for token in range(30):
        assert len(factors_bt[tokens_bt == token].unique()) == 1


def test_a_tied_weight_is_one_parameter_saved_once() -> None:
    net = network({"tied": True})
    assert [name for name in net.state_dict() if name.endswith("embedding.weight")] == [
        "embedding.weight"
    ]
    y_bth, _ = net.outputs(torch.tensor([[1, 2]]))
    net.mean_loss(y_bth, torch.tensor([[2, 3]])).backward()  # type: ignore[no-untyped-call]
    gradient = net.embedding.weight.grad
    assert gradient is not None
    assert (gradient != 0).any(dim=1).all()  # as an output, every token takes part


def test_losses_are_those_of_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnn.generation.network.rows_per_chunk", lambda _: 4)
    net = network().eval()
    tokens_bt = torch.randint(40, (3, 8), generator=torch.Generator().manual_seed(0))
    scores_btv, _ = net(tokens_bt[:, :-1])
    y_bth, _ = net.outputs(tokens_bt[:, :-1])
    direct = torch.nn.functional.cross_entropy(
        scores_btv.flatten(0, 1), tokens_bt[:, 1:].flatten(), reduction="none"
    )
    torch.testing.assert_close(net.losses(y_bth, tokens_bt[:, 1:]).flatten(), direct)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("architecture", HEADS)
def test_a_saved_model_answers_as_the_network_does(
    architecture: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = SpacedWordTokenizer.learn([WORDS], vocabulary_size=300)
    chosen = config(architecture)
    net = network(architecture, vocabulary=tokenizer.vocabulary_size).float().eval()
    write(tmp_path / "model", Content("model", chosen, {}, net.state_dict(), tokenizer))
    model = load_model(tmp_path / "model")
    assert isinstance(model, Generator)
    tokens = model.encode("w3 w1 w4 w1 w5")
    expected_btv, _ = net(torch.tensor([tokens]))
    expected_tv = torch.log_softmax(expected_btv[0], dim=1)
    for read in (1, 3):
        scores_v, state = model.prefill(tokens[:read], model.initial_state(1))
        torch.testing.assert_close(
            torch.log_softmax(scores_v, dim=0), expected_tv[read - 1], rtol=1e-4, atol=1e-4
        )
        for place in range(read, len(tokens)):
            scores_bv, state = model.step(torch.tensor([tokens[place]]), state)
            torch.testing.assert_close(
                torch.log_softmax(scores_bv[0], dim=0), expected_tv[place], rtol=1e-4, atol=1e-4
            )


def test_a_prompt_without_a_token_is_a_line_break() -> None:
    by_bytes = Generator(config(), network(vocabulary=256).float())
    assert by_bytes.encode("") == [10]
    tokenizer = SpacedWordTokenizer.learn([WORDS], vocabulary_size=300)
    by_words = Generator(config(), network(vocabulary=40).float(), tokenizer)
    assert by_words.encode("  ") == tokenizer.encode("\n")


def test_a_model_of_words_without_its_words_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model", Content("model", config(), {}, network().state_dict()))
    with pytest.raises(CheckpointError, match="lacks its tokens"):
        load_model(tmp_path / "model")
