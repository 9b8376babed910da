"""What tests/image asks of the dashboard in the image, asked of an instance."""

from service.dashboard.pages import SECTIONS
from tests.e2e.running import Running
from tests.image.pages import look_at_pages


def test_every_page_answers_and_all_that_it_loads_is_there(instance: Running) -> None:
    assert instance.key is not None
    pages, _ = look_at_pages(instance.url, instance.key)
    assert len(pages) > len(SECTIONS)
