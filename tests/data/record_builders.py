"""Tiny TFRecord files for the tests: records with the keys of the Object Detection API."""

import io

import numpy as np
from PIL import Image

PNG = "PNG"


def encoded(value=100, height=6, width=8, kind=PNG):
    """An encoded image of one grey value."""
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file, kind)
    return file.getvalue()


def example(name="a.png", objects=(), content=None, **changes):
    """One record.

    Args:
        name: `image/filename` and `image/source_id`.
        objects: `(xmin, ymin, xmax, ymax, label, text)` each; a label or text of None is left out.
        content: the encoded image; None draws one.
        **changes: `key=value` with "__" for "/"; None removes a key.
    """
    import tensorflow as tf

    boxes = list(zip(*(each[:4] for each in objects), strict=True)) or [()] * 4
    values = {
        "image/encoded": [encoded() if content is None else content],
        "image/filename": [name.encode()],
        "image/source_id": [name.encode()],
        "image/height": [6],
        "image/width": [8],
        "image/object/class/label": [each[4] for each in objects if each[4] is not None],
        "image/object/class/text": [each[5].encode() for each in objects if each[5] is not None],
    }
    for key, column in zip(("xmin", "ymin", "xmax", "ymax"), boxes, strict=True):
        values[f"image/object/bbox/{key}"] = [float(each) for each in column]
    for key, value in changes.items():
        values[key.replace("__", "/")] = value
    feature = {}
    for key, value in values.items():
        if value is None:
            continue
        first = value[0] if len(value) else 0.0
        if isinstance(first, bytes):
            feature[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        elif isinstance(first, float):
            feature[key] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
        else:
            feature[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(
        deterministic=True
    )


def write_records(path, records, compression=None):
    """Writes a TFRecord file."""
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


def write_label_map(folder, names=("cat", "dog")):
    """Writes `label_map.pbtxt` with ids from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f'item {{\n  id: {i}\n  name: "{name}"\n}}' for i, name in enumerate(names, 1)]
    (folder / "label_map.pbtxt").write_text("\n".join(rows))
