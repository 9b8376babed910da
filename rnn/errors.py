"""What a user did wrong, said by the science. The service turns these into problem documents."""


class RnnError(ValueError):
    """Base of every error that a caller can cause."""


class DataTooSmallError(RnnError):
    """The examples cannot fill one training window, batch or split."""


class InputMismatchError(RnnError):
    """An input does not fit the network that was asked (covariates, horizon, level). `location`
    leads to it by names and numbers, where it is one part of many."""

    def __init__(self, message: str, location: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.location = location


class ConfigError(RnnError):
    """Settings that are each legal but do not go together. `location` leads to the wrong one by
    names, where one of them is."""

    def __init__(self, message: str, location: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.location = location


class CheckpointError(RnnError):
    """A checkpoint or a model on disk is missing, torn, changed or of an unknown format."""


class LiveStateError(RnnError):
    """The state of a session is damaged, or of another network or format."""


class DivergedError(RnnError):
    """The loss or a gradient stopped being finite; the last good state is kept."""


class MemoryShortError(RnnError):
    """A training does not fit into the memory, however small the parts its batches are taken in."""


class KernelsError(RnnError):
    """Native kernels that were asked for cannot run on this machine."""
