"""What readers note about the data: what they left out, changed or decided."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from keras_det.words import printable

# What a note is about. The doctor has one entry for each: `keras_det.doctor.notes.MEANING`.
NoteCode: TypeAlias = Literal[
    # Records
    "records-unreadable",  # a few records cannot be read and are left out
    "records-of-lost-images",  # objects are left out, because the record of their image is
    "annotations-without-box",  # objects without a box are left out
    "annotations-unlisted",  # objects are left out, because their image is not listed
    "tasks-left-out",  # nobody has annotated them, or they were skipped
    "annotators-chosen",  # of several annotations of one image, one is read
    "files-left-out",  # files that are no annotations, or that no image belongs to
    "shards-missing",  # parts of a TFRecord are missing
    "paths-missing",  # folders that the description of a data set names do not exist
    "frames-without-box",  # a track has gaps
    # Images
    "images-missing",  # files that do not exist, or that several files could be, are left out
    "images-found-otherwise",  # files were found under another name or in another folder
    "files-found-otherwise",  # the same for files of labels
    "images-embedded",  # pixels inside the annotation are not read
    "images-unreadable",  # files do not open; training skips them
    "images-listed-again",  # the objects of all entries are joined
    "images-listed-twice",  # equal entries, read once
    "images-without-annotation",  # left out, because there is no annotation
    "images-without-file",  # images that lie in the folder, but have no annotation file or row
    "images-hidden",  # left out, because their names begin with a dot
    "images-kept-empty",  # kept as images without objects, because there is no annotation
    "images-joined",  # images of several data sets
    "images-unpacked",  # where pixels were written to
    "image-ids-changed",
    "pixels-changed",  # converted or rounded
    "pixels-of-12-bits",  # 16-bit images that look nearly black
    # Sizes and orientation
    "sizes-swapped",  # width and height
    "sizes-differ",  # the image has another size than annotated
    "orientation",  # by EXIF: how these images are used
    # Boxes
    "boxes-without-area",  # left out
    "boxes-clipped",  # to the image
    "boxes-corners-swapped",  # read in the right order
    "boxes-in-one-part",  # all in the upper left part of their images
    "boxes-two-classes",
    "boxes-format-chosen",  # by what fits the images
    "boxes-format-doubtful",  # another format fits better
    "boxes-first-pixel",  # whether Pascal VOC counts from 0 or 1
    "boxes-of-shapes",  # boxes around polygons, masks and the like
    "boxes-of-rotated-images",  # the annotation program had turned the image
    "boxes-of-parts",  # parts or several boxes of one object, joined or not
    "areas-replaced",  # by the area of the box
    "objects-repeated",  # same image, class and box: left out
    "objects-crowd",  # which objects training leaves out
    "objects-reread",  # how unclear marks, key points and the like were understood
    "labels-of-several-images",  # one file of labels, several images
    # Classes
    "classes-listed-twice",  # equal entries, read once
    "classes-chosen",  # of several classes of one object, one is read
    "classes-from",  # where their names come from
    "classes-not-selected",  # objects of other classes are left out
    "classes-alike",  # names that are nearly the same
    "classes-joined",  # names that differ in what nobody sees
    "class-grouping",  # it groups others and has no object: left out
    "class-ids-changed",
    "classes-contradict",  # labels, texts or numbers of classes do not agree
    # Training
    "no-object",
    "all-crowd",
]


@dataclass(frozen=True, eq=False, repr=False)
class Note(str):
    """A sentence for users that also says what it means: a `str` with a code and numbers.

    It prints, compares and sorts as its sentence, one line: "2 of 9 boxes clipped to the image
    (first: a.xml, object 1)." Control characters are written as in `printable`.

    Attributes:
        code: what it is about.
        text: the sentence without the first case; its full stop is left out where there is one.
        number: how many records, images or objects it is about.
        total: out of how many; 0 where that has no meaning.
        first: file and place of the first case, or "".
        more: sentences after it, or "".
    """

    code: NoteCode
    text: str
    number: int = 1
    total: int = 0
    first: str = ""
    more: str = ""

    def __new__(
        cls,
        code: NoteCode,
        text: str,
        number: int = 1,
        total: int = 0,
        first: str = "",
        more: str = "",
    ) -> "Note":
        sentence = f"{text} (first: {first})." if first else text
        return super().__new__(cls, printable(f"{sentence} {more}" if more else sentence))

    def __post_init__(self) -> None:
        for field in ("text", "first", "more"):
            object.__setattr__(self, field, printable(getattr(self, field)))

    def __getnewargs__(self) -> tuple:
        """What `__new__` takes, for copies and pickles."""
        return self.code, self.text, self.number, self.total, self.first, self.more
