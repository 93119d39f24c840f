"""A third framework joins the parity tests by one line in ``frameworks.ADAPTERS``; no test names two frameworks.

An inner session of pytest runs with the reference and ``cases/mirror.py`` as the adapters.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import frameworks
from frameworks.shared.stages import STAGES
from frameworks.workers.client import REPOSITORY
from parity_tests.cases.mirror import FAULT, FRAMEWORK

SESSION = """
import sys
import frameworks
import pytest
for name in frameworks.candidates():
    del frameworks.ADAPTERS[name]
frameworks.ADAPTERS["mirror"] = "parity_tests.cases.mirror"
sys.exit(pytest.main(sys.argv[1:]))
"""
# All tests of one small model, but for those that run the PyTorch twin alone whatever the adapters are; the
# contract of the mirror; one case of the oracle.
PYTORCH_ALONE = "test_judge or test_spec_fields or test_can_fail or test_mutants or test_onnx or test_floor"
OTHER_SIZES = "tiny_hgnetv2 or tiny_bottleneck"
ORACLE_CASE = "test_oracle and test_evaluation and eval_sq and rtdetr_r18vd"
SELECTED = f"(tiny and not ({OTHER_SIZES} or {PYTORCH_ALONE})) or (test_contract and mirror) or ({ORACLE_CASE})"


def run_session(folder: Path, selected: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the selected parity tests with the mirror; records go to ``folder``."""
    options = ["-q", "-k", f"({selected}) and not cuda", "-m", "not zoo", "-p", "no:cacheprovider"]
    ignored = ["--ignore", f"parity_tests/{Path(__file__).name}"]
    return subprocess.run(
        [sys.executable, "-c", SESSION, "parity_tests", *options, *ignored, "--records", str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,  # small models are no faster with more
        capture_output=True,
        text=True,
    )


def test_a_third_framework_is_compared_by_every_judge(tmp_path):
    done = run_session(tmp_path, SELECTED)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record.get("framework") == FRAMEWORK.name]
    stages = {
        judge: {r["stage"] for r in records if r["judge"] == judge} for judge in {r["judge"] for r in records}
    }
    assert stages.keys() == {"twin", "oracle", "huggingface", "self"}
    assert stages["twin"] == set(STAGES)
    not_in_hf = {"module forward", "gradient norm", "update", "moments", "EMA"}
    assert stages["huggingface"] == set(STAGES) - not_in_hf
    assert {record["dtype"] for record in records} == {"float64", "float32"}
    assert {record["framework"] for record in map(json.loads, lines) if "framework" in record} == {
        frameworks.REFERENCE,
        FRAMEWORK.name,
    }


def test_failed_comparisons_of_whole_models_name_framework_and_module(tmp_path):
    """Evaluation, training, and a whole step, in both precisions."""
    module = "encoder.encoder.0.layers.0.self_attn"
    fault = {FAULT: f"{module}.out_proj.weight"}
    whole = "(test_model and (test_training or test_evaluation)) or (test_steps and 1-)"
    done = run_session(tmp_path, f"({whole}) and tiny and not tiny_", **fault)
    assert done.returncode == 1, done.stdout[-5000:] + done.stderr[-2000:]
    assert "6 failed" in done.stdout, done.stdout[-5000:]
    assert f"{FRAMEWORK.name}: " in done.stdout
    # Only the lines of the failures: under CI, pytest repeats whole messages in its summary.
    found = [line for line in done.stdout.splitlines() if line.startswith("E ") and "first module" in line]
    assert [f"{module} (forward)" in line for line in found] == [True] * 6, done.stdout[-5000:]
