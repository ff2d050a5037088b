"""Warns about callbacks that keep other weights than those whose average precision they monitor."""

import warnings
from collections.abc import Iterator
from typing import Any

import keras

# What `EvaluateAP` logs is measured with the averaged weights.
MEASURED = "val_AP"


def warn_of_own_weights(callbacks: Any, optimizer: Any) -> None:
    """Warns if Keras would keep the weights of the last step, but AP is that of the averaged ones.

    Args:
        callbacks: of `fit`: None, a callback, a list of them, or a `keras.callbacks.CallbackList`.
        optimizer: of the compiled model, or None.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not getattr(inner, "use_ema", False):
        return
    for callback in _in_order(callbacks):
        if isinstance(callback, keras.callbacks.SwapEMAWeights) and callback.swap_on_epoch:
            return  # Callbacks after it see the averaged weights.
        if _keeps_weights(callback) and str(callback.monitor).startswith(MEASURED):
            warnings.warn(
                f"{type(callback).__name__} keeps the weights of the last step, but "
                f"{callback.monitor} is measured with the averaged weights: the optimizer has "
                "use_ema=True. Put keras.callbacks.SwapEMAWeights(swap_on_epoch=True) between "
                "EvaluateAP and it, or save with keras_det.training.SaveBest.",
                stacklevel=3,
            )


def _in_order(callbacks: Any) -> Iterator[Any]:
    callbacks = getattr(callbacks, "callbacks", callbacks)
    yield from callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]


def _keeps_weights(callback: Any) -> bool:
    if isinstance(callback, keras.callbacks.EarlyStopping):
        return bool(callback.restore_best_weights)
    return isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
