"""Small files that keep Python's own unpickler busy for ever are refused within a moment."""

import pickle
import struct
import time
import zipfile

import pytest

from keras_det.errors import DataError
from keras_det.weights import read_torch_file
from keras_det.weights.common import torch_file, torch_pickle
from keras_det.weights.common.torch_pickle import MAX_DEPTH, MAX_OPCODES, PickleReader
from tests.weights.common.torch_writer import SIX, part, stream_head, tensor_part, zip_file

TENSOR = tensor_part("0", "FloatStorage", 6, 0, (2, 3), (3, 1))
ORDERED_DICT = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(" + part("storage") + b"ctorch\nFloatStorage\n" + part("0") + part("cpu") + part(6)
# A tuple of two references to a tuple of two references …: 2^60 leaves in 240 bytes.
LAUGHS = part("lol") + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))


def state(inside=b"", tensor=TENSOR):
    """The pickle of a dict with a tensor and with further items."""
    return b"\x80\x02}" + part("a") + tensor + b"s" + inside + b"."


def rebuilt(storage=STORAGE + b"tQ", offset=b"K\x00", shape=b"K\x02K\x03\x86", strides=None):
    strides = strides or part((3, 1))
    return REBUILD + b"(" + storage + offset + shape + strides + b"\x89}tR"


def in_storage(**places):
    parts = {
        "kind": part("storage"),
        "type": b"ctorch\nFloatStorage\n",
        "key": part("0"),
        "place": part("cpu"),
        "length": part(6),
        **places,
    }
    return rebuilt(storage=b"(" + b"".join(parts.values()) + b"tQ")


def legacy(magic=None, keys=None, body=None):
    head = stream_head() if magic is None else b"\x80\x02" + magic + b"."
    keys = pickle.dumps(["0"], 2) if keys is None else b"\x80\x02" + keys + b"."
    return head + (body or state()) + keys + struct.pack("<q", 6) + SIX


