"""A small fixed share of the fuzzing of `make fuzz`, and what its harness counts."""

import os
import random
import re
import subprocess
import sys
import time

import pytest

from keras_det.errors import DataError
from tests.fuzz import mutators, readers, records
from tests.fuzz.harness import Counts, Limits, Tried, attempt
from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SHORT = Limits(seconds=0.5, bytes=100 << 20, wall=3.0)


def test_damaged_data_sets_of_every_format():
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "135", "--seed", "7"]
    command += ["--formats", *readers.TEXT_FORMATS]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    *_, last = [line for line in result.stdout.splitlines() if line.startswith("| all")]
    numbers = [int(cell) for cell in re.findall(r"\d+", last)]
    total, sentence, note, right, silent, *bad = numbers
    assert total == 135 and bad == [0, 0, 0]
    # The mutators damage, but not all of a file.
    assert sentence > 30 and note > 20 and 5 < right < 70 and silent < 20


@pytest.mark.parametrize("name", [each for each in readers.FORMATS if "tf" in each])
def test_damaged_data_sets_of_records(name):
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "16", "--formats", name]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    *_, last = [line for line in result.stdout.splitlines() if line.startswith("| all")]
    total, sentence, note, right, silent, *bad = map(int, re.findall(r"\d+", last))
    assert total == 16 and bad == [0, 0, 0]
    assert sentence >= 4 and right + note + silent >= 1


def test_records_have_the_checksums_of_tensorflow(tmp_path):
    import tensorflow as tf

    data = [b"", b"abc", os.urandom(1000)]
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        for each in data:
            writer.write(each)
    whole = (tmp_path / "x").read_bytes()
    assert b"".join(map(records.framed, data)) == whole and records.split(whole) == data


def refusing():
    raise DataError("It must be so. Received: that. Change it.")


def without_parts():
    raise DataError("no")


def broken():
    raise TypeError("a traceback")


def waiting():
    time.sleep(60)
    return "right", ""


def computing():
    end = time.process_time() + 1.0
    while time.process_time() < end:
        pass
    return "right", ""


def filling():
    data = bytearray(os.urandom(1 << 20) * 200)
    return "right", str(len(data))


@pytest.mark.parametrize(
    "read, outcome",
    [
        (lambda: ("note", "left out"), "note"),
        (refusing, "sentence"),
        (without_parts, "internal"),
        (broken, "internal"),
        (lambda: os._exit(3), "internal"),
        (waiting, "hang"),
        (computing, "hang"),
        (filling, "memory"),
    ],
)
def test_what_comes_of_an_input(read, outcome):
    assert attempt(read, SHORT).outcome == outcome


def test_the_table_counts_and_findings_are_grouped():
    counts = Counts()
    for name in ("a", "b"):
        counts.add("coco", name, Tried("internal", "…\nTypeError: x"))
    counts.add("voc", "c", Tried("note", ""))
    assert "| coco | 2 | 0 | 0 | 0 | 0 | 2 | 0 | 0 |" in counts.table()
    assert "| all | 3 | 0 | 1 | 0 | 0 | 2 | 0 | 0 |" in counts.table()
    ((kind, findings),) = counts.kinds()
    assert kind == "internal: TypeError: x" and [name for _, name, _ in findings] == ["a", "b"]


@pytest.mark.parametrize("name", readers.FORMATS)
def test_undamaged_data_sets_are_read_right(tmp_path, name):
    case = readers.Damaged(name, dict(readers.undamaged(name)), name)
    assert readers.read(readers.write(tmp_path / "x", case), name)[0] == "right"


def test_the_same_seed_gives_the_same_inputs_and_most_are_damaged():
    for name in readers.FORMATS:
        cases = [readers.one(name, seed) for seed in range(40)]
        assert cases[:5] == [readers.one(name, seed) for seed in range(5)]
        same = sum(case.files == readers.undamaged(name) for case in cases)
        assert same < 5, name


def test_structures_stay_readable_after_most_changes():
    import json
    from xml.etree import ElementTree

    rng = random.Random(0)
    data = readers.undamaged("coco")["_annotations.coco.json"]
    for _ in range(50):
        json.loads(mutators.changed_json(data, rng), parse_int=str)
    data = readers.undamaged("cvat")["annotations.xml"]
    for _ in range(50):
        changed = mutators.changed_xml(data, rng)
        if not changed.startswith((b"<?xml", b"<!DOCTYPE", b"\xef")):
            ElementTree.fromstring(changed)
