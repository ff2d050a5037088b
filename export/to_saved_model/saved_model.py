"""SavedModel for TensorFlow Serving: images in, detections in their own pixels out."""

import json
import pathlib

from keras_det.export.budget import Budget, check_budget
from keras_det.export.certificate import certify
from keras_det.export.evidence import check_images
from keras_det.export.graph import exportable, frozen_network, save
from keras_det.export.report import ExportReport
from keras_det.export.serving_rows import read_rows, resize, resized_signature, to_original
from keras_det.export.verify import trim
from keras_det.export.warmup import check_warmup, replay, write_warmup
from keras_det.export.writing import NEW, labels_text, publish
from keras_det.files import staging

# Of the contract in docs/serving.md: it rises when a name, type or meaning changes.
SIGNATURES_VERSION = 1


def saved_model(
    model, path, *, images=None, budget: Budget | None = None, warmup: int = 0
) -> ExportReport:
    """Writes a SavedModel that runs without this package, and checks it.

    Signatures:

        serving_default(image_bytes: string [batch])          JPEG, PNG, WebP, BMP, GIF; any sizes
        images(images: uint8 [batch, height, width, 3])       any size, one per batch
        raw(images: uint8 [batch, height, width, 3])          the network's input; raw outputs

    The first two resize as the model was trained and return `boxes` xyxy in pixels of each original
    image, clipped to it, `scores`, `labels`, `num_detections`. `serving_default` also returns
    `valid` `(batch,)`: False where the bytes are no whole image; such a row has no detections and
    does not disturb the others. `assets/labels.txt` holds one class name per line.

    Args:
        model: a detector; one of mixed precision is exported in float32.
        path: folder that does not exist yet; TensorFlow Serving wants a number: "served/1".
        images: images to check on: uint8 arrays, paths or bytes. Default: drawn images.
        budget: how far it may be from the model. Default: 0.5 pixels, 1e-3 in score.
        warmup: largest batch size that the server forms. Requests of that size and of one image
            are written for it to run while it loads the model, and run here once. 0 writes none.

    Returns:
        The check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: outside the budget; nothing is kept.
        DataError: `path` exists; `warmup` without the package tensorflow-serving-api.
    """
    warmup = check_warmup(warmup)
    budget = check_budget(budget, "float32")
    model, notes = exportable(model)
    pictures = check_images(images, model)
    with staging(path, NEW) as (final, artefact):
        _write(model, artefact, warmup)
        served = ServedModel(artefact)
        if warmup:
            replay(artefact, served.signatures)
        report = certify(
            model,
            artefact,
            served,
            images=pictures,
            budget=budget,
            format="saved_model",
            settings={"signatures": SIGNATURES_VERSION, "warmup": warmup},
            decoding=model.decoder(exported=True).get_config(),
            notes=notes,
        )
        publish(artefact, final, {".certificate.json": report.to_json()})
    return report


def _write(model, folder: pathlib.Path, warmup: int) -> None:
    """Saves the signatures and their version, the labels, and requests to warm up with."""
    import tensorflow as tf

    # The asset keeps the name of its file.
    labels = folder.parent / "labels.txt"
    labels.write_text(labels_text(model.class_names), encoding="utf-8")
    module = tf.Module()
    module.labels = tf.saved_model.Asset(str(labels))
    network = frozen_network(model)
    save(module, folder, _signatures(model, network))
    extra = folder / "assets.extra"
    extra.mkdir()
    version = {"signatures": SIGNATURES_VERSION}
    (extra / "signatures.json").write_text(json.dumps(version) + "\n", encoding="utf-8")
    if warmup:
        write_warmup(model, folder, warmup)


def _signatures(model, network) -> dict:
    import tensorflow as tf

    height, width = model.image_size
    decoder = model.decoder(exported=True)

    def detect(pixels, back, sizes):
        found = model.decode(network(pixels), decoder)
        return {**found, "boxes": to_original(found["boxes"], back, sizes)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes):
        pixels, back, sizes, valid = read_rows(model, image_bytes)
        found = detect(pixels, back, sizes)
        empty = {"boxes": 0.0, "scores": 0.0, "labels": -1, "num_detections": 0}
        for name, value in found.items():
            row = tf.reshape(valid, [-1] + [1] * (value.shape.rank - 1))
            found[name] = tf.where(row, value, tf.cast(empty[name], value.dtype))
        return {**found, "valid": valid}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def images(images):
        signature = resized_signature(model)
        rows = tf.map_fn(lambda x: resize(model, x), images, fn_output_signature=signature)
        return detect(*rows)

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3], tf.uint8, name="images")])
    def raw(images):
        return network(images)

    return {"serving_default": serving_default, "images": images, "raw": raw}


class ServedModel:
    """A SavedModel as the check sees it.

    Args:
        folder: of the SavedModel.
    """

    in_original_pixels, decoder_settings, channels = True, {}, 3

    def __init__(self, folder):
        import tensorflow as tf

        self.loaded = tf.saved_model.load(str(folder))
        self.signatures = self.loaded.signatures
        self.runtime = {"tensorflow": tf.__version__}

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs by signature."""
        return {
            name: sorted(function.structured_outputs) for name, function in self.signatures.items()
        }

    def raw(self, pixels) -> dict:
        """Raw outputs of `(1, height, width, 3)` uint8."""
        return self._run("raw", images=pixels)

    def calls(self, image, pixels) -> dict:
        """Detections of one image through both signatures."""
        import tensorflow as tf

        encoded = tf.io.encode_png(image)[None]
        return {
            "serving_default": lambda: trim(self._run("serving_default", image_bytes=encoded)),
            "images": lambda: trim(self._run("images", images=image[None])),
        }

    def _run(self, signature, **inputs):
        import tensorflow as tf

        tensors = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
        return {k: v.numpy() for k, v in self.signatures[signature](**tensors).items()}
