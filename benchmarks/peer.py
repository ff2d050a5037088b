"""Shared by the scripts that time a peer, on both sides; a peer does not need keras_det."""

import json
import pathlib
import subprocess
import sys
import time

LIBRARIES = []  # what is defined here lasts as long as these objects


def measure(run, repetitions):
    """Milliseconds of each of a number of calls."""
    times = []
    for _ in range(int(repetitions)):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def measure_peer(python, script, threads, repetitions, name):
    """Runs one case of a peer's script with the peer's Python; milliseconds of each repetition."""
    path = pathlib.Path(__file__).with_name(script)
    command = [python, str(path), str(threads), str(repetitions), name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])[name]


def answer(case, set_threads):
    """The other end of `measure_peer`: times the cases of the command line, prints one JSON line.

    Args:
        case: from what, variant, size and batch to a function that runs the case once.
        set_threads: called with the number of threads before anything else.
    """
    threads, repetitions, *names = sys.argv[1:]
    set_threads(int(threads))
    results = {}
    for name in names:
        what, variant, size, batch = name.split(":")
        run = case(what, variant, int(size), int(batch))
        run(), run()
        results[name] = measure(run, repetitions)
    print(json.dumps(results))


def load_torchvision():
    """Makes torchvision importable: its CUDA wheel has no operators beside a CPU torch."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        import torchvision.extension
    except ImportError:  # effdet runs without it
        return
    torchvision.extension._has_ops = has_operators
    LIBRARIES.append(library)


def has_operators() -> bool:  # torchvision compiles this one: it must be plain and annotated
    return True
