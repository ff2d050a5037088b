"""Freed memory stays with the process, which the number of page faults shows."""

import os
import platform
import subprocess
import sys

import pytest

from keras_det.cli import allocator
from tests.helpers import ROOT

# Blocks of 48 MB, made and freed in turn. Prints what the call returned, and the page faults.
SCRIPT = """
import resource, sys
from keras_det.cli.allocator import keep_freed_memory
made = sys.argv[1] == "with" and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def block():
    return len(b"x" * 48_000_000)
block()
before = faults()
for _ in range(20):
    block()
print(made, faults() - before)
"""


def run(kind, **more):
    chosen = allocator.CHOSEN_BY
    plain = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    command = [sys.executable, "-c", SCRIPT, kind]
    done = subprocess.run(
        command, env={**plain, **more}, cwd=ROOT, check=True, capture_output=True, text=True
    )
    made, faults = done.stdout.split()
    return made == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_used_again():
    made, faults = run("with")
    assert made and faults < 200
    made, faults = run("without")
    assert not made and faults > 400


def test_settings_of_the_environment_stay():
    made, faults = run("with", MALLOC_ARENA_MAX="2")
    assert not made and faults > 400


def test_other_c_libraries_are_left_alone(monkeypatch):
    for name in os.environ:
        if name.startswith(allocator.CHOSEN_BY):
            monkeypatch.delenv(name)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()
