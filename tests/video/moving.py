"""Draws moving shapes with known identities, and videos of them."""

from fractions import Fraction

import numpy as np

NAMES = ["left", "right"]
COLOURS = ((220, 40, 40), (40, 60, 220))
SIDE = 24
SIZE = (96, 128)


def paths(crossing, count):
    """Boxes xyxy `(count, 2, 4)` of two squares that move across, in rows of their own or one.

    Both take `count` frames from one side to the other. In two rows they never overlap; in rows
    five pixels apart they cross in the middle.
    """
    x = np.linspace(0, SIZE[1] - SIDE, count)
    y = (36, 41) if crossing else (8, 60)
    corners = [np.stack([x, np.full(count, y[0])], 1), np.stack([x[::-1], np.full(count, y[1])], 1)]
    return np.stack([np.concatenate([c, c + SIDE], 1) for c in corners], 1).round()


def picture(boxes):
    """uint8 RGB image of the squares."""
    image = np.full((*SIZE, 3), 128, "uint8")
    for (x1, y1, x2, y2), colour in zip(boxes.astype(int), COLOURS, strict=True):
        image[y1:y2, x1:x2] = colour
    return image


def found(boxes, scores=(0.9, 0.8), labels=(0, 0)):
    """What a detector finds, as `detect` returns it."""
    from keras_det.results import Detections

    labels = np.array(labels[: len(boxes)], "int32")
    return Detections(
        boxes=np.array(boxes, "float32").reshape(-1, 4),
        scores=np.array(scores[: len(boxes)], "float32"),
        labels=labels,
        num_detections=len(boxes),
        class_names=[NAMES[label] for label in labels],
    )


def write_video(path, images, rate=25, codec="libx264", rotation=0, start=0, **flips):
    """Writes frames with PyAV; nearly without loss."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "1", "preset": "ultrafast", "g": "10"}
        if rotation or flips:
            stream.set_display_rotation(rotation, **flips)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = start + i, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def by_colour(image):
    """A detector: the boxes of the two colours in an image, the left one first."""
    from keras_det.results import Detections

    boxes, labels = [], []
    for label, colour in enumerate(COLOURS):
        rows, columns = np.nonzero(np.abs(image.astype(int) - colour).sum(-1) < 60)
        if len(rows):
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            labels.append(label)
    order = np.argsort([box[0] for box in boxes], kind="stable")
    boxes, labels = [boxes[i] for i in order], [labels[i] for i in order]
    return Detections(
        boxes=np.array(boxes, "float32").reshape(-1, 4),
        scores=np.full(len(boxes), 0.9, "float32"),
        labels=np.array(labels, "int32"),
        num_detections=len(boxes),
        class_names=[NAMES[label] for label in labels],
    )


class ByColour:
    """`by_colour` with the attributes of a detector; finds squares in one image at a time."""

    class_names, score_thresholds, engine = NAMES, None, "litert"

    def detect(self, image, **settings):
        return by_colour(image)


def switches(identities):
    """How often an object has another number than when it was last tracked.

    Args:
        identities: for each frame, a dict from the object to its track's number, -1 for none.
    """
    last, count = {}, 0
    for frame in identities:
        for who, number in frame.items():
            if number >= 0:
                count += last.setdefault(who, number) != number
                last[who] = number
    return count
