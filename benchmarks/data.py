"""Files of the data folder, read as they are."""

import csv
import gzip
import io
import lzma
import sys
from pathlib import Path

UNPACKED = {".gz": gzip.decompress, ".xz": lzma.decompress}
SST2_LABELS = {"0": "negative", "1": "positive"}


def read_packed(path: Path) -> str:
    """The text of a packed file."""
    if not path.exists():
        sys.exit(f"{path} is missing: point --data at the folder that holds it")
    return UNPACKED[path.suffix](path.read_bytes()).decode("utf-8")


def read_lines(path: Path) -> list[str]:
    """Its lines; reviews hold other characters that end lines elsewhere."""
    return read_packed(path).removesuffix("\n").split("\n")


def m4_hourly(data: Path, part: str) -> dict[str, list[float]]:
    """The series of a part, "train" or "test", by name."""
    rows = csv.reader(io.StringIO(read_packed(data / "m4" / f"Hourly-{part}.csv.gz")))
    next(rows)
    return {row[0]: [float(cell) for cell in row[1:] if cell] for row in rows}


def sst2(data: Path, part: str) -> list[tuple[str, str]]:
    """Sentence and label of a part: "train", "dev" or "test"."""
    lines = read_lines(data / "sent_conv" / f"stsa.binary.{part}.gz")
    cut = [line.partition(" ") for line in lines]
    return [(text, SST2_LABELS[label]) for label, _, text in cut]


def penn_treebank(data: Path, part: str) -> list[str]:
    """The sentences of a part, "train", "valid" or "test": words between spaces."""
    return [line.strip() for line in read_lines(data / "ptb" / f"ptb.{part}.txt.gz")]


def tinyshakespeare(data: Path) -> str:
    return read_packed(data / "tinyshakespeare" / "input.txt.gz")
