"""How far back each cell can learn to remember: every cell at every problem of `problems.py`.

    .venv/bin/python -m benchmarks.quality.memory --keep memory.json --out page.md
    .venv/bin/python -m benchmarks.quality.memory --only adding --cells lstm,rglru --minutes 5

The library alone, without the service: a recurrent stack between two linear layers. One thread; a
run ends when it solves its problem on sequences that are not judged, after its steps, or when its
minutes of processor time are over.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmarks.quality.problems import PROBLEMS, RECALLED, Problem
from benchmarks.quality.rows import Place
from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.stack import RecurrentStack

CELLS: tuple[CellName, ...] = get_args(CellName)
JUDGED_ROWS, CHECKED_ROWS = 2_000, 256
ROWS_AT_ONCE = 64
CHECK_EVERY = 100  # steps
CALM = 0.1  # share of the loss without memory under which sequences get longer
GROWTH = 1.3
WARM_UP_STEPS = 100


@dataclass(frozen=True)
class Recipe:
    """How a network is trained at a problem.

    Attributes:
        architecture: what differs from one layer without dropout.
        learning_rate: peak; it falls by half a cosine over the steps if `falling`.
        first_length: sequences begin so short and grow by a third whenever the loss is calm; None:
            full length from the start.
    """

    architecture: dict[str, Any]
    steps: int
    batch_size: int
    learning_rate: float
    falling: bool = True
    first_length: int | None = None


# By problem, then by cell; "" is for the cells that have none of their own.
RECIPES: dict[str, dict[str, Recipe]] = {
    "adding": {
        "": Recipe({"hidden_size": 64}, 10_000, 32, 2e-3),
        "lstm": Recipe({"hidden_size": 64, "chrono_length": 600}, 10_000, 32, 5e-3),
        "gru": Recipe({"hidden_size": 64, "chrono_length": 600}, 10_000, 32, 5e-3),
        "mingru": Recipe({"hidden_size": 64, "chrono_length": 600}, 10_000, 32, 5e-3),
        "minlstm": Recipe({"hidden_size": 64, "chrono_length": 600}, 10_000, 32, 5e-3),
        "rglru": Recipe({"hidden_size": 64}, 4_000, 32, 5e-3),
        "indrnn": Recipe({"num_layers": 2, "hidden_size": 64}, 10_000, 32, 2e-3),
    },
    "copy": {
        "": Recipe({"hidden_size": 128}, 20_000, 64, 3e-3, falling=False, first_length=2),
    },
    "parity": {
        "": Recipe({"hidden_size": 64}, 20_000, 256, 3e-3, first_length=5),
    },
}


@dataclass(frozen=True)
class Result:
    """What one run came to. `seconds` are of processor time; `length` is what the sequences had
    grown to."""

    problem: str
    cell: str
    seed: int
    figures: dict[str, float]
    steps: int
    seconds: float
    length: int
    weights: int
    place: Place


class MemoryNetwork(nn.Module):
    """[B, T, inputs] to [B, T, outputs]."""

    def __init__(self, problem: Problem, config: ArchitectureConfig, seed: int) -> None:
        super().__init__()
        randomness = Randomness(seed, torch.device("cpu"))
        self.stack = RecurrentStack(config, problem.inputs, randomness)
        self.out = nn.Linear(self.stack.output_size, problem.outputs)
        with torch.no_grad():
            nn.init.xavier_uniform_(self.out.weight, generator=randomness.weights)
            nn.init.zeros_(self.out.bias)

    def forward(self, x_btd: Tensor) -> Tensor:
        y_bth, _ = self.stack(x_btd, state_wanted=False)
        outputs_bto: Tensor = self.out(y_bth)
        return outputs_bto


def run(problem: Problem, cell: CellName, recipe: Recipe, *, seed: int, minutes: float) -> Result:
    """Trains until the goal, the last step or the time limit, then judges on fresh sequences."""
    config = ArchitectureConfig(
        **{"cell": cell, "num_layers": 1, "dropout": 0.0, **recipe.architecture}
    )
    network = MemoryNetwork(problem, config, seed)
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    began = time.process_time()
    length = recipe.first_length or problem.train_length
    recent, step = math.inf, 0
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, recipe)
        drawn = (
            int(torch.randint(1, length + 1, (), generator=random)) if problem.varied else length
        )
        batch = problem.draw(recipe.batch_size, drawn, random)
        loss = problem.loss(network(batch.x_btd), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        recent = loss.item() if step == 1 else 0.95 * recent + 0.05 * loss.item()
        if step % CHECK_EVERY == 0:
            figures = judge(network, problem, seed=seed + 1_000_000, rows=CHECKED_ROWS)
            seconds = time.process_time() - began
            _say(
                f"{problem.name}, {cell}: step {step}, length {length}, {seconds:.0f} s, {figures}"
            )
            if problem.reaches(problem.goal, figures) or seconds > 60 * minutes:
                break
        if step % (CHECK_EVERY // 2) == 0 and recent < CALM * problem.loss_without_memory(length):
            length = min(problem.train_length, int(GROWTH * length) + 1)
    seconds = time.process_time() - began
    return Result(
        problem.name,
        cell,
        seed,
        judge(network, problem, seed=seed + 2_000_000, rows=JUDGED_ROWS),
        step,
        seconds,
        length,
        sum(parameter.numel() for parameter in network.parameters()),
        Place.here("cpu"),
    )


def rate_at(step: int, recipe: Recipe) -> float:
    """The learning rate of a step, counted from 1."""
    rate = recipe.learning_rate * min(1.0, step / WARM_UP_STEPS)
    if recipe.falling:
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return rate


@torch.inference_mode()
def judge(network: nn.Module, problem: Problem, *, seed: int, rows: int) -> dict[str, float]:
    """The figures on sequences drawn from a seed."""
    batch = problem.draw(rows, problem.length, torch.Generator().manual_seed(seed))
    outputs = [network(part_btd) for part_btd in batch.x_btd.split(ROWS_AT_ONCE)]
    return problem.judged(torch.cat(outputs), batch.targets)


@dataclass
class Kept:
    results: list[Result] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        if path is None or not path.exists():
            return cls()
        rows = json.loads(path.read_text(encoding="utf-8"))
        return cls([Result(**{**row, "place": Place(**row["place"])}) for row in rows])

    def add(self, new: Result, path: Path | None) -> None:
        """Takes the place of what the same cell showed at the same problem before."""
        key = (new.problem, new.cell)
        self.results = [row for row in self.results if (row.problem, row.cell) != key] + [new]
        if path is not None:
            rows = [asdict(row) for row in self.results]
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def render(results: list[Result]) -> str:
    """A table of cells by problem, then how each was trained."""
    found = {(row.cell, row.problem): row for row in results}
    problems = [p for p in PROBLEMS.values() if any(row.problem == p.name for row in results)]
    heads = [f"{problem.title} (at {problem.target:g})" for problem in problems]
    lines = [f"| cell | {' | '.join(heads)} |", "| --- " * (1 + len(problems)) + "|"]
    for cell in CELLS:
        cells = [_cell(problem, found.get((cell, problem.name))) for problem in problems]
        if any(cells):
            lines.append(f"| {cell} | {' | '.join(cells)} |")
    recipes = [
        f"- {problem.name}, {cell or 'all others'}: `{json.dumps(asdict(recipe))}`"
        for problem in problems
        for cell, recipe in sorted(RECIPES[problem.name].items(), reverse=True)
    ]
    places = dict.fromkeys(
        f"- Measured with {row.place.machine}, one thread; commit {row.place.commit}; "
        f"{row.place.day}"
        for row in results
    )
    return "\n\n".join(
        [
            "# Which cell remembers how far",
            "Made by `python -m benchmarks.quality.memory`, one seed. Bold: solved, that is, as "
            "good as the number in the head, and of copied symbols 99 % recalled. In brackets "
            "optimizer steps and seconds of one thread, until it was solved or given up: after all "
            "steps of the recipe, or sooner when its time was up, which was not the same for all. "
            "A length says how far the sequences had grown where they began short. Nothing was "
            "tuned for a cell but what is listed below the table.",
            "\n".join(lines),
            "\n".join(recipes),
            "\n".join(places),
        ]
    ) + "\n"  # fmt: skip


def _cell(problem: Problem, row: Result | None) -> str:
    if row is None:
        return ""
    shown = ", ".join(f"{name} {value:.3g}" for name, value in row.figures.items())
    if problem.reaches(problem.target, row.figures) and row.figures.get(RECALLED, 1) >= 0.99:
        shown = f"**{shown}**"
    grown = "" if row.length == problem.train_length else f", length {row.length}"
    return f"{shown} ({row.steps:,}, {row.seconds:.0f} s{grown})"


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    kept = Kept.read(options.keep)
    for name in options.only:
        for cell in options.cells:
            recipes = RECIPES[name]
            recipe = recipes.get(cell, recipes[""])
            result = run(PROBLEMS[name], cell, recipe, seed=options.seed, minutes=options.minutes)
            kept.add(result, options.keep)
    text = render(kept.results)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.memory", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--only", type=_listed(tuple(PROBLEMS)), default=list(PROBLEMS))
    parser.add_argument("--cells", type=_listed(CELLS), default=list(CELLS))
    parser.add_argument("--minutes", type=float, default=15.0, help="processor time of a run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a JSON file of results, one a cell and problem")
    parser.add_argument("--out", type=Path, help="where the page goes")
    return parser.parse_args()


def _listed(known: tuple[str, ...]) -> Any:
    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}; known: {', '.join(known)}")
        return found

    return names


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
