"""Labelled texts and running text: what is uploaded, and the test part that is not."""

import json
import re
from pathlib import Path

from benchmarks.data import SST2_LABELS, penn_treebank, read_lines, sst2
from benchmarks.service import json_lines

PHRASE_LABELS = {"0": "negative", "1": "negative", "3": "positive", "4": "positive"}
LEAF = re.compile(r"\(\d ([^()]+)\)")
SPLITS = {"train": "train", "valid": "validation", "test": "test"}

Labelled = list[tuple[str, str]]


def sst2_upload(data: Path, *, phrases: bool) -> bytes:
    """Training and development part; with `phrases` also what is labelled inside the training
    sentences, neutral phrases left out."""
    train, development = sst2(data, "train"), sst2(data, "dev")
    if phrases:
        trees = read_lines(data / "sst_trees" / "train.txt.gz")
        known = {text for text, _ in train}
        train += [pair for pair in labelled_phrases(trees) if pair[0] not in known]
    rows = [
        {"text": text, "label": label, "split": split}
        for part, split in ((train, "train"), (development, "validation"))
        for text, label in part
    ]
    return json_lines(rows)


def labelled_phrases(trees: list[str]) -> Labelled:
    """Every phrase of bracketed trees that is not neutral, once, in lower case as the sentences
    are; what is labelled both ways is left out."""
    found: dict[str, set[str]] = {}
    for tree in trees:
        for label, phrase in _phrases(tree):
            if label in PHRASE_LABELS:
                found.setdefault(phrase.lower(), set()).add(PHRASE_LABELS[label])
    return [(phrase, labels.pop()) for phrase, labels in found.items() if len(labels) == 1]


def _phrases(tree: str) -> list[tuple[str, str]]:
    """Label and words of every bracket."""
    found = []
    open_at: list[int] = []
    for place, character in enumerate(tree):
        if character == "(":
            open_at.append(place)
        elif character == ")":
            bracket = tree[open_at.pop() : place + 1]
            found.append((bracket[1], " ".join(LEAF.findall(bracket))))
    return found


def imdb(data: Path, part: str) -> Labelled:
    """Text and label of a part, "train" or "test"."""
    lines = read_lines(data / "imdb" / f"{part}.jsonl.xz")
    rows = [json.loads(line) for line in lines]
    return [(row["text"], SST2_LABELS[str(row["label"])]) for row in rows]


def imdb_text(data: Path) -> bytes:
    """A row for each review of the training part and of those without a label."""
    parts = ("train", "unsup")
    lines = [line for part in parts for line in read_lines(data / "imdb" / f"{part}.jsonl.xz")]
    return json_lines([{"text": json.loads(line)["text"]} for line in lines])


def labelled_upload(labelled: Labelled) -> bytes:
    """Without a split: the product holds its own validation part out."""
    return json_lines([{"text": text, "label": label} for text, label in labelled])


def ptb_upload(data: Path) -> bytes:
    """A row for each line, all three parts: the figures of the test part are the job's own, since
    perplexity cannot be asked for."""
    rows = [
        {"text": sentence, "split": split}
        for part, split in SPLITS.items()
        for sentence in penn_treebank(data, part)
    ]
    return json_lines(rows)
