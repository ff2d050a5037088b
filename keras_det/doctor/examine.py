"""Examines a data set, a model on it, or a run: one report with everything that was found."""

import dataclasses
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_det.data.dataset import Dataset
from keras_det.data.split_choice import role_of_split
from keras_det.doctor.annotation_checks import check_annotations
from keras_det.doctor.class_checks import check_classes
from keras_det.doctor.collection import Collection, training_split
from keras_det.doctor.facts import data_facts
from keras_det.doctor.finding import HARMS, Finding, Harm, ranked
from keras_det.doctor.image_checks import check_folders, check_images
from keras_det.doctor.notes import note_findings
from keras_det.doctor.scan import scan_images
from keras_det.doctor.sections import with_sections
from keras_det.doctor.split_checks import check_splits
from keras_det.errors import DataError
from keras_det.files import plain, write_json, write_whole
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.models import Detector
    from keras_det.types import ImageSize

Data = str | os.PathLike | Dataset | Mapping[str, Dataset]
# What a data set without splits is called.
ALL = "all"
# Splits that hold the images of others, where there are splits for training and validation.
JOINT = ("trainval", "all", "full")
ORDER = ("train", "val", "test")


@dataclasses.dataclass
class Report:
    """What `examine` found.

    Attributes:
        findings: `Finding`s, the most harmful first.
        facts: numbers of the data set: format, splits, classes, sizes.
        splits: the data sets that were read, by split.
    """

    findings: list[Finding]
    facts: dict[str, Any]
    splits: dict[str, Dataset] = dataclasses.field(default_factory=dict)

    @property
    def worst(self) -> Harm | None:
        """The harm of the worst finding: "error", "warning", "note", or None without findings."""
        harms = {finding.harm for finding in self.findings}
        return next((harm for harm in HARMS if harm in harms), None)

    def text(self, all: bool = False) -> str:
        """Lines of at most 80 columns.

        Args:
            all: True gives every class and example; False keeps to about 60 lines.
        """
        from keras_det.doctor.text import report_text

        return report_text(self, all)

    def json(self) -> dict[str, Any]:
        """The facts and findings in types that JSON has."""
        findings = []
        for finding in self.findings:
            shown = [self._file_of(finding, image) for image in finding.images]
            findings.append({**dataclasses.asdict(finding), "images": shown})
        content = {"worst": self.worst, "facts": self.facts, "findings": findings}
        return dict(plain(content))

    def write_json(self, path: str | os.PathLike) -> None:
        """Writes `json()` to a file."""
        write_json(pathlib.Path(path), self.json())

    def write_html(self, path: str | os.PathLike) -> None:
        """Writes one page with the findings, their pictures, and plots of classes and sizes."""
        from keras_det.doctor.page import report_page

        write_whole(pathlib.Path(path), report_page(self).encode())

    def image_of(self, finding: Finding, image: int) -> tuple[Dataset, int]:
        """The data set and the index in it of an image that a finding names."""
        if finding.split:
            return self.splits[finding.split], image
        for each in self.splits.values():
            if image < len(each):
                return each, image
            image -= len(each)
        raise IndexError(
            "The images of a finding must be indices of images of the report. Received: an index "
            f"that is {image + 1} too large. Give a finding of this report."
        )

    def _file_of(self, finding: Finding, image: int) -> str:
        each, index = self.image_of(finding, image)
        return each.image_paths[index]


