"""Times keras-hub's RetinaNet for `benchmarks/retinanet.py`; run by it with the peer's Python.

    python -m venv hub && . hub/bin/activate
    pip install tensorflow==2.21.0 keras==3.15.1 keras-hub==0.32.0

Cases are `what:backbone:size:batch`: "forward" is the compiled network without post-processing,
"step" is one step of `fit` with its own matching, focal and Huber loss and SGD. Prints one JSON
line: milliseconds per repetition of each case.
"""

import os

from peer import answer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def detector():
    import keras_hub

    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=7, use_p5=True
    )
    return keras_hub.models.RetinaNetObjectDetector(
        backbone, num_classes=91, bounding_box_format="xyxy"
    )


def case(what, backbone, size, batch):
    import keras
    import numpy as np
    import tensorflow as tf

    model = detector()
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(batch, size, size, 3)).astype("float32"))
    if what == "forward":
        forward = tf.function(lambda x: model(x, training=False))
        return lambda: forward(images)["cls_logits"].numpy()
    corner = rng.random((batch, 8, 2)) * size * 0.6
    far = corner + 20 + rng.random((batch, 8, 2)) * size * 0.35
    targets = {
        "boxes": tf.constant(np.concatenate([corner, far], -1), tf.float32),
        "labels": tf.constant(rng.integers(0, 91, (batch, 8)), tf.float32),
    }
    # Its own default losses: focal with gamma 2, Huber.
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), jit_compile=False)
    # `train_on_batch` of this model does not take its dict of targets; `fit` does.
    data = tf.data.Dataset.from_tensors((images, targets)).repeat()
    return lambda: model.fit(data, steps_per_epoch=1, verbose=0)


def set_threads(threads):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)


if __name__ == "__main__":
    answer(case, set_threads)
