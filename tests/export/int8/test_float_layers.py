"""Which layers stay in float: how many are tried, when it stops, what is said when it cannot."""

import pytest

from keras_det.export.check.budget import BUDGETS
from keras_det.export.check.report import Comparison
from keras_det.export.int8.float_layers import keep_accuracy

BUDGET = BUDGETS["int8"]
ERRORS = {f"layer_{i}": 1.0 / (i + 1) for i in range(30)}


class File:
    """Instead of a network: its "file" is the layers that stay in float."""

    def int8(self, ranges, in_float):
        return tuple(in_float)


def comparison(drop, half_width=0.0, failures=()):
    precision = None
    if drop is not None:
        interval = (drop - half_width, drop + half_width)
        precision = {
            "keras": 0.5,
            "artefact": 0.5 - drop,
            "drop": drop,
            "mean_drop": drop,
            "interval": interval,
        }
        if drop > BUDGET.ap_drop and interval[0] > BUDGET.ap_drop:
            failures = (*failures, "AP dropped")
    empty = dict.fromkeys(field for field in Comparison.__dataclass_fields__)
    return Comparison(**{**empty, "precision": precision, "failures": tuple(failures)})


def choose(drop_of, **kwargs):
    """Runs the search where the drop of AP is a function of the number of layers in float."""
    counts, told = [], []

    def check(content):
        counts.append(len(content))
        return comparison(drop_of(len(content)), **kwargs)

    choice = keep_accuracy(File(), {}, ERRORS, check, BUDGET, told.append)
    assert len(told) == len(counts) == len(choice.tried)
    return choice, counts


def test_nothing_stays_in_float_where_int8_is_good_enough():
    choice, counts = choose(lambda count: 0.001)
    assert choice.passed and choice.in_float == () and counts == [0]


def test_the_most_sensitive_layers_stay_first():
    choice, counts = choose(lambda count: 0.006 - 0.001 * count)
    assert choice.in_float == ("layer_0", "layer_1") and counts == [0, 1, 2]


# 0.01 - 0.002 * count is allowed from 3 on: 0, 1, 2 and 4 are tried, then 3.
def test_halfway_back():
    choice, counts = choose(lambda count: 0.01 - 0.002 * count)
    assert counts == [0, 1, 2, 4, 3] and len(choice.in_float) == 3
    choice, counts = choose(lambda count: 0.012 - 0.002 * count)
    assert counts == [0, 1, 2, 4, 3] and len(choice.in_float) == 4


def test_an_interval_that_holds_the_budget_is_the_second_best():
    choice, counts = choose(lambda count: 0.006, half_width=0.003)
    assert counts == [0, 1, 2, 4, 8] and choice.in_float == () and choice.passed
    # A mean within the budget is preferred.
    choice, _ = choose(lambda count: 0.006 if count < 4 else 0.004, half_width=0.003)
    assert len(choice.in_float) == 4


def test_a_quarter_of_the_layers_at_most_and_a_refusal_with_the_way_on():
    choice, counts = choose(lambda count: 0.02)
    assert counts == [0, 1, 2, 4, 8] and not choice.passed and len(choice.in_float) == 8
    refusal = choice.refusal()
    assert "0 layers in float32: AP 0.5000 with Keras, 0.4800 exported" in refusal
    assert "at most 8 of 30 layers" in refusal and "quantize_aware(model)" in refusal


def test_raw_outputs_decide_without_labels():
    def check(content):
        failures = () if len(content) > 1 else ("`class_logits` differs by 0.7",)
        return comparison(None, failures=failures)

    choice = keep_accuracy(File(), {}, ERRORS, check, BUDGET, lambda sentence: None)
    assert choice.passed and len(choice.in_float) == 2
    assert choice.tried[0] == "0 layers in float32: `class_logits` differs by 0.7"
    assert choice.tried[-1] == "2 layers in float32: raw outputs within the budget"


def test_what_the_certificate_says():
    choice, _ = choose(lambda count: 0.006 - 0.002 * count)
    settings = choice.settings()
    assert settings["float_layers"] == ["layer_0"] and len(settings["attempts"]) == 2
    assert list(settings["sensitivity"])[:2] == ["layer_0", "layer_1"]
    assert settings["sensitivity"]["layer_2"] == pytest.approx(1 / 3, abs=1e-3)
    notes = " ".join(choice.notes())
    assert "standard deviations: layer_0 1, layer_1 0.5" in notes
    assert "1 of 30 layers kept in float32: layer_0" in notes
