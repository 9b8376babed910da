import pytest

from service.api.negotiation import accepts, is_json

JSON = ("application/json",)
STREAM = ("application/json", "text/event-stream")


@pytest.mark.parametrize(
    ("accept", "produced", "expected"),
    [
        ([], JSON, True),
        ([""], JSON, True),
        (["*/*"], JSON, True),
        (["application/*"], JSON, True),
        (["Application/JSON; charset=utf-8"], JSON, True),
        (["text/html, application/json;q=0.1"], JSON, True),
        (["text/html", "application/json"], JSON, True),
        (["text/html"], JSON, False),
        (["text/*"], JSON, False),
        (["application/jsonp"], JSON, False),
        (["*/*;q=0"], JSON, False),
        (["application/json;q=0, */*"], JSON, False),
        (["application/json;q=x"], JSON, False),
        (["garbage"], JSON, False),
        (["text/event-stream"], STREAM, True),
        (["text/event-stream"], JSON, False),
    ],
)
def test_accept(accept: list[str], produced: tuple[str, ...], expected: bool) -> None:
    assert accepts(accept, produced) is expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json; charset=utf-16", False),
        ("application/jsonp", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_content_type(content_type: str, expected: bool) -> None:
    assert is_json(content_type) is expected
