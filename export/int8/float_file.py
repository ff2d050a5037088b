"""Quantises TFLite files to 8 bits: the kernels alone, or the whole network.

The library is `litert-quantizer` (until 0.10 `ai-edge-quantizer`). It takes a float32 file, a
recipe per operator and a range per tensor. TensorFlow's converter has three drawbacks: it also
quantises the decoding of boxes (AP of a Lite0 on synthetic shapes 0.20 instead of 0.32), it needs
a conversion for each choice of layers, and its interpreter is deprecated.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from keras_det.export.int8.float_outputs import reshape_outputs
from keras_det.export.int8.quantizer import quantizer_library
from keras_det.export.tflite_file.schema import name_of, read, schema, write
from keras_det.keras_private import all_layers
from keras_det.models import Detector

# Operators at the end of the network, which only join the predictions of the levels. They stay in
# float, so that every level keeps its own range. In 8 bits all levels would share one range.
JOINING = ("RESHAPE", "CONCATENATION")
# Without depthwise convolutions: they are small, and LiteRT has no fast kernel for them (Lite0 at
# 320: 67 ms instead of 20).
DYNAMIC = ("CONV_2D", "FULLY_CONNECTED")
# Prefixes of the names of tensors that belong to no layer.
TAIL, CONSTANT = "tail", "constant"


class FloatFile:
    """A float32 TFLite file whose network can be quantised layer by layer.

    A layer is identified by the first two names of its path in the Keras model, such as
    "bifpn/cell0_node2" or "class_head/prediction". If it computes a whole raw output, it has the
    name of the output. It includes its activation and the resizing of its inputs. All levels of a
    head count as one layer, and so does each block of a backbone.

    Args:
        content: TFLite file with one subgraph and one signature, which returns the raw outputs.
        model: the detector from which it was converted.

    Attributes:
        content: the file with tensors named after their layers.
        layers: names of the network's layers in the order in which they run.
        raw_outputs: names of the network's outputs in the signature.
        tensors: names of the float32 tensors of the network, its input included.
        pixels: names of the tensors with pixels: the input, and the normalised input.
    """

    def __init__(self, content: bytes, model: Detector):
        self.raw_outputs = list(model.output)
        known = {layer.name for layer in all_layers(model)}
        parsed = read(content)
        ends = reshape_outputs(parsed, self.raw_outputs, JOINING)
        (graph,), (signature,) = parsed.subgraphs, parsed.signatureDefs
        outputs = {each.name.decode(): each.tensorIndex for each in signature.outputs}
        kinds = [name_of(parsed, each) for each in graph.operators]
        network = _network(graph, kinds, [int(outputs[name]) for name in self.raw_outputs])
        owners = {}
        for i, operator in enumerate(graph.operators):
            tensor = int(operator.outputs[0])
            owner = TAIL
            if i in network:
                name = graph.tensors[tensor].name.decode()
                owner = ends.get(tensor) or layer_name(name, known)
            owners.update({int(each): owner for each in operator.outputs})
        kept = {int(tensor) for tensor in (*graph.inputs, *graph.outputs)}
        for i, tensor in enumerate(graph.tensors):
            if i not in kept or i in owners:
                tensor.name = f"{owners.get(i, CONSTANT)}:{i}".encode()
        self.content = write(parsed)
        self.layers = list(dict.fromkeys(name for name in owners.values() if name != TAIL))
        self.tensors = [
            graph.tensors[i].name.decode()
            for i in (*map(int, graph.inputs), *owners)
            if owners.get(i) != TAIL and graph.tensors[i].type == schema().TensorType.FLOAT32
        ]
        given = graph.tensors[graph.inputs[0]].name.decode()
        first = f"{model.normalization.name}:"
        self.pixels = {name for name in self.tensors if name == given or name.startswith(first)}

    def int8(self, ranges: dict[str, tuple], in_float: Iterable[str] = ()) -> bytes:
        """Returns the file with the network in int8 and a uint8 input of pixels.

        Args:
            ranges: of `calibration.observed_ranges`, for all `tensors`.
            in_float: names of layers that stay in float32.
        """
        types = quantizer_library("qtyping")
        quantizer = self._quantizer()
        layers = _operators_of(name for name in self.layers if name not in set(in_float))
        quantizer.add_static_config(layers, "*", activation_num_bits=8, weight_num_bits=8)
        pixels = types.OpQuantizationConfig(
            activation_tensor_config=types.TensorQuantizationConfig(
                8, symmetric=False, dtype="UINT"
            ),
            weight_tensor_config=types.TensorQuantizationConfig(8, granularity="CHANNELWISE"),
            compute_precision="INTEGER",
        )
        quantizer.update_quantization_recipe(".*", "INPUT", pixels)
        return _run(
            quantizer,
            {name: {"min": _four(low), "max": _four(high)} for name, (low, high) in ranges.items()},
        )

    def dynamic(self) -> bytes:
        """Returns the file with int8 kernels. Runtimes round the activations."""
        quantizer = self._quantizer()
        for kind in DYNAMIC:
            quantizer.add_dynamic_config(_operators_of(self.layers), kind, num_bits=8)
        return _run(quantizer, None)

    def _quantizer(self) -> Any:
        return quantizer_library("quantizer").Quantizer(bytearray(self.content))


def _network(graph: Any, kinds: list[str], tensors: list[int]) -> set[int]:
    """Returns the operators that compute raw outputs, without those that only join predictions.

    Args:
        graph: `SubGraphT`.
        kinds: names of its operators.
        tensors: indices of the raw outputs.
    """
    producers = {int(x): i for i, each in enumerate(graph.operators) for x in each.outputs}
    joining: set[int] = set()
    network: set[int] = set()
    waiting = [(tensor, True) for tensor in tensors]
    while waiting:
        tensor, at_the_end = waiting.pop()
        i = producers.get(tensor)
        if i is None:
            continue
        at_the_end = at_the_end and kinds[i] in JOINING
        seen = joining if at_the_end else network
        if i not in seen:
            seen.add(i)
            waiting += [(int(x), at_the_end) for x in graph.operators[i].inputs]
    return network


def layer_name(tensor: str, known: Collection[str]) -> str:
    """Returns the layer to which a tensor belongs.

    TensorFlow joins the names of fused operators with ";", the convolution last. It appends numbers
    to repeated names.

    Args:
        tensor: such as "lite0_1/bifpn_1/cell0_node1_1/Relu6;lite0_1/bifpn_1/cell0_node1_1/add".
        known: names of the Keras layers and of the model.
    """
    for part in reversed(tensor.split(";")):
        path = [
            name for name in (_without_numbers(each, known) for each in part.split("/")) if name
        ]
        if len(path) > 2:
            # "block3_expand" -> "block3", "stage2_block0_conv1" -> "stage2_block0"
            block = re.match(r".*?block\d+(?=_)", path[2])
            return f"{path[1]}/{block[0] if block else path[2]}"
    first = [_without_numbers(each, known) for each in tensor.split(";")[0].split("/")]
    return next((name for name in first[1:] if name), tensor.split(";")[0])


def _without_numbers(name: str, known: Collection[str]) -> str | None:
    while name not in known:
        shorter = re.fullmatch(r"(.+)_\d+", name)
        if shorter is None:
            return None
        name = shorter[1]
    return name


def _operators_of(layers: Iterable[str]) -> str:
    """Returns the pattern of some layers for the quantizer.

    The quantizer searches for it in the names of the outputs of operators, each followed by ";".
    """
    return f"^(?:{'|'.join(map(re.escape, layers))}):"


def _four(value: float) -> np.ndarray:
    return np.full((1, 1, 1, 1), value, np.float32)


def _run(quantizer: Any, ranges: dict | None) -> bytes:
    # The library shows progress bars even if they are switched off.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
