"""Tables of at most 80 columns."""

import pytest

from keras_det.profiling.bench_input import InputBench
from keras_det.profiling.bench_text import (
    file_table,
    fitted,
    input_table,
    latency_table,
    memory_line,
    training_table,
)
from keras_det.profiling.bench_training import TrainingBench
from keras_det.profiling.verdict import InputTimes, Latency, TrainingTimes

ROW = {"name": "a.keras", "size": 13_400_000, "memory": 812_345_678, "ap": 0.5123}
ROW |= {"median": 0.0456, "p95": 0.0521, "rate": 21.5}


def test_table_of_files():
    unknown = {**dict.fromkeys(ROW), "name": "b.tflite", "size": 3_912_000, "median": 0.0124}
    assert file_table([ROW, unknown]).splitlines() == [
        "file                                 MB median ms  p95 ms images/s  RAM MB    AP",
        "a.keras                            13.4      45.6    52.1     21.5     812 0.512",
        "b.tflite                           3.91      12.4       -        -       -     -",
    ]


@pytest.mark.parametrize("name", ["x" * 200, "図" * 60, "runs/mine/exports/model_float32.tflite"])
def test_rows_of_files_fit_80_columns(name):
    large = {**ROW, "name": name, "size": 9.9e11, "median": 99.0, "p95": 99.0, "rate": 99_999.0}
    header, row = file_table([large]).splitlines()
    wide = sum(char == "図" for char in row)
    assert len(header) == 80 and len(row) + wide == 80


def test_long_names_lose_their_middle():
    assert fitted("abc", 6) == "abc   "
    assert fitted("abcdefghij", 8) == "abc…hij "
    assert fitted("図図図図図", 8) == "図…図   "


def test_table_of_the_input():
    stages = {"reading": 1e-4, "decoding": 3e-3, "batching": 9e-4}
    times = InputTimes(stages, 4e-3, 2e-4, 0.9, 2)
    rates = {"reading": 10_000.0, "decoding": 322.6, "batching": 250.0}
    assert input_table(InputBench(times, rates, 55.5e6, 0.0)).splitlines() == [
        "stage                   ms per image   share     images/s so far",
        "reading                          0.1      2%              10,000",
        "decoding                           3     75%                 323",
        "batching                         0.9     22%                 250",
        "",
        "First reading of the files: 5,000 images/s, 55.5 MB/s.",
    ]


def test_table_of_a_training():
    bench = TrainingBench(TrainingTimes(0.05, 0.8, 1.0, 8), 21.0, 20, "CPU", 0.0)
    assert training_table(bench).splitlines() == [
        "                           per batch      images/s",
        "input alone                    50 ms           160",
        "step alone                    800 ms            10",
        "together                         1 s             8",
        "",
        "The first step, with compilation, took 21 s.",
    ]


def test_table_of_latencies():
    rows = {"one image": Latency(9, 0.02, 0.03, 0.025), "  network": Latency(9, 0.01, 0.01, 0.01)}
    found = latency_table({**rows, "batch of 8": None}, {"one image": 1, "batch of 8": 8})
    assert found.splitlines() == [
        "                           median ms      p95 ms    images/s",
        "one image                         20          30          40",
        "  network                         10          10",
        "batch of 8                         -           -",
    ]


def test_line_about_memory():
    assert memory_line(3_900_000, 256e6, 61e6) == (
        "3.9 MB on disk, 256 MB of memory at the peak (61 MB before loading)."
    )
    assert memory_line(3_900_000, None, None) == "3.9 MB on disk."
