"""Kills a training at random moments and resumes it: does it end with the same weights?

    python benchmarks/kill_runs.py --model efficientdet_lite0 --kills 20

A training on drawn shapes runs once without interruption. Then the same training is started again
and again: each time it is killed (SIGKILL) at a random moment and resumed, until it has been killed
`--kills` times; the last one runs to its end. Every second kill comes while a state is being
written. The table has a row for each kill: the step that was reached, the state that the run went
on from, and the steps that were lost. The last lines compare weights, optimizer and history with
those of the uninterrupted run.
"""

import argparse
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

CHILD = "--child"


def train(arguments):
    """One process: trains, or resumes, and writes a line for each step."""
    import keras

    from keras_det.data import load
    from keras_det.training import fit_phases, run

    class Steps(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            print(f"step {self.epoch * self.params['steps'] + batch + 1}", flush=True)

    before = fit_phases._callbacks
    fit_phases._callbacks = lambda *given: [*before(*given), Steps()]
    data, out = pathlib.Path(arguments.folder) / "data", pathlib.Path(arguments.out)
    resume = (out / "recipe.json").exists()
    run.train(
        arguments.model,
        load(data, split="train"),
        load(data, split="val"),
        out,
        epochs=arguments.epochs,
        batch_size=2,
        image_size=arguments.size,
        recipe="adamw",
        save_every=arguments.save_every,
        resume=resume,
        say=lambda line: print(line, flush=True),
    )


def start(arguments, folder, out):
    words = [sys.executable, __file__, CHILD, "--folder", str(folder), "--out", str(out)]
    words += ["--model", arguments.model, "--size", str(arguments.size)]
    words += ["--epochs", str(arguments.epochs), "--save-every", str(arguments.save_every)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )


def steps_of(process, lines):
    """The numbers of the steps, as they are written; notes the other lines."""
    for line in process.stdout:
        found = re.fullmatch(r"step (\d+)\n", line)
        if found:
            yield int(found[1])
        else:
            lines.append(line.strip())


def being_written(out):
    """Whether a state is being written: its hidden file is there."""
    return any((out / "checkpoints").glob(".*.partial.keras"))


def kill_once(arguments, folder, out, rng, number):
    """Starts or resumes the run and kills it. Returns a row, or None if the run has ended."""
    process, lines = start(arguments, folder, out), []
    wanted, reached, first = None, 0, None
    for step in steps_of(process, lines):
        if first is None:
            first = step
            wanted = step + rng.randrange(1, arguments.every)
        reached = step
        if step < wanted:
            continue
        if number % 2:  # while a state is written, or at the latest 0.5 s after a state
            end = time.monotonic() + 0.5
            while not being_written(out) and time.monotonic() < end:
                time.sleep(0.0005)
            if not being_written(out) and step < wanted + 2 * arguments.save_every:
                continue
        else:
            time.sleep(rng.uniform(0, 0.1))
        break
    writing = being_written(out)
    process.send_signal(signal.SIGKILL)
    for step in steps_of(process, lines):
        reached = step
    process.wait()
    said = next((line for line in lines if line.startswith("The run continues")), "a new run")
    return {"first": first, "reached": reached, "writing": writing, "said": said, "lines": lines}


def compare(whole, killed):
    """Lines that compare two run folders."""
    from keras_det.models import load_model
    from keras_det.run_folder import read_history

    yield "| file | arrays | largest difference |"
    yield "|---|---|---|"
    newest = max((whole / "checkpoints").glob("*.keras")).name
    for name in ("last.keras", "best.keras", f"checkpoints/{newest}"):
        models = [load_model(out / name) for out in (whole, killed)]
        held = [
            [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
            for model in models
        ]
        differences = [
            np.abs(np.asarray(a, "float64") - np.asarray(b, "float64")).max(initial=0)
            for a, b in zip(*held, strict=True)
            if a.name != "seed_generator_state"
        ]
        yield f"| {name} | {len(differences)} | {max(differences):.3g} |"
    rows = [read_history(out / "history.csv") for out in (whole, killed)]
    for row in (*rows[0], *rows[1]):
        for name in ("seconds", "images_per_second", "input_share"):
            row.pop(name, None)
    same = rows[0] == rows[1]
    yield f"| history.csv | | {'equal' if same else 'DIFFERS'} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="efficientdet_lite0")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--save-every", type=int, default=7)
    parser.add_argument("--every", type=int, default=25, help="most steps between two kills")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="for the data and the runs; default: a temporary one")
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument(CHILD, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        measure(arguments, pathlib.Path(arguments.folder or temporary))


def measure(arguments, folder):
    from keras_det.data import draw_shapes_dataset

    draw_shapes_dataset(
        folder / "data", num_train=arguments.images, num_val=3, image_size=arguments.size, seed=0
    )
    whole, killed = folder / "whole", folder / "killed"
    process = start(arguments, folder, whole)
    print(f"Without interruption: {max(steps_of(process, []))} steps.\n")
    rng = random.Random(arguments.seed)
    print("| kill | first step | killed after step | while a state was written | then |")
    print("|---|---|---|---|---|", flush=True)
    rows = []
    for number in range(arguments.kills):
        rows.append(kill_once(arguments, folder, killed, rng, number))
        row = rows[-1]
        if number:
            print(row["said"] + " |")
        writing = "yes" if row["writing"] else ""
        begin = f"| {number + 1} | {row['first']} | {row['reached']} | {writing} | "
        print(begin, end="", flush=True)
    process, lines = start(arguments, folder, killed), []
    steps = list(steps_of(process, lines))
    said = next((line for line in lines if line.startswith("The run continues")), "a new run")
    print(f"{said} |\n\nThe last one ran from step {steps[0]} to {steps[-1]}.\n")
    begun = [*(row["first"] for row in rows[1:]), steps[0]]
    lost = [row["reached"] + 1 - step for row, step in zip(rows, begun, strict=True)]
    print(f"Steps lost at a kill: {max(lost)} at most.\n")
    for line in compare(whole, killed):
        print(line)


if __name__ == "__main__":
    main()
