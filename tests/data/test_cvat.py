import os
import warnings

import numpy as np
import pytest

from keras_det.data import read_cvat
from keras_det.data.formats import cvat
from keras_det.errors import DataError
from tests.data.builders import write_image

LABELS = "".join(
    f"<label><name>{name}</name><type>{kind}</type></label>"
    for name, kind in (("zebra", "any"), ("cat", "rectangle"), ("sky", "tag"), ("unused", "any"))
)


def meta(level="task", labels=LABELS, more=""):
    return f"<meta><{level}><labels>{labels}</labels>{more}</{level}></meta>"


def image(number, name, *shapes, more=""):
    head = f'<image id="{number}" name="{name}" width="80" height="60" {more}>'
    return f"{head}{''.join(shapes)}</image>"


def box(label="cat", xtl=4, ytl=10, xbr=40, ybr=30, more=""):
    return (
        f'<box label="{label}" source="manual" occluded="0" xtl="{xtl}" ytl="{ytl}" xbr="{xbr}" '
        f'ybr="{ybr}" z_order="0" {more}></box>'
    )


def write(root, *parts, images=("a.png", "b.png"), folder="images", head=None):
    root.mkdir(parents=True, exist_ok=True)
    path = root / "annotations.xml"
    body = "\n".join(["<version>1.1</version>", meta() if head is None else head, *parts])
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{body}</annotations>')
    for name in images:
        write_image(root / folder / name, 60, 80)
    return path