def examine(
    data: Data | None,
    *,
    splits: Sequence[str] | None = None,
    model: "str | os.PathLike | Detector | None" = None,
    run: str | os.PathLike | None = None,
    image_size: "ImageSize | None" = None,
    overfit: bool = False,
    quick: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], object] | None = None,
    **load_options: Any,
) -> Report:
    """Looks for what would make training fail, make its results misleading or cost accuracy.

    Ctrl-C stops reading images: the report then holds what was found so far.

    Args:
        data: path of a data set, a `Dataset`, or `{split: Dataset}`. None examines `run` alone.
        splits: names of the splits to read. None reads all, but not a split that joins others,
            such as "trainval". For a path only.
        model: a detector, the name of one, or the path of a saved one. It is tried on the training
            split.
        run: a run folder, whose history is read.
        image_size: int or (height, width), the input of a `model` given by its name.
        overfit: True also trains `model` on eight images, for up to three minutes.
        quick: True reads annotations and the headers of the images, but no pixels.
        progress: `progress(done, total)` is called while images are read.
        say: is called with lines on the progress of the checks with `model`.
        **load_options: as of `keras_det.data.load`: `format`, `image_dir`, `class_names`,
            `box_format`, `sizes`, `voc_first_pixel`, `drop_other_classes`, `split_by`, `seed`. For
            a path only.

    Returns:
        A `Report`. Data that cannot be read is one finding with the reader's message.

    Raises:
        ValueError: arguments do not fit together, or name no model.
        TypeError: `data` is neither a path, nor a data set, nor a dict of them.
    """
    of_model = {"image_size": image_size is not None, "overfit": overfit}
    _check_arguments(data, splits, model, run, of_model, load_options)
    start = time.perf_counter()
    read, facts, findings = _read(data, splits, load_options)
    if read:
        # Images of a split that cannot be read would look as if they were in none.
        whole_folder = isinstance(data, str | os.PathLike) and splits is None and not findings
        findings += _examine_data(read, facts, quick, progress, whole_folder)
    if model is not None and read:
        findings += _examine_model(read, model, image_size, quick, overfit, say)
    if run is not None:
        from keras_det.doctor.run_checks import check_run

        findings += check_run(pathlib.Path(run))
    facts["seconds"] = round(time.perf_counter() - start, 1)
    return Report(ranked(with_sections(findings)), facts, read)


def _check_arguments(
    data: Data | None,
    splits: Sequence[str] | None,
    model: Any,
    run: Any,
    of_model: Mapping[str, bool],
    load_options: dict[str, Any],
) -> None:
    """ValueError where an argument would have no effect."""
    if data is None and run is None:
        raise ValueError(
            "`examine` needs `data` or `run`. Received: neither. Give the path of a data set, or "
            "of a run folder."
        )
    _check_data(data)
    if data is None and model is not None:
        raise ValueError(
            "`model` needs `data` to be tried on. Received: `model` without `data`. Give `data` "
            "too."
        )
    if model is None and any(of_model.values()):
        name = next(name for name, given in of_model.items() if given)
        raise ValueError(
            f"`{name}` needs `model`. Received: `{name}` without `model`. Leave it out, or give "
            "`model` too."
        )
    if of_model["image_size"] and (not isinstance(model, str) or os.path.exists(model)):
        raise ValueError(
            "`image_size` is only for a model that is given by its name. Received: `image_size` "
            f"with {model!r}. Leave it out, or give a name."
        )
    useless = [*(["splits"] if splits is not None else []), *load_options]
    if useless and not isinstance(data, str | os.PathLike):
        raise ValueError(
            f"`{useless[0]}` has an effect only if `data` is a path. Received: `{useless[0]}` with "
            f"{type(data).__name__}. Leave it out, or give the path of the data set."
        )


def _check_data(data: Data | None) -> None:
    """TypeError unless it is a path, a data set, or several by split."""
    wrong = ""
    if isinstance(data, Mapping):
        kinds = [type(each).__name__ for each in data.values() if not isinstance(each, Dataset)]
        wrong = f"a dict with {kinds[0]}" if kinds else "" if data else "an empty dict"
    elif data is not None and not isinstance(data, str | os.PathLike | Dataset):
        wrong = f"a {type(data).__name__}"
    if wrong:
        raise TypeError(
            "`data` must be a path, a Dataset, or a dict of Datasets by split. Received: "
            f"{wrong}. Load the splits first, or give the path."
        )


