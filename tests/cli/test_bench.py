"""`keras-det bench`, and `keras-det evaluate` of an exported file."""

import io
import json
import os
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from keras_det.cli import bench_files, bench_process, bench_worker
from keras_det.cli.bench_detectors import parts_of
from keras_det.cli.bench_process import Measured, Worker, measure_files, workers
from keras_det.cli.evaluated import known_ap, metrics_beside
from keras_det.cli.files import run_of
from keras_det.data import draw_shapes_dataset
from keras_det.errors import DataError
from keras_det.profiling.bench_detection import Timed
from tests.export.tiny import tiny

SLOW = pytest.mark.slow
OPENED = {"engine": "litert", "image_size": [96, 128], "multiply_adds": None, "loading": 0.1}
OPENED |= {"images": 8, "read": [], "memory_before": 60_000_000}


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """A TFLite file, whose process needs no Keras."""
    pytest.importorskip("ai_edge_litert", reason="the extra `edge` is not installed")
    from keras_det import export

    path = tmp_path_factory.mktemp("lite") / "tiny.tflite"
    export.tflite(tiny(), path)
    return path


def widths(text):
    return [len(line) for line in text.splitlines()]


# ---- which command is meant ----


@pytest.mark.parametrize(
    "words, command",
    [
        ("a.tflite b.onnx", "models"),
        ("--json x a.keras", "models"),
        ("exports/saved", "models"),
        ("models a.onnx", "models"),
        ("train data", "train"),
        ("", ""),
    ],
)
def test_a_file_in_the_place_of_a_command(run, words, command):
    usage = run("bench", *words.split(), "--help").stdout.splitlines()[0]
    assert usage.split()[2:4] == ["bench", command or "[OPTIONS]"]