def read(path, **arguments):
    """The data set and its notes in one text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_cvat(path, **arguments)
    return dataset, " ".join(dataset.notes)


@pytest.mark.parametrize("level", ["task", "project", "job"])
def test_boxes_and_labels_in_their_order(tmp_path, level):
    shapes = box(), box("zebra", 1.5, 2, 3, 5)
    path = write(tmp_path, image(0, "a.png", *shapes), image(1, "b.png"), head=meta(level))
    for place in (path, tmp_path):
        dataset, notes = read(place)
        assert dataset.class_names == ("zebra", "cat", "unused")
        assert dataset.boxes.tolist() == [[4, 10, 40, 30], [1.5, 2, 3, 5]]
        assert dataset.labels.tolist() == [1, 0] and dataset.row_splits.tolist() == [0, 2, 2]
        assert dataset.image_ids == (0, 1)
        what = "Labels that are only for tags, points or lines, and so are not classes of boxes"
        assert notes == f"{what} (1): sky."


# A box of 20 by 10 at (30, 25), turned by 90 degrees about its centre: 10 by 20. An ellipse of
# radii 10 and 5 likewise. A mask of 8 by 5 pixels at (2, 3).
@pytest.mark.parametrize(
    "shape, expected, kind",
    [
        (box("cat", 20, 20, 40, 30, 'rotation="90"'), [25, 15, 35, 35], "rotated box"),
        ('<polygon label="cat" points="5,6;20,1;7.5,30"/>', [5, 1, 20, 30], "polygon"),
        ('<ellipse label="cat" cx="30" cy="25" rx="10" ry="5"/>', [20, 20, 40, 30], "ellipse"),
        (
            '<ellipse label="cat" cx="30" cy="25" rx="10" ry="5" rotation="90"/>',
            [25, 15, 35, 35],
            "ellipse",
        ),
        (
            '<mask label="cat" rle="1, 2" left="2" top="3" width="8" height="5"/>',
            [2, 3, 10, 8],
            "mask",
        ),
        (
            '<cuboid label="cat" xtl1="1" ytl1="5" xbl1="1" ybl1="30" xtr1="9" ytr1="5" xbr1="9" '
            'ybr1="30" xtl2="3" ytl2="2" xbl2="3" ybl2="25" xtr2="12" ytr2="2" xbr2="12" '
            'ybr2="25"/>',
            [1, 2, 12, 30],
            "cuboid",
        ),
    ],
)
def test_box_around_other_shapes_with_a_note(tmp_path, shape, expected, kind):
    dataset, notes = read(write(tmp_path, image(0, "a.png", shape)))
    np.testing.assert_allclose(dataset.boxes, [expected], atol=1e-5)
    assert f"as the box around their shape: 1, drawn as 1 {kind} (" in notes


def test_what_has_no_box_is_left_out_and_groups_of_masks_are_joined(tmp_path):
    shapes = [
        box(),
        '<points label="cat" points="1,2"/>',
        '<polyline label="cat" points="1,2;3,4"/>',
        '<tag label="sky"/>',
        '<skeleton label="cat"><points label="1" points="1,2"/></skeleton>',
        '<polygon label="cat" points="0,0;5,0;0,5" group_id="1"/>',
        '<polygon label="cat" points="9,9;15,9;9,15" group_id="1"/>',
    ]
    dataset, notes = read(write(tmp_path, image(0, "a.png", *shapes)))
    assert dataset.boxes.tolist() == [[4, 10, 40, 30], [0, 0, 15, 15]]
    assert (
        "Shapes left out, because they have no box or no class: 4, 1 point, 1 line, 1 tag" in notes
    )
    assert (
        "Parts merged into one object, because they have the same class and group: 1" in notes
        and "image 'a.png', shapes[6]" in notes
    )


def test_subsets_of_a_project_are_splits(tmp_path):
    path = write(
        tmp_path,
        image(0, "a.png", box("cat"), more='subset="Train"'),
        image(1, "a.png", box("zebra", 1, 2, 3, 4), more='subset="Val"'),
        images=("Train/a.png", "Val/a.png"),
        head=meta("project"),
    )
    for place in (path, tmp_path):
        assert list(cvat.find(place).splits) == ["Train", "Val"]
        train, val, both = (read(place, split=split)[0] for split in ("train", "Val", None))
        assert train.image_paths == (str(tmp_path / "images" / "Train" / "a.png"),)
        assert val.image_paths == (str(tmp_path / "images" / "Val" / "a.png"),)
        assert train.class_names == val.class_names and val.labels.tolist() == [0]
        assert both.image_paths == train.image_paths + val.image_paths


def test_subset_of_a_task_and_images_in_sub_folders(tmp_path):
    head = meta(more="<subset>Train</subset>")
    write(tmp_path, image(0, "x/a.png", box()), images=("x/a.png",), head=head)
    assert list(cvat.find(tmp_path).splits) == ["Train"]
    dataset, _ = read(tmp_path, split="Train")
    assert dataset.image_paths == (str(tmp_path / "images" / "x" / "a.png"),)


def test_images_beside_the_file_or_elsewhere(tmp_path):
    write(tmp_path / "one", image(0, "a.png", box()), folder="")
    assert read(tmp_path / "one")[0].image_paths == (str(tmp_path / "one" / "a.png"),)
    path = write(tmp_path / "two", image(0, "a.png", box()), images=())
    dataset, _ = read(path, image_dir=tmp_path / "one")
    assert dataset.image_paths == (str(tmp_path / "one" / "a.png"),)


def test_exports_in_folders_of_splits_and_of_tasks(tmp_path):
    for name, label in (("train", "cat"), ("val", "zebra")):
        write(tmp_path / "s" / name, image(0, "a.png", box(label)))
        write(tmp_path / "t" / f"task_{name}x", image(0, "a.png", box(label)))
    assert list(cvat.find(tmp_path / "s").splits) == ["train", "val"]
    dataset, _ = read(tmp_path / "s", split="val")
    assert dataset.image_paths == (str(tmp_path / "s" / "val" / "images" / "a.png"),)
    assert dataset.labels.tolist() == [0]
    assert len(read(tmp_path / "t")[0]) == 2 and not cvat.find(tmp_path / "t").splits


def track(number, label, *boxes):
    return f'<track id="{number}" label="{label}">{"".join(boxes)}</track>'


def frame(number, outside=0, xtl=1):
    return (
        f'<box frame="{number}" outside="{outside}" occluded="0" keyframe="1" xtl="{xtl}" ytl="2" '
        'xbr="30" ybr="40"/>'
    )


VIDEO = meta(
    more="<size>4</size><original_size><width>80</width><height>60</height></original_size>"
)


def test_tracks_of_a_video_with_its_frames(tmp_path):
    frames = [f"frame_{k:06d}.png" for k in range(4)]
    tracks = (
        track(0, "cat", frame(0), frame(1), frame(2, outside=1)),
        track(1, "zebra", frame(1, 0, 5)),
    )
    write(tmp_path, *tracks, images=frames, head=VIDEO)
    dataset, notes = read(tmp_path)
    assert dataset.row_splits.tolist() == [0, 1, 3, 3, 3]
    assert dataset.boxes[:, 0].tolist() == [1, 1, 5] and dataset.labels.tolist() == [1, 1, 0]
    assert dataset.image_ids == (0, 1, 2, 3) and "Frames between" not in notes


def test_video_with_gaps_without_frames_or_of_several_tasks(tmp_path):
    images = [f"frame_{k:06d}.png" for k in range(4)]
    tracks = track(0, "cat", frame(0), frame(1), frame(3)), track(1, "cat", frame(0, 1), frame(3))
    write(tmp_path / "gaps", *tracks, images=images, head=VIDEO)
    assert (
        "Frames between two boxes of a track without a box of their own: 1."
        in read(tmp_path / "gaps")[1]
    )
    path = write(tmp_path / "none", *tracks, images=("a.png",), head=VIDEO)
    with pytest.raises(DataError, match=r"must be images named frame_000000.*CVAT for images 1\.1"):
        read(path)
    two = [each.replace("<track", f'<track task_id="{k}"') for k, each in enumerate(tracks)]
    with pytest.raises(DataError, match="tracks of 2 tasks .*Export each task by itself"):
        read(write(tmp_path / "gaps", *two, images=images))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "gb2312", "latin-1"])
def test_encodings(tmp_path, encoding):
    label = "猫" if encoding == "gb2312" else "Käse"
    path = write(tmp_path, image(0, "a.png", box(label)))
    named = encoding.removesuffix("-sig")
    text = path.read_text("utf-8").replace('encoding="utf-8"', f'encoding="{named}"')
    path.write_text(text, encoding)
    assert read(path)[0].class_names[-1] == label


@pytest.mark.parametrize("declared, codec", [("gb2312", "utf-8-sig"), ("utf-16", "utf-8")])
def test_the_bytes_decide_on_the_encoding(tmp_path, declared, codec):
    path = write(tmp_path, image(0, "a.png", box("Käse")))
    text = path.read_text("utf-8").replace('encoding="utf-8"', f'encoding="{declared}"')
    path.write_text(text, codec)
    assert read(path)[0].class_names[-1] == "Käse"


@pytest.mark.parametrize(
    "text, message",
    [
        ("<annotations><image", "must be valid XML.*no element found|unclosed token"),
        ("<annotations><version>1.1</version></annotations>", "at least one image"),
        ('<?xml version="1.0" encoding="klingon"?><annotations/>', "in a known encoding.*klingon"),
        ("<annotations>\xe9</annotations>", "valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "no entities"),
    ],
)
def test_damaged_files(tmp_path, text, message):
    path = tmp_path / "annotations.xml"
    path.write_text(text, "latin-1")
    with pytest.raises(DataError, match=message):
        read(path)


def test_find_is_for_cvat_only(tmp_path):
    path = tmp_path / "annotations.xml"
    for text in ("<annotation><filename>a</filename></annotation>", "", "annotations"):
        path.write_text(text)
        assert cvat.find(path) is None and cvat.find(tmp_path) is None
        assert "does not start with <annotations>" in cvat.resembles(tmp_path)
    with pytest.raises(DataError, match="must be an .xml file that starts with <annotations>"):
        read_cvat(tmp_path)


def test_unreadable_shapes_are_left_out_or_refused(tmp_path):
    bad = [box(xtl="x"), box(ybr="nan"), box().replace('label="cat"', "")]
    good = [box(xtl=k / 2) for k in range(60)]
    dataset, notes = read(write(tmp_path, image(0, "a.png", *good, *bad)))
    assert len(dataset.labels) == 60
    assert "3 of 63 shapes left out: unreadable" in notes
    assert "image 'a.png', shapes[60]: `xtl` must be a number. Received: 'x'" in notes
    with pytest.raises(DataError, match="At most 5% of the shapes"):
        read(write(tmp_path, image(0, "a.png", *good[:5], *bad)))


def drawn(tmp_path):
    shapes = [[box("cat", k, 2, 30 + k, 40.5), box("zebra")] for k in range(2)]
    return write(tmp_path, image(0, "a.png", *shapes[0]), image(1, "b.png", *shapes[1]))


def test_same_boxes_as_globox(tmp_path):
    globox = pytest.importorskip("globox")
    path = drawn(tmp_path)
    expected = globox.AnnotationSet.from_cvat(path)
    for sample in read(path)[0]:
        boxes = expected[os.path.basename(sample.image_path)].boxes
        assert sample.boxes.tolist() == [list(map(float, each.ltrb)) for each in boxes]


def test_same_boxes_and_classes_as_labelformat(tmp_path):
    cvat_of = pytest.importorskip("labelformat.formats.cvat")
    path = drawn(tmp_path)
    found = cvat_of.CVATObjectDetectionInput(path)
    dataset, _ = read(path)
    names = [category.name for category in found.get_categories() if category.name != "sky"]
    assert list(dataset.class_names) == names
    for sample, theirs in zip(dataset, found.get_labels(), strict=True):
        assert [dataset.class_names[label] for label in sample.labels] == [
            each.category.name for each in theirs.objects
        ]
        boxes = [[b.xmin, b.ymin, b.xmax, b.ymax] for b in (each.box for each in theirs.objects)]
        assert sample.boxes.tolist() == boxes
