"""All uses of Keras' private names. No other module may use them.

Tested with Keras `TRIED_WITH`; setup.cfg allows no later minor version. tests/test_keras_private.py
lists each private name that a new Keras lacks, and finds private names used outside this module.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_det.types import Tensor

TRIED_WITH = "3.15"

# Layers


def all_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The layer and all layers inside it, at any depth; a layer comes before those it holds.

    The public `Model.layers` lists the first level only, and other layers have no such list.
    """
    return list(layer._flatten_layers())


def is_made_of_layers(layer: keras.Layer) -> bool:
    """Whether a layer holds layers that no functional graph connects."""
    return bool(layer._layers) and not hasattr(layer, "operations")


@contextlib.contextmanager
def kept_nodes(layers: list[keras.Layer]) -> Iterator[None]:
    """Inside the context, symbolic calls leave no nodes in the graphs of these layers."""
    nodes = [(x, list(x._inbound_nodes), list(x._outbound_nodes)) for x in layers]
    try:
        yield
    finally:
        for layer, inbound, outbound in nodes:
            layer._inbound_nodes[:], layer._outbound_nodes[:] = inbound, outbound


@contextlib.contextmanager
def replaced_specs(replacements: dict[keras.Layer, Callable]) -> Iterator[None]:
    """Inside the context, layers infer the shapes of their outputs with other functions.

    The functions are set without Keras' `__setattr__`, so that Keras does not track them.

    Args:
        replacements: the function for each layer, in place of its `compute_output_spec`.
    """
    for layer, function in replacements.items():
        layer.__dict__["compute_output_spec"] = function
    try:
        yield
    finally:
        for layer in replacements:
            layer.__dict__.pop("compute_output_spec", None)


def replace_call(layer: keras.Layer, call: Callable) -> None:
    """Makes a layer compute with another function of the same arguments.

    This relies on two facts. `Layer.__call__` looks `call` up on the instance at every call. It
    keeps the signature that it read when the layer was created.
    """
    layer.call = call


# Building

_building = threading.RLock()


@contextlib.contextmanager
def counted_building(made: Callable[[int], object]) -> Iterator[None]:
    """Inside the context, a function is told of each layer and variable that is about to be made.

    Public names of Keras are replaced: other threads wait, or are counted too.

    Args:
        made: function of the number of elements: of the variable, 0 for a layer. What it raises
            ends the building. Other threads do not call it.
    """
    here = threading.get_ident()

    def elements(shape: Any) -> int:
        return math.prod(side or 0 for side in shape) if isinstance(shape, list | tuple) else 1

    def variable(self: Any, initializer: Any, shape: Any = None, *given: Any, **more: Any) -> None:
        if threading.get_ident() == here:
            made(elements(shape))
        init_variable(self, initializer, shape, *given, **more)

    def layer(self: Any, *given: Any, **more: Any) -> None:
        if threading.get_ident() == here:
            made(0)
        init_layer(self, *given, **more)

    with _building:
        init_variable: Any = keras.Variable.__init__
        init_layer: Any = keras.Layer.__init__
        with _replaced(keras.Variable, variable), _replaced(keras.Layer, layer):
            yield


@contextlib.contextmanager
def _replaced(owner: Any, function: Callable) -> Iterator[None]:
    """Inside the context, a class has another `__init__`, which may call the earlier one."""
    own = vars(owner).get("__init__")
    owner.__init__ = function
    try:
        yield
    finally:
        if own is None:
            del owner.__init__
        else:
            owner.__init__ = own


# Optimizers


def optimized_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables that an optimizer was built for, in its order; none before it is built."""
    return list(optimizer._trainable_variables)


def decays(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Whether the optimizer's weight decay applies to a variable."""
    return bool(optimizer._use_weight_decay(variable))


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Place of a variable, Keras' or TensorFlow's own, among those the optimizer was built for."""
    return optimizer._get_variable_index(variable)


def adam_slots(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any]:
    """Adam's averages of a variable's gradient and squared gradient: two TensorFlow variables."""
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index].value, optimizer._velocities[index].value


def momentum_slot(optimizer: keras.optimizers.SGD, variable: Any) -> Any:
    """SGD's velocity of a variable: a TensorFlow variable."""
    return optimizer.momentums[optimizer._get_variable_index(variable)].value


# For type checkers: `OptimizerStep` uses members of the Keras optimizer that follows it.
Optimizer: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object