def test_a_folder_with_any_name_is_a_model(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert "A run folder must hold best.keras" in refused("bench", "mine")


def test_wrong_commands_and_files(run, refused, tmp_path):
    result = run("bench", "trian")
    assert result.exit_code == 2 and "Did you mean 'train'?" in result.stderr
    assert "MODEL must exist." in refused("bench", tmp_path / "a.tflite")
    assert "MODEL must exist." in refused("bench", "predict", tmp_path / "a.tflite")
    (tmp_path / "a.txt").touch()
    assert "MODEL must be a .keras" in refused("bench", tmp_path / "a.txt")
    assert "--json must name" in refused("bench", "--json", tmp_path / "none" / "x", "a.keras")
    assert "--json must name" in refused("bench", "data", tmp_path, "--json", tmp_path)
    for command in ("data", "train"):
        assert "The data set must exist." in refused("bench", command, tmp_path / "none")
        assert "efficientdet_lite0" in refused("bench", command, "x", "--model", "lite0")


# ---- files ----


def test_one_file(run, lite, coco, tmp_path):
    file = tmp_path / "speed.json"
    words = ("--calls", 3, "--batch-size", 2, "--json", file)
    result = run("bench", "predict", lite, coco / "train", *words)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "tiny.tflite: litert, 96x128; 1 image"
    names = ("one image", "  preprocessing", "  network", "  post-processing")
    names += ("reading the file", "batch of 2")
    assert [line[:24].rstrip() for line in lines[3:9]] == list(names)
    # The decoder is in the file, and so is a batch of one.
    assert lines[6].split()[-2:] == lines[8].split()[-2:] == ["-", "-"]
    assert any(line.startswith("Limited by the ") for line in lines)
    assert max(widths(result.stdout.rsplit("Figures", 1)[0])) <= 80
    content = json.loads(file.read_text())
    assert content["latency"]["calls"] == 3 and content["latency"]["parts_ms"]["finish"] is None
    assert content["latency"]["parts_ms"]["network"] > 0 and content["batch"] is None
    assert content["verdict"]["limit"] in ("input", "host", "device")
    sizes = [path.stat().st_size for path in (lite,)]
    assert content["size_bytes"] == sum(sizes)
    # A process with Keras and TensorFlow takes over 400 MB.
    assert 10e6 < content["peak_memory_bytes"] < 300e6
    assert content["peak_memory_bytes"] >= content["memory_before_loading_bytes"]


def test_several_files_with_what_is_known_of_their_ap(run, lite, coco, tmp_path):
    one, two = tmp_path / "one.tflite", tmp_path / "two.tflite"
    for path in (one, two):
        shutil.copy(lite, path)
        shutil.copy(f"{lite}.certificate.json", f"{path}.certificate.json")
    # The square of the data set is a class of neither: it is written as one of theirs.
    for split in ("train", "val"):
        file = coco / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["categories"] = [
            {"id": 3 + i, "name": n} for i, n in enumerate(["cat", "dog", "cow"])
        ]
        file.write_text(json.dumps(content))
    result = run("evaluate", one, coco)
    assert result.exit_code == 0, result.output
    file = tmp_path / "one.tflite.metrics.json"
    assert result.stdout.splitlines()[-1] == f"Metrics: {file}"
    written = json.loads(file.read_text())
    assert 0 <= written["AP"] <= 1 and written["measured"]["model"] == "one.tflite"
    assert written["measured"]["split"] == "val" and written["measured"]["images"] == 1
    assert written["artefact"]["latency"]["median_ms"] > 0
    assert written["artefact"]["latency"]["parts_ms"]["prepare"] > 0
    assert written["artefact"]["peak_memory_bytes"] > 10e6
    assert written["artefact"]["size_bytes"] == one.stat().st_size

    result = run("bench", one, two, "--calls", 2, "--json", tmp_path / "table.json")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "8 synthetic images, one at a time"
    assert lines[2].split()[0] == "file" and max(widths(result.stdout.split("Figures")[0])) <= 80
    assert lines[3].split()[0] == "one.tflite" and lines[3].split()[-1] == f"{written['AP']:.3f}"
    assert lines[4].split()[0] == "two.tflite" and lines[4].split()[-1] == "-"
    assert "AP measured on: shapes, val, 1 image." in lines
    table = json.loads((tmp_path / "table.json").read_text())
    assert [each["AP"] for each in table["files"]] == [written["AP"], None]
    assert table["files"][0]["AP_measured_on"] == "shapes, val, 1 image"


def test_options_of_a_keras_model_are_refused_for_a_file(refused, lite, coco):
    for words in ("--batch-size 4", "--method hard", "--max-detections 10"):
        message = refused("evaluate", lite, coco, *words.split())
        assert "has no effect for an exported file" in message


def test_files_are_called_in_turns(monkeypatch):
    asked = []

    class Recorded:
        def __init__(self, path):
            self.path = path

        def ask(self, do, **given):
            asked.append((self.path, do, given.get("calls")))
            if do == "whole":
                return {"seconds": [0.5] * given["calls"], "others": 0.1}
            if do == "each":
                return {"network": [0.4] * given["calls"]}
            return {"open": OPENED, "warm": 0.5, "memory": 7, "batches": [1.0]}[do]

        def end(self):
            return []

    monkeypatch.setattr(bench_process, "Worker", Recorded)
    monkeypatch.setattr(bench_process, "size_on_disk", lambda path: 5)
    found = measure_files(["a", "b"], [], 7, parts=True, batch_size=4)
    rounds = [each for each in asked if each[1] == "whole"]
    assert rounds == [(path, "whole", n) for n in (2, 2, 1, 1, 1) for path in "ab"]
    # The memory is that of detecting, before the parts are compiled once more.
    own = [do for path, do, _ in asked if path == "a"]
    assert own[:5] == ["open", "warm", "whole", "memory", "each"] and own.count("memory") == 1
    assert [each.latency.calls for each in found] == [7, 7]
    assert found[0].part("network") == 0.4 and found[0].part("prepare") is None
    assert found[0].as_json()["batch"] == {
        "size": 4,
        "median_ms": 1000.0,
        "p95_ms": 1000.0,
        "images_per_second": 4.0,
    }
    asked.clear()
    measure_files(["a"], [])  # 20 seconds allow 40 calls of half a second
    assert sum(calls for _, do, calls in asked if do == "whole") == 40


def test_errors_of_the_process_reach_the_user(lite, tmp_path):
    with workers([str(lite)]) as (worker,):
        with pytest.raises(DataError, match="MODEL must exist"):
            worker.ask("open", model=str(tmp_path / "none.tflite"), images=[], max_pixels=None)
        with pytest.raises(RuntimeError, match="AttributeError"):
            worker.ask("whole", calls=1)
        (tmp_path / "a.jpg").write_bytes(b"no image")
        with pytest.raises(DataError, match="At least one image must be readable"):
            worker.ask("open", model=str(lite), images=[str(tmp_path / "a.jpg")], max_pixels=None)
        worker.process.kill()
        with pytest.raises(DataError, match="must not end early"):
            worker.ask("memory")
    assert worker.process.returncode is not None


def test_what_libraries_say_is_kept_from_the_answers():
    worker = Worker("a.tflite")
    os.pwrite(worker.log.fileno(), b"INFO: Created a delegate\nSomething is wrong\n\n", 0)
    assert worker.end() == ["Something is wrong"]


def test_requests_and_answers(monkeypatch):
    class Fake:
        def add(self, left, right):
            if left < 0:
                raise DataError("Give more.")
            return left + right

    monkeypatch.setattr(bench_worker, "Bench", Fake)
    asked = [{"do": "add", "left": 1, "right": 2}, {"do": "add", "left": -1, "right": 0}]
    asked.append({"do": "none"})
    answers = io.StringIO()
    bench_worker.serve(io.StringIO("\n".join(map(json.dumps, asked))), answers)
    first, second, third = map(json.loads, answers.getvalue().splitlines())
    assert (first, second) == (3, {"data_error": "Give more."})
    assert "AttributeError" in third["error"]


@pytest.mark.parametrize(
    "kind",
    ["keras", "tflite", *(pytest.param(x, marks=SLOW) for x in ("split", "saved_model", "onnx"))],
)
def test_parts_find_what_the_detector_finds(kind, lite, tmp_path, image):
    from keras_det import export
    from keras_det.runtime import load_exported

    model = tiny()
    if kind == "keras":
        detector = model
    elif kind == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
        pytest.importorskip("tf2onnx", reason="the extra `onnx` is not installed")
        export.onnx(model, tmp_path / "m.onnx")
        detector = load_exported(tmp_path / "m.onnx")
    elif kind == "saved_model":
        export.saved_model(model, tmp_path / "m")
        detector = load_exported(tmp_path / "m")
    elif kind == "split":
        export.tflite(model, tmp_path / "m.tflite", postprocess="split")
        detector = load_exported(tmp_path / "m.tflite")
    else:
        detector = load_exported(lite)
    parts = parts_of(detector)
    separate = {"keras": 3, "split": 3, "tflite": 2, "onnx": 2, "saved_model": 1}
    assert len(parts.timed) == separate[kind]
    timed = Timed(parts, [image])
    assert {len(seconds) for seconds in timed.each(1).values()} == {1}
    if kind != "saved_model":
        given = parts.prepare(image)
        found, expected = parts.finish(image, given, parts.network(given)), parts.whole(image)
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=2e-3)
        assert expected["num_detections"] > 0
    assert (timed.batches(2, 1) is None) == (kind in ("tflite", "split"))
    assert (parts.multiply_adds is None) == (kind != "keras")


