"""The class losses of detectors with anchors, by name."""

import keras

from keras_det.errors import suggest
from keras_det.losses.focal import SparseSigmoidFocalLoss
from keras_det.losses.quality import QualityFocalLoss, VarifocalLoss

CLASS_LOSSES = {
    "focal": SparseSigmoidFocalLoss,
    "quality_focal": QualityFocalLoss,
    "varifocal": VarifocalLoss,
}


def make_class_loss(
    loss: str | keras.losses.Loss | None, focal: keras.losses.Loss
) -> keras.losses.Loss:
    """Returns a class loss by its name, or the given object.

    Args:
        loss: "focal", "quality_focal", "varifocal", a loss, or None for "focal".
        focal: what "focal" means for the model.

    Raises:
        ValueError: there is no such name.
    """
    if loss is None or loss == "focal":
        return focal
    if not isinstance(loss, str):
        return loss
    if loss not in CLASS_LOSSES:
        raise ValueError(
            f"`class_loss` must be one of {list(CLASS_LOSSES)} or a loss. Received: {loss!r}."
            f"{suggest(loss, CLASS_LOSSES)} Use a name from the list, or an object of "
            "keras_det.losses."
        )
    return CLASS_LOSSES[loss]()
