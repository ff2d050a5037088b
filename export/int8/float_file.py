"""8-bit numbers in TFLite files: in the kernels alone, or in the whole network.

Written with `litert-quantizer` (until 0.10 `ai-edge-quantizer`), which takes a converted float32
file, a recipe per operator and a range per tensor. TensorFlow's converter also quantises what
decodes boxes (AP of a Lite0 on drawn shapes 0.20 instead of 0.32), needs a conversion for each
choice of layers, and its interpreter is deprecated.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Iterable

import numpy as np

from keras_det.export.int8.quantizer import quantizer_library
from keras_det.export.tflite_file.schema import name_of, read, schema, write
from keras_det.keras_private import all_layers
from keras_det.models import Detector

# At the end of the network: they only put together what the predictions are. In float every level
# keeps its own range; in 8 bits the finest would be rounded as the coarsest needs it.
JOINING = ("RESHAPE", "CONCATENATION")
# Not the depthwise ones: they are small, and LiteRT has no fast kernel for them (Lite0 at 320: 67
# ms instead of 20).
DYNAMIC = ("CONV_2D", "FULLY_CONNECTED")
# First parts of the names of tensors that belong to no layer.
TAIL, CONSTANT = "tail", "constant"


class FloatFile:
    """A converted float32 file whose network can be quantised layer by layer.

    A layer is what has a name of its own at the first two places of the Keras model, e.g.
    "bifpn/cell0_node2" or "class_head/prediction", the levels of a head together, with its
    activation and what brings its inputs to one size; blocks of a backbone count as one.

    Args:
        content: TFLite file with one subgraph and one signature, which shows the raw outputs.
        model: the detector that it was converted from.

    Attributes:
        content: the file with its tensors named after their layers.
        layers: names of the network's layers in the order in which they run.
        raw_outputs: names of the network's outputs in the signature.
        tensors: names of the float32 tensors that the network computes, its input among them.
        pixels: names of those that hold pixels: the input and what the normalisation makes of it.
    """

    def __init__(self, content: bytes, model: Detector):
        self.raw_outputs = list(model.output)
        known = {layer.name for layer in all_layers(model)}
        parsed = read(content)
        (graph,), (signature,) = parsed.subgraphs, parsed.signatureDefs
        outputs = {each.name.decode(): each.tensorIndex for each in signature.outputs}
        kinds = [name_of(parsed, each) for each in graph.operators]
        network = _network(graph, kinds, [int(outputs[name]) for name in self.raw_outputs])
        owners = {}
        for i, operator in enumerate(graph.operators):
            first = graph.tensors[operator.outputs[0]].name.decode()
            owner = layer_name(first, known) if i in network else TAIL
            owners.update({int(tensor): owner for tensor in operator.outputs})
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
        """The file with the network in int8 and an input of uint8, whose bytes are the pixels.

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
        """The file with kernels in int8; runtimes round the activations when they run it."""
        quantizer = self._quantizer()
        for kind in DYNAMIC:
            quantizer.add_dynamic_config(_operators_of(self.layers), kind, num_bits=8)
        return _run(quantizer, None)

    def _quantizer(self):
        return quantizer_library("quantizer").Quantizer(bytearray(self.content))


def _network(graph, kinds: list[str], tensors: list[int]) -> set[int]:
    """Operators that the raw outputs come from, without those that only join predictions."""
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
    """The layer that a tensor belongs to.

    TensorFlow joins the names of all operators that were fused into one by ";", the convolution
    last, and puts numbers behind names that it meets again.

    Args:
        tensor: e.g. "lite0_1/bifpn_1/cell0_node1_1/Relu6;lite0_1/bifpn_1/cell0_node1_1/add".
        known: names of the Keras layers, the model's own among them.
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
    """What the quantizer takes for the operators of some layers: it searches in the names of
    their outputs, each with ";" behind it."""
    return f"^(?:{'|'.join(map(re.escape, layers))}):"


def _four(value: float) -> np.ndarray:
    return np.full((1, 1, 1, 1), value, np.float32)


def _run(quantizer, ranges: dict | None) -> bytes:
    # It draws progress bars of tenths of a second, asked to or not.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
