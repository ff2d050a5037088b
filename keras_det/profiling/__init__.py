"""How much computation a detector needs."""

from keras_det.profiling.activations import activation_elements as activation_elements
from keras_det.profiling.multiply_adds import multiply_adds as multiply_adds
