"""Makes the neck that a detector's argument `neck` names."""

import keras

from keras_det.errors import suggest
from keras_det.necks.bifpn import BiFPN
from keras_det.necks.fpn import FPN
from keras_det.necks.nas_fpn import NASFPN
from keras_det.necks.pafpn import PAFPN

NECKS = {"fpn": FPN, "pafpn": PAFPN, "nas_fpn": NASFPN, "bifpn": BiFPN}


def make_neck(
    neck: str | keras.layers.Layer,
    channels: int,
    min_level: int,
    max_level: int,
    remat: bool = False,
) -> keras.layers.Layer:
    """Makes a neck from its name, or checks that a given neck returns the required levels.

    Args:
        neck: "fpn", "pafpn", "nas_fpn" (levels 3 to 7 only) or "bifpn"; other arguments of their
            classes keep their defaults. Or a layer with the property `levels`, returned unchanged.
        channels: int, channels of every level; used for a name only.
        min_level, max_level: ints, finest and coarsest level of the result.
        remat: bool. True recomputes the cells of "bifpn" in the backward pass. The other necks have
            few activations, and a neck that is given keeps its own setting.

    Returns:
        Layer from a dict of the backbone's levels to a dict "P<min_level>" … "P<max_level>".

    Raises:
        ValueError: the name is unknown, or the neck has no or other levels.
    """
    if isinstance(neck, str) and neck in NECKS:
        more = {"remat": remat} if neck == "bifpn" else {}
        return NECKS[neck](channels, min_level=min_level, max_level=max_level, name=neck, **more)
    if not isinstance(neck, keras.layers.Layer) or not hasattr(neck, "levels"):
        raise ValueError(
            f"`neck` must be one of {list(NECKS)} or a layer with a property `levels`. Received: "
            f"{neck!r}.{suggest(neck, NECKS)} Choose a name, or pass an instance such as "
            "keras_det.necks.FPN(channels=128)."
        )
    if tuple(neck.levels) != tuple(range(min_level, max_level + 1)):
        raise ValueError(
            f"`neck` must give the levels {min_level} to {max_level}, `min_level` and `max_level` "
            f"of the model. Received: {neck.name} with levels {list(neck.levels)}. Give the neck "
            "and the model the same levels."
        )
    return neck
