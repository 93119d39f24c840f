"""JSON that is read in blocks is what json reads at once."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from experiments.data import json_stream
from experiments.data.json_stream import read_object

SCALARS = some.one_of(
    some.none(), some.booleans(), some.integers(), some.floats(allow_nan=False), some.text(max_size=9)
)
NAMES = some.text(max_size=3)
VALUES = some.recursive(
    SCALARS,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES, inner, max_size=3),
)
OBJECTS = some.dictionaries(NAMES, VALUES, max_size=4)


def read(text: bytes, block: int = 1 << 20) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BLOCK", block)
        return read_object(io.BytesIO(text), lambda found: found)


@settings(max_examples=300, deadline=None)
@given(OBJECTS, some.integers(1, 40), some.sampled_from([None, 1]), some.booleans(), some.sampled_from([8, 16, 32]))
def test_objects_are_those_of_json(value: Any, block: int, indent: int | None, ascii_: bool, bits: int) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
    assert read(text.encode(f"utf-{bits}", "surrogatepass" if bits == 8 else "strict"), block) == value


@settings(max_examples=300, deadline=None)
@given(OBJECTS, some.integers(1, 40), some.data())
def test_what_json_refuses_is_refused(value: Any, block: int, data: Any) -> None:
    text = bytearray(json.dumps(value).encode())
    text[data.draw(some.integers(0, len(text) - 1))] = data.draw(some.sampled_from(b'{}[]",:0x\\ '))
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert read(bytes(text), block) == expected
    else:
        with pytest.raises(ValueError):
            read(bytes(text), block)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not start with {"),
        ("[1]", "does not start with {"),
        ('{"a": [1, 2}', r"',' is missing, at character 12"),
        ('{"a": [1, 2', r"',' is missing, at character 12"),
        ('{"a": 1} 2', "something follows the object, at character 10"),
        ("{a: 1}", "name in quotes is missing, at character 2"),
        ('{"a": yes}', "Expecting value, at character 7"),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 100])
def test_errors_say_where(text: str, said: str, block: int) -> None:
    with pytest.raises(ValueError, match=said):
        read(text.encode(), block)


def test_only_a_block_of_the_text_is_in_memory() -> None:
    longest = 0

    def look(found: dict[str, Any]) -> None:
        nonlocal longest
        longest = max(longest, len(window.text))

    rows = json.dumps({"annotations": [{"id": i, "segmentation": [0.5] * 20} for i in range(2000)]})
    window = json_stream._Window(io.BytesIO(rows.encode()), json.JSONDecoder(object_hook=look))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BLOCK", 1000)
        window.skip("{")
        assert window.value() == "annotations"
        window.skip(":")
        assert len(json_stream._elements(window)) == 2000
    assert len(rows) > 100_000 and longest < 2500
