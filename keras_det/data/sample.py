"""One annotated image: the common result of all readers."""

from dataclasses import dataclass

import numpy as np

from keras_det.data.image import read_annotated


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its objects, in pixels of the original image.

    Attributes:
        image_path: str, path of the image file, which `read()` decodes. Empty where `image` is
            given.
        boxes: float32 `(n, 4)`, xyxy pixels.
        labels: int32 `(n,)` in `0..num_classes - 1`; there is no background class.
        crowd: bool `(n,)`. Regions that training leaves out and evaluation ignores.
        area: float32 `(n,)`, square pixels: the annotation's (COCO: of the mask), else the box's.
        original_size: `(height, width)` in pixels, as annotated.
        image_id: the source's id of the image (COCO: its number, Pascal VOC: the file's stem).
        image: uint8 `(height, width, 3)` RGB, or None where the image is read from `image_path`.
        stored_pixels: bool. Where an image with an EXIF orientation has the annotated size either
            way up: False means that its labels were drawn on the upright image, True on the pixels
            as they are stored.
    """

    image_path: str
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    original_size: tuple[int, int]
    image_id: int | str
    image: np.ndarray | None = None
    stored_pixels: bool = False

    def read(self) -> np.ndarray:
        """Returns the pixels, uint8 `(height, width, 3)` RGB, the way up that the labels fit.

        That is upright, as EXIF says. But where the stored pixels have the annotated size and the
        upright image has another, the labels were drawn on the stored pixels, and these are
        returned.

        Raises:
            DataError: the file does not exist, does not decode, or has another size than annotated.
        """
        if self.image is not None:
            return self.image
        return read_annotated(self.image_path, self.original_size, self.stored_pixels)