PICKLES = {
    "dict key": (state(LAUGHS + b"Ns"), "a key must not be of type tuple"),
    "key of DICT": (state(part("b") + b"(" + LAUGHS + b"Nds"), "a key must not be of type tuple"),
    "key of SETITEMS": (state(b"(" + LAUGHS + b"Nu"), "a key must not be of type tuple"),
    "bytes as key": (state(b"C\x01aNs"), "a key must not be of type bytes"),
    "float as key": (state(part(1.5) + b"Ns"), "a key must not be of type float"),
    "list as key": (state(b"(" + LAUGHS + b"lNs"), "a key must not be of type list"),
    "long key": (state(part("x" * 5000) + b"Ns"), "a key has 5000 characters"),
    "OrderedDict argument": (
        state(part("b") + ORDERED_DICT + b"(" + LAUGHS + b"tRs"),
        "a key must not be of type tuple",
    ),
    "OrderedDict pair": (
        state(part("b") + ORDERED_DICT + b"(](" + LAUGHS + b"N\x86etRs"),
        "opcode|a key must not be of type tuple",
    ),
    "OrderedDict of text": (
        state(part("b") + ORDERED_DICT + part(("abc",)) + b"Rs"),
        "an OrderedDict must not be of type str",
    ),
    "storage key": (
        state(tensor=in_storage(key=LAUGHS)),
        "key of a storage must not be of type tuple",
    ),
    "kind": (
        state(tensor=in_storage(kind=LAUGHS)),
        "a persistent object must not be of type tuple",
    ),
    "storage type": (state(tensor=in_storage(type=LAUGHS)), "a storage must not be of type tuple"),
    "length": (
        state(tensor=in_storage(length=LAUGHS)),
        "length of a storage must not be of type tuple",
    ),
    "view": (state(tensor=in_storage(view=LAUGHS)), "is not a plain storage"),
    "storage": (state(tensor=rebuilt(storage=LAUGHS)), "a tensor must not be of type tuple"),
    "offset": (
        state(tensor=rebuilt(offset=LAUGHS)),
        "offset of a tensor must not be of type tuple",
    ),
    "shape": (state(tensor=rebuilt(shape=LAUGHS)), "shape of a tensor must not be of type tuple"),
    "strides": (
        state(tensor=rebuilt(strides=LAUGHS)),
        "strides of a tensor must not be of type tuple",
    ),
    "truth as shape": (
        state(tensor=rebuilt(shape=b"\x88\x88\x86")),
        "shape of a tensor must not be of type bool",
    ),
    "size": (
        state(part("b") + b"ctorch\nSize\n" + LAUGHS + b"\x85Rs"),
        "size must not be of type tuple",
    ),
    "parameter": (
        state(part("b") + b"ctorch._utils\n_rebuild_parameter\n" + LAUGHS + b"\x85Rs"),
        "a parameter must not be of type tuple",
    ),
    "call of a tuple": (state(part("b") + LAUGHS + b")Rs"), "tuple is not callable"),
    "call with a list": (
        state(part("b") + ORDERED_DICT + b"]Rs"),
        "arguments of a call must not be of type list",
    ),
    "BUILD on a list": (
        state(part("b") + b"]}bs"),
        "an object with attributes must not be of type list",
    ),
    "BUILD on a tensor": (state(part("b") + TENSOR + b"}bs"), "must not be of type Tensor"),
    "APPEND to a dict": (
        state(b"Na"),
        "a list must not be of type OrderedDict|a list must not be of type dict",
    ),
    "SETITEM of a list": (state(part("b") + b"]NNss"), "a dict must not be of type list"),
    "set": (state(part("b") + b"\x8f(" + LAUGHS + b"\x90s"), r"opcode b'\\x8f'"),
    "frozenset": (state(part("b") + b"(" + LAUGHS + b"\x91s"), r"opcode b'\\x91'"),
    "NEWOBJ": (state(part("b") + ORDERED_DICT + b")\x81s"), r"opcode b'\\x81'"),
    "INST": (state(part("b") + b"(icollections\nOrderedDict\ns"), "opcode b'i'"),
    "OBJ": (state(part("b") + b"(" + ORDERED_DICT + b"os"), "opcode b'o'"),
    "EXT1": (state(part("b") + b"\x82\x01s"), r"opcode b'\\x82'"),
    "out of band": (state(part("b") + b"\x97s"), r"opcode b'\\x97'"),
    "decimal": (state(part("b") + b"L" + b"9" * 4000 + b"L\ns"), "opcode b'L'"),
    "LONG4": (state(b"\x8b" + struct.pack("<I", 2**31)), "an integer has 2147483648 bytes"),
    "long integer": (state(part(7**999) + b"Ns"), "an integer has"),
    "BINUNICODE": (state(b"X" + struct.pack("<I", 2**32 - 1)), "4,294,967,295 bytes should follow"),
    "BINUNICODE8": (state(b"\x8d" + struct.pack("<Q", 2**64 - 1)), "bytes should follow"),
    "BINBYTES8": (state(b"\x8e" + struct.pack("<Q", 2**62)), "bytes should follow"),
    "stack underflow": (state(b"0000000"), "IndexError"),
    "missing mark": (state(b"t"), "IndexError"),
    "unknown memo": (state(b"h\x07"), "KeyError"),
    "half a pair": (state(b"(" + part("b") + b"u"), "ValueError"),
    "many marks": (state(b"(" * 200_000), f"more than {MAX_DEPTH} lists or dicts"),
}
FILES = {
    "keys": (legacy(keys=b"(" + LAUGHS + b"l"), "the key of a storage must not be of type tuple"),
    "keys are a tuple": (legacy(keys=LAUGHS), "the keys of its storages are not a list"),
    "magic": (legacy(magic=LAUGHS), "neither a zip archive nor torch's magic number"),
    "magic is true": (legacy(magic=b"\x88"), "neither a zip archive nor torch's magic number"),
    "depth": (
        legacy(body=state(part("b") + b")" + b"\x85" * 300 + b"s")),
        f"more than {MAX_DEPTH} dicts, lists or tuples are inside each other",
    ),
    "no list": (legacy(keys=part("0")), "the keys of its storages are not a list"),
    "bomb": (zip_file(state(), bytes(10**6), compression=zipfile.ZIP_DEFLATED), "more than the"),
    "compressed": (
        zip_file(state(), extra=[("pad", bytes(range(256)) * 2)], compression=zipfile.ZIP_LZMA),
        "a record of the archive is compressed|more than the file has",
    ),
    "two types": (
        zip_file(state(part("b") + in_storage(type=b"ctorch\nIntStorage\n") + b"s")),
        "storage 0 is described in two ways",
    ),
    "two lengths": (
        zip_file(state(part("b") + in_storage(length=part(5)) + b"s")),
        "storage 0 is described in two ways",
    ),
}


def refused(path, reason):
    began = time.perf_counter()
    with pytest.raises(DataError, match=rf"as torch\.save or safetensors wrote it.*({reason})"):
        read_torch_file(path)
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_are_refused_within_a_second(name, tmp_path):
    data, reason = PICKLES[name]
    (tmp_path / "weights.pth").write_bytes(zip_file(data))
    refused(tmp_path / "weights.pth", reason)


@pytest.mark.parametrize("name", FILES)
def test_files_are_refused_within_a_second(name, tmp_path):
    data, reason = FILES[name]
    (tmp_path / "weights.pth").write_bytes(data)
    refused(tmp_path / "weights.pth", reason)


