"""Opens TFLite files for their check."""

from typing import Any

from keras_det.export.check.artefact import FileArtefact
from keras_det.export.tflite_file.split import Joint, joined
from keras_det.export.to_tflite.decoders import OperatorDecoder
from keras_det.models import Detector
from keras_det.runtime.libraries import any_interpreter
from keras_det.runtime.lite_model import LiteModel


def whole_file(model: Detector, content: bytes, opened: bytes, decoder: Any) -> FileArtefact:
    """Opens an export of one file.

    Args:
        model: the detector.
        content: the file.
        opened: the same file with visible raw outputs.
        decoder: the decoder in the file; None for raw outputs.
    """
    interpreter, versions, notes = any_interpreter()
    return FileArtefact(
        model,
        LiteModel(content, interpreter=interpreter),
        LiteModel(opened, interpreter=interpreter).values,
        versions,
        decoder.get_config() if decoder else {},
        decoder.reference_settings() if isinstance(decoder, OperatorDecoder) else {},
        notes,
    )


def body_and_tail(
    model: Detector, body: bytes, tail: bytes, joints: dict[str, list[Joint]], decoder: Any
) -> FileArtefact:
    """Opens the two files of a split export.

    Args:
        model: the detector.
        body, tail: the files.
        joints: of `split.cut`: the outputs of the body that form each raw output.
        decoder: the decoder in the tail.
    """
    interpreter, versions, notes = any_interpreter()
    alone = LiteModel(body, interpreter=interpreter)
    shapes = {name: value.shape[1:] for name, value in model.output.items()}
    return FileArtefact(
        model,
        LiteModel(body, tail, interpreter=interpreter),
        lambda pixels: joined(alone.values(pixels), joints, shapes),
        versions,
        decoder.get_config(),
        {},
        notes,
    )
