"""The options of `export.tflite`: which there are, and which go together."""

import dataclasses
import warnings
from typing import Any

from keras_det.errors import DataError, suggest
from keras_det.export.int8.calibration import check_given
from keras_det.export.int8.quantizer import quantizer_library
from keras_det.export.network.graph import exportable
from keras_det.models import Detector
from keras_det.names import METADATA_CHOICES, QUANTIZE_CHOICES, TFLITE_POSTPROCESS

CHANNELS = (3, 1)


@dataclasses.dataclass(frozen=True)
class Options:
    """What shapes a TFLite file; the arguments are those of `export.tflite`.

    Raises:
        ValueError: an unknown choice.
        DataError: two options that do not go together, or a package is missing.
    """

    quantize: str
    postprocess: str
    metadata: str | None
    channels: int
    calibration: Any
    score_threshold: float | None
    iou_threshold: float | None

    def __post_init__(self) -> None:
        _check_choice("quantize", self.quantize, QUANTIZE_CHOICES)
        _check_choice("postprocess", self.postprocess, TFLITE_POSTPROCESS)
        _check_choice("channels", self.channels, CHANNELS)
        self._check_thresholds()
        self._check_metadata()
        self._check_calibration()

    @property
    def settings(self) -> dict[str, str | None]:
        """What the certificate says about them."""
        return {
            "quantize": self.quantize,
            "postprocess": self.postprocess,
            "metadata": self.metadata,
        }

    @property
    def input_dtype(self) -> str:
        """Of the file's input before any quantization: a split body takes floats."""
        return "float32" if self.postprocess == "split" or self.quantize == "int8" else "uint8"

    def prepared(
        self, model: Detector, image_size: int | tuple[int, int] | None
    ) -> tuple[Detector, list[str]]:
        """The float32 model that is exported, and notes on how it differs from the one given."""
        model, notes = exportable(model, image_size)
        if self.postprocess == "mediapipe" and not hasattr(model, "anchors"):
            raise DataError(
                'postprocess="mediapipe" is for a detector with anchors: its operator takes one '
                f"box and the scores of all classes from each. Received: {type(model).__name__}. "
                'Export it with postprocess="builtin".'
            )
        return (model, notes) if self.metadata is None else _as_mediapipe_resizes(model, notes)

    def _check_thresholds(self) -> None:
        thresholds = ("score_threshold", "iou_threshold")
        given = [name for name in thresholds if getattr(self, name) is not None]
        if given and self.postprocess != "mediapipe":
            raise DataError(
                f'`{given[0]}` is for postprocess="mediapipe". Received: '
                f"postprocess={self.postprocess!r}. Leave it out, or export with "
                'postprocess="mediapipe".'
            )

    def _check_metadata(self) -> None:
        if self.metadata is None:
            return
        _check_choice("metadata", self.metadata, METADATA_CHOICES)
        if self.postprocess in ("none", "split"):
            raise DataError(
                "`metadata` describes detections, not raw outputs. Received: "
                f'metadata={self.metadata!r}, postprocess="{self.postprocess}". Export with '
                'postprocess="builtin".'
            )
        if self.channels != 3:
            raise DataError(
                "MediaPipe takes images of three channels. Received: "
                f"metadata={self.metadata!r}, channels={self.channels}. Leave one of them out."
            )

    def _check_calibration(self) -> None:
        if self.quantize in ("int8", "dynamic"):
            quantizer_library()
        if self.quantize == "int8":
            check_given(self.calibration)
        elif self.calibration is not None:
            raise DataError(
                f'`calibration` is for quantize="int8". Received: quantize={self.quantize!r}. '
                'Leave it out, or export with quantize="int8".'
            )


def _check_choice(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(str, choices))}. Received: {value!r}."
            f"{suggest(value, choices)}"
        )


def _as_mediapipe_resizes(model: Detector, notes: list[str]) -> tuple[Detector, list[str]]:
    """The model that resizes as MediaPipe does, and notes on how it differs from the one given."""
    mode = model.resize_policy["mode"]
    if mode == "mediapipe":
        return model, notes
    note = "compared on images sampled as MediaPipe does, beside the half-pixel offset"
    if mode == "letterbox":
        note = (
            "MediaPipe stretches images to the network's input, and this model was trained on "
            'letterboxed ones: train it with resize_mode="mediapipe"'
        )
        warnings.warn(f"{note}.", UserWarning, stacklevel=4)
    return model.with_changes(resize_mode="mediapipe"), [*notes, note]
