"""A runner for commands, and a tiny data set."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from keras_det.cli import main


@pytest.fixture
def run():
    """`run("train", path, "--epochs", 2)` -> click's result; an unexpected exception is raised."""

    def invoke(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def refused(run):
    """Runs a command that must end with exit code 2 and one line; returns that line."""

    def invoke(*arguments):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        assert result.stdout == ""
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("Error: ")
        return last

    return invoke


@pytest.fixture
def image():
    """uint8 image with a bright rectangle, `(24, 32, 3)`."""
    image = np.full((24, 32, 3), 40, np.uint8)
    image[4:14, 6:26] = 200
    return image


@pytest.fixture
def coco(tmp_path, image):
    """Folder in COCO's layout with one image and one box in each of train and val."""
    from PIL import Image

    root = tmp_path / "shapes"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / split).mkdir()
        Image.fromarray(image).save(root / split / "a.png")
        content = {
            "images": [{"id": 7, "file_name": "a.png", "height": 24, "width": 32}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 3, "bbox": [6, 4, 20, 10], "area": 200}
            ],
            "categories": [{"id": 3, "name": "square"}],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
