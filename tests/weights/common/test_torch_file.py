"""Reading torch's files without torch: against real ones, and against broken and hostile ones."""

import json
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.weights import read_torch_file
from keras_det.weights.common.torch_file import _state_of
from keras_det.weights.common.torch_objects import Storage, Tensor
from tests.helpers import ROOT
from tests.weights.common.torch_writer import SIX, part, stream_head, tensor_part, zip_file

FIXTURES = ROOT / "tests" / "golden" / "torchvision"
FORMS = ("zip", "stream")


def pickled_tensor(length=6, offset=0, shape=(2, 3), strides=(3, 1), kind="FloatStorage"):
    return tensor_part("0", kind, length, offset, shape, strides)


def state_pickle(**settings):
    return b"\x80\x02}" + part("a") + pickled_tensor(**settings) + b"s."


NUMBERS = np.frombuffer(SIX, "<f4")


def stream_file(state, numbers=SIX, count=6):
    return stream_head() + state + pickle.dumps(["0"], 2) + struct.pack("<q", count) + numbers


def read(tmp_path, data, name="weights.pth"):
    path = tmp_path / name
    path.write_bytes(data)
    return read_torch_file(path)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_torch_gives_its_numbers(form):
    # torch 2.13.0 wrote it (benchmarks/peer_torchvision_outputs.py fixtures): a training
    # checkpoint of views, an expanded and an empty tensor, a parameter, every type.
    expected = np.load(FIXTURES / "every_kind.npz")
    values = read_torch_file(FIXTURES / f"every_kind_{form}.pth")
    assert set(values) == set(expected.files)
    assert {"0.weight", "1.num_batches_tracked", "part", "parameter"} < set(values)
    for name in expected.files:
        assert values[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(values[name], expected[name], err_msg=name)
    # By hand: bfloat16 has 8 bits: 1.00390625 = 1 + 2^-8 lies between 1 and 1 + 2^-7.
    assert values["bfloat16"].tolist() == [0.0, 1.5, -3.0, 100.0, 1.0]
    assert values["transposed"].shape == (6, 4) and values["expanded"].strides[1] == 0


@pytest.mark.parametrize("make", [zip_file, stream_file])
def test_hand_made_files_are_read(make, tmp_path):
    assert read(tmp_path, make(state_pickle()))["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    turned = state_pickle(offset=1, shape=(3, 2), strides=(2, 1), length=6)
    with pytest.raises(DataError, match=r"'a' .* does not lie within its storage of 6 numbers"):
        read(tmp_path, make(turned))
    columns = state_pickle(offset=1, shape=(2, 2), strides=(1, 3))
    assert read(tmp_path, make(columns))["a"].tolist() == [[1, 4], [2, 5]]


def test_high_byte_first_is_turned(tmp_path):
    data = zip_file(state_pickle(), NUMBERS.astype(">f4").tobytes(), [("byteorder", b"big")])
    assert read(tmp_path, data)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


class Attack:
    """Pickled, it runs a program when it is read."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("make", [zip_file, stream_file])
def test_a_program_in_the_pickle_is_refused_and_not_run(make, tmp_path):
    trace = tmp_path / "it_ran"
    state = pickle.dumps({"a": Attack(os.system, f"touch {trace}")}, 2)
    pickle.loads(state)
    assert trace.exists(), "the attack itself does not work"
    trace.unlink()
    with pytest.raises(DataError, match=rf"Received: {os.name}\.system, .* torch\.save\(model"):
        read(tmp_path, make(state))
    assert not trace.exists()


@pytest.mark.parametrize(
    "module, name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "namedtuple"),
        ("torch", "load"),
        ("elsewhere", "FloatStorage"),
        ("elsewhere", "_rebuild_tensor_v2"),
        ("torch._utils", "_import_dotted_name"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.nn.modules.conv", "Conv2d"),
        ("numpy", "ndarray"),
        ("argparse", "Namespace"),
        ("keras_det.weights.common.torch_file", "read_torch_file"),
    ],
)
@pytest.mark.parametrize("opcode", ["global", "stack_global"])
def test_only_tensors_and_ordered_dicts_are_admitted(module, name, opcode, tmp_path):
    if opcode == "global":
        named = b"\x80\x02}" + part("a") + f"c{module}\n{name}\n".encode() + b")Rs."
    else:
        named = b"\x80\x04}" + part("a") + part(module) + part(name) + b"\x93)Rs."
    with pytest.raises(
        DataError, match=rf"Received: {module}\.{name}, which would have to be executed"
    ):
        read(tmp_path, zip_file(named))


def test_what_a_pickle_makes_cannot_be_altered_by_it(tmp_path):
    # BUILD hands a state to __setstate__ or __dict__ of the last object; REDUCE calls anything.
    for target in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"):
        altered = b"\x80\x02}" + part("a") + target + part({"name": "x", "number": "O"}) + b"bs."
        with pytest.raises(DataError, match="must be as torch.save or safetensors wrote it"):
            read(tmp_path, zip_file(altered))
    called = b"\x80\x02}" + part("a") + b"ctorch\nFloatStorage\n" + part((3,)) + b"Rs."
    with pytest.raises(DataError, match="not callable"):
        read(tmp_path, zip_file(called))


@pytest.mark.parametrize("make", [zip_file, stream_file])
@pytest.mark.parametrize(
    "settings",
    [
        {"offset": -1},
        {"offset": 7},
        {"offset": 1 << 80, "shape": (0,), "strides": (1,)},
        {"offset": 0.0},
        {"strides": (-3, 1)},
        {"strides": (4, 1)},
        {"strides": (1 << 62, 1)},
        {"strides": (3,)},
        {"strides": 3},
        {"shape": (3, 3)},
        {"shape": (-2, 3)},
        {"shape": (1 << 40, 1 << 40), "strides": (0, 0)},
        {"shape": (1 << 40,), "strides": (0,)},
        {"shape": (1,) * 70, "strides": (1,) * 70},
        {"shape": "23"},
        {"length": 7},
        {"length": -1},
        {"length": 1 << 70},
        {"length": 6.0},
        {"kind": "DoubleStorage"},
    ],
    ids=str,
)
def test_views_outside_of_the_storage_are_refused(make, settings, tmp_path):
    with pytest.raises(DataError, match=r"as torch\.save or safetensors wrote it\. Received: "):
        read(tmp_path, make(state_pickle(**settings)))


def test_storages_of_the_older_form_must_be_as_announced(tmp_path):
    with pytest.raises(DataError, match="storage 0 has 5 numbers instead of 6"):
        read(tmp_path, stream_file(state_pickle(), count=5))
    with pytest.raises(DataError, match="should hold 6 numbers of 4 bytes"):
        read(tmp_path, stream_file(state_pickle(), SIX[:-1]))
    two = pickled_tensor(length=3, kind="LongStorage", shape=(3,), strides=(1,))
    state = b"\x80\x02}" + part("a") + pickled_tensor() + b"s" + part("b") + two + b"s."
    with pytest.raises(DataError, match="storage 0 is described in two ways"):
        read(tmp_path, stream_file(state))


def test_an_archive_larger_than_its_file_is_refused(tmp_path):
    data = zip_file(state_pickle(), bytes(100_000), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="records claim .* bytes, more than the file has"):
        read(tmp_path, data)


def test_a_nest_of_lists_is_walked_once(tmp_path):
    nest = [1]
    for _ in range(60):
        nest = [nest, nest]  # 2^60 leaves, 61 lists
    state = b"\x80\x02}" + part("nest") + part(nest) + b"s" + part("a") + pickled_tensor() + b"s."
    assert list(read(tmp_path, stream_file(state))) == ["a"]


def test_a_place_far_off_in_the_memo_takes_no_memory(tmp_path):
    far = b"r" + struct.pack("<I", 1 << 24)  # LONG_BINPUT
    data = zip_file(b"\x80\x02}" + far + part("a") + pickled_tensor() + b"s.")
    tracemalloc.start()
    try:
        assert list(read(tmp_path, data)) == ["a"]
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_is_refused(form, tmp_path):
    data = (FIXTURES / f"every_kind_{form}.pth").read_bytes()
    for length in [*range(0, len(data), 151), len(data) - 1]:
        with pytest.raises(DataError, match=r"as torch\.save or safetensors wrote it"):
            read(tmp_path, data[:length])


@pytest.mark.parametrize("form", FORMS)
def test_damage_gives_arrays_or_the_one_error(form, tmp_path):
    data = (FIXTURES / f"every_kind_{form}.pth").read_bytes()
    random = np.random.RandomState(0)
    refused = 0
    for _ in range(80):
        damaged = bytearray(data)
        for place in random.randint(0, len(data), 3):
            damaged[place] = random.randint(256)
        try:
            values = read(tmp_path, bytes(damaged))
            sums = [value.sum() for value in values.values() if value.size < 1e6]
            assert len(sums) > 0
        except DataError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    "state, reason",
    [
        ([1, 2], "it holds no dict from names to tensors"),
        ({"epoch": 1}, "it holds no dict from names to tensors"),
        ({"state_dict": {}}, "it holds no dict from names to tensors"),
    ],
)
def test_a_file_without_tensors_is_refused(state, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        read(tmp_path, zip_file(pickle.dumps(state, 2)))


def test_averages_of_a_training_checkpoint_win():
    last, average = (Tensor(Storage(key, "<f4", 1), 0, (1,), (1,)) for key in "01")
    checkpoint = {"state_dict": {"a": last}, "state_dict_ema": {"module.a": average}}
    assert _state_of(checkpoint) == {"a": average}


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_training_checkpoints_are_unwrapped(wrapper, tmp_path):
    inner = b"}" + part("module.a") + pickled_tensor() + b"s"
    state = b"\x80\x02}" + part("epoch") + part(3) + b"s" + part(wrapper) + inner + b"s."
    assert list(read(tmp_path, zip_file(state))) == ["a"]


def test_missing_files_and_folders_say_what_to_give(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "link.pth").symlink_to("nowhere")
    for path, what in {
        tmp_path / "absent.pth": "absent.pth",
        tmp_path: ", which is a folder",
        tmp_path / "pipe.pth": ", which is a named pipe",
        tmp_path / "link.pth": ", a broken link",
    }.items():
        with pytest.raises(DataError, match=rf"an existing file\. Received: .*{what}\. Give the"):
            read_torch_file(path)


def test_safetensors_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(DataError, match=r'pip install -e ".*\[safetensors\]"'):
        read(tmp_path, b"", "weights.safetensors")


def test_safetensors_are_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    values = {"a": NUMBERS.reshape(2, 3), "b": np.array([1, -2], "int64")}
    numpy.save_file(values, tmp_path / "weights.safetensors")
    # bfloat16 by hand: 0x3FC0 is the upper half of 1.5, 0xC040 of -3.
    header = b'{"c":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    (tmp_path / "half.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + struct.pack("<2H", 0x3FC0, 0xC040)
    )
    found = read_torch_file(tmp_path / "weights.safetensors")
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    half = read_torch_file(tmp_path / "half.safetensors")["c"]
    assert half.dtype == "float32" and half.tolist() == [1.5, -3.0]
    with pytest.raises(DataError, match="as torch.save or safetensors wrote it"):
        read(tmp_path, b"broken", "broken.safetensors")


# The package itself would keep one of the two.
def test_a_name_twice_in_safetensors_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    entry = b'"c":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = b"{" + entry + b"," + entry + b"}"
    data = struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.5)
    with pytest.raises(DataError, match="it has the name 'c' twice"):
        read(tmp_path, data, "twice.safetensors")


# Without the prefix of DataParallel, both names would be "a".
def test_names_that_differ_in_the_prefix_only_are_refused(tmp_path):
    both = b"\x80\x02}" + b"".join(part(n) + pickled_tensor() + b"s" for n in ("a", "module.a"))
    with pytest.raises(DataError, match="it has the name 'a' twice"):
        read(tmp_path, zip_file(both + b"."))


def test_an_unknown_order_of_bytes_is_refused(tmp_path):
    data = zip_file(state_pickle(), extra=[("byteorder", b"middle")])
    with pytest.raises(DataError, match=r"weights\.pth \(ValueError: its byteorder is b'middle'"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "it is empty"),
        (
            zip_file(state_pickle())[:300],
            "it is the beginning of a zip archive, whose end is missing",
        ),
        (stream_file(state_pickle())[:1], "it ends too early"),
    ],
)
def test_a_file_without_its_end_is_called_so(data, reason, tmp_path):
    with pytest.raises(DataError, match=rf"weights\.pth \(ValueError: {reason}\)"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    "header, reason",
    [
        ({}, "it holds no tensors"),
        ({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, "type F8_E4M3, not in"),
        (
            {f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(40_000)},
            "it holds 40000 tensors, more than 32768",
        ),
    ],
)
def test_safetensors_have_the_same_limits(header, reason, tmp_path):
    pytest.importorskip("safetensors")
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(2 if "a" in header else 0)
    with pytest.raises(DataError, match=rf"weights\.safetensors \(ValueError: .*{reason}"):
        read(tmp_path, data, "weights.safetensors")
