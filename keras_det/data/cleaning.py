"""Cleans boxes: clips them to their images and drops those without an area."""

from collections.abc import Callable

import numpy as np

from keras_det.data.notes import Note, NoteCode
from keras_det.words import counted

# In pixels. A box that leaves its image by no more than this is clipped without a note: COCO's own
# files round to hundredths, and drawing tools are one pixel off at the border.
SILENT_CLIP = 1.0


def clean_boxes(
    boxes: np.ndarray, sizes: np.ndarray, where: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray, list[Note]]:
    """Clips boxes to their images and marks those with an area left.

    Args:
        boxes: `(n, 4)` xyxy pixels.
        sizes: `(n, 2)`, (height, width) of each box's image in pixels.
        where: `where(row) -> str`, the file and index of a box, for the notes.

    Returns:
        `(clipped boxes (n, 4), mask of boxes to keep (n,), notes)`; boxes not kept are 0.
    """
    limit = np.asarray(sizes, np.float64).reshape(-1, 2)[:, [1, 0, 1, 0]]
    clipped = np.clip(boxes, 0.0, limit)
    with np.errstate(invalid="ignore", under="ignore"):
        stored = clipped.astype(np.float32)  # as data sets hold boxes: a side may become 0
        keep = (stored[:, 2] > stored[:, 0]) & (stored[:, 3] > stored[:, 1])
        moved = keep & (np.abs(clipped - boxes).max(axis=1, initial=0.0) > SILENT_CLIP)
    notes = []
    kinds: tuple[tuple[NoteCode, np.ndarray, str], ...] = (
        ("boxes-without-area", ~keep, "left out: zero area or outside the image"),
        ("boxes-clipped", moved, "clipped to the image"),
    )
    for code, mask, text in kinds:
        rows = np.flatnonzero(mask)
        if len(rows):
            few = f"{len(rows)} of {counted(len(boxes), 'box', 'boxes')} {text}"
            notes.append(Note(code, few, len(rows), len(boxes), where(int(rows[0]))))
    return np.where(keep[:, None], clipped, 0.0), keep, notes
