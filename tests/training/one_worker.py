"""Trains a tiny RetinaNet into a run folder, alone or as one of several workers.

`python -m tests.training.one_worker FOLDER OPTIONS`, with options as JSON: "addresses", "index",
"minutes", "devices", "resume", and "dies_in" for the step of the second epoch, from 1, in which
this process ends as by `kill -9`.
"""

import json
import os
import signal
import sys

EPOCHS, BATCH = 2, 4


def tiny(name, class_names, **unused):
    """Stands for `build_model`: a network that is traced quickly."""
    from keras_det import RetinaNet
    from tests.export.tiny import small_backbone

    parts = {"neck_channels": 8, "head_repeats": 1, "head_norm": "batch"}
    return RetinaNet(small_backbone(), class_names=class_names, image_size=64, **parts)


def main(folder, options):
    from keras_det.data import load
    from keras_det.errors import DataError
    from keras_det.training import saving, starting, train
    from keras_det.training.workers import Workers
    from tests.helpers import data_set

    starting.build_model = tiny
    begin = saving.SaveState.on_train_batch_begin

    def begin_or_die(self, batch, logs=None):
        if self.epoch == 1 and batch + 1 == options.get("dies_in"):
            os.kill(os.getpid(), signal.SIGKILL)
        begin(self, batch, logs)

    saving.SaveState.on_train_batch_begin = begin_or_die
    workers = None
    if "addresses" in options:
        workers = Workers(options["addresses"], options["index"], options.get("minutes", 5))
    data = load(data_set("drawn"), split="train")
    try:
        given = {"epochs": EPOCHS, "batch_size": BATCH, "recipe": "adamw", "save_every": 1}
        given |= {"resume": options.get("resume", False), "devices": options.get("devices")}
        found = train("retinanet_resnet18", data, None, folder, workers=workers, **given)
    except DataError as error:
        print("DataError:", error, flush=True)
        raise SystemExit(2) from None
    print("finished", found, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
