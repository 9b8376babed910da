"""The body of every error: RFC 9457, media type application/problem+json."""

from pydantic import Field

from service.api.schemas.base import View


class ProblemFault(View):
    location: str = Field(examples=["body.training.learning_rate"])
    message: str = Field(examples=["Input should be greater than 0"])


class Problem(View):
    """What went wrong, for programs (`type`) and for people (`title`, `detail`, `errors`)."""

    type: str = Field(examples=["urn:reprise:problem:validation-error"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request.")
    request_id: str = Field(description="Also in the X-Request-Id header and in the server's log.")
    errors: list[ProblemFault] = Field(default=[], description="Each wrong place of the input.")
