"""The files that `keras-det predict` writes: of images, and of videos with tracks."""

import csv
import json
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from keras_det.cli import predict, predicting
from keras_det.cli.prediction_files import unique_stems
from keras_det.report.draw import class_colour
from keras_det.video.sources import Source, find_sources
from tests.video.moving import ByColour, paths, picture, write_video

REASON = "the extra `video`"
ALL = [word for each in predicting.FORMATS for word in ("--write", each)]


@pytest.fixture(autouse=True)
def _by_colour(monkeypatch):
    monkeypatch.setattr(predict, "load_any_model", lambda path: ByColour())


@pytest.fixture
def photos(tmp_path):
    """Two images of one stem, in two formats, with two squares each."""
    (tmp_path / "photos").mkdir()
    image = picture(paths(False, 30)[5])
    for name in ("x.jpg", "x.png"):
        Image.fromarray(image).save(tmp_path / "photos" / name, quality=95)
    return tmp_path / "photos"


@pytest.fixture
def video(tmp_path):
    pytest.importorskip("av", reason=REASON)
    return write_video(tmp_path / "clip.mp4", [picture(boxes) for boxes in paths(False, 30)])


def rows_of(folder):
    with open(folder / "detections.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_all_formats_of_images_agree(run, photos, tmp_path):
    out = tmp_path / "found"
    result = run("predict", "m.tflite", photos, "--out", out, *ALL)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Detections: 4, images: 2, results: {out}"
    assert sorted(os.listdir(out)) == sorted(
        ["x.jpg", "x-2.png", "detections.json", "detections.csv", "coco.json"]
        + ["labels", "classes.txt"]
    )
    rows = json.loads((out / "detections.json").read_text())
    table, coco = rows_of(out), json.loads((out / "coco.json").read_text())
    assert len(rows) == len(table) == len(coco["annotations"]) == 4
    for row, line, annotation in zip(rows, table, coco["annotations"], strict=True):
        x, y, width, height = row["bbox"]
        assert [float(line[side]) for side in ("x1", "y1", "x2", "y2")] == pytest.approx(
            [x, y, x + width, y + height]
        )
        assert (line["file_name"], line["class_name"]) == (row["file_name"], row["category_name"])
        assert line["frame"] == line["time"] == line["track_id"] == ""
        assert annotation["bbox"] == row["bbox"] and annotation["area"] == width * height
        assert annotation["image_id"] == row["image_id"] and annotation["iscrowd"] == 0
    assert [each["id"] for each in coco["annotations"]] == [1, 2, 3, 4]
    assert coco["categories"] == [{"id": 0, "name": "left"}, {"id": 1, "name": "right"}]
    assert coco["images"][1] == {
        "id": 1, "file_name": str(photos / "x.png"), "width": 128, "height": 96,
    }  # fmt: skip
    assert "videos" not in coco and (out / "classes.txt").read_text() == "left\nright\n"
    # Box (18, 8, 42, 32) of the left square, in shares of 128 x 96.
    lines = (out / "labels" / "x-2.txt").read_text().splitlines()
    assert lines[0] == "0 0.234375 0.20833333 0.1875 0.25" and len(lines) == 2


def test_pycocotools_reads_both_json_files(run, photos, tmp_path):
    from pycocotools.coco import COCO

    out = tmp_path / "found"
    run("predict", "m.tflite", photos, "--out", out, *ALL)
    read = COCO(str(out / "coco.json"))
    assert len(read.loadRes(str(out / "detections.json")).anns) == 4


def test_a_data_set_is_read_as_it_was_written(run, photos, tmp_path):
    from keras_det.data import load

    out = tmp_path / "found"
    run("predict", "m.tflite", photos, "--out", out, "--write", "coco")
    dataset = load(out / "coco.json", image_dir=str(tmp_path))
    assert len(dataset) == 2 and list(dataset.class_names) == ["left", "right"]
    np.testing.assert_allclose(dataset[1].boxes[0], [18, 8, 42, 32], atol=2)


def test_a_video_is_written_with_boxes_and_tracks(run, video, tmp_path):
    pytest.importorskip("trackers", reason=REASON)
    out = tmp_path / "found"
    result = run("predict", "m.tflite", video, "--track", "--out", out, *ALL)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Detections: 60, frames: 30, results: {out}"
    rows, coco = json.loads((out / "detections.json").read_text()), rows_of(out)
    assert [row["frame"] for row in rows] == [i // 2 for i in range(60)]
    assert rows[20]["time"] == 0.4 and {row["track_id"] for row in rows[2:]} == {0, 1}
    assert {(line["class_name"], line["track_id"]) for line in coco[2:]} in (
        {("left", "0"), ("right", "1")},
        {("left", "1"), ("right", "0")},
    )
    coco = json.loads((out / "coco.json").read_text())
    assert coco["videos"] == [{"id": 1, "file_name": str(video)}]
    assert coco["images"][12] == {
        "id": 12, "file_name": "clip_000012.jpg", "video_id": 1, "frame": 12, "time": 0.48,
        "width": 128, "height": 96,
    }  # fmt: skip
    assert coco["annotations"][24]["track_id"] in (0, 1)
    assert len(os.listdir(out / "labels")) == 30 and "clip_000029.txt" in os.listdir(out / "labels")
    from keras_det.video.frames import frames

    written = list(frames(find_sources(out / "clip.mp4"), 1, print))
    assert len(written) == 30 and written[0].rate == 25
    for frame, boxes in zip(written[1::9], paths(False, 30)[1::9], strict=True):
        for label, (x1, _, _, y2) in enumerate(boxes.astype(int)):
            line = frame.pixels[y2 - 2 : y2 + 1, x1 + 4 : x1 + 20].astype(int)
            assert (np.abs(line - class_colour(label)).sum(-1) < 150).any()


def test_a_faint_box_is_mentioned_where_one_is_drawn(run, photos, video, tmp_path):
    words = "The best box of each image is drawn faintly; --score-threshold 0.7 shows more."
    cases = [(photos, "pictures", True), (photos, "csv", False), (video, "pictures", False)]
    for k, (source, what, expected) in enumerate(cases):
        out = ["--write", what, "--score-threshold", 0.95, "--out", tmp_path / str(k)]
        result = run("predict", "m.tflite", source, *out)
        assert (words in result.stdout) == expected
        assert "--score-threshold 0.7 shows more." in result.stdout


def test_every_second_frame_at_half_the_rate(run, video, tmp_path):
    out = tmp_path / "found"
    run("predict", "m.tflite", video, "--every", 2, "--out", out)
    rows = json.loads((out / "detections.json").read_text())
    assert [row["frame"] for row in rows] == [2 * (i // 2) for i in range(30)]
    from keras_det.video.frames import frames

    written = list(frames(find_sources(out / "clip.mp4"), 1, print))
    assert len(written) == 15 and written[0].rate == 12.5
    assert written[-1].time == pytest.approx(28 / 25, abs=1e-3)


def test_after_an_interruption_all_files_are_whole(run, video, tmp_path, monkeypatch):
    add, out = predicting.Written.add, tmp_path / "found"

    def interrupted(self, frame, found):
        if frame.number == 10:
            raise KeyboardInterrupt
        add(self, frame, found)

    monkeypatch.setattr(predicting.Written, "add", interrupted)
    result = run("predict", "m.tflite", video, "--out", out, *ALL)
    assert result.exit_code == 130
    assert len(json.loads((out / "detections.json").read_text())) == len(rows_of(out)) == 20
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 10
    from keras_det.video.frames import frames

    assert len(list(frames(find_sources(out / "clip.mp4"), 1, print))) == 10
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_a_video_that_cannot_be_written_is_noted(run, video, tmp_path, monkeypatch):
    from keras_det.video import VideoWriter

    def full(self, pixels, time=None):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "add", full)
    out = tmp_path / "found"
    result = run("predict", "m.tflite", video, "--out", out)
    assert result.exit_code == 1 and "clip.mp4 (No space left on device)" in result.stderr
    assert sorted(os.listdir(out)) == ["detections.json"]
    assert len(json.loads((out / "detections.json").read_text())) == 60


def test_without_the_extra_a_video_is_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").touch()
    said = refused("predict", "m.tflite", tmp_path / "a.mp4", "--out", tmp_path / "found")
    assert "Reading and writing videos needs the extra `video`" in said


@pytest.mark.parametrize(
    "more, message",
    [
        (["--every", 2], "--every has no effect on images. Received: --every 2"),
        (["--track"], "Tracking needs a video or a camera. Received: .*x.jpg, an image"),
        (["none/*.jpg"], r"A pattern must match images or videos. Received: none/\*.jpg"),
    ],
)
def test_what_is_refused(refused, photos, tmp_path, more, message):
    said = refused("predict", "m.tflite", photos, *more, "--out", tmp_path / "found")
    assert re.search(message, said), said


def test_a_number_is_a_camera_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert predict.find_given(("1",)) == [Source("camera", "camera 1", 1)]
    (tmp_path / "1").touch()
    assert predict.find_given(("1",)) == [Source("image", "1")]


def test_no_two_sources_have_files_of_one_name():
    given = ["a/x.jpg", "b/x.jpg", "x.png", "X.jpg", "x-2.jpg", "x.mp4"]
    found = unique_stems([Source("image", each) for each in given])
    assert found == ["x", "x-2", "x-3", "X-4", "x-2-2", "x-5"]
    assert unique_stems([Source("camera", "camera 0", 0)]) == ["camera-0"]