MANY = 3 * MAX_OPCODES
LONG_MEMO = b"(" + b"N" * 100_000 + b"tq\x000"
WORK = {
    "opcodes": (part("b") + b"N0" * MANY, f"more than {MAX_OPCODES} opcodes"),
    "copies": (b"2" * MANY, f"more than {MAX_OPCODES} opcodes"),
    "recalls": (b"q\x00" + b"h\x00" * MANY, f"more than {MAX_OPCODES} opcodes"),
    "long shapes": (
        LONG_MEMO + (b"ctorch\nSize\nh\x00\x85R0" * 1000),
        "a size has 100,000 dimensions",
    ),
    "long calls": (LONG_MEMO + (ORDERED_DICT + b"h\x00R0") * 1000, "a call has 100000 arguments"),
    "long identifiers": (LONG_MEMO + b"h\x00Q0" * 1000, "a persistent object has 100,000 parts"),
    "long pairs": (
        b"(" + b"".join(b"K\x01K\x01\x86" for _ in range(100_000)) + b"tq\x000"
        + (ORDERED_DICT + b"h\x00\x85R0") * 10_000,
        f"more than {MAX_OPCODES} opcodes|takes more than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORK)
def test_work_is_limited(name, tmp_path, monkeypatch):
    # On a machine that does other work as well; alone each takes 0.1 to 0.4 seconds.
    inside, reason = WORK[name]
    began = time.thread_time()
    with pytest.raises((DataError, pickle.UnpicklingError), match=reason):
        PickleReader(state(inside)).load()
    assert time.thread_time() - began < 1.0


def test_time_is_limited(monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_SECONDS", -1.0)
    assert PickleReader(state()).load() is not None
    with pytest.raises(pickle.UnpicklingError, match="takes more than -1 seconds"):
        PickleReader(state(b"N0" * 5000)).load()


def test_tensors_are_limited(tmp_path):
    items = b"".join(part(f"t{i}") + b"h\x63" for i in range(40_000))
    data = b"\x80\x02}" + part("a") + TENSOR + b"qcs(" + items + b"u."
    (tmp_path / "weights.pth").write_bytes(zip_file(data))
    refused(tmp_path / "weights.pth", "it holds 40001 tensors, more than 32768")


def test_records_are_limited_and_only_those_that_are_needed_are_read(tmp_path, monkeypatch):
    extra = [(f"data/{i}", b"") for i in range(1, 40)]
    (tmp_path / "weights.pth").write_bytes(zip_file(state(), extra=extra))
    names, read = [], zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda self, name: names.append(name) or read(self, name)
    )
    assert len(read_torch_file(tmp_path / "weights.pth")) == 1
    assert names == ["archive/data.pkl", "archive/data/0"]
    monkeypatch.setattr(torch_file, "MAX_RECORDS", 40)
    refused(tmp_path / "weights.pth", "the archive has more than 40 records")


def test_repeated_views_are_limited(tmp_path):
    # Each tensor of 4 million elements is allowed, ten are not; tied weights are.
    shape, one = (2000, 2000), part(0)
    tensors = b"".join(
        part(f"t{i}") + rebuilt(shape=part(shape), strides=part((0, 0))) + b"s" for i in range(10)
    )
    (tmp_path / "weights.pth").write_bytes(zip_file(state(tensors)))
    refused(tmp_path / "weights.pth", "its tensors have 40000006 elements together, more than")
    tied = b"".join(part(f"t{i}") + rebuilt(offset=one) + b"s" for i in range(3))
    (tmp_path / "tied.pth").write_bytes(zip_file(state(tied)))
    assert len(read_torch_file(tmp_path / "tied.pth")) == 4


def test_a_deep_nest_beside_the_tensors_does_no_harm(tmp_path):
    nest = part("b") + b")" + b"\x85" * 200_000 + b"s"
    (tmp_path / "weights.pth").write_bytes(zip_file(state(nest)))
    assert list(read_torch_file(tmp_path / "weights.pth")) == ["a"]


def test_what_python_2_and_torch_write_is_read(tmp_path):
    # Python 2: OrderedDict([["a", tensor]]), sizes as torch.Size, text as bytes, BUILD of metadata.
    size = b"ctorch\nSize\n" + part((2, 3)) + b"\x85R"
    tensor = rebuilt(shape=size)
    pairs = ORDERED_DICT + b"(](](U\x01a" + tensor + b"eetR}" + part("_metadata") + b"}sb"
    for data in (b"\x80\x02" + pairs + b".", b"\x80\x02(](" + pairs[1:] + b"."):
        (tmp_path / "weights.pth").write_bytes(zip_file(data))
        if data[2:4] != b"(]":
            assert read_torch_file(tmp_path / "weights.pth")["a"].shape == (2, 3)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        values = {"n": 1, "big": 1 << 100, "f": 0.5, "t": (1, 2, 3, 4), "l": [1, [None, True]]}
        values |= {"b": b"x" * 300, "s": "ä" * 300, "d": {3: "x"}}
        if protocol == 2:
            del values["b"]  # written as a call of _codecs.encode
        assert PickleReader(pickle.dumps(values, protocol)).load() == values
