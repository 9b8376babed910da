"""Forecasting as training work: sampled windows; the ends of the series are held out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnn.checkpoint import Content, Predictor
from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.data.examples import SeriesExamples
from rnn.data.splits import drawn_batches
from rnn.determinism import Randomness
from rnn.errors import ConfigError, DataTooSmallError
from rnn.forecasting.backtest import HeldOut
from rnn.forecasting.coding import CodedWindows, code_windows
from rnn.forecasting.conformal import Conformal
from rnn.forecasting.decoding import Decoder, Forecast, stated
from rnn.forecasting.distributions import DISTRIBUTIONS
from rnn.forecasting.evaluation import Figures, Yardsticks
from rnn.forecasting.metrics import Tally
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.paths import Dependence, normal_scores
from rnn.forecasting.predictor import Forecaster
from rnn.forecasting.shrinkage import NO_SHRINKAGE, Shrinkage
from rnn.forecasting.targets import Targets, read_values
from rnn.forecasting.windows import SeriesWindows, WindowBatch, WindowSampler, WindowShape
from rnn.precision import float32_or_better
from rnn.probe import Probe
from rnn.samples import ForecastSeries, shortened
from rnn.transfer import take_weights
from rnn.work import Batch, LossSum, ModelParts, PartLoss, Share

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_EVALUATION_VALUES = 16_384  # forecast timesteps at once: bounds the memory of an evaluation
_CALIBRATION_WINDOWS = 2_048
_RECURSIVE_WINDOWS = 256
_SERVED_WINDOWS = 1_024
_SERVED_AT_ONCE = 64
_PROBE_ROWS = 8
_SHOWN_WINDOWS = 4
_SHOWN_TIMESTEPS = 120  # of the history, and of the forecast
_SHOWN_LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


@dataclass(frozen=True)
class _Forecasts:
    """Of a batch of held-out windows, with its place in their part and its summed loss."""

    rows: slice
    windows: WindowBatch
    coded: CodedWindows
    forecast: Forecast
    loss: Tally


class ForecastingWork:
    """Series with the network that learns to correct a naive forecast of them."""

    criterion = "loss"

    def __init__(
        self,
        config: ForecastingConfig,
        examples: SeriesExamples,
        device: torch.device,
        randomness: Randomness,
        base: Content | None = None,
    ) -> None:
        self.network = ForecastingNetwork(config, randomness).to(device)
        if base is not None:
            take_weights(self.network, base.tensors)
        self._config = config
        self._device = device
        self._shape = shape = WindowShape.of(config.data)
        self._series = examples.values
        self._distribution = DISTRIBUTIONS[config.architecture.distribution]
        if config.architecture.distribution == "negative_binomial":
            _check_counts(examples)
        self._windows = SeriesWindows(examples, shape)
        self._sampler = WindowSampler(self._windows)
        test = shape.back_test
        if not len(self._sampler):
            needed = test.held_out + shape.horizon + 1
            raise DataTooSmallError(
                f"no series has {needed} timesteps with values: one to read, a horizon of "
                f"{shape.horizon} to learn from and {test.held_out} to hold out"
            )
        assert config.training.windows_per_epoch is not None, "resolved before"
        self._windows_per_epoch = config.training.windows_per_epoch
        self.steps_per_epoch = -(-self._windows_per_epoch // config.training.batch_size)
        self._batches: tuple[int, list[IntArray]] = (-1, [])
        lengths = [len(values) for values in self._series]
        self._validation = HeldOut.of(
            self._series, [test.validation_origins(length) for length in lengths], shape.horizon
        )
        if not len(self._validation):
            raise DataTooSmallError(
                f"no series has values in its last {test.held_out - test.tested} timesteps"
                f"{f' before the {test.tested} of the test part' if test.tested else ''}"
            )
        self._tested = HeldOut.of(
            self._series, [test.test_origins(length) for length in lengths], shape.horizon
        )
        self._yardsticks = self._measured(self._validation)
        self._shrinkage = NO_SHRINKAGE
        self._conformal: Conformal | None = None
        self._dependence: Dependence | None = None

    def _measured(self, part: HeldOut) -> Yardsticks:
        held_out = self._shape.back_test.held_out
        return Yardsticks(
            part,
            self._series,
            [len(values) - held_out for values in self._series],
            self._shape.season_length,
            self._shape.horizon,
        )

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return self.network.layer_groups()

    def batch(self, epoch: int, index: int) -> Batch:
        training = self._config.training
        if self._batches[0] != epoch:
            self._batches = (
                epoch,
                drawn_batches(
                    len(self._sampler),
                    self._windows_per_epoch,
                    training.batch_size,
                    seed=training.seed,
                    epoch=epoch,
                ),
            )
        windows = self._sampler.draw(self._batches[1][index])
        timesteps = len(windows) * self._shape.context_length
        loss = partial(self._part_loss, windows)
        return Batch(len(windows), loss, partial(_share, windows), timesteps)

    def _part_loss(self, windows: WindowBatch, part: slice) -> PartLoss:
        windows = windows.part(part)
        coded = code_windows(windows, self._shape)
        loss = self._loss(windows, coded, self._outputs(windows, coded))
        return PartLoss(loss, coded.inputs_btd.shape[0] * coded.inputs_btd.shape[1])

    def probe_loss(self, probe: Probe) -> Tensor:
        self.network.eval()
        places = np.linspace(0, len(self._sampler) - 1, min(_PROBE_ROWS, len(self._sampler)))
        windows = self._sampler.draw(places.astype(np.int64))
        coded = code_windows(windows, self._shape)
        return self._loss(windows, coded, self._outputs(windows, coded, probe))

    def _outputs(
        self, windows: WindowBatch, coded: CodedWindows, probe: Probe | None = None
    ) -> Tensor:
        outputs_bho: Tensor = self.network(
            torch.from_numpy(coded.inputs_btd).to(self._device),
            torch.from_numpy(coded.future_bhd).to(self._device),
            torch.from_numpy(read_values(windows.future_bh, coded.scale)).to(self._device),
            probe=probe,
        )
        return float32_or_better(outputs_bho)

    def _loss(self, windows: WindowBatch, coded: CodedWindows, outputs_bho: Tensor) -> Tensor:
        targets = Targets.of(coded, windows.future_bh, self._device)
        return self._distribution.loss(outputs_bho, targets)

    @property
    def _has_intervals(self) -> bool:
        """Of forecasts that are not calibrated yet: points have theirs from that."""
        return self._config.architecture.distribution != "point"

    def evaluate(self) -> dict[str, float]:
        validation = self._validation
        if self._config.architecture.decoding == "recursive":  # each window is many paths
            validation = validation.thinned(_RECURSIVE_WINDOWS)
        return self._figures(validation, self._yardsticks, intervals=self._has_intervals)

    @torch.inference_mode()
    def samples(self) -> list[ForecastSeries]:
        part = self._validation.thinned(_SHOWN_WINDOWS)
        levels = _SHOWN_LEVELS if self._has_intervals else ()
        until = slice(min(_SHOWN_TIMESTEPS, self._shape.horizon))
        samples = []
        for batch in self._forecasts(part):
            for row in range(len(batch.windows)):
                series, origin = part.series_b[batch.rows][row], part.origin_b[batch.rows][row]
                quantiles_hq = batch.forecast.quantiles_bhq[row, until]
                samples.append(
                    ForecastSeries(
                        series=shortened(self._windows.examples.ids[series]),
                        position=int(origin),
                        history=self._series[series][:origin][-_SHOWN_TIMESTEPS:].tolist(),
                        truth=batch.windows.future_bh[row, until].tolist(),
                        mean=batch.forecast.mean_bh[row, until].tolist(),
                        quantiles={
                            level: quantiles_hq[:, QUANTILE_LEVELS.index(level)].tolist()
                            for level in levels
                        },
                    )
                )
        return samples

    @torch.inference_mode()
    def calibrate(self) -> dict[str, float]:
        architecture, data = self._config.architecture, self._config.data
        part = self._validation.thinned(_CALIBRATION_WINDOWS)
        if architecture.distribution == "point":
            return self._calibrate_points(part, recursive=architecture.decoding == "recursive")
        draws_paths = architecture.decoding == "recursive"
        if draws_paths and not data.conformal:
            return {}
        errors = (
            (batch.windows.future_bh[:, :, None] - batch.forecast.quantiles_bhq)
            / batch.coded.scale.scale_b[:, None, None]
            for batch in self._forecasts(part)
        )
        if data.conformal:
            errors_nhq = np.concatenate(list(errors))
            self._conformal = Conformal.fit(errors_nhq)
            scores_nh = normal_scores(errors_nhq - self._conformal.offsets_hq)
        else:
            scores_nh = np.concatenate([normal_scores(errors_bhq) for errors_bhq in errors])
        if not draws_paths:
            self._dependence = Dependence.fit(scores_nh)
        return {}

    def _calibrate_points(self, part: HeldOut, *, recursive: bool) -> dict[str, float]:
        corrections, residuals = [], []
        for batch in self._forecasts(part):
            base_bh, scale_b1 = batch.coded.base_bh, batch.coded.scale.scale_b[:, None]
            corrections.append((batch.forecast.mean_bh - base_bh) / scale_b1)
            residuals.append((batch.windows.future_bh - base_bh) / scale_b1)
        correction_bh, residual_bh = np.concatenate(corrections), np.concatenate(residuals)
        if not recursive:  # it reads its own points: they would have to be shrunk one by one
            # Windows of one series whose futures overlap.
            spans_b = part.origin_b // self._shape.horizon
            group_b = part.series_b * (1 + int(spans_b.max())) + spans_b
            self._shrinkage = Shrinkage.fit(correction_bh, residual_bh, group_b)
        share = self._shrinkage.share
        errors_bh = residual_bh - share * correction_bh
        self._conformal = Conformal.around_points(errors_bh)
        scores_bh = normal_scores(errors_bh[:, :, None] - self._conformal.offsets_hq)
        self._dependence = Dependence.fit(scores_bh)
        return {"shrinkage": share}

    def test(self) -> dict[str, float]:
        if not len(self._tested):
            return {}
        figures = self._figures(self._tested, self._measured(self._tested), intervals=True)
        return {f"test_{name}": value for name, value in figures.items()}

    @torch.inference_mode()
    def _figures(
        self, part: HeldOut, yardsticks: Yardsticks, *, intervals: bool
    ) -> dict[str, float]:
        figures, loss = Figures(yardsticks, intervals=intervals), Tally()
        for batch in self._forecasts(part):
            forecast = batch.forecast
            if self._conformal is not None:
                quantiles_bhq = self._conformal.applied(
                    forecast.quantiles_bhq,
                    QUANTILE_LEVELS,
                    batch.coded.scale.scale_b,
                    self._distribution.lowest_value,
                )
                forecast = Forecast(forecast.mean_bh, quantiles_bhq)
            figures.add(
                part.series_b[batch.rows],
                part.origin_b[batch.rows],
                forecast,
                batch.coded.seasonal_naive_bh,
                batch.windows.future_bh,
            )
            loss += batch.loss
        return {"loss": loss.mean, **figures.result()}

    def _forecasts(self, part: HeldOut) -> Iterator[_Forecasts]:
        """A part in batches."""
        recursive = None
        self.network.eval()
        if self._config.architecture.decoding == "recursive":
            recursive = Decoder(self._config, self.network, fast=False)
        rows_at_once = max(1, _EVALUATION_VALUES // self._shape.horizon)
        for start in range(0, len(part), rows_at_once):
            rows = slice(start, start + rows_at_once)
            windows = self._windows.at(part.series_b[rows], part.origin_b[rows])
            coded = code_windows(windows, self._shape)
            outputs_bho = self._outputs(windows, coded)
            if recursive is None:
                forecast = stated(self._distribution, outputs_bho, coded, QUANTILE_LEVELS)
            else:  # training read the true values, a forecast reads its own
                forecast = recursive.forecast(coded, QUANTILE_LEVELS)
            forecast = self._shrinkage.applied(forecast, coded.base_bh)
            observed = int((~np.isnan(windows.future_bh)).sum())
            mean = float(self._loss(windows, coded, outputs_bho))
            yield _Forecasts(rows, windows, coded, forecast, Tally(mean * observed, observed))

    def served_losses(self, predictor: Predictor) -> Iterator[LossSum]:
        assert isinstance(predictor, Forecaster)
        part = self._validation.thinned(_SERVED_WINDOWS)
        for start in range(0, len(part), _SERVED_AT_ONCE):
            rows = slice(start, start + _SERVED_AT_ONCE)
            windows = self._windows.at(part.series_b[rows], part.origin_b[rows])
            coded = code_windows(windows, self._shape)
            truth_bh2 = torch.from_numpy(read_values(windows.future_bh, coded.scale))
            outputs_bho = predictor.outputs(coded, truth_bh2)
            targets = Targets.of(coded, windows.future_bh, outputs_bho.device)
            observed = int((~np.isnan(windows.future_bh)).sum())
            loss = float(self._distribution.loss(float32_or_better(outputs_bho), targets))
            yield LossSum(loss * observed, observed)

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        pass

    def model_parts(self) -> ModelParts:
        parts = (self._shrinkage, self._conformal, self._dependence)
        return ModelParts(
            {name: value for part in parts if part for name, value in part.to_values().items()}
        )


def _share(windows: WindowBatch, part: slice) -> Share:
    """Losses count the observed targets alone."""
    observed_bh = ~np.isnan(windows.future_bh)
    even = Share.even(part, len(windows))
    return replace(even, targets=float(observed_bh[part].sum() / max(1, observed_bh.sum())))


def _check_counts(examples: SeriesExamples) -> None:
    """Raises ConfigError where a value is no count."""
    for name, values in zip(examples.ids, examples.values, strict=True):
        observed = values[~np.isnan(values)]
        wrong = observed[(observed < 0) | (observed != np.floor(observed))]
        if len(wrong):
            raise ConfigError(
                f"negative_binomial is for counts, and series {name!r} has the value {wrong[0]:g}"
            )
