"""A detector as constructor arguments: copies, saved models, presets."""

import os
from typing import Any, Self

import keras

from keras_det.models.arguments import capturing, deserialized, serialized, with_policy
from keras_det.models.presets import from_preset, save_to_preset
from keras_det.quantization.rounding import add_rounding


class SavedDetector(keras.Model):
    """A functional model that can be made again from the arguments of its constructor.

    Every subclass' `__init__` keeps the arguments of its call, whatever they are: those that are
    numbers, text, lists, or objects with `get_config`. A subclass with arguments of its own needs
    no `get_config`.
    """

    # Arguments that a copy or a loaded model does not take again: they only fill it with weights.
    NOT_SAVED: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = capturing(cls.__init__)  # type: ignore[method-assign]

    @property
    def quantization_aware(self) -> bool:
        """Whether it rounds to 8 bits while it computes: made by `models.quantize_aware`."""
        return bool(getattr(self, "roundings", ()))

    def with_changes(self, **changes: Any) -> Self:
        """A copy with the same weights and other constructor arguments.

        Args:
            **changes: arguments of the constructor that do not change the shape of a weight, e.g.
                `image_size=(320, 416)` or `dtype="float32"` for an export after mixed precision.
        """
        config = self.get_config()
        if "dtype" in changes:
            config = with_policy(config, config["dtype"], changes["dtype"])
        copy = type(self).from_config({**config, **changes})
        copy.set_weights(self.get_weights())
        return copy

    def with_image_size(self, image_size: int | tuple[int, int]) -> Self:
        """A copy with the same weights for another input size, an int or (height, width)."""
        return self.with_changes(image_size=image_size)

    def save_to_preset(
        self,
        preset_dir: str | os.PathLike,
        *,
        source: str | None = None,
        license: str | None = None,
        metrics: dict | str | os.PathLike | None = None,
    ) -> None:
        """Writes the model as a folder to publish, in the form KerasHub's presets have.

        The folder holds `config.json` (the constructor's arguments: class names, image size,
        resizing, parts …), `model.weights.h5`, `metadata.json` and the model card `README.md`. The
        optimizer's state is not in it; `model.save("x.keras")` keeps that.

        Args:
            preset_dir: a folder that does not exist yet, or an empty one. Interrupted, nothing is
                left there.
            source: str or None. Where the weights come from: an address, the data they were
                trained on.
            license: str or None. Licence of the weights, e.g. "apache-2.0".
            metrics: what was measured: dict from `keras_det.training.evaluate`, or the path of a
                `metrics.json`. None: the card says "not measured".

        Raises:
            DataError: there is something at `preset_dir`, or `metrics` cannot be read.
        """
        save_to_preset(self, preset_dir, source=source, license=license, metrics=metrics)

    @classmethod
    def from_preset(cls, preset: str | os.PathLike) -> Self:
        """Loads what `save_to_preset` wrote: a model of this class, `Detector` for any.

        For another input size or precision see `with_changes`.

        Args:
            preset: the folder, or "hf://owner/name" on Hugging Face, for which the package
                huggingface_hub must be installed.

        Raises:
            DataError: a file is missing or damaged (SHA-256), the preset holds a model of another
                class, or it cannot be fetched.
        """
        return from_preset(cls, preset)

    def _keep(self, **resolved: Any) -> None:
        """Keeps what was made of arguments, in place of what was given, for `get_config`.

        A name that is no argument of the model's own constructor is left out.
        """
        captured = self.__dict__["_captured"]
        if "_arguments" not in self.__dict__:
            # From here on a part may be frozen or filled with weights, which is saved elsewhere.
            # Past Keras' own attributes, which would take the lists for lists of layers.
            replaced = ("num_classes",) if captured.accepts("class_names") else ()
            left_out = {*self.NOT_SAVED, *replaced}
            self.__dict__["_arguments"] = serialized(captured.without(left_out))
            captured.values.clear()  # What the model was filled from is not kept in memory.
        known = {name: value for name, value in resolved.items() if captured.accepts(name)}
        self._arguments.update(serialized(known))

    def get_config(self) -> dict[str, Any]:
        rounding = {"quantization_aware": True} if self.quantization_aware else {}
        return {**self._arguments, **rounding}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Self:
        config = dict(config)
        rounding = config.pop("quantization_aware", False)
        model = cls(**deserialized(config, custom_objects))
        if rounding:
            model.roundings = add_rounding(model)
        return model
