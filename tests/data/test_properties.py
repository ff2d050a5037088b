"""Properties of all readers: drawn data sets are read right; spoiled ones are refused or noted."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data import every_format
from tests.data.every_format import FORMATS, Picture
from tests.data.test_bad_inputs import check

# Few examples, the same in every run: these are for CI. Raise the number for a longer search.
FEW = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
NAMES = st.text("abcXYZ019 _-+#&éüß中ñ", min_size=1, max_size=12).map(str.strip)


@st.composite
def pictures(draw):
    """One to three images with distinct names and whole boxes of at least two pixels inside.

    One box of the first image touches its right and lower edge, so that no file leaves open how
    boxes are written.
    """
    names = draw(st.lists(NAMES.filter(bool), min_size=1, max_size=3, unique_by=str.casefold))
    found = []
    for number, name in enumerate(names):
        width, height = draw(st.integers(40, 90)), draw(st.integers(40, 90))
        boxes = {(0, 3, 5, width, height)} if not number else set()
        for _ in range(draw(st.integers(0, 3))):
            x, y = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
            right, bottom = draw(st.integers(x + 2, width)), draw(st.integers(y + 2, height))
            boxes.add((draw(st.integers(0, 1)), x, y, right, bottom))
        found.append(Picture(f"{name}.png", width, height, tuple(sorted(boxes))))
    return tuple(found)


@pytest.mark.parametrize("name", FORMATS)
@FEW
@given(drawn=pictures())
def test_what_was_written_is_read(name, drawn):
    with tempfile.TemporaryDirectory() as folder:
        files = every_format.files_of(name, drawn)
        result = every_format.outcome(every_format.write(Path(folder), files), name)
    found = every_format.objects_by_image(result.dataset) if result.dataset else result.error
    right = every_format.expected(drawn)
    if name == "csv":  # a table has no row for an image without objects
        right = {picture: objects for picture, objects in right.items() if objects}
    assert found == right


@pytest.mark.parametrize("name", FORMATS)
@FEW
@given(data=st.data())
def test_any_bytes_in_an_annotation_file_are_refused_or_noted(name, data):
    files = every_format.files_of(name)
    file = data.draw(st.sampled_from([each for each in sorted(files) if each[-4:] != ".png"]))
    text = files[file]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    junk = data.draw(st.binary(max_size=8) | st.text(max_size=8).map(str.encode))
    with tempfile.TemporaryDirectory() as folder:
        changed = files | {file: text[:start] + junk + text[end:]}
        check(every_format.outcome(every_format.write(Path(folder), changed), name), None)