class OptimizerStep(Optimizer):
    """Mixin that gives four parts of Keras' optimizer step public names, for subclasses to change.

    It stands before a Keras optimizer in the list of bases. On TensorFlow it sums the gradients
    over the devices before it clips them. Keras clips the share of each device by itself, so that
    several devices would take other steps than one.

    With `gradient_accumulation_steps`, the schedule and the averages of the weights count updates.
    Keras counts steps for both: N steps per update would run through the schedule N times as fast,
    and the averages would move N times per update.
    """

    def clipped(self, gradients: list[Tensor], variables: list[Any]) -> list[Tensor]:
        """The clipped gradients of the whole batch. Default: Keras' clipping.

        `global_clipnorm` on TensorFlow takes two graph operations per variable instead of five.
        """
        only_global = self.global_clipnorm and not (self.clipnorm or self.clipvalue)
        if not only_global or keras.backend.backend() != "tensorflow":
            return super()._clip_gradients(gradients)
        import tensorflow as tf

        halves = tf.add_n([tf.nn.l2_loss(tf.cast(each, tf.float32)) for each in gradients])
        norm = tf.sqrt(2.0 * halves)  # of all together; one infinite or NaN value makes all NaN
        share = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm) + (norm - norm)
        return [each * tf.cast(share, each.dtype) for each in gradients]

    def average_decay(self) -> Any:
        """The share of the moving average that a step keeps. Default: `ema_momentum`."""
        return self.ema_momentum

    def decay_on_tensorflow(self) -> Callable | None:
        """`f(variable)` that decays a variable on TensorFlow. Default: None, for Keras' own way."""
        return None

    def decay_elsewhere(self, variables: list[Any]) -> bool:
        """Decays the variables on other backends. Default: False, for Keras' own way."""
        return False

    def update_on_tensorflow(self, learning_rate: Any) -> Callable | None:
        """`f(variable, gradient)` that updates on TensorFlow. Default: None, for Keras' own way."""
        return None

    def _get_current_learning_rate(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return rate(self.iterations)
        return super()._get_current_learning_rate()

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        if not self.weight_decay:
            return
        on_tensorflow = keras.backend.backend() == "tensorflow"
        decay = self.decay_on_tensorflow() if on_tensorflow else None
        if decay is None:
            if on_tensorflow or not self.decay_elsewhere(variables):
                super()._apply_weight_decay(variables)
            return
        import tensorflow as tf

        def run(distribution: Any, variables: list[Any]) -> None:
            for variable in variables:
                distribution.extended.update(variable, decay, group=False)

        tf.__internal__.distribute.interim.maybe_merge_call(
            run,
            self._distribution_strategy,
            [variable.value for variable in variables if self._use_weight_decay(variable)],
        )

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        return grads  # `_backend_update_step` clips them, after the sum over the devices.

    def _backend_update_step(
        self, grads: list[Tensor], trainable_variables: list[Any], learning_rate: Any
    ) -> None:
        if keras.backend.backend() == "tensorflow":
            pairs = list(zip(grads, trainable_variables, strict=True))
            grads = [gradient for gradient, _ in super()._all_reduce_sum_gradients(pairs)]
        grads = self.clipped(grads, trainable_variables)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _all_reduce_sum_gradients(
        self, grads_and_vars: list[tuple[Tensor, Any]]
    ) -> list[tuple[Tensor, Any]]:
        return grads_and_vars  # `_backend_update_step` has summed them.

    def _distributed_tf_update_step(
        self, distribution: Any, grads_and_vars: list[tuple[Tensor, Any]], learning_rate: Any
    ) -> None:
        # Here a rate from a schedule is a value for each device: the same one.
        rate = distribution.experimental_local_results(learning_rate)[0]
        update = self.update_on_tensorflow(rate)
        if update is None:
            super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
            return
        for gradient, variable in grads_and_vars:
            distribution.extended.update(variable, update, args=(gradient,), group=False)

    def _update_model_variables_moving_average(self, trainable_variables: list[Any]) -> None:
        # Keras' rule, decay * average + (1 - decay) * variable. The first step copies the variable.
        started = ops.cast(ops.not_equal(self.iterations, 0), "float32")
        share = 1.0 - started * self.average_decay()
        steps = self.gradient_accumulation_steps
        if steps:  # between two updates the averages stay
            updates = ops.equal((self._iterations + 1) % steps, 0)
            share = ops.where(ops.logical_or(updates, self.iterations == 0), share, 0.0)
        step = self.one_operation_step()
        pairs = zip(trainable_variables, self._model_variables_moving_average, strict=True)
        for variable, average in pairs:
            difference = average.value - variable.value
            if step is None:
                self.assign_sub(average, share * difference)
            else:
                step(average.value, share, difference)

    def one_operation_step(self) -> Callable | None:
        """`f(variable, share, by)`: `variable -= share * by`, for one device on TensorFlow."""
        if keras.backend.backend() != "tensorflow":
            return None
        import tensorflow as tf

        if tf.distribute.has_strategy():
            return None
        return lambda variable, share, by: tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle, alpha=share, delta=by
        )


# For type checkers: `StepFunctions` uses members of the Keras model that follows it.
Model: Any = keras.Model if TYPE_CHECKING else object


class StepFunctions(Model):
    """Mixin for models that are built, with their optimizer, before `fit`.

    It makes the functions of `fit` and `evaluate` faster to build on TensorFlow.

    Keras traces a step as two functions, one inside the other, so that several steps can run in
    one call and several devices can share a step. If neither is wanted, one function is enough: the
    next batch is taken outside. Put the mixin before the Keras model in the list of base classes.
    """

    @property
    def seconds_waited(self) -> float:
        """Seconds that steps have waited for their batch; only if `one_function` is true."""
        return float(self.__dict__.get("_seconds_waited", 0.0))

    def one_function(self) -> bool:
        """Whether a step is one TensorFlow function that takes a batch."""
        if keras.backend.backend() != "tensorflow" or self.run_eagerly:
            return False
        import tensorflow as tf

        one_device = self.distribute_strategy is tf.distribute.get_strategy()
        return one_device and not tf.distribute.has_strategy() and self.steps_per_execution == 1

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Keras would compute a batch symbolically, to build the rest of a model.

        Under several workers it fails to convert the batch (Keras issue 20585).
        """

    def _make_function(self, step_function: Callable, *args: Any, **kwargs: Any) -> Callable:
        if not self.one_function():
            return super()._make_function(step_function, *args, **kwargs)
        import tensorflow as tf

        step = tf.function(
            step_function, autograph=False, reduce_retracing=True, jit_compile=self.jit_compile
        )
        step = self._autoconvert_optionals(step)

        def run(iterator: Iterator[Any]) -> Any:
            begun = time.perf_counter()
            batch = next(iterator)
            # Not by `setattr`: Keras looks at every attribute that is set.
            waited = self.seconds_waited + time.perf_counter() - begun
            self.__dict__["_seconds_waited"] = waited
            return step(batch)

        return run
