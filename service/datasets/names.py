"""Guesses what a column is for from what it is called."""

TARGETS = ("target", "value", "y", "values")
TIMES = ("timestamp", "datetime", "time", "date", "ds", "start", "month", "year", "day")
SERIES = ("unique_id", "item_id", "series_id", "series", "id", "item", "name")
TEXTS = ("text", "review", "sentence", "content", "comment", "message", "document")
LABELS = ("label", "sentiment", "category", "class", "target", "polarity")
SPLITS = ("split", "subset", "partition")


def is_numeric_by_name(name: str) -> bool:
    return name.strip().lower() in TARGETS


def is_time_by_name(name: str) -> bool:
    return name.strip().lower() in TIMES


def is_text_by_name(name: str) -> bool:
    """Whether the column holds words or codes, so that some of them may look like numbers."""
    folded = name.strip().lower()
    if folded in TARGETS:
        return False
    return folded in (*SERIES, *TEXTS, *LABELS, *SPLITS) or folded.endswith(("_id", "_code"))


def first_named(wanted: tuple[str, ...], names: list[str]) -> str | None:
    """The column with the best of the wanted names: they are in order of preference."""
    by_folded = {name.strip().lower(): name for name in reversed(names)}
    return next((by_folded[name] for name in wanted if name in by_folded), None)
