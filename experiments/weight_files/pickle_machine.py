"""Read a pickle as data: its instructions are followed here, one by one, and call nothing but a table of functions.

A pickle is a program for a stack machine. Python's own machine imports and calls what the program names. This one
knows the instructions that build dicts, lists, tuples, numbers and text; names stand for entries of the table, and
a name that is not in it ends the reading.
"""

import mmap
import pickletools
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any

MOST_STEPS = 1_000_000  # instructions of one pickle; a checkpoint of 1000 tensors has some 30,000
_MOST_ODD_KEYS = 10_000  # keys of dicts that are no text: numbers can be chosen so that lookups take forever
_ODD_KEYS = (int, float, type(None))

_VALUES = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
    ]
)
_BYTES = frozenset(["BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"])
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_EFFECT = ("PROTO", "FRAME")


class ForbiddenGlobal(Exception):
    """A pickle refers to a name that is not in the table; the message is the name."""


class Global:
    """A name in a pickle. ``call`` is the function of the table that stands for it, None for a mere name."""

    def __init__(self, name: str, call: Callable[..., Any] | None) -> None:
        self.name, self.call = name, call


class Unread:
    """A value whose content is of no interest; ``kind`` says what it is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Unfinished:
    """A value that a later instruction (BUILD) finishes."""

    def __init__(self) -> None:
        self.memo_keys: list[int] = []

    def finish(self, state: Any) -> Any:
        """The value that takes the place of this one; ``state`` is what the pickle says of it."""
        raise NotImplementedError


class PickleMachine:
    """Reads the pickles that follow each other in a file, each with ``load``.

    Args:
        stream: the file in memory, at the start of a pickle; bytes in the pickle become views of it.
        table: ``module.name`` -> the function that stands for it, or None.
        persistent: makes a value of a persistent id; None: there are none.
    """

    def __init__(
        self,
        stream: mmap.mmap,
        table: Mapping[str, Callable[..., Any] | None],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.stream, self.table, self.persistent = stream, table, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what lay on the stack before each mark
        self.memo: dict[int, Any] = {}
        self.odd_keys = 0

    def load(self) -> Any:
        """Read one pickle and return its object.

        Raises:
            ForbiddenGlobal: it refers to a name that is not in the table.
            UnpicklingError: an instruction that no file of arrays has, or too many; broken pickles raise others.
        """
        self.stack, self.below, self.memo = [], [], {}
        for step, (opcode, argument, _) in enumerate(pickletools.genops(self.stream)):  # pyright: ignore[reportArgumentType]
            if step == MOST_STEPS:
                raise UnpicklingError(f"more than {MOST_STEPS:,} instructions")
            if opcode.name == "STOP":
                return self.stack.pop()
            if not (
                self._value(opcode.name, argument)
                or self._memory(opcode.name, argument)
                or self._collection(opcode.name)
                or self._object(opcode.name, argument)
            ):
                raise UnpicklingError(f"the instruction {opcode.name}, which no file of arrays has")
        raise UnpicklingError("no end")

    def _value(self, name: str, argument: Any) -> bool:
        """Follow an instruction that adds a plain value to the stack; False if it is none."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _BYTES:
            end = self.stream.tell()
            self.stack.append(memoryview(self.stream)[end - len(argument) : end])
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        else:
            return name in _NO_EFFECT
        return True

    def _memory(self, name: str, argument: Any) -> bool:
        """Follow an instruction that moves values between stack and memo; False if it is none."""
        if name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            key = len(self.memo) if name == "MEMOIZE" else argument
            self.memo[key] = self.stack[-1]
            if isinstance(self.stack[-1], Unfinished):
                self.stack[-1].memo_keys.append(key)
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name == "POP":
            self.stack.pop() if self.stack else self._since_mark()
        elif name == "POP_MARK":
            self._since_mark()
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        else:
            return False
        return True

    def _collection(self, name: str) -> bool:
        """Follow an instruction that makes or fills a tuple, list, dict or set; False if it is none."""
        if name in _TUPLES:
            count = _TUPLES[name]
            items = [self.stack.pop() for _ in range(count)]
            self.stack.append(tuple(reversed(items)))
        elif name in ("TUPLE", "LIST"):
            items = self._since_mark()
            self.stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            self.stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict}.get(name, lambda: Unread("set"))())
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "FROZENSET"):
            items = [self.stack.pop()] if name == "APPEND" else self._since_mark()
            if name == "FROZENSET":
                self.stack.append(Unread("frozenset"))
            elif isinstance(self.stack[-1], list):
                self.stack[-1].extend(items)
        elif name in ("DICT", "SETITEM", "SETITEMS"):
            items = self.stack[-2:] if name == "SETITEM" else self._since_mark()
            del self.stack[len(self.stack) - (2 if name == "SETITEM" else 0) :]
            if name == "DICT":
                self.stack.append({})
            self._set_items(self.stack[-1], items)
        else:
            return False
        return True

    def _object(self, name: str, argument: Any) -> bool:
        """Follow an instruction that names, calls or finishes something; False if it is none."""
        if name in ("GLOBAL", "INST"):
            self._global(*argument.split(" ", 1))
        elif name == "STACK_GLOBAL":
            attribute, module = self.stack.pop(), self.stack.pop()
            self._global(module, attribute)
        elif name == "REDUCE":
            arguments, called = self.stack.pop(), self.stack.pop()
            self.stack.append(call(called, arguments))
        elif name == "BUILD":
            state, target = self.stack.pop(), self.stack.pop()
            if not isinstance(
                target, Unfinished | Unread | dict
            ):  # dicts: OrderedDict's attributes, of no interest
                raise UnpicklingError(f"a state for a {type(target).__name__}")
            finished = target.finish(state) if isinstance(target, Unfinished) else target
            for key in target.memo_keys if isinstance(target, Unfinished) else ():
                self.memo[key] = finished
            self.stack.append(finished)
        elif name == "BINPERSID" and self.persistent is not None:
            self.stack.append(self.persistent(self.stack.pop()))
        else:
            return False
        return True

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Unread):
            return
        if not isinstance(target, dict):
            raise UnpicklingError(f"entries for a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                self.odd_keys += 1
                if not isinstance(key, _ODD_KEYS) or self.odd_keys > _MOST_ODD_KEYS:
                    raise UnpicklingError(f"a dict with a {type(key).__name__} for a key, or too many numbers")
            target[key] = value

    def _global(self, module: Any, attribute: Any) -> None:
        name = f"{module}.{attribute}" if isinstance(module, str) and isinstance(attribute, str) else "no name"
        if name not in self.table:
            raise ForbiddenGlobal(ascii(name)[1:-1])  # without control characters
        self.stack.append(Global(name, self.table[name]))


def call(called: Any, arguments: Any) -> Any:
    """Call what a pickle named. Raises UnpicklingError if it is no function of the table."""
    if not isinstance(called, Global) or called.call is None or not isinstance(arguments, tuple):
        raise UnpicklingError("a call of something that is no function")
    return called.call(*arguments)
