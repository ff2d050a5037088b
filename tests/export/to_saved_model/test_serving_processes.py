"""The SavedModel in other processes: behind TensorFlow Serving's protocols, and through C."""

import base64
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from keras_det.data import drawn_images
from tests.export.to_saved_model.pictures import encoded, good_and_corrupt_rows
from tests.helpers import ROOT

pytestmark = pytest.mark.slow
HERE = pathlib.Path(__file__).parent
THRESHOLD = 0.04  # above it the model finds two classes
CLIENTS = ROOT / "examples" / "serving"
# Nothing of this checkout can be imported from the working directory or the environment.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture(scope="module", autouse=True)
def _graphs_as_they_are():
    """Optimises graphs, as the servers do: else numbers differ in their last digits."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture(scope="module")
def reference(exported):
    """Rows, and what the loader of TensorFlow's Python layer makes of them."""
    import tensorflow as tf

    rows, valid = good_and_corrupt_rows()
    loaded = tf.saved_model.load(str(exported[1]))
    outputs = loaded.signatures["serving_default"](image_bytes=tf.constant(rows))
    outputs = {name: value.numpy() for name, value in outputs.items()}
    assert outputs["valid"].tolist() == valid
    assert ((outputs["num_detections"] > 0) == valid).all()
    return rows, outputs


@pytest.fixture(scope="module")
def front(exported, tmp_path_factory):
    """Ports of a process that serves the exported model as "detector"."""
    command = [sys.executable, HERE / "serving_front.py", exported[1], "detector"]
    log = tmp_path_factory.mktemp("front") / "log"
    with open(log, "w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=log.parent,
            env=ENVIRONMENT,
            text=True,
        )
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield json.loads(line)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def ask(front, path, body=None):
    """Answer of the REST API: `(HTTP status, JSON)`."""
    address = f"http://127.0.0.1:{front['rest']}/v1/models/{path}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def assert_equal(found, reference):
    """The same numbers; JSON keeps floats as the shortest text, hence float32 again."""
    assert set(found) == set(reference)
    for name, value in reference.items():
        np.testing.assert_array_equal(np.asarray(found[name], value.dtype), value, err_msg=name)


def run_client(name, server, folder, rows, labels):
    """Runs a sample client on files; returns its lines."""
    for index, row in enumerate(rows):
        (folder / f"{index}.bin").write_bytes(row)
    images = [f"{index}.bin" for index in range(len(rows))]
    options = ["--server", server, "--labels", labels, "--threshold", str(THRESHOLD)]
    done = subprocess.run(
        [sys.executable, CLIENTS / name, *images, *options],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_lines(lines, reference):
    """A client's lines tell what the SavedModel found."""
    names = ["cat", "dog", "cow"]
    assert [line["valid"] for line in lines] == reference["valid"].tolist()
    assert len({item["name"] for line in lines for item in line["detections"]}) == 2
    for row, line in enumerate(lines):
        assert line["image"] == f"{row}.bin"
        scores = reference["scores"][row]
        count = int((scores > THRESHOLD).sum())
        found = line["detections"]
        np.testing.assert_allclose([item["score"] for item in found], scores[:count], rtol=1e-6)
        labels = reference["labels"][row, :count]
        assert [item["name"] for item in found] == [names[label] for label in labels]
        boxes = np.array([item["box"] for item in found]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, reference["boxes"][row, :count], rtol=1e-6)


def test_rest_client_finds_what_the_model_finds(front, exported, reference, tmp_path):
    rows, outputs = reference
    server, labels = f"http://127.0.0.1:{front['rest']}", exported[1] / "assets" / "labels.txt"
    assert_lines(run_client("rest_client.py", server, tmp_path, rows, labels), outputs)


def test_grpc_client_finds_what_the_model_finds(front, exported, reference, tmp_path):
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    rows, outputs = reference
    server, labels = f"127.0.0.1:{front['grpc']}", exported[1] / "assets" / "labels.txt"
    assert_lines(run_client("grpc_client.py", server, tmp_path, rows, labels), outputs)


def test_rest_formats_agree(front, reference):
    rows, outputs = reference
    tensor = [b64(row) for row in rows]
    named = [{"image_bytes": value} for value in tensor]
    for path in ("detector:predict", "detector/versions/1:predict"):
        for body in ({"instances": tensor}, {"instances": named}):
            code, answer = ask(front, path, body)
            assert code == 200, answer
            predictions = answer["predictions"]
            assert_equal({k: [row[k] for row in predictions] for k in outputs}, outputs)
    for inputs in (tensor, {"image_bytes": tensor}):
        code, answer = ask(front, "detector:predict", {"inputs": inputs})
        assert code == 200, answer
        assert_equal(answer["outputs"], outputs)


def test_pixels_over_rest(front, exported):
    image = drawn_images(1, 40, seed=9)[0]
    body = {"signature_name": "images", "instances": [image.tolist()] * 2}
    code, answer = ask(front, "detector:predict", body)
    assert code == 200, answer
    expected = exported[0].detect(encoded(image))
    for row in answer["predictions"]:
        count = row["num_detections"]
        assert count == len(expected["scores"]) > 0
        np.testing.assert_allclose(row["boxes"][:count], expected["boxes"], atol=1e-3)


def test_status_and_metadata(front):
    code, answer = ask(front, "detector")
    (version,) = answer["model_version_status"]
    assert code == 200 and (version["version"], version["state"]) == ("1", "AVAILABLE")
    code, answer = ask(front, "detector/metadata")
    assert code == 200 and answer["model_spec"]["version"] == "1"
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "images", "raw"}
    (image_bytes,) = signatures["serving_default"]["inputs"].values()
    assert image_bytes["dtype"] == "DT_STRING"
    assert [dim["size"] for dim in image_bytes["tensor_shape"]["dim"]] == ["-1"]


@pytest.mark.parametrize(
    "path, body, code, message",
    [
        ("other:predict", {"instances": []}, 404, "Servable not found"),
        ("detector/versions/2:predict", {"instances": []}, 404, "Servable not found"),
        ("detector:predict", {"signature_name": "x", "instances": []}, 400, "not found"),
        ("detector:predict", {}, 400, "either 'instances' or 'inputs'"),
        ("detector:predict", {"inputs": {"x": []}}, 400, "inputs must be"),
        ("detector:predict", {"instances": [{"b64": "?"}]}, 400, "Error"),
    ],
)
def test_wrong_requests(front, path, body, code, message):
    found, answer = ask(front, path, body)
    assert found == code and message.lower() in answer["error"].lower()


def test_c_api_finds_what_python_finds(exported, reference, tmp_path):
    tensorflow = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    if not (tensorflow / "libtensorflow_cc.so.2").exists():
        pytest.skip("this TensorFlow has no libtensorflow_cc.so.2 (only Linux wheels do)")
    rows, outputs = reference
    files = [tmp_path / f"{index}.bin" for index in range(len(rows))]
    for file, row in zip(files, rows, strict=True):
        file.write_bytes(row)
    out = tmp_path / "found.npz"
    done = subprocess.run(
        [sys.executable, "-I", HERE / "c_api.py", tensorflow, exported[1], *files, out],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["signatures", "images", "raw", "serving_default"]
    with np.load(out) as found:
        assert_equal(dict(found), outputs)
