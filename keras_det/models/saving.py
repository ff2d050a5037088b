"""The part of a detector that is rebuilt from arguments: copies, saved models, presets."""

import copy
import inspect
import os
import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras

from keras_det.models.arguments import Arguments, capturing, deserialized, serialized, with_policy
from keras_det.models.opening import check_flags
from keras_det.models.parts import mended_class_names
from keras_det.models.presets import from_preset, save_to_preset
from keras_det.quantization.rounding import add_rounding
from keras_det.types import Config, ImageSize
from keras_det.weights.common.hdf5 import without_plugins
from keras_det.weights.common.keras_file import (
    WEIGHTS_ARGUMENTS,
    check_no_weights,
    check_weights_file,
)
from keras_det.words import counted, printable


class SavedDetector(keras.Model):
    """A functional model that can be rebuilt from the arguments of its constructor.

    The arguments of every subclass' `__init__` are recorded when it is called. They may be numbers,
    text, objects with `get_config`, and lists, tuples or dicts of these; tuples come back as lists.
    So a subclass with arguments of its own needs no `get_config`.
    """

    # Arguments that only fill the model with weights: a copy or a loaded model does not need them.
    NOT_SAVED: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            changed: Any = cls
            changed.__init__ = capturing(changed.__init__)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """As in Keras, as a `.keras` file. Keras cannot load a detector from its old HDF5 format.

        Raises:
            ValueError: the path ends with `.h5` or `.hdf5`.
        """
        if str(filepath).lower().endswith((".h5", ".hdf5")):
            raise ValueError(
                f"A detector must be saved as .keras. Received: {filepath}. Write "
                'model.save("x.keras"), or the weights alone: model.save_weights("x.weights.h5").'
            )
        super().save(filepath, *args, **kwargs)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """As in Keras. An HDF5 file that reads other files, or loads filters, is refused."""
        held = check_weights_file(filepath)
        if held is not None:
            check_flags(self.variables, held, filepath)
        with without_plugins():
            super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

    @property
    def quantization_aware(self) -> bool:
        """Whether it is a model of `keras_det.models.quantize_aware`, which rounds to 8 bits."""
        return bool(getattr(self, "roundings", ()))

    def with_changes(self, **changes: Any) -> Self:
        """Returns a copy with the same weights and other constructor arguments.

        Args:
            **changes: constructor arguments that do not change the shape of a weight, e.g.
                `image_size=(320, 416)`, or `dtype="float32"` to export a model that was trained in
                mixed precision.
        """
        config = self.get_config()
        if "dtype" in changes:
            config = with_policy(config, config["dtype"], changes["dtype"])
        changed = type(self).from_config({**config, **changes})
        changed.set_weights(self.get_weights())
        return changed

    def with_image_size(self, image_size: ImageSize) -> Self:
        """Returns a copy with the same weights for another input size: int or (height, width)."""
        return self.with_changes(image_size=image_size)

    def save_to_preset(
        self,
        preset_dir: str | os.PathLike,
        *,
        source: str | None = None,
        license: str | None = None,
        metrics: dict[str, Any] | str | os.PathLike | None = None,
    ) -> None:
        """Writes the model as a folder for publication, in the format of KerasHub's presets.

        The folder holds `config.json` (the constructor's arguments: class names, image size,
        resizing, parts …), `model.weights.h5`, `metadata.json` and the model card `README.md`. The
        state of the optimizer is not saved; `model.save("x.keras")` saves it.

        Args:
            preset_dir: a folder that does not exist yet or is empty. If writing is interrupted,
                nothing is left there.
            source: str or None. Where the weights come from: an address, or the training data.
            license: str or None. Licence of the weights, e.g. "apache-2.0".
            metrics: dict from `keras_det.training.evaluate`, or the path of a `metrics.json`. None:
                the card says "not measured".

        Raises:
            DataError: the folder holds something already, or `metrics` cannot be read.
        """
        save_to_preset(self, preset_dir, source=source, license=license, metrics=metrics)

    @classmethod
    def from_preset(cls, preset: str | os.PathLike) -> Self:
        """Loads a preset that `save_to_preset` wrote.

        The preset must hold a model of this class; `Detector.from_preset` loads any detector. For
        another input size or precision see `with_changes`.

        Args:
            preset: the folder, or "hf://owner/name" on Hugging Face. The latter needs the package
                huggingface_hub.

        Raises:
            DataError: a file is missing or damaged (SHA-256), the preset holds a model of another
                class, or it cannot be fetched.
        """
        return from_preset(cls, preset)

    def _keep(self, **resolved: Any) -> None:
        """Replaces arguments by what was computed from them, for `get_config`.

        Args:
            **resolved: the values by name. A name that the constructor does not accept is ignored.
        """
        captured: Arguments = self.__dict__["_captured"]
        if "_arguments" not in self.__dict__:
            # Serialised now: later a part may be frozen or filled with weights, which are saved
            # elsewhere. Not by `setattr`: Keras would track the lists as lists of layers.
            replaced = ("num_classes",) if captured.accepts("class_names") else ()
            left_out = {*WEIGHTS_ARGUMENTS, *self.NOT_SAVED, *replaced}
            self.__dict__["_arguments"] = serialized(captured.without(left_out))
            captured.values.clear()  # Frees what the model was filled from.
        known = {name: value for name, value in resolved.items() if captured.accepts(name)}
        self._arguments.update(serialized(known))

    @property
    def score_thresholds(self) -> list[float] | None:
        """The score of each class above which a detection is worth showing; None: not measured.

        `keras_det.training.train` sets the thresholds with the best F1 on the validation set, and
        `keras-det predict` uses them. `detect` does not: its own default is 0.001. They are saved
        with the model.

        Raises:
            ValueError: the number of thresholds is not that of the classes, or one is not in 0..1.
        """
        return self.__dict__.get("_score_thresholds")

    @score_thresholds.setter
    def score_thresholds(self, thresholds: Sequence[float] | None) -> None:
        values = None if thresholds is None else [float(each) for each in thresholds]
        wanted = getattr(self, "num_classes", None)
        if values is not None and (
            len(values) != wanted or not all(0 <= each <= 1 for each in values)
        ):
            raise ValueError(
                f"`score_thresholds` must be {counted(int(wanted or 0), 'number')} in 0..1, one "
                f"per class. Received: {counted(len(values), 'number')}, {values[:5]}. Give None "
                "where they are not known."
            )
        # Not by Keras' `setattr`, which would track the list.
        self.__dict__["_score_thresholds"] = values

    def get_config(self) -> Config:
        more: Config = {"quantization_aware": True} if self.quantization_aware else {}
        if self.score_thresholds is not None:
            more["score_thresholds"] = list(self.score_thresholds)
        # A copy: Keras empties the configs of parts when it builds them again.
        return {**copy.deepcopy(self._arguments), **more}

    @classmethod
    def from_config(cls, config: Config, custom_objects: dict[str, Any] | None = None) -> Self:
        config = dict(config)
        only_filling = {*WEIGHTS_ARGUMENTS, *cls.NOT_SAVED}
        check_no_weights(config, cls.__name__, only_filling)
        # A subclass may have another default than None, which would be fetched.
        defaults = inspect.signature(cls).parameters
        config |= {name: None for name in only_filling if name in defaults}
        config |= _names_of(config)
        rounding = config.pop("quantization_aware", False)
        thresholds = config.pop("score_thresholds", None)
        model = cls(**deserialized(config, custom_objects))
        model.score_thresholds = thresholds
        if rounding:
            model.roundings = add_rounding(model)
        return model


def _names_of(config: Config) -> Config:
    """The class names of a config, mended with a warning where an older version allowed them."""
    names = config.get("class_names")
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return {}
    mended = mended_class_names(names)
    changed = [
        f"{old!r} to {new!r}"
        for old, new in zip(names, mended, strict=True)
        if new != printable(old)
    ]
    if not changed:
        return {}
    warnings.warn(
        "The model has class names that are empty, repeated or have spaces around them. Changed: "
        f"{', '.join(changed[:3])}{', …' if len(changed) > 3 else ''}. Save the model again.",
        stacklevel=2,
    )
    return {"class_names": mended}
