"""Reads the pickles in files of `torch.save` without running anything, within a budget.

Python's own unpickler calls what the pickle names. It compares, hashes and prints what the pickle
builds. A file of 600 bytes can keep it busy for ever: a tuple of two references to a tuple of two
references … has 2^100 leaves. This reader knows only the opcodes that torch writes. It builds
dicts, lists, tuples, numbers, texts and descriptions of tensors. Keys and arguments are of few
types, so each opcode takes a short time, and the number of opcodes is limited.
"""

import pickle
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from keras_det.weights.common.torch_objects import (
    MAX_ARGUMENTS,
    Storage,
    StorageType,
    check_key,
    checked,
    made,
    named,
    wrong,
)
from keras_det.words import counted

# The budget of one file. EfficientDet-D7x with the state of its optimizer has 0.2 million opcodes.
MAX_OPCODES = 1 << 19
MAX_SECONDS = 10.0  # of this thread's processor time
MAX_DEPTH = 100  # dicts, lists and tuples inside each other
MAX_INTEGER = 32  # bytes; torch's magic number has 10, the state of a random generator 17
OPCODES_BETWEEN_LOOKS = 4096  # at the clock


class PickleReader:
    """Reads the pickles that follow each other in some bytes.

    Args:
        data: the bytes.

    Attributes:
        position: of the first byte that is not read yet.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0
        self._opcodes = 0
        self._deadline = time.thread_time() + MAX_SECONDS
        self._storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object of the next pickle.

        Raises:
            DataError: the pickle names something that tensors do not need.
            pickle.UnpicklingError: the pickle is damaged, or exceeds the budget. A damaged pickle
                may also raise IndexError, ValueError, KeyError and others.
        """
        self._stack, self._below, self._memo = [], [], {}
        data, actions, stop = self.data, ACTIONS, pickle.STOP[0]
        while True:
            for _ in range(OPCODES_BETWEEN_LOOKS):
                code = data[self.position]
                self.position += 1
                if code == stop:
                    return self._stack.pop()
                actions[code](self)
            self._opcodes += OPCODES_BETWEEN_LOOKS
            self._look_at_budget()

    def _look_at_budget(self) -> None:
        if self._opcodes > MAX_OPCODES:
            wrong(f"the pickle has more than {MAX_OPCODES} opcodes")
        if time.thread_time() > self._deadline:
            wrong(f"reading the pickle takes more than {MAX_SECONDS:g} seconds")

    def _take(self, length: int) -> bytes:
        """The next bytes; their number comes from the file."""
        start = self.position
        if not 0 <= length <= len(self.data) - start:
            wrong(
                f"{counted(length, 'byte')} should follow, and there are {len(self.data) - start:,}"
            )
        self.position = start + length
        return self.data[start : start + length]

    def _line(self) -> str:
        end = self.data.index(b"\n", self.position)
        return self._take(end + 1 - self.position)[:-1].decode()

    # The stack and the memo.

    def _put(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        if len(self._below) >= MAX_DEPTH:
            wrong(f"more than {MAX_DEPTH} lists or dicts are inside each other")
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _drop(self) -> None:
        self._since_mark()

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _copy_top(self) -> None:
        self._stack.append(self._stack[-1])

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    # Containers.

    def _tuple(self) -> None:
        self._put(tuple(self._since_mark()))

    def _list(self) -> None:
        self._put(self._since_mark())

    def _dict(self) -> None:
        items = self._since_mark()
        self._put({})
        self._set(items)

    def _append(self) -> None:
        value = self._stack.pop()
        checked(self._stack[-1], list, "a list").append(value)

    def _extend(self) -> None:
        items = self._since_mark()
        checked(self._stack[-1], list, "a list").extend(items)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _set_items(self) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        target = checked(self._stack[-1], (dict, OrderedDict), "a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    # Names, calls and storages.

    def _global(self) -> None:
        module = self._line()
        self._put(named(module, self._line()))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._put(named(checked(module, str, "a name"), checked(name, str, "a name")))

    def _reduce(self) -> None:
        arguments, maker = (
            checked(self._stack.pop(), tuple, "the arguments of a call"),
            self._stack.pop(),
        )
        if arguments and type(arguments[0]) in (list, tuple):
            # One list may be the argument of many calls.
            self._opcodes += len(arguments[0])
            self._look_at_budget()
        self._put(made(maker, arguments))

    def _build(self) -> None:
        """Skips the attribute `_metadata` that torch gives to a state dict."""
        self._stack.pop()
        checked(self._stack[-1], OrderedDict, "an object with attributes")

    def _persistent(self) -> None:
        identifier = checked(self._stack.pop(), tuple, "a persistent object")
        if len(identifier) > MAX_ARGUMENTS:
            wrong(f"a persistent object has {counted(len(identifier), 'part')}")
        kind, storage_type, key, _, length, *view = identifier
        if checked(kind, str, "a persistent object") != "storage" or view not in ([], [None]):
            wrong("a persistent object is not a plain storage")
        number = checked(storage_type, StorageType, "a storage").number
        text = str(check_key(key, "the key of a storage"))
        storage = Storage(text, number, checked(length, int, "the length of a storage"))
        if self._storages.setdefault(text, storage) != storage:
            wrong(f"storage {text} is described in two ways")
        self._put(storage)


_BYTE, _SHORT, _INT = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<i")
_LENGTH, _LONG_LENGTH = struct.Struct("<I"), struct.Struct("<Q")
_DOUBLE = struct.Struct(">d")
_Action = Callable[[PickleReader], None]


def _number(reader: PickleReader, form: struct.Struct) -> Any:
    (value,) = form.unpack_from(reader.data, reader.position)
    reader.position += form.size
    return value


def _skip(form: struct.Struct) -> _Action:
    return lambda reader: _number(reader, form) and None


def _value(value: Any) -> _Action:
    return lambda reader: reader._stack.append(value)


def _new(kind: type) -> _Action:
    return lambda reader: reader._stack.append(kind())


def _numeral(form: struct.Struct) -> _Action:
    return lambda reader: reader._stack.append(_number(reader, form))


def _text(form: struct.Struct) -> _Action:
    return lambda reader: reader._stack.append(reader._take(_number(reader, form)).decode())


def _bytes(form: struct.Struct) -> _Action:
    return lambda reader: reader._stack.append(reader._take(_number(reader, form)))


def _integer(form: struct.Struct) -> _Action:
    def put(reader: PickleReader) -> None:
        length = _number(reader, form)
        if length > MAX_INTEGER:
            wrong(f"an integer has {length} bytes")
        reader._stack.append(int.from_bytes(reader._take(length), "little", signed=True))

    return put


def _remember(reader: PickleReader) -> None:
    reader._memo[reader.data[reader.position]] = reader._stack[-1]
    reader.position += 1


def _remember_far(reader: PickleReader) -> None:
    reader._memo[_number(reader, _LENGTH)] = reader._stack[-1]


def _recall(reader: PickleReader) -> None:
    reader._stack.append(reader._memo[reader.data[reader.position]])
    reader.position += 1


def _recall_far(reader: PickleReader) -> None:
    reader._stack.append(reader._memo[_number(reader, _LENGTH)])


def _tuple_of(length: int) -> _Action:
    def make(reader: PickleReader) -> None:
        if len(reader._stack) < length:
            wrong("a tuple lacks items")
        reader._stack[-length:] = [tuple(reader._stack[-length:])]

    return make


def _refuse(reader: PickleReader) -> None:
    place = reader.position - 1
    wrong(f"the opcode {reader.data[place : place + 1]!r} at byte {place} is not torch's")


# What to do at each opcode; torch writes some of those of the protocols 2 to 5.
_BY_OPCODE: dict[bytes, _Action] = {
    pickle.PROTO: _skip(_BYTE),
    pickle.FRAME: _skip(_LONG_LENGTH),
    pickle.NONE: _value(None),
    pickle.NEWTRUE: _value(True),
    pickle.NEWFALSE: _value(False),
    pickle.EMPTY_TUPLE: _value(()),
    pickle.EMPTY_LIST: _new(list),
    pickle.EMPTY_DICT: _new(dict),
    pickle.BININT: _numeral(_INT),
    pickle.BININT1: _numeral(_BYTE),
    pickle.BININT2: _numeral(_SHORT),
    pickle.BINFLOAT: _numeral(_DOUBLE),
    pickle.LONG1: _integer(_BYTE),
    pickle.LONG4: _integer(_LENGTH),
    pickle.SHORT_BINUNICODE: _text(_BYTE),
    pickle.BINUNICODE: _text(_LENGTH),
    pickle.BINUNICODE8: _text(_LONG_LENGTH),
    pickle.SHORT_BINSTRING: _text(_BYTE),  # Python 2's text
    pickle.BINSTRING: _text(_LENGTH),
    pickle.SHORT_BINBYTES: _bytes(_BYTE),
    pickle.BINBYTES: _bytes(_LENGTH),
    pickle.BINBYTES8: _bytes(_LONG_LENGTH),
    pickle.MARK: PickleReader._mark,
    pickle.POP: PickleReader._pop,
    pickle.POP_MARK: PickleReader._drop,
    pickle.DUP: PickleReader._copy_top,
    pickle.BINPUT: _remember,
    pickle.LONG_BINPUT: _remember_far,
    pickle.MEMOIZE: PickleReader._memoize,
    pickle.BINGET: _recall,
    pickle.LONG_BINGET: _recall_far,
    pickle.TUPLE: PickleReader._tuple,
    pickle.TUPLE1: _tuple_of(1),
    pickle.TUPLE2: _tuple_of(2),
    pickle.TUPLE3: _tuple_of(3),
    pickle.LIST: PickleReader._list,
    pickle.DICT: PickleReader._dict,
    pickle.APPEND: PickleReader._append,
    pickle.APPENDS: PickleReader._extend,
    pickle.SETITEM: PickleReader._set_item,
    pickle.SETITEMS: PickleReader._set_items,
    pickle.GLOBAL: PickleReader._global,
    pickle.STACK_GLOBAL: PickleReader._stack_global,
    pickle.REDUCE: PickleReader._reduce,
    pickle.BUILD: PickleReader._build,
    pickle.BINPERSID: PickleReader._persistent,
}
ACTIONS = [_BY_OPCODE.get(bytes([code]), _refuse) for code in range(256)]
