"""Training: tokens a second through forward, backward and update."""

from collections.abc import Callable
from functools import partial as part

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from benchmarks.kernels import ours
from benchmarks.kernels.measure import Row, build, interleaved, say
from benchmarks.kernels.networks import SHAPES, sentences
from rnn.cells import positive

Step = Callable[[], object]
# The line's name in the tables, and whether torch computes in bfloat16 where autocast does.
TORCH = {"nn.LSTM f32": False, "nn.LSTM bf16 autocast": True}


def training(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """All four pieces of work."""
    del threads, compile_too  # nn.LSTM gains nothing by torch.compile
    rows = _rows("S, batch 32, 128 steps", _small(), 32 * 128, quick)
    for batch in (20,) if quick else (20, 80):
        rows += _rows(f"3x1150, batch {batch}, 70 steps", _large(batch), batch * 70, quick)
    lengths = sum(len(row) for row in sentences())
    rows += _rows("BiLSTM classifier, ragged", _ragged(), lengths, quick)
    rows += _rows("minGRU 2x512, batch 32, 128 steps", _minimal(), 32 * 128, quick)
    return rows


def _rows(work: str, makers: dict[str, Callable[[], Step]], tokens: int, quick: bool) -> list[Row]:
    say(f"training: {work}")
    steps, failed = build(makers)
    timings = interleaved(steps, repetitions=2 if quick else 5, seconds=0)
    rows = [
        timing.row("training", work, name, unit="tokens/s", items=tokens)
        for name, timing in timings.items()
    ]
    return rows + [
        Row("training", work, name, "tokens/s", None, note=reason)
        for name, reason in failed.items()
    ]


def optimizer_of(model: nn.Module, *, sgd: bool = False) -> torch.optim.Optimizer:
    if sgd:
        return torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    return torch.optim.Adam(model.parameters(), fused=True)


def optimizer_step(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    autocast: bool,
    sgd: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
) -> Step:
    """One update of the model with gradient clipping, as a trainer does it."""
    updates = optimizer or optimizer_of(model, sgd=sgd)

    def step() -> Tensor:
        updates.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = loss()
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        updates.step()
        return found

    return step


class TokenModel(nn.Module):
    """Embedding, recurrence over [B, T, D], linear; its loss is that of the next token."""

    def __init__(
        self, vocabulary: int, embedding_size: int, recurrence: nn.Module, hidden_size: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_size)
        self.recurrence = recurrence
        self.out = nn.Linear(hidden_size, vocabulary)
        if hidden_size == embedding_size and vocabulary > 10_000:
            self.out.weight = self.embedding.weight  # shared, as large vocabularies want it
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, tokens_bt: Tensor, targets_bt: Tensor) -> Tensor:
        y_bth = self.recurrence(self.embedding(tokens_bt))[0]
        logits_nv = self.out(y_bth).flatten(0, 1).float()
        return functional.cross_entropy(logits_nv, targets_bt.flatten())


