"""TFLite files for phones: uint8 image in, detections out, builtin operators only."""

import tempfile

from keras import ops

from keras_det.errors import suggest
from keras_det.export.certificate import certify
from keras_det.export.flatbuffer import check_operators, hide_outputs
from keras_det.export.float16 import with_float16_kernels
from keras_det.export.graph import exportable, frozen_network, save
from keras_det.export.report import BUDGETS, Budget, ExportReport, check_budget
from keras_det.export.verify import check_images, trim
from keras_det.export.writing import NEW, labels_text, publish
from keras_det.report.files import staging

QUANTIZE = tuple(BUDGETS)
POSTPROCESS = ("builtin", "none")
SIGNATURE = "serving_default"


def tflite(
    model,
    path,
    *,
    quantize: str = "float32",
    postprocess: str = "builtin",
    image_size=None,
    images=None,
    budget: Budget | None = None,
) -> ExportReport:
    """Writes a TFLite file and checks it.

    Input `images`: uint8 `[1, height, width, 3]` RGB, resized as the model was trained. Outputs by
    name of the signature: `boxes` `[1, 100, 4]` xyxy in pixels of the network's input, `scores`
    `[1, 100]`, `labels` int32 `[1, 100]`, `num_detections` int32 `[1]`; unused slots hold box 0,
    score 0, label -1. Soft-NMS is inside. Class names go to `<path>.labels.txt`, one per line.

    Args:
        model: a detector; one of mixed precision is exported in float32.
        path: file that does not exist yet.
        quantize: "float32", or "float16": half the size; kernels are rounded, biases and the
            arithmetic are float32.
        postprocess: "builtin", or "none": outputs are the model's raw ones, `class_logits` and
            `box_deltas` of an anchor detector, the six kinds of maps of a CornerNet.
        image_size: int or (height, width) of the network's input. Default: the model's.
        images: images to check on: uint8 arrays, paths or bytes. Default: drawn images.
        budget: how far it may be from the model. Default: 0.5 pixels of the network's input and
            1e-3 in score, 1 pixel and 1e-2 for float16.

    Returns:
        The check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: outside the budget, or not runnable on a phone; nothing is kept.
        DataError: `path` exists.
    """
    _check_choice("quantize", quantize, QUANTIZE)
    _check_choice("postprocess", postprocess, POSTPROCESS)
    budget = check_budget(budget, quantize)
    model, notes = exportable(model, image_size)
    pictures = check_images(images, model.image_size)
    with staging(path, NEW) as (final, artefact):
        opened = convert(model, quantize, postprocess)
        operators = check_operators(opened)
        content = hide_outputs(opened, model.output) if postprocess == "builtin" else opened
        artefact.write_bytes(content)
        running = LiteModel(model, content, opened)
        report = certify(
            model,
            artefact,
            running,
            images=pictures,
            budget=budget,
            format="tflite",
            settings={"quantize": quantize, "postprocess": postprocess, "operators": operators},
            decoding=running.decoding,
            notes=notes + running.notes,
        )
        beside = {
            ".labels.txt": labels_text(model.class_names),
            ".certificate.json": report.to_json(),
        }
        publish(artefact, final, beside)
    return report


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(choices)}. Received: {value!r}."
            f"{suggest(value, choices)} Others do not exist yet."
        )


def convert(model, quantize: str, postprocess: str) -> bytes:
    """Converts a detector; with "builtin" the file shows its raw outputs too."""
    import tensorflow as tf

    network, decoder = frozen_network(model, batch_size=1), model.decoder(exported=True)
    signature = tf.TensorSpec((1, *model.image_size, 3), tf.uint8, name="images")

    @tf.function(input_signature=[signature])
    def function(images):
        raw = network(images)
        if postprocess == "none":
            return raw
        return {**raw, **model.decode(raw, decoder)}

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        content = converter.convert()
    return with_float16_kernels(content) if quantize == "float16" else content


class LiteModel:
    """A TFLite file as the check sees it.

    Args:
        model: the detector, which decodes where the file does not.
        content: the file.
        opened: the same file with its raw outputs shown.
    """

    in_original_pixels = False

    def __init__(self, model, content: bytes, opened: bytes):
        self.model = model
        inside = content is not opened
        self.decoding = model.decoder(exported=True).get_config() if inside else {}
        interpreter, self.runtime, self.notes = _interpreter()
        # A runner is only valid while its interpreter lives.
        self.interpreters = [interpreter(model_content=each) for each in (content, opened)]
        runners = [each.get_signature_runner(SIGNATURE) for each in self.interpreters]
        self.run, self.run_opened = runners

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs by signature."""
        return {SIGNATURE: sorted(self.run.get_output_details())}

    def raw(self, pixels) -> dict:
        """Raw outputs of `(1, height, width, 3)` uint8."""
        found = self.run_opened(images=pixels)
        return {name: found[name] for name in self.model.output}

    def detections(self, image, pixels) -> dict:
        """Detections in the network's input; Keras decodes raw outputs."""
        found = self.run(images=pixels)
        if "boxes" not in found:
            found = {k: ops.convert_to_numpy(v) for k, v in self.model.decode(found).items()}
        return {SIGNATURE: trim(found)}


def _interpreter():
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
