"""The options of `export.tflite`, and which of them exclude each other."""

import dataclasses
import numbers
import warnings
from collections.abc import Callable
from typing import Any

from keras_det.errors import DataError, suggest
from keras_det.export.int8.quantizer import quantizer_library
from keras_det.export.network.graph import exportable
from keras_det.models import Detector
from keras_det.names import METADATA_CHOICES, QUANTIZE_CHOICES, TFLITE_POSTPROCESS

CHANNELS = (3, 1)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options that determine a TFLite file; see the arguments of `export.tflite`.

    Raises:
        ValueError: an unknown choice.
        DataError: two options exclude each other, an option is ignored with the others, or a
            package is missing.
    """

    quantize: str
    postprocess: str
    metadata: str | None
    channels: int
    calibration: Any
    score_threshold: float | None
    iou_threshold: float | None
    on_progress: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        _check_choice("quantize", self.quantize, QUANTIZE_CHOICES)
        _check_choice("postprocess", self.postprocess, TFLITE_POSTPROCESS)
        self._check_channels()
        self._check_thresholds()
        self._check_metadata()
        self._check_calibration()

    @property
    def settings(self) -> dict[str, str | None]:
        """The options in the certificate."""
        return {
            "quantize": self.quantize,
            "postprocess": self.postprocess,
            "metadata": self.metadata,
        }

    @property
    def input_dtype(self) -> str:
        """The type of the file's input before quantisation. A split body takes floats."""
        return "float32" if self.postprocess == "split" or self.quantize == "int8" else "uint8"

    def prepared(
        self, model: Detector, image_size: int | tuple[int, int] | None
    ) -> tuple[Detector, list[str]]:
        """Returns the float32 model that is exported, and notes on its differences."""
        model, notes = exportable(model, image_size)
        if self.postprocess == "mediapipe" and not hasattr(model, "anchors"):
            raise DataError(
                'postprocess="mediapipe" needs a detector with anchors. Received: '
                f'{type(model).__name__}. Export it with postprocess="builtin".'
            )
        return (model, notes) if self.metadata is None else _as_mediapipe_resizes(model, notes)

    def _check_channels(self) -> None:
        is_whole = isinstance(self.channels, numbers.Integral)
        if not is_whole or isinstance(self.channels, bool) or self.channels not in CHANNELS:
            raise ValueError(
                f"`channels` must be the integer 3 or 1. Received: {self.channels!r}. Use "
                "channels=3 for colour images, channels=1 for grey ones."
            )

    def _check_thresholds(self) -> None:
        thresholds = ("score_threshold", "iou_threshold")
        given = [name for name in thresholds if getattr(self, name) is not None]
        if given and self.postprocess != "mediapipe":
            raise DataError(
                f'`{given[0]}` is only used with postprocess="mediapipe". Received: '
                f"{given[0]}={getattr(self, given[0])!r}, postprocess={self.postprocess!r}. Leave "
                f'`{given[0]}` out, or export with postprocess="mediapipe".'
            )

    def _check_metadata(self) -> None:
        if self.metadata is None:
            return
        _check_choice("metadata", self.metadata, METADATA_CHOICES)
        if self.postprocess in ("none", "split"):
            raise DataError(
                "`metadata` needs a file that returns detections. Received: "
                f"metadata={self.metadata!r}, postprocess={self.postprocess!r}. Leave `metadata` "
                'out, or export with postprocess="builtin".'
            )
        if self.channels != 3:
            raise DataError(
                "`metadata` needs channels=3: MediaPipe passes colour images. Received: "
                f"metadata={self.metadata!r}, channels={self.channels}. Leave one of them out."
            )

    def _check_calibration(self) -> None:
        if self.quantize in ("int8", "dynamic"):
            quantizer_library()
        # No default: ranges of synthetic images would ruin the file.
        if self.quantize == "int8" and self.calibration is None:
            raise DataError(
                'quantize="int8" needs `calibration`, images of the kind that the model will see. '
                "Received: None. Give the training set, a keras_det.data.Dataset, or a list of "
                "images; 100 to 200 of them are enough."
            )
        if self.quantize != "int8" and self.calibration is not None:
            raise DataError(
                '`calibration` is only used with quantize="int8". Received: '
                f"quantize={self.quantize!r}. Leave `calibration` out, or export with "
                'quantize="int8".'
            )
        if self.quantize != "int8" and self.on_progress is not None:
            raise DataError(
                '`on_progress` is only used with quantize="int8": other exports report no '
                f"progress. Received: quantize={self.quantize!r}. Leave `on_progress` out, or "
                'export with quantize="int8".'
            )


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(str, choices))}. Received: {value!r}."
            f"{suggest(value, map(str, choices))}"
        )


def _as_mediapipe_resizes(model: Detector, notes: list[str]) -> tuple[Detector, list[str]]:
    """Returns a model that resizes images like MediaPipe, and notes on its differences."""
    mode = model.resize_policy["mode"]
    if mode == "mediapipe":
        return model, notes
    note = (
        "compared on images resized as in MediaPipe; unlike in training, pixels are not sampled at "
        "half-pixel centres"
    )
    if mode == "letterbox":
        note = (
            "MediaPipe stretches images to the network's input, but this model was trained on "
            'letterboxed images: train it with resize_mode="mediapipe"'
        )
        warnings.warn(f"{note}.", UserWarning, stacklevel=4)
    return model.with_changes(resize_mode="mediapipe"), [*notes, note]
