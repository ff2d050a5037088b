"""The only module that uses names which Keras does not promise to keep.

Tried with Keras `TRIED_WITH`; setup.cfg allows no later minor version. tests/test_keras_private.py
names each private name that a new Keras lacks, and finds private names used outside this module.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

TRIED_WITH = "3.15"

# Layers


def all_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The layer and every layer inside it, at any depth; a layer comes before what it holds.

    Public `Model.layers` stops at the first depth, and other layers have nothing like it.
    """
    return list(layer._flatten_layers())


def is_made_of_layers(layer: keras.Layer) -> bool:
    """Whether a layer holds layers that no functional graph connects."""
    return bool(layer._layers) and not hasattr(layer, "operations")


@contextlib.contextmanager
def kept_nodes(layers: list[keras.Layer]) -> Iterator[None]:
    """Symbolic calls made inside leave no nodes in the graphs that the layers belong to."""
    nodes = [(x, list(x._inbound_nodes), list(x._outbound_nodes)) for x in layers]
    try:
        yield
    finally:
        for layer, inbound, outbound in nodes:
            layer._inbound_nodes[:], layer._outbound_nodes[:] = inbound, outbound


@contextlib.contextmanager
def replaced_specs(replacements: dict[keras.Layer, Callable]) -> Iterator[None]:
    """Inside, layers infer the shapes of their outputs with other functions.

    The functions are set on the instances, past Keras' `__setattr__`: nothing tracks them.
    """
    for layer, function in replacements.items():
        layer.__dict__["compute_output_spec"] = function
    try:
        yield
    finally:
        for layer in replacements:
            layer.__dict__.pop("compute_output_spec", None)


def replace_call(layer: keras.Layer, call: Callable) -> None:
    """Lets a layer compute with another function of the same arguments.

    Relies on two facts: `Layer.__call__` looks `call` up on the instance at every call, and keeps
    the signature that it read when the layer was made.
    """
    layer.call = call


# Optimizers


def optimized_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables that an optimizer was built for, in its order; none before that."""
    return list(optimizer._trainable_variables)


def decays(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Whether the optimizer's weight decay applies to a variable."""
    return bool(optimizer._use_weight_decay(variable))


def adam_slots(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any]:
    """Adam's moving averages of a variable's gradient and of its square, as TensorFlow has them."""
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index].value, optimizer._velocities[index].value


def momentum_slot(optimizer: keras.optimizers.SGD, variable: Any) -> Any:
    """SGD's velocity of a variable, as TensorFlow has it."""
    return optimizer.momentums[optimizer._get_variable_index(variable)].value


# A checker of types shall see what the classes after this one in a list of bases bring.
Optimizer: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object


class OptimizerStep(Optimizer):
    """Keras' optimizer step with four parts that a subclass may change, under public names.

    Goes before a Keras optimizer in the list of bases. On TensorFlow, gradients are summed over the
    devices before they are clipped: Keras clips each device's share by itself, and several devices
    would not take the steps of one.
    """

    def clipped(self, gradients: list, variables: list) -> list:
        """The gradients of the whole batch, clipped. Default: as Keras clips them."""
        return super()._clip_gradients(gradients)

    def average_decay(self) -> Any:
        """Share of the moving average that a step keeps. Default: `ema_momentum`."""
        return self.ema_momentum

    def decay_on_tensorflow(self) -> Callable | None:
        """`f(variable)` that decays a variable on TensorFlow. Default: None, as Keras does it."""
        return None

    def update_on_tensorflow(self, learning_rate: Any) -> Callable | None:
        """`f(variable, gradient)` that updates on TensorFlow. Default: None, as Keras does it."""
        return None

    def _apply_weight_decay(self, variables):
        if not self.weight_decay:
            return
        on_tensorflow = keras.backend.backend() == "tensorflow"
        decay = self.decay_on_tensorflow() if on_tensorflow else None
        if decay is None:
            super()._apply_weight_decay(variables)
            return
        import tensorflow as tf

        def run(distribution, variables):
            for variable in variables:
                distribution.extended.update(variable, decay, group=False)

        tf.__internal__.distribute.interim.maybe_merge_call(
            run,
            self._distribution_strategy,
            [variable.value for variable in variables if self._use_weight_decay(variable)],
        )

    def _clip_gradients(self, grads):
        return grads  # Left to `_backend_update_step`, which has the sum over the devices.

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if keras.backend.backend() == "tensorflow":
            pairs = list(zip(grads, trainable_variables, strict=True))
            grads = [gradient for gradient, _ in super()._all_reduce_sum_gradients(pairs)]
        grads = self.clipped(grads, trainable_variables)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # They are summed already.

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        update = self.update_on_tensorflow(learning_rate)
        if update is None:
            super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
            return
        for gradient, variable in grads_and_vars:
            distribution.extended.update(variable, update, args=(gradient,), group=False)

    def _update_model_variables_moving_average(self, trainable_variables):
        # The first step copies; Keras' rule, decay * average + (1 - decay) * variable.
        started = ops.cast(ops.not_equal(self.iterations, 0), "float32")
        share = 1.0 - started * self.average_decay()
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            self.assign_sub(average, share * (average.value - variable.value))