def _read(
    data: Data | None, splits: Sequence[str] | None, options: dict[str, Any]
) -> tuple[dict[str, Dataset], dict[str, Any], list[Finding]]:
    """Reads the splits; what cannot be read is a finding."""
    if data is None:
        return {}, {}, []
    if isinstance(data, Dataset):
        return {data.split or ALL: data}, {"name": data.name}, []
    if not isinstance(data, str | os.PathLike):
        return dict(data), {}, []
    from keras_det.data.load import load, open_data

    try:
        opened = open_data(data, options.get("format"))
    except (DataError, OSError) as error:
        return {}, {"path": str(data)}, [_unreadable(str(error), str(data))]
    facts = {"path": str(data), "format": opened.format.title}
    wanted = _wanted(list(opened.layout.splits), splits, "split_by" in options)
    read: dict[str, Dataset] = {}
    findings = []
    for split in wanted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes become findings
            try:
                read[split or ALL] = load(opened, split, **options)
            except (DataError, OSError) as error:
                what = f"The split {split}" if split else str(data)
                findings.append(_unreadable(str(error), what))
    return read, facts, _once(findings)


def _wanted(
    found: list[str], splits: Sequence[str] | None, parted: bool
) -> Sequence[str] | list[None]:
    """Names of the splits to read; None stands for all images."""
    if splits is not None:
        return splits
    if parted:
        return ["train", "val"]
    roles = {role_of_split(name) for name in found}
    if {"train", "val"} <= roles:
        found = [name for name in found if role_of_split(name) not in JOINT]
    order = {name: number for number, name in enumerate(ORDER)}
    return sorted(found, key=lambda name: order.get(role_of_split(name), len(order))) or [None]


def _unreadable(message: str, what: str) -> Finding:
    """The finding for data that cannot be read: the reader's message, cure included."""
    fact, _, rest = message.partition(" Received: ")
    return Finding(
        "unreadable-data",
        "error",
        f"{what} cannot be read.",
        "Follow the advice in the message above, then run the doctor again.",
        examples=(message,),
        facts={"rule": fact, "received": rest},
    )


def _once(findings: list[Finding]) -> list[Finding]:
    """Without repetitions: most messages about a file come up for each split."""
    return list({finding.examples: finding for finding in findings}.values())


def _examine_data(
    read: dict[str, Dataset],
    facts: dict[str, Any],
    quick: bool,
    progress: Callable[[int, int], None] | None,
    whole_folder: bool,
) -> list[Finding]:
    """All checks of the data; completes the facts."""
    data = Collection.of(read)
    facts |= data_facts(data)
    findings = [*check_annotations(data), *check_classes(data), *check_splits(data)]
    if whole_folder:
        findings += check_folders(data)
    scan = scan_images(data.paths, quick, progress)
    findings += check_images(data, scan)
    facts["pixels read"] = scan.pixels
    if scan.interrupted:
        done = sum(look is not None for look in scan.looks)
        facts["interrupted"] = True
        findings.append(
            Finding(
                "interrupted",
                "note",
                f"Interrupted after {done:,} of {counted(len(scan.looks), 'image')}.",
                "Run the doctor again to have all images read.",
                count=done,
                total=len(scan.looks),
            )
        )
    return findings + note_findings(data, frozenset(f.code for f in findings))


def _examine_model(
    read: dict[str, Dataset],
    model: "str | os.PathLike | Detector",
    image_size: "ImageSize | None",
    quick: bool,
    overfit: bool,
    say: Callable[[str], object] | None,
) -> list[Finding]:
    """What only a detector can tell, on the training split."""
    from keras_det.doctor.model_checks import check_model
    from keras_det.models import load_model

    split = training_split(list(read))
    if isinstance(model, str | os.PathLike) and os.path.exists(model):
        model = load_model(model)
    found = check_model(
        read[split],
        os.fspath(model) if isinstance(model, os.PathLike) else model,
        validation=next(
            (each for name, each in read.items() if role_of_split(name) == "val"), None
        ),
        quick=quick,
        image_size=image_size,
        overfit=overfit,
        say=say,
    )
    return [dataclasses.replace(finding, split=split) for finding in found]
