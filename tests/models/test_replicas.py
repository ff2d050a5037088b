"""Two devices that share a batch end with the weights of one device that has it all."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from tests.export.tiny import tiny

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (4, 96, 128, 3)).astype("float32")
corner = rng.uniform(0, 50, (4, 3, 2))
boxes = np.concatenate([corner, corner + rng.uniform(15, 45, (4, 3, 2))], -1).astype("float32")
# Three objects, one, none and two: the halves of the batch hold four and two.
labels = np.array([[0, 1, 2], [1, -1, -1], [-1, -1, -1], [0, 2, -1]], "int32")
data = tf.data.Dataset.from_tensor_slices((images, {"boxes": boxes, "labels": labels})).batch(4)

def train(strategy):
    with strategy.scope():
        model = tiny(seed=1, max_level=5)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    logs = model.fit(data, epochs=2, verbose=0).history
    return logs, [np.array(w) for w in model.get_weights()]

logs, weights = train(tf.distribute.get_strategy())
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
mirrored_logs, mirrored = train(strategy)
for name in logs:
    np.testing.assert_allclose(mirrored_logs[name], logs[name], rtol=2e-3, err_msg=name)
start = [np.array(w) for w in tiny(seed=1, max_level=5).get_weights()]
for first, one, two in zip(start, weights, mirrored):
    # The fused kernel adds the unbiased variance, two devices the biased one: n / (n - 1) apart.
    np.testing.assert_allclose(two, one, rtol=1e-2, atol=2e-3 * max(abs(one - first).max(), 1e-2))
print("equal")
"""


@pytest.mark.slow
def test_two_devices_train_as_one():
    pytest.importorskip("tensorflow")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert "equal" in done.stdout, done.stderr[-3000:]