def test_a_size_is_that_of_all_files(tmp_path):
    for name, size in (("a.tflite", 10), ("a.tflite.tail.tflite", 5), ("b.onnx", 3)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").write_bytes(bytes(4))
    (tmp_path / "saved" / "variables" / "x").write_bytes(bytes(40))
    found = [bench_process.size_on_disk(tmp_path / x) for x in ("a.tflite", "b.onnx", "saved")]
    assert found == [15, 3, 44]


def test_images_are_spread_over_those_that_are_given(tmp_path, coco):
    for number in range(40):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number:02d}.png")
    found = bench_files.image_paths((str(tmp_path / "00.png"), str(tmp_path)))
    assert len(found) == bench_files.MOST_IMAGES and found[0].endswith("00.png")
    assert bench_files.image_paths(()) == []
    annotations = coco / "annotations" / "instances_val.json"
    assert bench_files.image_paths((str(annotations),)) == [str(coco / "val" / "a.png")]


def test_what_lies_beside_an_export_is_left_out():
    given = ["x/a.tflite", "x/a.tflite.tail.tflite", "x/b", "x/b.certificate.json", "x/ab.onnx"]
    assert bench_files.without_companions(given) == ("x/a.tflite", "x/b", "x/ab.onnx")


def test_names_are_short_where_they_differ():
    assert bench_files.names_of(["run/a.tflite", "served/1/"]) == ["a.tflite", "1"]
    assert bench_files.names_of(["x/a.onnx", "y/a.onnx"]) == ["x/a.onnx", "y/a.onnx"]


