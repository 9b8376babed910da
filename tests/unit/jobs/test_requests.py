import json
from uuid import uuid4

import pytest
from pydantic import ValidationError

from service.jobs.requests import JOB_REQUESTS

BODY = {"task": "text-generation", "dataset": str(uuid4())}


def test_a_time_and_ids_are_read_from_the_texts_that_json_has() -> None:
    """No body with a deadline was accepted: a strict time is none of JSON's types."""
    other = str(uuid4())
    request = JOB_REQUESTS.validate_python(
        {**BODY, "deadline": "2030-01-31T12:00:00Z", "after": [other]}
    )
    assert request.deadline is not None
    assert request.deadline.isoformat() == "2030-01-31T12:00:00+00:00"
    assert [str(each) for each in request.after] == [other]


def test_what_is_kept_of_a_request_is_the_request() -> None:
    request = JOB_REQUESTS.validate_python({**BODY, "training": {"max_steps": 3}, "priority": -1})
    kept = request.model_dump(mode="json", exclude_unset=True)
    assert kept == {**BODY, "training": {"max_steps": 3}, "priority": -1}
    assert JOB_REQUESTS.validate_json(json.dumps(kept)) == request


@pytest.mark.parametrize(
    "dataset", ["0199e2a4-5b1c-7d3e-8f60-1a2b3c4d5e6f", "sales", "sales-2026.latest_1"]
)
def test_a_data_set_is_named_by_id_or_alias(dataset: str) -> None:
    assert JOB_REQUESTS.validate_python({**BODY, "dataset": dataset}).dataset == dataset


@pytest.mark.parametrize("dataset", ["", "Sales", ".hidden", "a b", "a/b", "a" * 65, 7, None])
def test_what_is_neither_is_refused(dataset: object) -> None:
    with pytest.raises(ValidationError, match="dataset"):
        JOB_REQUESTS.validate_python({**BODY, "dataset": dataset})
