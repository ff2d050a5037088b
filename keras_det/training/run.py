"""A whole training run, from two data sets to a run folder."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_det.data.augment import Augment
from keras_det.data.augmenting.step import Step
from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.files import plain
from keras_det.models import Detector
from keras_det.models.fine_tuning import refuse_two_sources
from keras_det.training.arguments import (
    check_choices,
    check_classes,
    check_heads_first,
    check_used,
    frozen_before,
    refuse_empty,
    run_settings,
    usable_anchors,
)
from keras_det.training.choosing import chooser, given_parts, own_parts, refuse_wrong
from keras_det.training.determinism import use_deterministic_operations
from keras_det.training.devices import Devices, devices_for
from keras_det.training.finishing import finish
from keras_det.training.fit_phases import Training, fit_rest
from keras_det.training.guard import times_gone_back
from keras_det.training.input_size import fitted_input
from keras_det.training.memory import available_memory, fitting_batch, step_memory
from keras_det.training.phases import plain_end, with_fitted_anchors
from keras_det.training.precision import precision_of_run
from keras_det.training.quick_check import say_findings
from keras_det.training.recipe import AUTO, Recipe
from keras_det.training.recording import recorder, write_settings
from keras_det.training.resuming import (
    CHANGES,
    chosen_before,
    kept_of,
    planned_anew,
    recipe_before,
    refuse_used,
    states_of,
)
from keras_det.training.run_lock import run_lock
from keras_det.training.saving import Saving
from keras_det.training.seeing import need_tensorboard
from keras_det.training.starting import check_frozen, model_to_train, trained_by
from keras_det.training.states import State, load_newest
from keras_det.training.stopping import saying_how_to_continue, stopping_after_a_step
from keras_det.training.workers import Workers
from keras_det.types import AugmentName, ImageSize
from keras_det.words import counted, printing

Say: TypeAlias = Callable[[str], object]
# Fields of the recipe that `recipe.json` also stores outside `chosen`.
KEPT = ("epochs", "batch_size", "learning_rate", "image_size")


def train(
    model: str | Detector,
    training_set: Dataset,
    validation_set: Dataset | None,
    out: str | os.PathLike,
    *,
    epochs: int | None = None,
    batch_size: int | str | None = None,
    accumulate: int | None = None,
    image_size: ImageSize | None = None,
    resize_mode: str | None = None,
    augment: AugmentName | str | Augment | Sequence[Step] | None = None,
    recipe: str = AUTO,
    learning_rate: float | None = None,
    backbone_rate: float | None = None,
    warmup_steps: int | None = None,
    average: float | None = None,
    heads_first: int | None = None,
    plain_epochs: int | None = None,
    patience: int | None = None,
    calibrate: bool | None = None,
    anchors: str | None = None,
    weights: str | os.PathLike | None = None,
    model_arguments: dict[str, Any] | None = None,
    seed: int = 0,
    evaluate_every: int | None = None,
    max_boxes: int = 100,
    save_every: int | None = None,
    save_minutes: float | None = None,
    deterministic: bool = False,
    tensorboard: bool = False,
    devices: int | None = None,
    workers: Workers | None = None,
    data: dict[str, Any] | None = None,
    resume: bool = False,
    how_to_resume: str | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Trains a detector and fills a run folder.

    The folder gets `best.keras` (highest `val_AP` so far), `last.keras` (averaged weights),
    `checkpoints/` (the last three states, for `resume`), `history.csv`, `recipe.json`,
    `class_names.txt`, `metrics.json` (of `last.keras` on the validation set), `pictures/` and, with
    matplotlib (extra `plots`), `curves.png`.

    Args:
        model: a name from `keras_det.models.MODEL_NAMES`, or a detector of your own.
        training_set, validation_set: `keras_det.data.Dataset`. The second may be None: then nothing
            is measured and there is no `best.keras`.
        out: the run folder. It must be new or empty unless `resume` is True.
        epochs: passes over the training set. Default: chosen by "auto", else 50.
        batch_size: images per step. Default: 8; 4 for the recipe "auto" with fewer than 8 images.
            "auto": the largest power of two, up to 64, that fits in memory; see
            `keras_det.training.memory`. A run that is resumed keeps what was chosen.
        accumulate: steps per update of the weights. Default: 1. With 4, an update uses the mean
            gradient of four batches, and the learning rate is that for four times `batch_size`.
        image_size: int or (height, width), for a model given by name. Default: the published
            size. "auto" gives models with anchors the shape of the images, with no more pixels; see
            `keras_det.training.input_size.fit_input_size`.
        resize_mode: "letterbox", "stretch" or "mediapipe", for a model given by name. None:
            "letterbox".
        augment: "none", "light", "published", "strong", "flip", "ssj", "lsj" or "tiles", a list of
            steps or an `Augment`; see `Pipeline`. Default: "ssj".
        recipe: "auto" chooses what is not given from the number of images and objects, the shape of
            the images and the trained weights, see `keras_det.training.recipe.choose_recipe`;
            "adamw" is 50 epochs of AdamW; "published" is for a long training from ImageNet weights.
        learning_rate: peak rate of "auto" and "adamw". Default: depends on the batch size.
        backbone_rate: factor of the learning rate for the backbone, not for "published".
        warmup_steps: updates at the start, during which the learning rate rises.
        average: decay of the moving average of the weights, not for "published".
        heads_first: epochs at the start in which only the heads learn.
        plain_epochs: epochs at the end without mosaic, mixup, copy-paste and cutout, at most all
            epochs. For an augmentation with one of these. Default: a tenth of the epochs for
            "auto", else 0.
        patience: training stops after this many epochs without a higher `val_AP`. Default: chosen
            by "auto", else it never stops early.
        calibrate: True shifts the scores of each class so that 0.4 is its best threshold; see
            `keras_det.training.calibration.calibrate`. Default: True for "auto".
        anchors: "published", or "auto" for anchors fitted to the objects. For a model with anchors
            given by name. Default: chosen by "auto", else "published".
        weights: None for random weights; "auto" for the best public weights available: COCO's for
            the whole detector, else ImageNet's for the backbone, else random weights, and `say`
            gets one line about it; "imagenet", "coco", or the path of a `.keras` file, a
            `.weights.h5` file or a public checkpoint of the same model. Classes of the same name
            keep their predictions. A classifier's file fills the backbone. `recipe.json` records
            the choice as `weights_taken`. The default of `keras-det train` is "auto". That of this
            function is None, so that a script trains in the same way on every computer.
        model_arguments: further arguments of a model given by name, such as `{"neck": "pafpn"}`.
            `{"dtype": "auto"}` takes the fastest precision; see `keras_det.training.precision`.
        seed: seed of the random weights, the order of the images and the augmentation.
        evaluate_every: epochs between evaluations on the validation set. Default: 1; "auto" chooses
            more if the validation set is large.
        max_boxes: maximum number of objects per image in training; the largest are kept. A higher
            number needs more memory.
        save_every: steps between two saved states within an epoch. None: only the time decides.
        save_minutes: longest time between two saved states. Default: 10. A state is also saved
            after each epoch, and when the training is interrupted with Ctrl-C or SIGTERM.
        deterministic: bool. True uses operations that repeat bit for bit on a GPU too; see
            `keras_det.training.determinism`.
        tensorboard: bool. True writes logs and pictures for TensorBoard into `tensorboard/` of the
            run folder; see `keras_det.training.seeing.TensorBoard`.
        devices: number of devices of this machine that share each batch, GPUs if it has any; for a
            model given by name. None: one, or with several workers all GPUs. A detector of your own
            is trained on the devices that it was built for. The result is the same for any number.
        workers: `keras_det.training.workers.Workers`, the processes that train together on several
            machines. Default: those of the environment variable TF_CONFIG, if it is set. The first
            one, the chief, writes the run folder, prints and measures; the others return `{}`.
        data: how the data sets were read, recorded in `recipe.json`.
        resume: True continues from the last saved state, or from the one before if that is damaged.
            The result is that of a training that was never interrupted. For a finished run it only
            evaluates and draws pictures again. `epochs`, `learning_rate`, `evaluate_every`,
            `patience` and `calibrate` may differ from before. `recipe.json` notes that under
            `changes`, and the schedule is recomputed, as if the new `epochs` and `learning_rate`
            had been given at the start. Other settings must stay.
        how_to_resume: a shell command that continues this run, to be shown if it is interrupted or
            diverges. Options may follow it.
        say: function that gets the lines of text to show.

    Returns:
        COCO's metrics of `last.keras` on the validation set, with its highest score and the best
        threshold of each class; `{}` without a validation set.

    Raises:
        DataError: wrong input: nothing is written then. Or another process trains in this folder,
            the disk is full (`DiskFull`), or the training has diverged: earlier files are whole.
    """
    out, options = pathlib.Path(out), dict(model_arguments or {})
    saving = Saving(save_every, save_minutes)
    refuse_empty(training_set, validation_set)
    own = own_parts(model, options)
    if tensorboard:
        need_tensorboard()
    if deterministic:
        use_deterministic_operations()
    alike = {"model": str(model), "deterministic": deterministic, "resume": resume}
    used = devices_for(model, devices, workers, alike)
    aloud = printing(say)
    if used.sentence:
        aloud(used.sentence)
    say = aloud if used.chief else _say_nothing
    free = recipe == AUTO and not resume and image_size is None and "image_size" not in options
    fitted = fitted_input(model, training_set) if free else None
    size = image_size if fitted is None else fitted.size
    by_memory, batch_size = batch_size == AUTO, None if batch_size == AUTO else batch_size
    given: dict[str, Any] = {
        **{"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
        **{"backbone_rate": backbone_rate, "warmup_steps": warmup_steps, "average": average},
        **{"heads_first": heads_first, "patience": patience, "calibrate": calibrate},
        **{"evaluate_every": evaluate_every, "anchors": anchors, "plain_epochs": plain_epochs},
        **given_parts(model, options, own),
        "accumulate": accumulate,
        "freeze": options.get("freeze", frozen_before(model)),
        "image_size": None if size is None else np.broadcast_to(size, 2).tolist(),
    }
    check_used(model, image_size, resize_mode, options, anchors)
    check_choices(anchors, calibrate, model)
    noted: dict[str, Any] = {
        "augment": augment if augment is None else str(augment),
        **{"recipe": recipe, "max_boxes": max_boxes, "seed": seed},
        **{name: plain(given[name]) for name in KEPT},
        "weights": None if weights is None else str(weights),
        **{"resize_mode": resize_mode, "model_arguments": options, "data": data or {}},
    }
    settings = run_settings(model, training_set, validation_set, **noted)
    choose = chooser(recipe, model, training_set, validation_set, augment, own)
    early = refuse_wrong(choose, given)
    if resume:
        recipe_before(out)
    else:
        refuse_two_sources(None if weights == AUTO else weights, options.get("backbone_weights"))
        check_frozen(options, weights)
        if used.chief:
            refuse_used(out)
        used.refuse_measured(batch_size=by_memory, dtype=options.get("dtype") == AUTO)
        if options.get("dtype") == AUTO and isinstance(model, str):  # stored as what was chosen
            options["dtype"] = precision_of_run(model, options, training_set, early, say)
    order = _Order(
        *(model, training_set, validation_set, out, resume, weights, augment, seed, max_boxes),
        *(given, settings, None if fitted is None else str(fitted), choose, early, by_memory, say),
        used,
    )
    with contextlib.ExitStack() as until_the_end:
        until_the_end.enter_context(used.in_use())
        request = until_the_end.enter_context(stopping_after_a_step(aloud))
        if resume and used.chief:  # nobody else may write while the states are read
            until_the_end.enter_context(run_lock(out, say))
        model, pipeline, chosen, state, running = _prepared(order)
        if not resume and used.chief:
            out.mkdir(parents=True, exist_ok=True)
            until_the_end.enter_context(run_lock(out, say))
            refuse_used(out)  # another process may have been faster
        if used.chief:
            write_settings(out, settings)
        _announce(model, pipeline, chosen, order.lines, say)
        with saying_how_to_continue(out, how_to_resume, say):
            changes = settings.get(CHANGES, [])
            begun = (model, pipeline, validation_set, out, chosen, state, running)
            more = (planned_anew(changes), how_to_resume, saving, request, say)
            training = Training(*begun, *more, tensorboard)
            fit_rest(training, times_gone_back(changes), recorder(out, settings, used.chief))
            model = training.model  # of a state, if the training diverged
            metrics: dict[str, Any] = {}
            if used.chief:
                end = (out, chosen.batch_size, say, chosen.calibrate)
                metrics = finish(model, validation_set, *end)
            used.wait()  # a worker that ends early would look like one that is lost
            return metrics


def _say_nothing(line: str = "") -> None:
    """Of several workers, only the chief prints."""


@dataclasses.dataclass
class _Order:
    """What `train` is to do, and the lines that it shows before the first step."""

    model: str | Detector
    training_set: Dataset
    validation_set: Dataset | None
    out: pathlib.Path
    resume: bool
    weights: str | os.PathLike | None
    augment: AugmentName | str | Augment | Sequence[Step] | None
    seed: int
    max_boxes: int
    given: dict[str, Any]
    settings: dict[str, Any]
    fitted: str | None
    choose: Callable[..., Recipe]
    early: Recipe
    by_memory: bool
    say: Say
    used: Devices
    lines: list[str] = dataclasses.field(default_factory=list)


def _prepared(order: _Order) -> tuple[Detector, Pipeline, Recipe, State | None, dict[str, Any]]:
    """The model, its data, its recipe, the state it is from, and what was noted with that.

    Nothing is written, and all workers have read what they need. Completes the settings of `order`.
    """
    with order.used.scope():
        found = _built(order)
    model, pipeline, chosen, state, _ = found
    order.used.check_batch(chosen.batch_size)
    order.used.check_step(chosen.accumulate, model.dtype_policy.name)
    same = {"the number of images": len(pipeline.dataset), "the recipe": chosen}
    same |= {"classes": tuple(model.class_names), "the seed": order.seed}
    same |= {"the saved state": None if state is None else state[1:]}
    order.used.check_same({**same, "the weights": model.get_weights()})
    return found


def _built(order: _Order) -> tuple[Detector, Pipeline, Recipe, State | None, dict[str, Any]]:
    """What `_prepared` returns; variables are made on all devices."""
    out, given, settings, say = order.out, order.given, order.settings, order.say
    states = states_of(out, settings, say) if order.resume else []
    chosen = chosen_before(out, given) if order.resume else None
    keras.utils.set_random_seed(order.seed)
    saved, state, running = load_newest(states, settings["class_names"], say)
    model, settings["weights_taken"] = model_to_train(
        order.model, saved, order.weights, settings, chosen or order.early, given, out, say
    )
    check_classes(model, order.training_set, order.validation_set)
    if chosen is None:
        trained = trained_by(model, settings["weights_taken"])
        check_heads_first(order.model, given["heads_first"], trained)
        anchors = usable_anchors(given["anchors"], model, settings)
        if order.by_memory:
            given["batch_size"] = _batch_by_memory(order, model)
        chosen = order.choose(trained, **{**given, "anchors": anchors})
    if order.resume:
        settings |= kept_of(out, chosen, 0 if state is None else state.epochs)
    model, order.lines = _with_anchors(model, chosen, order, settings, saved)
    # The anchors fit this input.
    order.lines[1:1] = [] if order.fitted is None else [order.fitted]
    stream: dict[str, Any] = dict(seed=order.seed, training=True, max_boxes=order.max_boxes)
    stream |= {"augment": chosen.augment or order.augment, **plain_end(chosen)}
    pipeline = Pipeline(order.training_set, model, chosen.batch_size, **stream)
    chosen.optimizer(model)  # what it refuses is refused before the first file is written
    if state is None:
        say_findings(pipeline, order.validation_set, model, say, chosen.anchors == AUTO)
    return model, pipeline, chosen, state, running


def _batch_by_memory(order: _Order, model: Detector) -> int:
    """The batch size that fits in memory; prints it."""
    memory = step_memory(model, order.given["accumulate"] or 1)
    batch, line = fitting_batch(memory, available_memory(), len(order.training_set))
    order.say(line)
    return batch


def _with_anchors(
    model: Detector,
    chosen: Recipe,
    order: _Order,
    settings: dict[str, Any],
    saved: Detector | None,
) -> tuple[Detector, list[str]]:
    """The model with the recipe's anchors, and lines about recipe and anchors; fills `settings`."""
    settings |= {name: plain(getattr(chosen, name)) for name in KEPT}
    if chosen.augment is not None:
        settings["augment"] = chosen.augment
    settings["chosen"] = dataclasses.asdict(chosen)
    lines = [str(chosen)]
    if saved is None and chosen.anchors == AUTO:
        model, fitted = with_fitted_anchors(
            model, order.training_set, chosen.augment or order.augment
        )
        settings["anchors_fitted"] = fitted.arguments
        lines.append(str(fitted))
    return model, lines


def _announce(
    model: Detector, pipeline: Pipeline, chosen: Recipe, lines: list[str], say: Say
) -> None:
    """Says what is trained, on how many images and for how long."""
    for line in lines:
        say(line)
    height, width = model.image_size
    say(
        f"{model.name} at {height}x{width}, {counted(len(pipeline.dataset), 'image')}, "
        f"{counted(chosen.epochs, 'epoch')} of "
        f"{counted(chosen.passes * pipeline.steps_per_epoch, 'step')}. "
        "The first step compiles the model."
    )
