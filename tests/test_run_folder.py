"""recipe.json and history.csv of another shape end in one sentence."""

import json

import pytest

from keras_det.errors import DataError
from keras_det.run_folder import KINDS, KINDS_OF_CHOSEN, KINDS_OF_DATA, read_history, read_recipe
from keras_det.training.recipe import Recipe

GOOD = {
    "model": "efficientdet_lite0",
    "epochs": 2,
    "learning_rate": 0.01,
    "image_size": [64, 96],
    "class_names": ["cat"],
    "data": {"path": "/x", "images": {"training": 3}, "split_by": 0.8},
    "chosen": {"epochs": 2, "calibrate": True, "image_size": None},
    "another": [1],
}


def written(folder, content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "recipe.json").write_bytes(text)
    return folder


def test_what_training_writes_is_read(tmp_path):
    assert read_recipe(written(tmp_path, GOOD)) == GOOD
    assert read_recipe(written(tmp_path, {name: None for name in KINDS})) == dict.fromkeys(KINDS)


def test_every_field_of_a_recipe_has_a_kind():
    assert set(KINDS_OF_CHOSEN) == set(Recipe.__dataclass_fields__)
    assert {"path", "held_out"} < set(KINDS_OF_DATA)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "recipe.json must be a JSON file. Received"),
        (b"{", "recipe.json must be a JSON file. Received"),
        (b"\xff\xfe{}", "must be a JSON file. Received: .*utf-8"),
        (b"[" * 100_000, "must be a JSON file. Received: .*recursion"),
        ([GOOD], "must hold a JSON object. Received: .*holds a value of type list"),
        ({"epochs": "2"}, "`epochs` of recipe.json must be a whole number from 1 to 1,000,000"),
        ({"epochs": 10**9}, "`epochs` of recipe.json must be a whole number from 1 to 1,000,000"),
        ({"seed": 2**32}, "`seed` of recipe.json .*Received: 4294967296"),
        ({"learning_rate": 1e300}, "`learning_rate` of recipe.json must be a number from 0 to 100"),
        ({"chosen": {"average": 5}}, "`average` in `chosen` .* a number of at least 0 and below 1"),
        ({"data": {"split_by": 7.5}}, "`split_by` in `data` .* at least 0 and below 1"),
        ({"epochs": True}, "`epochs` .*Received: True in"),
        ({"epochs": 10**30}, "`epochs` .*Received: 1000"),
        ({"seed": -1}, "`seed` of recipe.json .* from 0 to 4294967295. Received: -1"),
        ({"changes": 5}, "`changes` of recipe.json must be a list of JSON objects with `after_ep"),
        ({"changes": [{"after_epoch": "x"}]}, "`changes` of recipe.json must be a list of JSON o"),
        ({"learning_rate": float("nan")}, "`learning_rate` .*number from 0 to 100. Received: nan"),
        ({"image_size": 64}, r"`image_size` .*\[height, width\] in pixels. Received: 64"),
        ({"class_names": ["a", 1]}, "`class_names` of recipe.json must be a list of names"),
        ({"data": [1]}, "`data` of recipe.json must be a JSON object. Received"),
        ({"data": {"path": 5}}, "`path` in `data` of recipe.json must be text. Received: 5"),
        ({"data": {"split_by": "x"}}, "`split_by` in `data`"),
        ({"chosen": {"name": "zz"}}, "`name` in `chosen` .* one of auto, adamw, .*Received: 'zz'"),
        ({"chosen": {"augment": "zz"}}, "`augment` in `chosen` .* one of none, light, "),
        ({"resize_mode": "zz"}, "`resize_mode` of recipe.json must be one of letterbox, "),
        *(
            ({"chosen": {"steps": value}}, "`steps` in `chosen` .* a whole number of at least 1")
            for value in (0, None, -5, float("nan"), float("inf"), "x", 1.5, True, [1])
        ),
        ({"chosen": {"learning_rate": 0}}, "`learning_rate` in `chosen` .* number above 0"),
        ({"chosen": {"epochs": None}}, "`epochs` in `chosen` .*Received: None"),
        ({"chosen": {"heads_first": None}}, "`heads_first` in `chosen` .*Received: None"),
        ({"chosen": {"average": float("nan")}}, "`average` in `chosen` .*Received: nan"),
        ({"chosen": {"calibrate": 1}}, "`calibrate` in `chosen` .*true or false. Received: 1"),
    ],
)
def test_other_shapes_of_a_recipe(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_recipe(written(tmp_path, content))
    assert str(tmp_path) in str(caught.value) and str(caught.value).endswith("without --resume.")


def test_something_else_in_the_place_of_a_recipe(tmp_path):
    with pytest.raises(DataError, match="recipe.json.*No such file"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.json").mkdir()
    with pytest.raises(DataError, match="recipe.json.*Is a directory"):
        read_recipe(tmp_path)


def test_a_history_as_training_writes_it(tmp_path):
    path = tmp_path / "history.csv"
    assert read_history(path) == []
    path.write_text("epoch,loss,val_AP\n1,2.5,\n2,inf,0.25\n")
    assert read_history(path)[1] == {"epoch": "2", "loss": "inf", "val_AP": "0.25"}


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"loss\n1\n", "it has no column `epoch`"),
        (b"epoch,loss\n1\n", "row 1 has more or fewer cells than the first line"),
        (b"epoch,loss\n1,2\n2,3,4\n", "row 2 has more or fewer cells"),
        (b"epoch,loss\n1,two\n", "'loss' of row 1 is 'two'"),
        (b"epoch,loss,val_AP\n1,2,7.5\n", "'val_AP' of row 1 is 7.5, outside 0 to 1"),
        (b"epoch,loss\n1.5,2\n", "the epoch of row 1 is '1.5'"),
        (b"epoch,loss\n2,2\n1,2\n", "its epochs do not rise from row to row"),
        (b"epoch,loss\n1,2\n1,2\n", "its epochs do not rise from row to row"),
        (b"epoch,loss\nnan,2\n", "the epoch of row 1 is 'nan'"),
        (b"epoch,loss\n\xff,2\n", "utf-8"),
        (b'epoch,loss\n1,"2\n', "unexpected end of data"),
    ],
)
def test_other_shapes_of_a_history(tmp_path, content, reason):
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"must be the table that training wrote. .*{reason}"):
        read_history(tmp_path / "history.csv")


def test_a_folder_in_the_place_of_a_history(tmp_path):
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(DataError, match="history.csv .*Is a directory"):
        read_history(tmp_path / "history.csv")
