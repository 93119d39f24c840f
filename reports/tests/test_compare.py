"""Several runs side by side: what may be compared, what differs, and the files of the page."""

import json
from pathlib import Path

import pytest

from reports.compare import main
from reports.comparison.facts import circumstances, deciding
from reports.run.records import read_run
from reports.tests.run_folder import rewrite, write_run

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs that are the same in everything."""
    return write_run(tmp_path / "one", ap=0.05, controls=1), write_run(tmp_path / "two", ap=0.05, controls=1)


def test_equal_runs_are_comparable_and_their_differences_computed(two: tuple[Path, Path], tmp_path: Path) -> None:
    path = two[1] / "jittor" / "epochs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1] |= {"loss": 1.1 * lines[-1]["loss"], "peak_memory_mb": 2 * lines[-1]["peak_memory_mb"]}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out"
    assert main([*map(str, two), "--out", str(out)]) == 0
    text = (out / "comparison.md").read_text()
    assert "- B is comparable with A: the same data, spec, seed, initial weights and number of epochs." in text
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "B against A" in line
    ]
    assert [row[1] for row in rows] == ["PyTorch", "Jittor", "control 1"]
    assert rows[0][2:] == ["0 %", "+0.0000", "+0.0000", "× 1.00", "× 1.00"]
    assert rows[1][2:] == ["10 %", "+0.0000", "+0.0000", "× 1.00", "× 2.00"]
    assert "Nothing that was recorded about machine" in text and "decides the result" not in text
    assert {each.name for each in out.iterdir()} == {"comparison.md", "comparison.html", "comparison_loss.png"}
    first = {each.name: each.read_bytes() for each in out.iterdir()}
    main([*map(str, two), "--out", str(out)])
    assert {each.name: each.read_bytes() for each in out.iterdir()} == first


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"spec": {"model": {"num_classes": 3}}, "spec_hash": "ff"}, "spec: model.num_classes"),
        ({"seed": 8}, "seed"),
    ],
)
def test_another_spec_or_seed_is_not_comparable(
    two: tuple[Path, Path], tmp_path: Path, change: dict[str, object], name: str
) -> None:
    rewrite(two[1] / "run.json", lambda meta: meta.update(change))
    assert main([*map(str, two), "--out", str(tmp_path / "out")]) == 1
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "**B is not comparable with A**: they differ in what decides a result (" in text
    assert f"| {name} " in text and "B against A" not in text


def test_other_images_or_epochs_are_not_comparable(two: tuple[Path, Path], tmp_path: Path) -> None:
    rewrite(two[1] / "manifest_train.json", lambda value: value["images"][0].update(sha256="11"))
    path = two[1] / "jittor" / "epochs.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    facts = {fact.name: fact.values for fact in deciding([read_run(each) for each in two])}
    assert set(facts) == {"images: train", "Jittor: trained epochs"}
    assert facts["Jittor: trained epochs"] == ("5", "3")
    for each in two:
        (each / "manifest_val.json").unlink()
    assert "images: val" in {fact.name for fact in deciding([read_run(each) for each in two])}, (
        "unknown is not equal"
    )


def test_the_machine_decides_nothing_and_only_what_differs_is_shown(two: tuple[Path, Path], tmp_path: Path) -> None:
    rewrite(two[1] / "run.json", lambda meta: meta["environment"]["jittor"].update(numpy="1.26.5<b>", pid=5))
    runs = [read_run(each) for each in two]
    assert not deciding(runs)
    assert [(fact.name, fact.values) for fact in circumstances(runs)] == [("jittor.numpy", ("1.26.4", "1.26.5<b>"))]
    assert main([*map(str, two), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| jittor.numpy " in text and r"1.26.5\<b\>" in text and "flags.threads" not in text


def test_a_spec_from_before_a_field_was_added_has_its_default(two: tuple[Path, Path]) -> None:
    from frameworks.config.loading import load_spec
    from frameworks.config.serialization import recorded, to_dict

    spec = load_spec("tiny")
    rewrite(two[0] / "run.json", lambda meta: meta.update(spec=recorded(spec)))
    rewrite(two[1] / "run.json", lambda meta: meta.update(spec=to_dict(spec)))
    assert recorded(spec) != to_dict(spec) and not deciding([read_run(each) for each in two])
    rewrite(two[1] / "run.json", lambda meta: meta["spec"]["recipe"]["groups"][0].update(lr=0.5))
    (fact,) = deciding([read_run(each) for each in two])
    assert fact.name == "spec: recipe.groups.0.lr" and fact.values[1] == "0.5"


def test_errors_are_one_line(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(two[0])]) == 2
    assert main([str(two[0]), str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "give two or more" in errors[0] and "no such run folder" in errors[1]
    assert not (tmp_path / "out").exists()
