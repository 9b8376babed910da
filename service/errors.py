"""Domain errors, each with the problem type and the status that HTTP answers with.

Stores and domain functions raise these; only `service.api.problems` knows about HTTP responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rnn.errors import (
    ConfigError,
    DataTooSmallError,
    InputMismatchError,
    LiveStateError,
    RnnError,
)


@dataclass(frozen=True)
class Fault:
    """One wrong place in an input: where it is (path of names and indices) and what is wrong."""

    location: tuple[str | int, ...]
    message: str


class ServiceError(Exception):
    """Base: something a caller did, or a state of the service that a caller must be told."""

    problem: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    wait_seconds: ClassVar[float | None] = None  # before a retry, where who raises does not say

    def __init__(
        self,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after_seconds = (
            self.wait_seconds if retry_after_seconds is None else retry_after_seconds
        )


class MalformedRequestError(ServiceError):
    problem, title, status = "malformed-request", "The request is malformed", 400


class MalformedJsonError(ServiceError):
    problem, title, status = "malformed-json", "The body is not valid JSON", 400


class MalformedMultipartError(ServiceError):
    problem, title, status = "malformed-multipart", "The multipart body is malformed", 400


class BadHostError(ServiceError):
    problem, title, status = "bad-host", "The Host header is not served here", 400


class IdempotencyKeyInvalidError(ServiceError):
    problem, title, status = "idempotency-key-invalid", "The Idempotency-Key is not usable", 400


class UnauthenticatedError(ServiceError):
    problem, title, status = "unauthenticated", "A valid API key is needed", 401


class CsrfError(ServiceError):
    problem, title, status = "csrf", "The request does not come from a page of ours", 403


class ForbiddenError(ServiceError):
    problem, title, status = "forbidden", "The API key does not allow this", 403


class NotFoundError(ServiceError):
    problem, title, status = "not-found", "There is no such thing here", 404


class MethodNotAllowedError(ServiceError):
    problem, title, status = "method-not-allowed", "The method is not allowed here", 405


class NotAcceptableError(ServiceError):
    problem, title, status = "not-acceptable", "None of the accepted media types is served", 406


class ConflictError(ServiceError):
    problem, title, status = "conflict", "The state of the resource does not allow this", 409


class GoneError(ServiceError):
    problem, title, status = "gone", "The resource is no longer there", 410


class IdempotencyInProgressError(ServiceError):
    problem, title, status = "idempotency-in-progress", "The first request is still running", 409


class ModelTaskMismatchError(ServiceError):
    problem, title, status = "model-task-mismatch", "The model was trained for another task", 409


class ModelNotReadyError(ServiceError):
    problem, title, status = "model-not-ready", "The model has no trained version yet", 409


class BodyTooLargeError(ServiceError):
    problem, title, status = "body-too-large", "The body is too large", 413


class DecompressedTooLargeError(ServiceError):
    problem, title, status = "decompressed-too-large", "The file is too large once unpacked", 413


class RangeNotSatisfiableError(ServiceError):
    problem, title, status = "range-not-satisfiable", "The file has no such range", 416

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The file has {size_bytes} bytes.")
        self.size_bytes = size_bytes


class UnsupportedMediaTypeError(ServiceError):
    problem, title, status = "unsupported-media-type", "The media type is not supported", 415


class ValidationError(ServiceError):
    problem, title, status = "validation-error", "The request does not fit its schema", 422


class DatasetEmptyError(ServiceError):
    problem, title, status = "dataset-empty", "The file holds no data row", 422


class DatasetUnparseableError(ServiceError):
    problem, title, status = "dataset-unparseable", "The file cannot be read", 422


class DatasetTooWideError(ServiceError):
    problem, title, status = "dataset-too-wide", "The table has too many columns", 422


class DatasetUnsafeTextError(ServiceError):
    problem, title, status = "dataset-unsafe-text", "A text holds a forbidden character", 422


class DatasetNonfiniteError(ServiceError):
    problem, title, status = "dataset-nonfinite", "A value is not a finite number", 422


class DatasetTooSmallError(ServiceError):
    problem, title, status = "dataset-too-small", "The data set is too small for this job", 422


class ArchiveUnsafeError(ServiceError):
    problem, title, status = "archive-unsafe", "Archives are not accepted", 422


class IdempotencyMismatchError(ServiceError):
    problem, title, status = "idempotency-mismatch", "The key was used for another request", 422


class StateInvalidError(ServiceError):
    problem, title, status = "state-invalid", "The state is not one that was given out here", 422


class ModelInputMismatchError(ServiceError):
    problem, title, status = "model-input-mismatch", "The input does not fit the model", 422


class ContextTooLongError(ServiceError):
    problem, title, status = "context-too-long", "The prompt is longer than allowed", 422


class QuotaExceededError(ServiceError):
    problem, title, status = "quota-exceeded", "A quota of the workspace is used up", 429
    wait_seconds = 30.0


class RateLimitedError(ServiceError):
    problem, title, status = "rate-limited", "Too many requests", 429
    wait_seconds = 60.0


class HeadersTooLargeError(ServiceError):
    problem, title, status = "headers-too-large", "The headers are too large", 431


class UnavailableError(ServiceError):
    problem, title, status = "unavailable", "A part of the service is not available", 503
    wait_seconds: ClassVar[float] = 2.0


class OverloadedError(ServiceError):
    problem, title, status = "overloaded", "The service is at its capacity", 429
    wait_seconds = 1.0


class InsufficientStorageError(ServiceError):
    problem, title, status = "insufficient-storage", "The disk is full", 507


def within(error: ServiceError, name: str) -> ServiceError:
    """The same error of a body that is the part `name` of another one."""
    error.faults = tuple(
        Fault(("body", name, *fault.location[1:]), fault.message) for fault in error.faults
    )
    return error


def of_science(error: RnnError) -> ServiceError | None:
    """The domain error that one of `rnn` stands for; None where it is no caller's fault."""
    match error:
        case DataTooSmallError():
            return DatasetTooSmallError(str(error))
        case LiveStateError():
            return StateInvalidError(str(error))
        case InputMismatchError():
            return ModelInputMismatchError(str(error), faults=_located(error))
        case ConfigError():
            return ValidationError(str(error), faults=_located(error))
    return None


def _located(error: InputMismatchError | ConfigError) -> list[Fault]:
    return [Fault(("body", *error.location), str(error))] if error.location else []