class Chain(nn.Module):
    """Recurrences one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x_btd: Tensor) -> tuple[Tensor, None]:
        for layer in self.layers:
            x_btd = layer(x_btd)[0]
        return x_btd, None


def _small() -> dict[str, Callable[[], Step]]:
    shape = SHAPES["S"]
    tokens_bt, targets_bt = _tokens(shape.vocabulary, 32, 128)
    width, hidden, layers = shape.embedding_size, shape.hidden_size, shape.num_layers
    sizes = [(width, hidden), *[(hidden, hidden)] * (layers - 1)]

    def make(recurrence: Callable[[], nn.Module], autocast: bool) -> Step:
        model = TokenModel(shape.vocabulary, width, recurrence(), hidden)
        return optimizer_step(model, lambda: model(tokens_bt, targets_bt), autocast=autocast)

    def of_torch() -> nn.Module:
        return nn.LSTM(width, hidden, layers, batch_first=True)

    return {
        **{name: part(make, of_torch, autocast) for name, autocast in TORCH.items()},
        **{
            f"ours {name}": part(
                make, part(ours.TrainedStack, "lstm", sizes, precision), name == "bf16"
            )
            for name, precision in ours.TRAINING_PRECISIONS.items()
        },
    }


def _large(batch: int) -> dict[str, Callable[[], Step]]:
    vocabulary, width, hidden = 33_000, 400, 1_150
    tokens_bt, targets_bt = _tokens(vocabulary, batch, 70)
    sizes = [(width, hidden), (hidden, hidden), (hidden, width)]

    def make(recurrence: Callable[[], nn.Module], autocast: bool) -> Step:
        model = TokenModel(vocabulary, width, recurrence(), width)
        return optimizer_step(
            model, lambda: model(tokens_bt, targets_bt), autocast=autocast, sgd=True
        )

    def of_torch() -> nn.Module:
        return Chain(*(nn.LSTM(*size, batch_first=True) for size in sizes))

    return {
        **{name: part(make, of_torch, autocast) for name, autocast in TORCH.items()},
        **{
            f"ours {name}": part(
                make, part(ours.TrainedStack, "lstm", sizes, precision), name == "bf16"
            )
            for name, precision in ours.TRAINING_PRECISIONS.items()
        },
    }


class RaggedClassifier(nn.Module):
    """Sentences to two scores; the recurrence gets their lengths."""

    def __init__(self, recurrence: nn.Module, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20_000, width)
        self.recurrence = recurrence
        self.out = nn.Linear(2 * hidden, 2)

    def forward(self, tokens_bt: Tensor, lengths_b: Tensor, how: str) -> Tensor:
        x = self.embedding(tokens_bt)
        if how == "ours":
            y_bth, _ = self.recurrence(x, lengths_b)
            size = y_bth.shape[2] // 2
            rows = torch.arange(len(lengths_b))
            last = torch.cat([y_bth[rows, lengths_b - 1, :size], y_bth[:, 0, size:]], dim=1)
        else:
            if how == "packed":
                x = pack_padded_sequence(x, lengths_b, batch_first=True, enforce_sorted=False)
            _, (hidden_lbh, _) = self.recurrence(x)
            last = torch.cat([hidden_lbh[-2], hidden_lbh[-1]], dim=1)
        scores: Tensor = self.out(last)
        return scores


def _ragged() -> dict[str, Callable[[], Step]]:
    """A step here is a pass over all 512 sentences in eight batches."""
    width, hidden = 128, 256
    rows = sentences()
    by_length = sorted(rows, key=len)
    sizes = [(width, hidden), (2 * hidden, hidden)]

    def make(
        order: list[Tensor], how: str, recurrence: Callable[[], nn.Module], autocast: bool
    ) -> Step:
        model = RaggedClassifier(recurrence(), width, hidden)
        parameters = optimizer_of(model)
        steps = []
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            tokens_bt = pad_sequence(batch, batch_first=True)
            lengths_b = torch.tensor([len(row) for row in batch])
            labels_b = torch.arange(len(batch)) % 2
            loss = part(_classifier_loss, model, tokens_bt, lengths_b, labels_b, how)
            steps.append(optimizer_step(model, loss, autocast=autocast, optimizer=parameters))

        def run() -> None:
            for step in steps:
                step()

        return run

    def of_torch() -> nn.Module:
        return nn.LSTM(width, hidden, 2, batch_first=True, bidirectional=True)

    makers: dict[str, Callable[[], Step]] = {
        "nn.LSTM f32, padded, any order": part(make, rows, "padded", of_torch, False),
        "nn.LSTM f32": part(make, by_length, "padded", of_torch, False),
        "nn.LSTM f32, packed": part(make, by_length, "packed", of_torch, False),
        "nn.LSTM bf16 autocast": part(make, by_length, "padded", of_torch, True),
    }
    for label, order in (("", by_length), (", any order", rows)):
        for name, precision in ours.TRAINING_PRECISIONS.items():
            stack = part(ours.TrainedStack, "lstm", sizes, precision, bidirectional=True)
            makers[f"ours {name}{label}"] = part(make, order, "ours", stack, name == "bf16")
    return makers


def _classifier_loss(
    model: RaggedClassifier, tokens_bt: Tensor, lengths_b: Tensor, labels_b: Tensor, how: str
) -> Tensor:
    return functional.cross_entropy(model(tokens_bt, lengths_b, how).float(), labels_b)


class TorchMinGRU(nn.Module):
    """minGRU in torch operations alone, by the scan in log space of its paper or step by step."""

    def __init__(self, input_size: int, hidden_size: int, how: str) -> None:
        super().__init__()
        self.gates = nn.Linear(input_size, 2 * hidden_size)
        self.how = how

    def forward(self, x_btd: Tensor) -> tuple[Tensor, None]:
        update_bth, candidate_bth = self.gates(x_btd).float().chunk(2, dim=2)
        if self.how == "log scan":
            log_decay = -functional.softplus(update_bth)
            log_candidate = torch.where(
                candidate_bth >= 0,
                (functional.relu(candidate_bth) + 0.5).log(),
                -functional.softplus(-candidate_bth),
            )
            total = log_decay.cumsum(dim=1)
            addend = log_candidate - functional.softplus(-update_bth) - total
            return torch.exp(total + addend.logcumsumexp(dim=1)), None
        update_bth = torch.sigmoid(update_bth)
        addend = update_bth * positive(candidate_bth)
        hidden_bh = torch.zeros_like(addend[:, 0])
        outputs = []
        for decay_bh, addend_bh in zip((1 - update_bth).unbind(1), addend.unbind(1), strict=True):
            hidden_bh = torch.addcmul(addend_bh, decay_bh, hidden_bh)
            outputs.append(hidden_bh)
        return torch.stack(outputs, dim=1), None


def _minimal() -> dict[str, Callable[[], Step]]:
    vocabulary, size = 256, 512
    tokens_bt, targets_bt = _tokens(vocabulary, 32, 128)

    def make(recurrence: Callable[[], nn.Module], autocast: bool) -> Step:
        model = TokenModel(vocabulary, size, recurrence(), size)
        return optimizer_step(model, lambda: model(tokens_bt, targets_bt), autocast=autocast)

    def of_torch(how: str) -> nn.Module:
        return Chain(TorchMinGRU(size, size, how), TorchMinGRU(size, size, how))

    return {
        "nn.LSTM f32": part(make, lambda: nn.LSTM(size, size, 2, batch_first=True), False),
        "torch scan in log space f32": part(make, part(of_torch, "log scan"), False),
        "torch scan in log space bf16 autocast": part(make, part(of_torch, "log scan"), True),
        "torch sequential loop f32": part(make, part(of_torch, "loop"), False),
        "torch sequential loop bf16 autocast": part(make, part(of_torch, "loop"), True),
        **{
            f"ours {name}": part(
                make,
                part(ours.TrainedStack, "mingru", [(size, size)] * 2, precision),
                name == "bf16",
            )
            for name, precision in ours.TRAINING_PRECISIONS.items()
        },
    }


def _tokens(vocabulary: int, batch: int, timesteps: int) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(
        0, vocabulary, (2, batch, timesteps), generator=torch.Generator().manual_seed(0)
    )
    return drawn[0], drawn[1]
