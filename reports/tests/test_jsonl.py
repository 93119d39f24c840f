"""Records that are no JSON, or JSON that Python does not read, are one line."""

from pathlib import Path

import pytest

from frameworks.errors import UserError
from reports.jsonl import read_lines, read_object

BROKEN = ["{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": 1} {"b": 2}', "[1]", "7", "\0"]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_object_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"^{path}: ") as error:
        read_object(path)
    assert len(str(error.value)) < 400
    path.write_text(f'{{"first": 1}}\n{text}\n{{"last": 3}}\n', encoding="utf-8")
    with pytest.raises(UserError, match=f"^{path}: line 2 "):
        read_lines(path)
