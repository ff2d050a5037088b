"""SavedModel for TensorFlow Serving: images in, detections in their own pixels out."""

import pathlib

import numpy as np

from keras_det.data.resize import tf_resize_image
from keras_det.export.budget import Budget, check_budget
from keras_det.export.certificate import certify
from keras_det.export.evidence import check_images
from keras_det.export.graph import exportable, frozen_network, save
from keras_det.export.report import ExportReport
from keras_det.export.verify import trim
from keras_det.export.writing import NEW, labels_text, publish
from keras_det.report.files import staging

# As the readers of `keras_det.data`: equal to Pillow bit by bit.
JPEG = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}


def saved_model(model, path, *, images=None, budget: Budget | None = None) -> ExportReport:
    """Writes a SavedModel that runs without this package, and checks it.

    Signatures:

        serving_default(image_bytes: string [batch])          JPEG, PNG, BMP, GIF; sizes may differ
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

    Returns:
        The check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: outside the budget; nothing is kept.
        DataError: `path` exists.
    """
    budget = check_budget(budget, "float32")
    model, notes = exportable(model)
    pictures = check_images(images, model)
    with staging(path, NEW) as (final, artefact):
        _write(model, artefact)
        report = certify(
            model,
            artefact,
            ServedModel(artefact),
            images=pictures,
            budget=budget,
            format="saved_model",
            settings={},
            decoding=model.decoder(exported=True).get_config(),
            notes=notes,
        )
        publish(artefact, final, {".certificate.json": report.to_json()})
    return report


def _write(model, folder: pathlib.Path) -> None:
    """Saves the signatures and the labels."""
    import tensorflow as tf

    # The asset keeps the name of its file.
    labels = folder.parent / "labels.txt"
    labels.write_text(labels_text(model.class_names), encoding="utf-8")
    module = tf.Module()
    module.labels = tf.saved_model.Asset(str(labels))
    network = frozen_network(model)
    save(module, folder, _signatures(model, network))


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


def resize(model, image):
    """The network's input, the way back (scale x, y, offset x, y), and (height, width)."""
    import tensorflow as tf

    mode, size = model.resize_policy["mode"], model.image_size
    pixels, back = tf_resize_image(image, mode, size, model.normalization.fill_color)
    return pixels, tf.stack(back), tf.shape(image)[:2]


def resized_signature(model):
    """Types and shapes of what `resize` returns."""
    import tensorflow as tf

    size = (*model.image_size, 3)
    specs = ((size, tf.uint8), ((4,), tf.float32), ((2,), tf.int32))
    return tuple(tf.TensorSpec(shape, kind) for shape, kind in specs)


def read_rows(model, image_bytes):
    """Decodes and resizes every row; a row that does not decode becomes an empty image.

    An error inside `map_fn` fails the whole batch. `tf.data` is the one place in a graph that can
    catch it: each row is a data set of one element, which may drop out for a substitute.

    Returns:
        `(pixels, back, sizes, valid)`: as of `resize`, and bool `(batch,)`.
    """
    import tensorflow as tf

    def read(contents):
        return *resize(model, decode_image(contents)), tf.constant(True)

    fill = np.full((*model.image_size, 3), model.normalization.fill_color, np.uint8)
    substitute = (fill, np.array([1, 1, 0, 0], np.float32), np.array([1, 1], np.int32), False)

    def row(contents):
        image = tf.data.Dataset.from_tensors(contents).map(read).ignore_errors()
        either = image.concatenate(tf.data.Dataset.from_tensors(substitute)).take(1)
        return either.get_single_element()

    signature = (*resized_signature(model), tf.TensorSpec((), tf.bool))
    return tf.map_fn(row, image_bytes, fn_output_signature=signature)


def decode_image(contents):
    """uint8 `(height, width, 3)` RGB of a JPEG, PNG, BMP or GIF (its first frame)."""
    import tensorflow as tf

    def other():
        return tf.io.decode_image(contents, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(contents), lambda: tf.io.decode_jpeg(contents, **JPEG), other)
    return tf.ensure_shape(image, (None, None, 3))


def to_original(boxes, back, sizes):
    """Boxes `(batch, n, 4)` of the network's input in pixels of the original images, clipped."""
    import tensorflow as tf

    scale = tf.tile(back[:, None, :2], [1, 1, 2])
    offset = tf.tile(back[:, None, 2:], [1, 1, 2])
    limits = tf.tile(tf.cast(sizes[:, None, ::-1], tf.float32), [1, 1, 2])
    return tf.clip_by_value(boxes * scale + offset, 0.0, limits)


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
