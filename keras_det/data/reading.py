"""Reads every split of a data set."""

import dataclasses
import warnings
from typing import Any

from keras_det.data.dataset import Dataset
from keras_det.data.load import load, open_data
from keras_det.data.merging import merge
from keras_det.data.raw import DataPath, Opened
from keras_det.errors import DataError
from keras_det.words import counted

# Formats in which annotated images may lie that belong to no split.
WITH_UNLISTED = ("voc", "csv")
# What stands for all images, whatever their split.
ALL = "all"


def load_splits(
    path: DataPath, split: str | None = None, **data: Any
) -> tuple[dict[str, Dataset], list[str]]:
    """Reads every split of a data set, with the same classes.

    Args:
        path: as of `load`.
        split: only this split; "all": every image as one data set.
        **data: `format`, `image_dir`, `class_names`, `box_format`, `sizes`, `drop_other_classes`,
            `voc_first_pixel`, as of `load`.

    Returns:
        `({name of the split: data set}, notes)`; the name is "" where there are no splits.

    Raises:
        DataError, ValueError: as of `load`.
    """
    opened = open_data(path, data.get("format"))
    layout = opened.layout
    if split == ALL and ALL not in layout.splits:
        if layout.everything is not None or len(layout.splits) < 2:
            return {"": load(opened, None, **data)}, []
        whole = merge([load(opened, name, **data) for name in layout.splits], layout.root.name)
        return {"": dataclasses.replace(whole, split=None)}, []
    if split is not None or not layout.splits:
        dataset = load(opened, split, **data)
        return {dataset.split or "": dataset}, []
    found = {name: load(opened, name, **data) for name in layout.splits}
    return found, _unlisted(opened, found, data)


def _unlisted(opened: Opened, found: dict[str, Dataset], data: dict[str, Any]) -> list[str]:
    """A note on annotated images that belong to no split."""
    if opened.format.name not in WITH_UNLISTED or opened.layout.everything is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            every = load(opened, None, **data).image_paths
        except DataError:  # images outside of the splits may be what is wrong
            return []
    listed = {each for dataset in found.values() for each in dataset.image_paths}
    lost = [each for each in every if each not in listed]
    if not lost:
        return []
    return [
        f"{len(lost)} of {counted(len(every), 'image')} left out: they belong to no split (first: "
        f"{lost[0]}). Give --split all for every image."
    ]
