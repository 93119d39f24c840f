"""The table of all official presets: python -m reports.zoo writes reports/zoo.md.

Sizes are computed from the spec and the PyTorch twin; accuracy is what the official repository published. A test
holds the committed page to what this makes.
"""

import json
import sys
from pathlib import Path
from typing import Any

from frameworks.config import PRESETS, ExperimentSpec
from frameworks.state import backbones
from frameworks.state.parameters import model_facts
from frameworks.tests.flops import flops_after_fusion, module_flops
from reports import formatting as show
from reports.markdown import table
from reports.publish import render

PAGE = Path(__file__).parent / "zoo.md"
PUBLISHED = Path(__file__).parent / "published_accuracy.json"


def zoo_page() -> str:
    """The whole page as Markdown."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    presets = published["presets"]
    return render(
        "zoo.md.j2",
        {
            "table": table([_row(PRESETS[name], facts) for name, facts in presets.items()], left=3),
            "source": published["source"],
            "notes": {name: facts["note"] for name, facts in presets.items() if facts["note"]},
        },
    )


def _row(spec: ExperimentSpec, published: dict[str, Any]) -> dict[str, str]:
    facts, flops = model_facts(spec.model), module_flops(spec.model)
    return {
        "preset": f"`{spec.name}`",
        "backbone": backbones.label(spec.model.backbone),
        "official config": f"`{published['config']}`",
        "parameters, M": f"{facts.parameters / 1e6:.2f}",
        "with statistics, M": f"{facts.with_running_statistics / 1e6:.2f}",
        "trainable, M": f"{facts.size(facts.trainable) / 1e6:.2f}",
        "GFLOPs": f"{flops[''] / 1e9:.1f}",
        "GFLOPs, fused": f"{flops_after_fusion(flops) / 1e9:.1f}",
        "published AP": _percent(published["ap"]),
        "AP50": _percent(published["ap50"]),
    }


def _percent(value: float | None) -> str:
    return show.ABSENT if value is None else f"{value:.1f}"


def main() -> int:
    """The command; 2 with one line where the page cannot be written."""
    page = zoo_page()
    try:
        PAGE.write_text(page, encoding="utf-8")
    except OSError as error:
        print(f"error: {PAGE}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
