"""A detector as constructor arguments: copies, saved models, presets."""

from typing import Self

import keras

from keras_det.models.parts import deserialized, serialized, with_policy
from keras_det.models.presets import from_preset, save_to_preset
from keras_det.models.quantization import add_rounding


class SavedDetector(keras.Model):
    """A functional model that can be made again from the arguments of its constructor."""

    @property
    def quantization_aware(self) -> bool:
        """Whether it rounds to 8 bits while it computes: made by `models.quantize_aware`."""
        return bool(getattr(self, "roundings", ()))

    def with_changes(self, **changes) -> Self:
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

    def with_image_size(self, image_size) -> Self:
        """A copy with the same weights for another input size, an int or (height, width)."""
        return self.with_changes(image_size=image_size)

    def save_to_preset(self, preset_dir, *, source=None, license=None, metrics=None) -> None:
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
    def from_preset(cls, preset) -> Self:
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

    def _keep_arguments(self, **arguments):
        """Keeps the constructor's arguments for `get_config`, parts as configs."""
        # Past Keras' own attributes, which would take the parts for layers of the model once more.
        self.__dict__["_arguments"] = serialized(arguments)

    def get_config(self):
        rounding = {"quantization_aware": True} if self.quantization_aware else {}
        return {**self._arguments, **rounding}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        rounding = config.pop("quantization_aware", False)
        model = cls(**deserialized(config, custom_objects))
        if rounding:
            add_rounding(model)
        return model
