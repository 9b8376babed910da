"""Writes demand.csv and reviews.csv, the example data sets of the README. Same bytes every time.

    python docs/examples/make.py [folder]

verses.txt beside it was written by hand for this project.
"""

import csv
import math
import random
import sys
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

HOURS = 24 * 21
SHOPS = ("north", "south", "east", "west", "harbour", "station", "market", "airport")

SUBJECTS = ("the film", "this story", "the acting", "the ending", "the music", "the dialogue",
            "every scene", "the whole cast")  # fmt: skip
VERBS = ("is", "was", "felt", "seemed")
GOOD = ("wonderful", "moving", "clever", "delightful", "gripping", "warm", "brilliant", "honest",
        "funny", "beautiful")  # fmt: skip
BAD = ("dull", "tedious", "clumsy", "lifeless", "silly", "cold", "dreadful", "fake", "tiresome",
       "ugly")  # fmt: skip
TAILS = ("", "from start to finish", "and I would say so to anyone", "in spite of its length",
         "as we all expected", "to my surprise")  # fmt: skip


def demand(path: Path) -> None:
    """Eight shops, three weeks by the hour: a daily wave, a weekly wave, a trend and noise."""
    draw = random.Random(7)  # noqa: S311 - example data
    start = datetime(2026, 1, 5, tzinfo=UTC)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("series", "time", "value"))
        for shop in SHOPS:
            level, slope = draw.uniform(40, 160), draw.uniform(-0.02, 0.06)
            day, week, phase = draw.uniform(0.2, 0.5), draw.uniform(0.05, 0.2), draw.uniform(0, 6)
            for hour in range(HOURS):
                wave = 1 + day * math.sin(2 * math.pi * hour / 24 + phase)
                wave += week * math.sin(2 * math.pi * hour / 168)
                value = (level + slope * hour) * wave + draw.gauss(0, 0.02 * level)
                time = (start + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
                table.writerow((shop, time, round(value, 2)))


def reviews(path: Path) -> None:
    """Six hundred short sentences with the label of their adjective, some of them negated."""
    draw = random.Random(11)  # noqa: S311 - example data
    rows = []
    for subject, verb, adjective, tail in product(SUBJECTS, VERBS, GOOD + BAD, TAILS):
        negated = draw.random() < 0.25
        positive = (adjective in GOOD) != negated
        words = (subject, verb, "not" if negated else "", adjective, tail)
        rows.append(
            (" ".join(word for word in words if word), "positive" if positive else "negative")
        )
    draw.shuffle(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("text", "label"))
        table.writerows(rows[:600])


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    demand(folder / "demand.csv")
    reviews(folder / "reviews.csv")
