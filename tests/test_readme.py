"""The documents: code blocks run (on small synthetic data), links work, sentences are short."""

import configparser
import importlib
import re
import shlex
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

from keras_det import EfficientDet, __version__
from keras_det.cli import main
from keras_det.data.shapes import CLASS_NAMES
from tests.export.tiny import TinyDetector
from tests.helpers import ROOT
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.cornernet import recipe as cornernet_recipe
from tests.weights.retinanet.torchvision_recipe import resnet_shapes, retinanet_shapes, weights

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Read by people, not run: records of measurements, and changes.
RECORDS = [ROOT / "benchmarks" / "README.md", ROOT / "CHANGELOG.md"]
# Words per sentence on average: short enough for a reader who learned English later.
LONGEST_AVERAGE = 16
# What turns hours of training into seconds. Each must occur, so that none outlives the text.
SMALLER = {
    "epochs=50": "epochs=1",
    "epochs=40": "epochs=1",
    "epochs=10)": "epochs=1)",
    "batch_size=16": "batch_size=2",
    'EfficientDet("lite0", ': 'EfficientDet("lite0", image_size=64, ',
    'RetinaNet("resnet34", ': 'RetinaNet("resnet34", image_size=64, ',
    '"hourglass104", ': "(2, (8, 12), (1, 1), 4), ",
}
SMALLER_COMMANDS = {
    "demo": "--epochs 1 --image-size 64 --train-images 4 --val-images 2",
    "train": "--epochs 1 --image-size 64 --batch-size 2 --weights random",
    "bench": "--seconds 0.1 --image-size 64 --batch-size 2",
}
# Documents whose blocks run where one of these packages is installed, and packages that single
# blocks import.
EXTRAS = {
    "int8.md": ("litert_quantizer", "ai_edge_quantizer"),
    "onnx.md": ("tf2onnx",),
    "openvino.md": ("openvino",),
    "predict.md": ("trackers",),
}
PACKAGES = ("mediapipe",)


def lacks_extra(path):
    return path.name in EXTRAS and not any(map(find_spec, EXTRAS[path.name]))


def skip_what_needs(packages, what):
    """Skips, so that the list at the end of a test run names the extra."""
    pytest.skip(f"needs {' or '.join(packages)}: {what}")


