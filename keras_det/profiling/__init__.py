"""What a detector costs to run."""

from keras_det.profiling.multiply_adds import multiply_adds as multiply_adds