def test_text_of_one_file():
    given = {**OPENED, "read": [0.003], "images": 1}
    found = Measured("m.tflite", given, 3_900_000, [0.02, 0.04], 256_000_000, batch_size=8)
    found.parts, found.batches = {"prepare": [0.001], "network": [0.018]}, [0.2]
    assert bench_files.describe(found).splitlines() == [
        "m.tflite: litert, 96x128; 1 image",
        "",
        "                           median ms      p95 ms    images/s",
        "one image                         30          39        33.3",
        "  preprocessing                    1           1",
        "  network                         18          18",
        "  post-processing                  -           -",
        "reading the file                   3           3",
        "batch of 8                       200         200          40",
        "",
        "3.9 MB on disk, 256 MB of memory at the peak (60 MB before loading).",
    ]
    times = bench_files.times_of(found)
    assert (times.whole, times.read, times.prepare, times.network) == (0.03, 0.003, 0.001, 0.018)


# ---- what is known about the AP ----


def write_metrics(file, model, **more):
    about = {"model": model, "data": "cells", "split": "val", "images": 87}
    file.write_text(json.dumps({"AP": 0.5, "measured": about, **more}))


def test_ap_of_a_run_is_that_of_its_best_model(tmp_path):
    (tmp_path / "best.keras").touch()
    write_metrics(tmp_path / "metrics.json", "last.keras")
    assert known_ap(str(tmp_path)) == (None, "", "")
    write_metrics(tmp_path / "metrics_val.json", "best.keras")
    assert known_ap(str(tmp_path)) == (0.5, "cells, val, 87 images", "")
    os.utime(tmp_path / "metrics_val.json", (1, 1))
    assert known_ap(str(tmp_path)).value is None
    assert "best.keras has changed since metrics_val.json" in known_ap(str(tmp_path)).note


# The AP of several views does not belong to the time of one.
def test_ap_in_tiles_and_views_says_so(tmp_path):
    (tmp_path / "best.keras").touch()
    about = {"model": "best.keras", "data": "cells", "settings": {"tile": 64, "flip": "both"}}
    (tmp_path / "metrics_val.json").write_text(json.dumps({"AP": 0.5, "measured": about}))
    assert known_ap(str(tmp_path)).where == "cells, in tiles, in several views"


