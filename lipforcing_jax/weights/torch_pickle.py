"""Reads the pickle of a PyTorch checkpoint: descriptions of tensors, and nothing that could run code.

A pickle is a program for a small stack machine. Python's own machine can call anything; this one knows the thirty
instructions that PyTorch writes and the five functions that they call, all of which only build tuples and
dictionaries. Whatever else stands in a file is refused by its name.
"""

import pickletools
from io import BytesIO
from typing import NamedTuple

import ml_dtypes
import numpy as np

STORAGES = {
    "BFloat16Storage": ml_dtypes.bfloat16, "HalfStorage": np.float16, "FloatStorage": np.float32,
    "DoubleStorage": np.float64, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file from before 2020."""


class RefusedError(Exception):
    """Something that a file of tensors has no use for."""


class Storage(NamedTuple):
    """A run of numbers in the file, by its key."""

    key: str
    dtype: np.dtype
    count: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    return Tensor(storage, int(offset), tuple(int(n) for n in shape), tuple(int(n) for n in strides))


def _parameter(tensor, *_) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError("a parameter is not a tensor")
    return tensor


def _size(values=()) -> tuple:
    return tuple(values)


def _table(pairs=()) -> dict:
    return _fill({}, [part for pair in pairs for part in pair])


def _fill(table: dict, items: list) -> dict:
    """Puts keys and values, in turn, into a dictionary. Keys are text or numbers: deep tuples exhaust the stack."""
    if not isinstance(table, dict) or not all(isinstance(key, str | int) for key in items[::2]):
        raise ValueError("its description is no table of names")
    table.update(zip(items[::2], items[1::2], strict=True))
    return table


NAMES = {
    ("collections", "OrderedDict"): _table,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    # Old files say in the name on which kind of device a storage was.
    **{(module, name): np.dtype(kind) for module in ("torch", "torch.cuda") for name, kind in STORAGES.items()},
}
PLAIN = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
"""Instructions that push their argument."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
IGNORED = {"PROTO", "FRAME", "STOP"}


def load(file: BytesIO) -> tuple[object, dict[str, Storage]]:
    """The content of the pickle that begins here, and all storages that it mentions, by key.

    Leaves `file` right after the pickle.

    Raises:
      RefusedError: it holds an instruction or a name that a file of tensors doesn't need.
      ValueError, LookupError, TypeError and the like: it is no pickle, or a broken one.
    """
    machine = _Machine()
    for instruction, argument, _ in pickletools.genops(file):
        machine.run(instruction.name, argument)
    return machine.stack.pop(), machine.storages


class _Machine:
    """The stack, its marks and the memory of objects that are used again."""

    def __init__(self):
        self.stack: list = []
        self.marks: list[int] = []
        self.memory: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, name: str, argument) -> None:
        if name in PLAIN:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in ACTIONS:
            ACTIONS[name](self, argument)
        elif name not in IGNORED:
            raise RefusedError(f"pickle's instruction {name}")

    def pop(self, count: int) -> list:
        """The top `count` objects, the deepest first."""
        if count > len(self.stack):
            raise ValueError("its description takes what it has not put down")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_marked(self) -> list:
        """All objects above the last mark."""
        return self.pop(len(self.stack) - self.marks.pop())

    def remember(self, key: int) -> None:
        self.memory[key] = self.stack[-1]

    def fetch(self, module: str, name: str) -> None:
        if (module, name) not in NAMES:
            raise RefusedError(f"{module}.{name}")
        self.stack.append(NAMES[module, name])

    def call(self) -> None:
        function, arguments = self.pop(2)
        if not callable(function):
            raise ValueError("its description calls what is no function")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        """Only state dicts have attributes (`_metadata`); nobody reads them."""
        target, _ = self.pop(2)
        if not isinstance(target, dict):
            raise RefusedError(f"a change of {getattr(target, '__name__', 'an object')}")
        self.stack.append(target)

    def extend(self, items: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("its description lengthens what is no list")
        self.stack[-1].extend(items)

    def locate(self) -> None:
        """The storage that an entry of the archive holds."""
        word, kind, key, _, count, *view = self.stack.pop()
        if word != "storage" or not isinstance(kind, np.dtype) or any(view):
            raise RefusedError(f"an outside object {word!r}")
        storage = Storage(str(key), kind, int(count))
        if storage.count < 0 or self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {storage.key} is described in two ways")
        self.stack.append(storage)


ACTIONS = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "LIST": lambda m, _: m.stack.append(m.pop_marked()),
    "DICT": lambda m, _: m.stack.append(_fill({}, m.pop_marked())),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_marked())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.pop(3))),
    "APPEND": lambda m, _: m.extend(m.pop(1)),
    "APPENDS": lambda m, _: m.extend(m.pop_marked()),
    "SETITEM": lambda m, _: _fill(m.stack[-3], m.pop(2)),
    "SETITEMS": lambda m, _: _fill(m.stack[m.marks[-1] - 1], m.pop_marked()),
    "PUT": lambda m, key: m.remember(key),
    "BINPUT": lambda m, key: m.remember(key),
    "LONG_BINPUT": lambda m, key: m.remember(key),
    "MEMOIZE": lambda m, _: m.remember(len(m.memory)),
    "GET": lambda m, key: m.stack.append(m.memory[key]),
    "BINGET": lambda m, key: m.stack.append(m.memory[key]),
    "LONG_BINGET": lambda m, key: m.stack.append(m.memory[key]),
    "GLOBAL": lambda m, name: m.fetch(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.fetch(*m.pop(2)),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.locate(),
}
