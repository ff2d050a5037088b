"""TFLite files as the check of an export sees them."""

from keras_det.export.mediapipe import OperatorDecoder, as_detections
from keras_det.export.split import SIGNATURE, joined
from keras_det.export.verify import to_numpy, trim


class LiteModel:
    """A TFLite file as the check sees it.

    Args:
        model: the detector, which decodes where the file does not.
        content: the file.
        opened: the same file with its raw outputs shown.
        decoder: the one inside; None for raw outputs.
        channels: of the images that the file takes, 3 or 1.
    """

    in_original_pixels = False

    def __init__(self, model, content: bytes, opened: bytes, decoder=None, channels: int = 3):
        self.model, self.channels = model, channels
        self.decoding = decoder.get_config() if decoder else {}
        by_operator = isinstance(decoder, OperatorDecoder)
        self.decoder_settings = decoder.reference_settings() if by_operator else {}
        interpreter, self.runtime, self.notes = open_interpreter()
        # A runner is only valid while its interpreter lives.
        self.interpreters = [interpreter(model_content=each) for each in (content, opened)]
        runners = [each.get_signature_runner(SIGNATURE) for each in self.interpreters]
        self.run, self.run_opened = runners

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs by signature."""
        return {SIGNATURE: sorted(self.run.get_output_details())}

    def raw(self, pixels) -> dict:
        """Raw outputs of `(1, height, width, 3)` uint8."""
        found = self.run_opened(images=pixels[..., : self.channels])
        return {name: found[name] for name in self.model.output}

    def calls(self, image, pixels) -> dict:
        """Detections in the network's input; Keras decodes raw outputs."""

        def call():
            found = self.run(images=pixels[..., : self.channels])
            if "locations" in found:
                found = as_detections(found, self.model.image_size)
            if "boxes" not in found:
                found = to_numpy(self.model.decode(found))
            return trim(found)

        return {SIGNATURE: call}


class SplitModel:
    """A body and its tail as the check sees them.

    Args:
        model: the detector.
        body, tail: the files.
        joints: of `split.cut`, how the body's outputs make up the raw ones.
        decoder: the tail's.
        channels: of the images that the body takes, 3 or 1.
    """

    in_original_pixels, decoder_settings = False, {}

    def __init__(self, model, body: bytes, tail: bytes, joints: dict, decoder, channels: int = 3):
        self.joints, self.channels = joints, channels
        self.shapes = {name: value.shape[1:] for name, value in model.output.items()}
        self.decoding = decoder.get_config()
        interpreter, self.runtime, self.notes = open_interpreter()
        self.interpreters = [interpreter(model_content=each) for each in (body, tail)]
        self.body, self.tail = (each.get_signature_runner(SIGNATURE) for each in self.interpreters)
        self.dtype = self.body.get_input_details()["images"]["dtype"]

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs, of the body and of its tail."""
        runners = {"body": self.body, "tail": self.tail}
        return {name: sorted(run.get_output_details()) for name, run in runners.items()}

    def raw(self, pixels) -> dict:
        """Raw outputs of `(1, height, width, 3)` uint8."""
        return joined(self._run_body(pixels), self.joints, self.shapes)

    def calls(self, image, pixels) -> dict:
        """Detections in the network's input: the body, then its tail."""
        return {"body and tail": lambda: trim(self.tail(**self._run_body(pixels)))}

    def _run_body(self, pixels):
        return self.body(images=pixels[..., : self.channels].astype(self.dtype))


def open_interpreter():
    """The interpreter class, its version, and a note where it is not the one of phones."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        note = (
            "run with TensorFlow's own TFLite interpreter, which computes some convolutions with "
            "stride 4 wrongly: install ai-edge-litert"
        )
        return tf.lite.Interpreter, {"interpreter": f"tensorflow {tf.__version__}"}, [note]
    import importlib.metadata

    version = importlib.metadata.version("ai-edge-litert")
    return Interpreter, {"interpreter": f"ai-edge-litert {version}"}, []
