"""How many steps fit into the time that a training was given, so that its rate can fall in time."""

from rnn.config import TrainingConfig

# The first steps of an attempt fill caches and are slower than the rest.
_COLD_STEPS = 5
# Measured steps that a first plan needs: batches differ in length.
_MEASURED_STEPS = 20
# Of the time: what is left for the noise of the clock and for the evaluation at the end.
_USED_SHARE = 0.98


class StepBudget:
    """Plans the last step from the times of the steps and evaluations of this attempt.

    The first plan is made after a few measured steps, and each evaluation, whose time is then
    known, mends it. Without `max_minutes` there is no plan, and the clock decides nothing.
    """

    def __init__(self, training: TrainingConfig, steps_per_epoch: int) -> None:
        minutes = training.max_minutes
        self._seconds = None if minutes is None else 60 * minutes
        self._evaluations_per_step = min(1.0, training.evaluations_per_epoch / steps_per_epoch)
        self._last: float | None = None
        self._cold = _COLD_STEPS
        self._steps = _Mean()
        self._with_evaluation = _Mean()

    def planned(
        self, plan: int | None, step: int, seconds: float, *, evaluated_before: bool
    ) -> int | None:
        """The number of steps to do in all, told after each step.

        Args:
            plan: the one until now.
            step: how many are done.
            seconds: training time until now.
            evaluated_before: whether an evaluation came between this step and the one before.
        """
        if self._seconds is None:
            return None
        last, self._last = self._last, seconds
        if last is None or self._cold:
            self._cold -= 1
            return plan
        (self._with_evaluation if evaluated_before else self._steps).add(seconds - last)
        measured = self._steps.count + self._with_evaluation.count
        if measured < _MEASURED_STEPS or not (plan is None or evaluated_before):
            return plan
        evaluation_seconds = max(0.0, self._with_evaluation.value - self._steps.value)
        left = _USED_SHARE * self._seconds - seconds - evaluation_seconds
        each = self._steps.value + evaluation_seconds * self._evaluations_per_step
        return step + max(1, int(left / each)) if each > 0 else plan


class _Mean:
    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self._sum += value

    @property
    def value(self) -> float:
        return self._sum / self.count if self.count else 0.0