def test_ap_of_an_exported_file_is_that_of_this_content(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"a")
    sha = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # of "a"
    write_metrics(metrics_beside(path), "a.onnx", artefact={"sha256": sha})
    assert known_ap(str(path)).value == 0.5
    path.write_bytes(b"b")
    assert known_ap(str(path)).value is None
    assert known_ap(str(path)).note.startswith("a.onnx has changed since a.onnx.metrics.json")
    metrics_beside(path).write_text("{")
    assert known_ap(str(path)).value is None and known_ap(str(path)).note


def test_an_export_is_measured_on_what_its_run_held_out(tmp_path):
    (tmp_path / "exports").mkdir()
    path = tmp_path / "exports" / "a.tflite"
    path.touch()
    assert run_of(str(path)) == tmp_path / "exports"
    (tmp_path / "recipe.json").write_text("{}")
    assert run_of(str(path)) == tmp_path


# ---- input and training ----


@pytest.fixture
def small(monkeypatch):
    """A detector of a few layers in the place of a published one."""
    from keras_det import models
    from tests.export.tiny import TinyDetector

    def build(name, class_names, dtype="float32", image_size=(64, 64), **more):
        return TinyDetector(class_names, image_size, dtype=dtype, **more)

    monkeypatch.setattr(models, "build_model", build)


@pytest.mark.slow
def test_data_and_train(run, small, tmp_path):
    root = draw_shapes_dataset(tmp_path / "shapes", 6, 2, 64)
    file = tmp_path / "data.json"
    words = ("--seconds", "0.01", "--batch-size", 2, "--workers", 3, "--json", file)
    result = run("bench", "data", root, "--augment", "flip", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("6 images; tiny, 64x64, batches of 2, 3 workers\n\nstage")
    assert "\nLimited by the " in result.stdout and "Measuring: decoding" in result.stderr
    assert max(widths(result.stdout.rsplit("Figures", 1)[0])) <= 80
    content = json.loads(file.read_text())
    assert list(content["times"]["stages"])[-1] == "batching" and content["augment"] == "flip"

    words = ("--steps", 4, "--batch-size", 2, "--image-size", "64x96", "--json", file)
    result = run("bench", "train", root, "--augment", "flip", "--remat", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("6 images; tiny, 64x96, batches of 2, float32, CPU\n\n")
    assert "\nLimited by the " in result.stdout and "Measuring: the step alone" in result.stderr
    assert max(widths(result.stdout.rsplit("Figures", 1)[0])) <= 80
    content = json.loads(file.read_text())
    assert content["steps"] == 4 and content["times"]["peak"]["per_second"] > 0
    assert content["verdict"]["limit"] in ("input", "host", "device")


@pytest.mark.slow
def test_a_keras_model_in_a_process_of_its_own(run, tmp_path):
    from keras_det import EfficientDet

    EfficientDet("lite0", class_names=["cell"], image_size=64).save(tmp_path / "m.keras")
    file = tmp_path / "speed.json"
    result = run("bench", "predict", tmp_path / "m.keras", "--calls", 2, "--json", file)
    assert result.exit_code == 0, result.output
    content = json.loads(file.read_text())
    assert content["engine"] == "keras, tensorflow" and content["images"] == "drawn"
    assert all(each > 0 for each in content["latency"]["parts_ms"].values())
    assert content["batch"]["size"] == 8
    assert content["peak_memory_bytes"] > content["memory_before_loading_bytes"] + 100e6


def test_progress_rewrites_one_line_on_a_terminal(monkeypatch, capsys):
    from keras_det.cli import bench_output

    monkeypatch.setattr(
        bench_output.sys, "stderr", types.SimpleNamespace(isatty=lambda: True), raising=False
    )
    shown = []
    monkeypatch.setattr(bench_output, "echo", lambda text, **_: shown.append(text))
    monkeypatch.setattr(bench_output.click, "echo", lambda text, **_: shown.append(text))
    monkeypatch.setenv("COLUMNS", "20")
    with bench_output.progress() as say:
        say("a long name of what is measured")
    clear = "\r\x1b[K"
    assert shown == [clear, "Measuring: a long n", clear]
