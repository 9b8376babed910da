import pytest

from service.batches.rows import Chunk, chunked, read_texts
from service.datasets import json_rows
from service.errors import DatasetUnparseableError
from tests.unit.batches.conftest import Upload


def test_a_chunk_ends_with_the_first_limit() -> None:
    sizes = [1, 1, 1, 9, 1, 12, 1]
    chunks = list(chunked(((size, size) for size in sizes), 1, most_rows=3, most_size=10))
    assert chunks == [Chunk(1, [1, 1, 1]), Chunk(4, [9, 1]), Chunk(6, [12]), Chunk(7, [1])]
    assert [chunk.last for chunk in chunks] == [3, 5, 6, 7]


@pytest.mark.parametrize("done", [0, 3, 5, 6, 7])
def test_chunks_after_a_cut_are_those_of_the_whole(done: int) -> None:
    sizes = [1, 1, 1, 9, 1, 12, 1]
    whole = chunked(((size, size) for size in sizes), 1, most_rows=3, most_size=10)
    rest = chunked(((s, s) for s in sizes[done:]), done + 1, most_rows=3, most_size=10)
    assert list(rest) == [chunk for chunk in whole if chunk.first > done]


def test_the_lines_of_a_plain_text(upload: Upload) -> None:
    path, profile = upload("prompts.txt", "\ufeffone\r\n\n three \nfour")
    assert list(read_texts(path, profile, None, done=0)) == ["one", None, " three ", "four"]
    assert profile["rows"] == 4
    assert list(read_texts(path, profile, None, done=3)) == ["four"]


def test_a_line_that_would_fill_the_memory_is_refused(upload: Upload) -> None:
    path, profile = upload("prompts.txt", "short\n" + "x" * (17 * 2**20))
    texts = read_texts(path, profile, None, done=0)
    assert next(texts) == "short"
    with pytest.raises(DatasetUnparseableError, match="line 2"):
        next(texts)


def test_the_cells_of_a_column(upload: Upload) -> None:
    content = 'text,label\n"a, b",x\n,y\nc,x\n'
    path, profile = upload("reviews.csv", content)
    assert list(read_texts(path, profile, "text", done=0)) == ["a, b", None, "c"]
    assert list(read_texts(path, profile, "label", done=2)) == ["x"]


def test_a_column_that_comes_late(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """In JSON Lines a batch of rows may lack it."""
    monkeypatch.setattr(json_rows, "BATCH_CELLS", 1)
    path, profile = upload("texts.jsonl", '{"id": "1"}\n{"id": "2", "text": "late"}\n')
    assert list(read_texts(path, profile, "text", done=0)) == [None, "late"]
