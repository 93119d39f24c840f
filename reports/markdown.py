"""Markdown tables, and nested facts flattened to rows for them."""

from typing import Any

import pandas as pd

from reports import formatting as show


def table(rows: list[dict[str, Any]], left: int = 1) -> str:
    """A Markdown table of `rows`, the first `left` columns aligned left and the others right."""
    frame = pd.DataFrame([{key: show.cell(value) for key, value in row.items()} for row in rows])
    align = ["left" if column < left else "right" for column in range(len(frame.columns))]
    # without disable_numparse, tabulate would reformat the numbers
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=align))


def flat(facts: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested facts as one level: {"flags": {"threads": 2}} becomes {"flags.threads": "2"}."""
    level: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            level |= flat(value, f"{prefix}{key}.")
        else:
            level[f"{prefix}{key}"] = str(value)
    return level
