"""The report of a load reads as sentences: counts, then reasons, then what is missing."""

from keras_det.weights import LoadReport


def test_report_groups_what_was_skipped_by_reason():
    report = LoadReport(
        loaded=["a", "b"],
        skipped={"fc.weight": "classifier", "fc.bias": "classifier", "step": "a count"},
        missing=["class_head/prediction/bias"],
        averaged=["a"],
    )
    assert str(report) == (
        "tensors of the file loaded: 2 (1 as moving averages), skipped: 3; "
        "variables of the model not in the file: 1\n"
        "  skipped fc.weight and 1 more: classifier\n"
        "  skipped step: a count\n"
        "  not in the file: class_head/prediction/bias"
    )


def test_a_complete_load_is_one_line():
    report = LoadReport(["a"], {}, [])
    assert str(report) == (
        "tensors of the file loaded: 1, skipped: 0; variables of the model not in the file: 0"
    )


def test_report_says_which_classes_the_file_knows():
    known = {name: name for name in "abcdef"}
    report = LoadReport(["a"], {}, [], classes={**known, "red": "output 7", "new": None})
    assert str(report).split("\n")[1:] == [
        "  classes from the file: 7: a, b, c, d, e and 2 more",
        "  classes from the prior: 1: new",
    ]
    report = LoadReport(["a"], {}, [], classes={"red": "output 7"})
    assert str(report).split("\n")[1:] == ["  classes from the file: 1: red (output 7)"]
