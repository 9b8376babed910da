"""Decides which column holds what: guessed from names and types, or as a configuration says."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rnn.config import (
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    GenerationData,
    TaskConfig,
)
from rnn.config.forecasting import ForecastingData
from service.datasets.columns import Column
from service.datasets.labels import SPLIT_NAMES, LabelRoles
from service.datasets.names import LABELS, SERIES, SPLITS, TARGETS, TEXTS, TIMES, first_named
from service.datasets.places import shown
from service.datasets.series import SeriesRoles
from service.datasets.times import UNDECIDED
from service.errors import Fault, ValidationError

NUMERIC_TIMES = ("timestamp", "datetime", "time", "date", "ds", "year")
ROW_NUMBERS = frozenset({"column_1", "unnamed: 0", "index", "row"})
MAX_LABELS_BY_TYPE = 50
LONG_TEXT_CHARS = 12
MAX_SERIES_BY_TYPE = 3  # columns to try: each takes one more pass over the file
ALL_COLUMNS = ["*"]
MAX_CANDIDATES = 100  # a table of more numbers without a time is no series


@dataclass(frozen=True)
class Guess:
    # They differ in the series column and are to be tried in turn: times tell which is right.
    series: list[SeriesRoles] | None
    labels: LabelRoles | None
    text_column: str | None


def guess(columns: Sequence[Column], rows: int) -> Guess:
    """What each column is most likely for. None: the file holds no such thing."""
    text = _text_column(columns)
    labels = _label_roles(columns, text, rows)
    time = _time_column(columns)
    series = None
    # Ratings beside reviews are no series: with a text it takes a time as well.
    if text is None or time is not None or any(column.is_list for column in columns):
        taken = {text, *(labels.columns if labels else ())}
        series = _series_choices([c for c in columns if c.name not in taken], time, rows)
    return Guess(series, labels, text)


def _names(columns: Sequence[Column], *types: str) -> list[str]:
    return [column.name for column in columns if column.type in types and column.filled]


def _text_column(columns: Sequence[Column]) -> str | None:
    texts = [c for c in columns if c.type == "text" and c.filled]
    named = first_named(TEXTS, [c.name for c in texts])
    if named is not None:
        return named
    other = (*SERIES, *LABELS, *SPLITS, *TIMES)
    long = [
        c
        for c in texts
        if c.chars >= LONG_TEXT_CHARS * c.filled
        and first_named(other, [c.name]) is None
        and (c.distinct is None or 2 * len(c.distinct) > c.filled)
    ]
    return max(long, key=lambda c: c.chars / c.filled).name if long else None


def _label_roles(columns: Sequence[Column], text: str | None, rows: int) -> LabelRoles | None:
    if text is None:
        return None
    split = _split_column(columns)
    possible = [
        c
        for c in columns
        if c.name not in (text, split)
        and c.type in ("text", "number")
        and c.distinct is not None
        and len(c.distinct) > 1
    ]
    label = first_named(LABELS, [c.name for c in possible])
    if label is None:
        few = [
            c.name
            for c in possible
            if c.type == "text"
            and c.distinct is not None
            and len(c.distinct) <= min(MAX_LABELS_BY_TYPE, rows // 2)
            and first_named((*SERIES, *TIMES), [c.name]) is None
        ]
        label = few[0] if len(few) == 1 else None
    return None if label is None else LabelRoles(text, label, split)


def _split_column(columns: Sequence[Column]) -> str | None:
    """A column named so that holds nothing but names of splits."""
    possible = [
        c.name
        for c in columns
        if c.distinct and not c.nulls and {v.strip().lower() for v in c.distinct} <= {*SPLIT_NAMES}
    ]
    return first_named(SPLITS, possible)


def _time_column(columns: Sequence[Column]) -> Column | None:
    times = _names(columns, "time")
    numeric = [c.name for c in columns if c.type == "number" and not c.nulls]
    name = (
        first_named(TIMES, times)
        or (times[0] if times else None)
        or first_named(NUMERIC_TIMES, numeric)
    )
    return next((c for c in columns if c.name == name), None)


def _series_choices(
    columns: list[Column], time: Column | None, rows: int
) -> list[SeriesRoles] | None:
    time_name = time.name if time else None
    others = [c for c in columns if c.name != time_name]
    lists = _names(others, "list")
    wide = bool(lists)
    by_name = first_named(SERIES, _names(others, "text", "number"))
    candidates = lists or [name for name in _names(others, "number") if name != by_name]
    if len(candidates) > 1:
        candidates = [n for n in candidates if n.lower() not in ROW_NUMBERS] or candidates
    if not candidates:
        return None
    target = first_named(TARGETS, candidates) or (candidates[0] if len(candidates) == 1 else None)
    if target is None and (wide or (time is None and len(candidates) > MAX_CANDIDATES)):
        return None
    if wide:
        # In the wide form a column of times says when a series starts, if it says it for each.
        starts = time_name if time and time.type == "time" and not time.nulls else None
        form = time.time_format if time and starts else None
        names = by_name if by_name and not _nulls(others, by_name) else None
        return [SeriesRoles(target, starts, names, form, wide=True)]
    form = time.time_format if time and time.type == "time" else None
    few = sorted(
        (len(c.distinct), c.name)
        for c in others
        if time is not None
        and c.name not in (target, by_name)
        and c.type in ("text", "number")
        and c.distinct is not None
        and not c.nulls
        and 1 < len(c.distinct) <= rows // 2
        # With fewer ids and times than that some time stands twice for certain.
        and (time.distinct is None or len(c.distinct) * len(time.distinct) >= rows)
    )
    by_type = [name for _, name in few[:MAX_SERIES_BY_TYPE]]
    named = [by_name] if by_name and not _nulls(others, by_name) else []
    order = [*named, None, *by_type]
    return [SeriesRoles(target, time_name, name, form) for name in order]


def _nulls(columns: Sequence[Column], name: str) -> int:
    return next(column.nulls for column in columns if column.name == name)


def assign_columns(config: TaskConfig, profile: Mapping[str, Any]) -> TaskConfig:
    """The configuration with every column named: as the caller said, or as the profile found.

    Raises `ValidationError` with the place in the configuration and the columns to choose from.
    """
    match config:
        case ForecastingConfig():
            data = _assign_series(config.data, profile)
            _refuse_undecided(data.time_column, profile)
        case ClassificationConfig():
            data = _assign(config.data, profile, "labels", _CLASSIFICATION)
        case GenerationConfig():
            if profile["format"] == "text":
                if config.data.text_column is not None:
                    raise refused("text_column", "the data set is plain text and has no columns")
                if config.data.split_column is not None:
                    raise refused("split_column", "the data set is plain text and has no columns")
                return config
            data = _assign(config.data, profile, "text", _GENERATION)
    return config.model_copy(update={"data": data})


def assign_text_column(column: str | None, profile: Mapping[str, Any]) -> str | None:
    """The column of texts that a caller named, or else that was found; None for plain text.

    Raises as `assign_columns` does.
    """
    data = GenerationData(text_column=column)
    config = GenerationConfig(task="text-generation", data=data)
    assigned = assign_columns(config, profile)
    assert isinstance(assigned, GenerationConfig)
    return assigned.data.text_column


# What each column may be of, and whether the task can do without it.
_Wanted = Mapping[str, tuple[tuple[str, ...], bool]]
_FORECASTING: _Wanted = {
    "target_column": (("number", "list"), True),
    "time_column": (("time", "number"), False),
    "series_column": (("text", "number", "time"), False),
}
_CLASSIFICATION: _Wanted = {
    "text_column": (("text", "number", "time"), True),
    "label_column": (("text", "number", "time"), True),
    "split_column": (("text",), False),
}
_GENERATION: _Wanted = {
    "text_column": (("text", "number", "time"), True),
    "split_column": (("text",), False),
}


def _assign_series(data: ForecastingData, profile: Mapping[str, Any]) -> ForecastingData:
    types = {column["name"]: column["type"] for column in profile["columns"]}
    target = data.target_column or (profile["series"] or {}).get("target_column")
    beside = _covariates(data, types, "list" if types.get(target) == "list" else "number")
    targets = data.target_columns
    if targets is None:
        return cast("ForecastingData", _assign(data, profile, "series", _FORECASTING, beside))
    if data.target_column is not None:
        raise refused("target_columns", "and target_column are given: one of them is enough")
    wanted = {field: rule for field, rule in _FORECASTING.items() if field != "target_column"}
    named = [] if targets == ALL_COLUMNS else targets
    data = _assign(data, profile, "series", wanted, [*beside, *named])
    taken = {*beside, data.time_column, data.series_column}
    numbers = [name for name, type_ in types.items() if type_ == "number" and name not in taken]
    if targets == ALL_COLUMNS:
        named = [name for name in numbers if name.lower() not in ROW_NUMBERS] or numbers
    if not named:
        raise refused("target_columns", "the data set has no numeric column left")
    for place, name in enumerate(named):
        _check_entry("target_columns", place, name, types, numbers, {*taken, *named[:place]})
    return data.model_copy(update={"target_columns": named})


def _covariates(data: ForecastingData, types: Mapping[str, str], values: str) -> list[str]:
    """The columns that stand beside the target, each of a kind that its field may name: those with
    a value for each timestep are of the type `values`, as the target is."""
    beside: list[str] = []
    for field in ("past_covariates", "future_covariates", "static_covariates"):
        allowed = ("number", "text") if field == "static_covariates" else (values,)
        possible = [name for name, type_ in types.items() if type_ in allowed]
        for place, name in enumerate(getattr(data, field)):
            taken = {*beside, data.target_column, data.time_column, data.series_column}
            _check_entry(field, place, name, types, possible, taken)
            beside.append(name)
    return beside


def _check_entry(
    field: str,
    place: int,
    name: str,
    types: Mapping[str, str],
    possible: Sequence[str],
    taken: Collection[str | None],
) -> None:
    if name in taken:
        raise refused(field, f"{shown(name)} is used for two things", place)
    if name not in possible:
        listed = ", ".join(possible[:20]) or "none"
        message = f"{shown(name)} {_what_it_is(name, types)}; possible columns: {listed}"
        raise refused(field, message, place)


def _what_it_is(name: str, types: Mapping[str, str]) -> str:
    return f"holds {types[name]}" if name in types else "is no column of the data set"


def _assign(
    data: Any,
    profile: Mapping[str, Any],
    part: str,
    wanted: _Wanted,
    beside: Sequence[str] = (),
) -> Any:
    """`beside`: columns that the caller wants for something else than what is assigned here."""
    types = {column["name"]: column["type"] for column in profile["columns"]}
    found = profile[part] or {}
    update: dict[str, str | None] = {}
    for field, (allowed, needed) in wanted.items():
        candidates = [name for name, type_ in types.items() if type_ in allowed]
        listed = ", ".join(candidates[:20]) or "none"
        said = getattr(data, field)
        if said is not None and said not in candidates:
            message = f"{shown(said)} {_what_it_is(said, types)}; possible columns: {listed}"
            raise refused(field, message)
        update[field] = said if said is not None else found.get(field)
        if said is None and update[field] in beside:
            update[field] = None
        if needed and update[field] is None:
            raise refused(field, f"must be chosen; possible columns: {listed}")
    names = [name for name in update.values() if name is not None]
    for field, name in update.items():
        if name is not None and names.count(name) > 1:
            if getattr(data, field) is None and not wanted[field][1]:
                update[field] = None  # the caller wants this column for something else
            elif getattr(data, field) is not None:
                raise refused(field, f"{shown(name)} is used for two things")
            names = [each for each in update.values() if each is not None]
    return data.model_copy(update=update)


def _refuse_undecided(time: str | None, profile: Mapping[str, Any]) -> None:
    for column in profile["columns"]:
        if column["name"] == time and column["type"] == "time" and column["format"] is None:
            raise refused("time_column", f"{shown(time)}: {UNDECIDED}")


def refused(field: str, message: str, *place: int) -> ValidationError:
    """The error for a field of a configuration's data, or for one entry of its list."""
    return ValidationError(
        f"data.{field} {message}", faults=[Fault(("body", "data", field, *place), message)]
    )


def series_roles(config: ForecastingConfig, profile: Mapping[str, Any]) -> SeriesRoles:
    """The roles that an assigned configuration gives the columns of a file."""
    columns = {column["name"]: column for column in profile["columns"]}
    data = config.data
    form = columns[data.time_column].get("format") if data.time_column else None
    assert data.target_column or data.target_columns, "assign_columns comes first"
    wide = data.target_column is not None and columns[data.target_column]["type"] == "list"
    return SeriesRoles(
        data.target_column,
        data.time_column,
        data.series_column,
        form,
        wide,
        tuple(data.target_columns or ()),
        tuple(data.past_covariates),
        tuple(data.future_covariates),
        tuple(data.static_covariates),
    )