def blocks(path):
    """Pairs (language, code) of the fenced blocks of a document."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def anchors(path):
    """What links to the headings of a document say after `#`, as GitHub makes it."""
    headings = re.findall(r"^#+ +(.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def shell_lines(documents=DOCUMENTS):
    """Every shell line of the documents as a list of words, comments left out."""
    for path in documents:
        for language, code in blocks(path):
            if language == "sh":
                lines = (shlex.split(line, comments=True) for line in code.splitlines())
                yield from (words for words in lines if words)


def sentences(text):
    """The sentences of a document's prose; a list item starts a new one.

    Code blocks, tables, headings and pictures are left out.
    """
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(#|\||!\[).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)  # of a link, what is read
    for paragraph in re.split(r"\n\s*\n|^ *(?:-|\d+\.) +", text, flags=re.MULTILINE):
        for sentence in re.split(r"(?<=[.!?])[*)]*\s+", paragraph):
            if re.search(r"\w", sentence):
                yield sentence


def average_words(text):
    """Words per sentence of a document's prose."""
    counts = [len(re.findall(r"\S*\w\S*", sentence)) for sentence in sentences(text)]
    return sum(counts) / len(counts)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with what the blocks mention: images, a video if PyAV is there, models, weights."""
    from PIL import Image

    from keras_det.backbones import Hourglass
    from keras_det.data import draw_shapes_dataset, drawn_images

    draw_shapes_dataset(tmp_path / "my_images", num_train=4, num_val=2, image_size=64)
    (tmp_path / "photos").mkdir()
    for name, image in zip(("photo.jpg", "photos/a.jpg"), drawn_images(2, 64), strict=True):
        Image.fromarray(image).save(tmp_path / name)
    TinyDetector(CLASS_NAMES, 64).save(tmp_path / "model.keras")
    if find_spec("av"):
        from keras_det.video import VideoWriter

        with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
            for image in drawn_images(6, (64, 96)):
                writer.add(image)
    # ResNet-18 instead of the larger one that the name says: it is read from the file.
    retinanet = weights(retinanet_shapes("resnet18"))
    write_torch_file(tmp_path / "retinanet_resnet50_fpn_coco.pth", retinanet)
    write_torch_file(tmp_path / "resnet34.pth", weights(resnet_shapes("resnet34")))
    small = cornernet_recipe.shapes(Hourglass(2, (8, 12), (1, 1), 4), 80)
    write_torch_file(tmp_path / "CornerNet_500000.pkl", cornernet_recipe.weights(small))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path, request):
    code = [code for language, code in blocks(path) if language == "python"]
    if not code:
        return
    if lacks_extra(path):
        skip_what_needs(EXTRAS[path.name], f"blocks of {path.name}")
    folder, names, missing = request.getfixturevalue("workplace"), {}, set()
    if path.name == "fine_tuning.md":  # a Lite0 starts from the weights of another
        lite0 = EfficientDet("lite0", class_names=CLASS_NAMES, image_size=64)
        lite0.save(folder / "model.keras")
    for block in code:
        lacking = {x for x in PACKAGES if f"import {x}\n" in block and not find_spec(x)}
        if lacking:
            missing |= lacking
            continue
        for large, small in SMALLER.items():
            block = block.replace(large, small)
        exec(compile(block, str(path), "exec"), names)
    if path.name == "README.md":
        assert {"trained.keras", "served", "detector.tflite"} <= {p.name for p in folder.iterdir()}
    if missing:  # the other blocks did run
        skip_what_needs(sorted(missing), f"one block of {path.name}")


@pytest.mark.slow
def test_command_lines_run(workplace):
    for words in shell_lines([path for path in DOCUMENTS if not lacks_extra(path)]):
        if "phone/" in words:
            continue  # `test_three_commands` runs these, from an install
        if words[0] == "keras-det":
            words += SMALLER_COMMANDS.get(words[1], "").split()
            result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
            assert result.exit_code == 0, f"{' '.join(words)}: {result.output}"
    left_out = [path.name for path in DOCUMENTS if lacks_extra(path)]
    if left_out:  # the other commands did run
        packages = [package for name in left_out for package in EXTRAS[name]]
        skip_what_needs(packages, f"commands of {', '.join(left_out)}")


def test_smaller_settings_occur():
    text = "".join(path.read_text() for path in DOCUMENTS)
    assert [large for large in SMALLER if large not in text] == []
    assert [name for name in SMALLER_COMMANDS if f"keras-det {name}" not in text] == []


def test_shell_lines_name_what_exists():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    makefile = (ROOT / "Makefile").read_text()
    for words in shell_lines():
        line = " ".join(words)
        if words[0] == "keras-det":
            command, rest = main, words[1:]
            while isinstance(command, click.Group):
                command, *rest = command.commands[rest[0]], *rest[1:]
            command.make_context(line, rest)  # raises where an option does not exist
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        elif words[0] == "pip":
            for extra in re.findall(r"\[(\w+)\]", line):
                assert extra in config["options.extras_require"], line
        else:
            assert (ROOT / words[0]).exists(), line


def test_words_are_counted_in_prose_only():
    text = """# A heading of many words

![picture](x.jpg)

Three words here. See [two words](a_link_of.md) there: `x = 1`.

- One item
  in four.
- **Next.** Last

| a | table |
|---|---|

```sh
code --that is not counted
```
"""
    # Three words here / See two words there x 1 / One item in four / Next / Last.
    assert average_words(text) == (3 + 6 + 4 + 1 + 1) / 5


@pytest.mark.parametrize("path", DOCUMENTS + RECORDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(path):
    found = average_words(path.read_text())
    assert found <= LONGEST_AVERAGE, f"{found:.1f} words a sentence: split the long ones"


def test_readme_names_the_wheel_of_this_version():
    found = re.findall(r"keras_det-([\w.]+)-py3-none-any\.whl", (ROOT / "README.md").read_text())
    assert set(found) == {__version__}


@pytest.mark.parametrize("path", DOCUMENTS + RECORDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)]+)", path.read_text()):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"link to {link}"
        if anchor:
            assert anchor in anchors(target), f"link to {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_names_exist(path):
    text = path.read_text()
    for dotted in re.findall(r"`((?:keras|keras_det)(?:\.\w+)+)", text):
        first, *rest = dotted.split(".")
        found = importlib.import_module(first)
        for name in rest:
            assert hasattr(found, name), f"{dotted} does not exist"
            found = getattr(found, name)
