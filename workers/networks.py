"""Published networks that predict data sets. They compute with what answers requests, so that both
give the same numbers. Importing this imports torch: only a trainer does."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch

from rnn.checkpoint import load_model
from rnn.classification.predictor import Classifier
from rnn.errors import InputMismatchError, RnnError
from rnn.forecasting.predictor import Forecaster
from rnn.generation.predictor import Generator as LanguageModel
from service.batches.config import (
    ClassificationBatch,
    ForecastingBatch,
    GenerationBatch,
    with_columns,
)
from service.batches.rows import (
    MOST_CHARACTERS,
    MOST_VALUES,
    Chunk,
    SeriesRow,
    chunked,
    read_texts,
)
from service.batches.series import SeriesSource
from service.datasets.columns import ColumnType
from service.datasets.csv_rows import MAX_NAME_CHARS
from service.errors import ServiceError, ValidationError
from service.inference.decode import Decoder
from service.inference.generation import Generation
from service.inference.options import drawing
from service.inference.requests import GenerationRequest, TextFinished, TokenDrawn
from service.inference.turns import ROWS_PER_TURN, classify_in_turns, forecast_in_turns
from workers.messages import Predict
from workers.predictor import ERROR, Answer, Predictor

Turns: TypeAlias = Generator[None, None, list[Answer]]

TEXTS_PER_CHUNK = 16 * ROWS_PER_TURN  # sorted by length, so that little of a turn is padding
EMPTY = "the text is empty"


def load_predictor(order: Predict) -> Predictor:
    """Raises CheckpointError where the folder holds no model, ValidationError where its answers
    cannot be columns."""
    model = load_model(order.base.path, device=order.device)
    match order.config, model:
        case ForecastingBatch(), Forecaster():
            return ForecastPredictor(order, order.config, model)
        case ClassificationBatch(), Classifier():
            return ClassificationPredictor(order, order.config, model)
        case GenerationBatch(), LanguageModel():
            return GenerationPredictor(order, order.config, model)
    raise AssertionError("the options are those of the model's task")


class ForecastPredictor:
    """A row is a series."""

    def __init__(self, order: Predict, options: ForecastingBatch, model: Forecaster) -> None:
        assert options.horizon is not None, "fill_in comes first"
        self._options = options
        self._horizon = options.horizon
        self._model = model
        self._names = [f"quantile_{level}" for level in options.quantiles]
        self._source = SeriesSource(
            order.dataset_path,
            order.profile,
            with_columns(model.config, options.data),
            horizon=options.horizon,
            folder=order.checkpoints_dir,
        )
        self.total = self._source.total
        lists: dict[str, ColumnType] = dict.fromkeys(["mean", *self._names], "list")
        self.columns: Mapping[str, ColumnType] = {"id": "text", **lists, ERROR: "text"}

    def chunks(self, done: int) -> Iterator[Chunk[SeriesRow]]:
        rows = ((row, row.size) for row in self._source.rows(done))
        return chunked(rows, done + 1, most_rows=ROWS_PER_TURN, most_size=MOST_VALUES)

    def answers(self, chunk: Chunk[SeriesRow]) -> Turns:
        try:
            return (yield from self._together(chunk.rows))
        except InputMismatchError:  # of some of them
            answers = []
            for row in chunk.rows:
                answers.append((yield from self._alone(row)))
            return answers

    def _together(self, rows: Sequence[SeriesRow]) -> Turns:
        mean_bt, quantiles_bqt = yield from forecast_in_turns(
            self._model,
            [row.values for row in rows],
            self._horizon,
            self._options.quantiles,
            [row.covariates for row in rows],
        )
        return [
            {"id": row.name, "mean": mean_t, **dict(zip(self._names, bands_qt, strict=True))}
            for row, mean_t, bands_qt in zip(
                rows, mean_bt.tolist(), quantiles_bqt.tolist(), strict=True
            )
        ]

    def _alone(self, row: SeriesRow) -> Generator[None, None, Answer]:
        try:
            (answer,) = yield from self._together([row])
        except InputMismatchError as error:
            return {"id": row.name, ERROR: str(error).replace("series 0", "the series")}
        return answer


class _TextPredictor:
    """A row is a text."""

    columns: Mapping[str, ColumnType]

    def __init__(self, order: Predict, column: str | None, *, most_rows: int) -> None:
        self._order = order
        self._column = column
        self._most_rows = most_rows
        self.total: int = order.profile["rows"]

    def chunks(self, done: int) -> Iterator[Chunk[str | None]]:
        order = self._order
        texts = read_texts(order.dataset_path, order.profile, self._column, done=done)
        rows = ((text, len(text or "")) for text in texts)
        return chunked(rows, done + 1, most_rows=self._most_rows, most_size=MOST_CHARACTERS)


class ClassificationPredictor(_TextPredictor):
    def __init__(self, order: Predict, options: ClassificationBatch, model: Classifier) -> None:
        super().__init__(order, options.data.text_column, most_rows=TEXTS_PER_CHUNK)
        self._model = model
        self._scores = [f"score_{label}" for label in model.labels] if options.all_scores else []
        for name in self._scores:
            if len(name) > MAX_NAME_CHARS:
                raise ValidationError(
                    f"A label of {len(name)} characters is too long for the name of a column: "
                    "predict without all_scores."
                )
        self.columns = {
            "row": "number",
            "label": "text",
            "score": "number",
            "truncated": "text",
            "known_share": "number",
            **dict.fromkeys(self._scores, "number"),
            ERROR: "text",
        }

    def answers(self, chunk: Chunk[str | None]) -> Turns:
        texts = {row: text for row, text in enumerate(chunk.rows, chunk.first) if text}
        probabilities_bc, truncated, known_share = yield from classify_in_turns(
            self._model, list(texts.values())
        )
        found: dict[int, Answer] = {}
        for place, (row, scores_c) in enumerate(zip(texts, probabilities_bc.tolist(), strict=True)):
            best = max(scores_c)
            found[row] = {
                "row": row,
                "label": self._model.labels[scores_c.index(best)],
                "score": best,
                "truncated": truncated[place],
                "known_share": known_share[place],
            }
            if self._scores:
                found[row] |= zip(self._scores, scores_c, strict=True)
        rows = range(chunk.first, chunk.last + 1)
        return [found.get(row) or {"row": row, ERROR: EMPTY} for row in rows]


class GenerationPredictor(_TextPredictor):
    def __init__(self, order: Predict, options: GenerationBatch, model: LanguageModel) -> None:
        super().__init__(order, options.data.text_column, most_rows=ROWS_PER_TURN)
        self._options = options
        self._model = model
        self._max_prompt_tokens = order.max_prompt_tokens
        self.columns = {"row": "number", "text": "text", "finish_reason": "text", ERROR: "text"}

    def answers(self, chunk: Chunk[str | None]) -> Turns:
        slots = max(len(chunk.rows), self._options.num_beams)
        decoder = Decoder(slots, self._max_prompt_tokens)
        rows: dict[Generation, int] = {}
        for row, prompt in enumerate(chunk.rows, chunk.first):
            if prompt:
                generation = Generation(self._request(row, prompt), self._model)
                rows[generation] = row
                decoder.add(generation)
        pieces: dict[int, list[str]] = {row: [] for row in rows.values()}
        found: dict[int, Answer] = {}
        while decoder.busy:
            with torch.inference_mode():
                news = [*decoder.read(), *decoder.step()]
            for generation, event in news:
                row = rows[generation]
                if isinstance(event, Exception):
                    found[row] = {"row": row, ERROR: _said(event)}
                elif isinstance(event, TokenDrawn | TextFinished):
                    pieces[row].append(event.text)
                    if isinstance(event, TextFinished):
                        # No data set holds NUL.
                        text = "".join(pieces.pop(row)).replace("\0", "\N{REPLACEMENT CHARACTER}")
                        reason = event.finish_reason
                        found[row] = {"row": row, "text": text, "finish_reason": reason}
            yield
        numbers = range(chunk.first, chunk.last + 1)
        return [found.get(row) or {"row": row, ERROR: EMPTY} for row in numbers]

    def _request(self, row: int, prompt: str) -> GenerationRequest:
        options = self._options
        assert options.max_new_tokens is not None, "fill_in comes first"
        return GenerationRequest(
            prompt=prompt,
            max_new_tokens=options.max_new_tokens,
            seed=(options.seed or 0) + row - 1,
            num_beams=options.num_beams,
            length_penalty=1.0 if options.length_penalty is None else options.length_penalty,
            **drawing(options),
        )


def _said(error: Exception) -> str:
    """Why one text was not generated; raises what is a defect of ours and none of the text's."""
    if isinstance(error, ServiceError):
        return error.detail
    if isinstance(error, RnnError | ArithmeticError):
        return str(error)
    raise error
