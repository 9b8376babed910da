from benchmarks.quality.texts import labelled_phrases

TREE = "(3 (2 It) (4 (2 's) (4 (3 Good) (2 fun))))"


def test_phrases_of_a_tree_without_the_neutral_ones() -> None:
    assert labelled_phrases([TREE]) == [
        ("good", "positive"),
        ("good fun", "positive"),
        ("'s good fun", "positive"),
        ("it 's good fun", "positive"),
    ]


def test_a_phrase_labelled_both_ways_is_left_out() -> None:
    assert labelled_phrases([TREE, "(1 (1 good) (2 ?))"]) == [
        ("good fun", "positive"),
        ("'s good fun", "positive"),
        ("it 's good fun", "positive"),
        ("good ?", "negative"),
    ]
