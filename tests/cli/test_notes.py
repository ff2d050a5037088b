import os
import shutil
import sys

from keras_det.cli.command import wrapped

LONG = "Note: zoo:\n- " + "word " * 20 + "end\n- in /a/very/long/path/" + "x" * 60


def test_long_lines_are_broken_between_words_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 20)))
    lines = wrapped(LONG).splitlines()
    assert lines[0] == "Note: zoo:" and lines[1] == "- " + "word " * 10 + "word"
    assert lines[2] == "  " + "word " * 9 + "end" and lines[3] == "- in"
    assert lines[4] == "  /a/very/long/path/" + "x" * 60  # a path is never broken


def test_files_get_whole_lines(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert wrapped(LONG) == LONG


def test_commands_to_paste_and_empty_lines_stay(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 20)))
    command = f"keras-det train data --out {'x' * 80} --resume"
    lines = wrapped("word " * 20 + f"\n\n{command}", sys.stdout).split("\n")
    assert lines[-2:] == ["", command] and max(map(len, lines[:-2])) <= 60
