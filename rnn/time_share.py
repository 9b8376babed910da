"""Work beside a training that must take no more than a share of its time."""


class TimeShare:
    """Whether the time for such a piece of work is earned, by how long the ones before it took.

    Args:
        most: of the training time, 0 to 1.
        first_steps: steps of training that the first piece is expected to take, for want of a
            measurement.
    """

    def __init__(self, most: float, first_steps: float) -> None:
        self._most = most
        self._first_steps = first_steps
        self._spent = 0.0
        self._longest: float | None = None

    def earned(self, steps: int, seconds: float) -> bool:
        """Whether one more piece stays below the share.

        Args:
            steps: done in this attempt.
            seconds: since it began.
        """
        expected = self._longest
        if expected is None:
            expected = self._first_steps * seconds / max(1, steps)
        return self._spent + expected <= self._most * seconds

    def spent(self, seconds: float) -> None:
        """A piece took so long."""
        self._spent += seconds
        self._longest = max(seconds, self._longest or 0.0)
