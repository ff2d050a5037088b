"""Early stopping, counted by hand, also over a resume."""

import types

import keras

from keras_det.training.early_stop import StopWithoutGain

# AP rises to 0.3 in the third epoch.
VALUES = [0.1, 0.2, 0.3, 0.3, 0.25, 0.3]


def stopped_after(stop, values, learned=1.0):
    """Number of epochs until the callback stops."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.stop_training = False
    stop.set_model(model)
    for epoch, value in enumerate(values):
        stop.on_epoch_end(epoch, {"val_AP": value, "val_learned": learned})
        if model.stop_training:
            return epoch + 1
    return None


def test_training_stops_after_the_patience():
    assert stopped_after(StopWithoutGain(3), VALUES) == 6
    assert stopped_after(StopWithoutGain(2), VALUES) == 5
    assert stopped_after(StopWithoutGain(4), VALUES) is None


def test_a_resumed_run_stops_at_the_same_epoch():
    rows = [{"val_AP": f"{value:.6g}", "val_learned": "1"} for value in VALUES[:4]]
    assert stopped_after(StopWithoutGain(3, rows), VALUES[4:]) == 2
    assert StopWithoutGain(1, rows).exhausted and not StopWithoutGain(2, rows).exhausted


def test_the_waiting_starts_again_where_a_run_was_changed():
    rows = [{"val_AP": f"{value:.6g}", "val_learned": "1"} for value in VALUES]
    assert StopWithoutGain(3, rows).exhausted
    stop = StopWithoutGain(3, rows, fresh_after=6)
    assert not stop.exhausted and stop.best == 0.3
    assert stopped_after(stop, [0.3, 0.3, 0.3]) == 3
    assert StopWithoutGain(2, rows, fresh_after=4).exhausted, "two epochs after the change"


def test_only_measurements_stop_and_the_epochs_between_count():
    def run(values, patience, rows=()):
        """Epochs until the stop; AP is measured after every fifth."""
        stop = StopWithoutGain(patience, rows)
        stop.set_model(types.SimpleNamespace(stop_training=False))
        for epoch, value in enumerate(values, len(rows)):
            logs = {"val_AP": value, "val_learned": 1.0, "val_measured": float(epoch % 5 == 4)}
            stop.on_epoch_end(epoch, logs)
            if stop.model.stop_training:
                return epoch + 1
        return None

    rising = [(epoch + 1) // 5 / 10 for epoch in range(20)]
    assert run(rising, 3) is None
    flat = [0.0] * 4 + [0.3] * 16
    assert run(flat, 3) == run(flat, 5) == 10 and run(flat, 6) == 15
    rows = [
        {"val_AP": str(v), "val_learned": "1", "val_measured": str(int(k % 5 == 4))}
        for k, v in enumerate(flat[:7])
    ]
    assert run(flat[7:], 6, rows) == 15, "as without a stop"


def test_digits_that_the_history_lacks_are_no_gain():
    assert stopped_after(StopWithoutGain(1), [0.3, 0.30000000001]) == 2


def test_a_model_that_has_learned_too_little_does_not_stop():
    assert stopped_after(StopWithoutGain(1), VALUES, learned=0.0) is None
    rows = [{"val_AP": "0.5", "val_learned": "0"}, {"val_AP": "", "val_learned": ""}, {}]
    assert StopWithoutGain(1, rows).best == float("-inf")
