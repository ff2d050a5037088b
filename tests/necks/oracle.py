"""Convolution, pooling and resizing in NumPy loops, in float64: what necks are compared with."""

import numpy as np
from keras import ops


def padded(x, pads, value=0.0):
    """`x` `(batch, h, w, c)` with `pads` = ((top, bottom), (left, right))."""
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def same_pads(size, window, stride):
    """TensorFlow's "same": outputs ceil(n / stride), the odd pixel at the end."""
    pads = []
    for side in size:
        total = max((-(-side // stride) - 1) * stride + window - side, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def windows(x, window, stride):
    """Yields (row, column, patch) of a padded map."""
    for i in range((x.shape[1] - window) // stride + 1):
        for j in range((x.shape[2] - window) // stride + 1):
            patch = x[:, i * stride : i * stride + window, j * stride : j * stride + window]
            yield i, j, patch


def conv(x, kernel, bias, stride=1, pads=None):
    """Cross-correlation with `kernel` `(k, k, in, out)`; `pads` None: "same"."""
    window = kernel.shape[0]
    x = padded(x, same_pads(x.shape[1:3], window, stride) if pads is None else pads)
    size = [(side - window) // stride + 1 for side in x.shape[1:3]]
    result = np.zeros((x.shape[0], *size, kernel.shape[-1]))
    for i, j, patch in windows(x, window, stride):
        result[:, i, j] = np.einsum("bijc,ijco->bo", patch, kernel) + bias
    return result


def max_pool(x, window, stride):
    x = padded(x, same_pads(x.shape[1:3], window, stride), -np.inf)
    size = [(side - window) // stride + 1 for side in x.shape[1:3]]
    result = np.zeros((x.shape[0], *size, x.shape[-1]))
    for i, j, patch in windows(x, window, stride):
        result[:, i, j] = patch.max(axis=(1, 2))
    return result


def enlarge(x, size):
    """Row i of the result is row floor(i * in / out), and so the columns."""
    rows = [i * x.shape[1] // size[0] for i in range(size[0])]
    columns = [i * x.shape[2] // size[1] for i in range(size[1])]
    return x[:, rows][:, :, columns]


def relu(x):
    return np.maximum(x, 0.0)


def norm(x, gamma, beta, mean, variance, epsilon=1e-3):
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


class Weights:
    """A layer's weights by their path inside it, in float64; knows which were not asked for."""

    def __init__(self, layer):
        self.values = {}
        for weight in layer.weights:
            path = weight.path.partition("/")[2]
            assert path not in self.values, f"two weights called {path}"
            self.values[path] = as_float64(weight)
        self.unused = set(self.values)

    def __call__(self, path):
        self.unused.discard(path)
        return self.values[path]

    def conv(self, name, x, stride=1, pads=None):
        return conv(x, self(f"{name}/kernel"), self(f"{name}/bias"), stride, pads)

    def norm(self, name, x):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return norm(x, *(self(f"{name}/{each}") for each in names))


def randomize(layer, seed=0):
    """Makes every weight random: kernels that keep the scale, biases and statistics off 0 and 1."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        shape = tuple(weight.shape)
        if weight.name.endswith("kernel"):
            value = rng.normal(size=shape) * np.prod(shape[:-1]) ** -0.5
        elif weight.name in ("gamma", "moving_variance", "fusion_weights"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(size=shape) * 0.3
        weight.assign(value.astype("float32"))


def pyramid(first_level=3, channels=(5, 6, 7), height=17, width=13, batch=2, seed=0):
    """A backbone's output: sizes halve, rounded up; odd and even ones occur."""
    rng = np.random.default_rng(seed)
    features = {}
    for level, count in enumerate(channels, start=first_level):
        shape = (batch, height, width, count)
        features[f"P{level}"] = rng.normal(size=shape).astype("float32")
        height, width = -(-height // 2), -(-width // 2)
    return features


def assert_equal_pyramids(result, expected, tolerance=1e-4):
    assert list(result) == list(expected)
    for name, x in expected.items():
        found = ops.convert_to_numpy(result[name])
        assert found.shape == x.shape, name
        np.testing.assert_allclose(found, x, atol=tolerance, err_msg=name)


def as_float64(tensor):
    return ops.convert_to_numpy(tensor).astype("float64")
