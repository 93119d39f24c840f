"""The files of a report: the page as HTML, summary.json, and several runs in one command."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports import formatting as show
from reports.build import build_report, main
from reports.html import html_page, slug
from reports.publish import working_folder
from reports.run.detections import detection_grid
from reports.run.records import read_run
from reports.tests.run_folder import rewrite, total, write_run
from reports.tests.test_report import headline
from reports.tests.test_verdict import bootstrap, certify

HOSTILE = "<script>alert(1)</script>![x](http://evil/x.png)[y](javascript:z)`*$a_|"


class Tags(HTMLParser):
    """All tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def test_the_html_page_holds_everything_and_loads_nothing(pristine: Path) -> None:
    page, text = (pristine / "report.html").read_text(), (pristine / "report.md").read_text()
    tags = Tags(page)
    pictures = [str(attributes["src"]) for attributes in tags.all("img")]
    assert len(pictures) == len(re.findall(r"^!\[", text, re.MULTILINE)) >= 5
    assert all(picture.startswith("data:image/png;base64,iVBORw0KGgo") for picture in pictures)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not tags.all("link") and not tags.all("script")
    assert len(tags.all("details")) == text.count("<details>") > 2
    assert len(tags.all("table")) == len(re.findall(r"^\|:-", text, re.MULTILINE))
    assert "## " not in tags.text and "**" not in tags.text, "Markdown was left over"


def test_every_row_of_the_headline_leads_to_a_section_with_its_records(pristine: Path) -> None:
    text = (pristine / "report.md").read_text()
    targets = re.findall(r"\]\(#([^)]*)\)", text)
    ids = {str(attributes["id"]) for tag in ("h2", "h3") for attributes in Tags(html(pristine)).all(tag)}
    assert len(targets) >= 6 and set(targets) <= ids
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        if slug(part.splitlines()[0]) in targets:
            assert re.search(r"\bFrom `\w+\.jsonl?`", part), part.splitlines()[0]


def html(folder: Path) -> str:
    return (folder / "report.html").read_text()


@pytest.mark.usefixtures("blank_figures")
def test_the_summary_holds_the_numbers_of_the_headline(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ap=0.05, controls=1)
    certify(folder)
    bootstrap(folder, jittor=(0.01, -0.02, 0.04), control1=(-0.015, -0.04, 0.01))
    table = headline(build_report(folder).read_text())
    found = json.loads((folder / "summary.json").read_text())
    jittor, control = found["differences"]
    assert (jittor["reference"], jittor["other"], control["other"]) == ("torch", "jittor", "control1")
    torch, other = found["trainings"]["torch"], found["trainings"]["jittor"]
    losses = table["training loss (total), last epoch"]
    assert losses[:3] == [
        show.loss(torch["training_loss"]),
        show.loss(other["training_loss"]),
        show.percent(jittor["training_loss_relative"]),
    ]
    assert table["AP, training images"][:2] == [f"{torch['train']['AP']:.4f}", f"{other['train']['AP']:.4f}"]
    assert table["AP, training images"][2] == f"{jittor['AP']['train']['difference']:+.4f}"
    assert (jittor["AP"]["train"]["low"], jittor["AP"]["train"]["high"]) == (-0.02, 0.04)
    assert table["peak memory"][2] == show.ratio(jittor["peak_memory_ratio"], 1)
    assert table["time per epoch"][3] == show.ratio(control["epoch_seconds_ratio"], 1)
    assert float(table["worst float64 error ÷ its limit, first step"][2]) == pytest.approx(
        found["certificate"]["worst_share_of_limit"], rel=0.1
    )
    assert found["certificate"]["outcome"] == "passed" and found["complete"] is True
    assert torch["train"]["AP_small"] is None, "COCO's -1 is no number"
    assert jittor["beside_controls"][-1]["name"] == "in the last epoch" and not control["beside_controls"]


@pytest.mark.usefixtures("blank_figures")
def test_what_a_run_did_not_record_is_null(run_dir: Path) -> None:
    path = run_dir / "jittor" / "epochs.jsonl"
    lines = [json.loads(line) | {"loss": None, "peak_memory_mb": None} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run_dir / "torch" / "evaluation.jsonl").unlink()
    build_report(run_dir)
    found = json.loads((run_dir / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found["trainings"]["jittor"]["training_loss"] is None
    assert found["trainings"]["jittor"]["peak_memory_mb"] is None
    assert found["trainings"]["torch"]["train"]["AP"] is None
    (difference,) = found["differences"]
    assert difference["AP"] == {"train": None, "val": None} and difference["training_loss_relative"] is None


def test_one_changed_record_changes_figure_text_page_and_summary(pristine: Path, run_dir: Path) -> None:
    path = run_dir / "jittor" / "steps.jsonl"
    lines = path.read_text().splitlines()
    last = json.loads(lines[-1])
    last["total"] = 2 * total("torch", 64)
    path.write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    build_report(run_dir)
    old = {path.name: path.read_bytes() for path in pristine.glob("report*")}
    changed = {path.name for path in run_dir.glob("report*") if path.read_bytes() != old[path.name]}
    assert changed == {"report.md", "report.html", "report_loss.png"}
    assert "The total losses differ by 100 % at the last common step (65)" in (run_dir / "report.md").read_text()
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["differences"][0]["last_step_total_relative"] == pytest.approx(1.0)


@pytest.mark.usefixtures("blank_figures")
def test_text_from_records_is_text(run_dir: Path) -> None:
    def plant_meta(meta: dict[str, object]) -> None:
        for key in ("preset", "device", "recipe", "created"):
            meta[key] = HOSTILE
        meta["command"] = f"run\n```\n{HOSTILE}"
        meta["deviations"] = [HOSTILE]
        meta["data"] |= {"sentence": f"in /data/{HOSTILE}"}  # pyright: ignore[reportOperatorIssue]
        meta["environment"]["torch"][HOSTILE] = HOSTILE  # pyright: ignore[reportIndexIssue]
        meta["weights"] = {"path": HOSTILE, "remarks": [HOSTILE]}

    rewrite(run_dir / "run.json", plant_meta)
    rewrite(run_dir / "samples.json", lambda value: value.update(categories=dict.fromkeys("123", HOSTILE)))
    failure = {"kind": HOSTILE, "message": HOSTILE, "stderr_tail": f"~~~~~~\n{HOSTILE}"}
    (run_dir / "jittor" / "failure.json").write_text(json.dumps(failure))
    text = build_report(run_dir).read_text()
    shown = text.split("~~~~~~text")[0] + text.split("\n~~~~~~\n")[1].split("\n```\n")[0]
    assert not re.search(r"(?<!\\)<script", re.sub(r"(?<![`\\])`[^`]+`(?!`)", "", shown))
    tags = Tags(html(run_dir))
    assert not tags.all("script")
    assert all(str(attributes["src"]).startswith("data:") for attributes in tags.all("img"))
    assert all(str(attributes["href"]).startswith("#") for attributes in tags.all("a"))
    assert tags.text.count(HOSTILE) >= 6, "it is shown as it is"
    assert "incomplete" in tags.text


@pytest.mark.parametrize(
    "text", [HOSTILE, "__init__", "a_b", "x|y", "&amp; ~~no~~", "[`a`](b)", r"\<b>", "``<b>`c`"]
)
def test_names_are_shown_letter_by_letter(text: str, tmp_path: Path) -> None:
    for write in (show.plain, show.prose):
        page = html_page(f"# t\n\n| a |\n|---|\n| {show.cell(write(text))} |\n", tmp_path)
        shown = Tags(page).text
        assert text in shown or (write is show.prose and text.replace("`", "") in shown.replace("`", ""))


def test_a_picture_from_elsewhere_is_its_description(tmp_path: Path) -> None:
    page = html_page("# t\n\n![told](../x.png) ![too](http://evil/x.png)\n", tmp_path)
    assert not Tags(page).all("img") and "told too" in Tags(page).text


@pytest.mark.usefixtures("blank_figures")
def test_a_run_that_cannot_be_built_is_a_line_and_the_others_are_built(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = write_run(tmp_path / "odd")
    certify(odd)
    lines = (odd / "certificate.jsonl").read_text().splitlines()
    (odd / "certificate.jsonl").write_text('{"no": "dtype"}\n' + "\n".join(lines) + "\n")
    assert main([str(tmp_path / "nowhere"), str(odd), str(run_dir)]) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{run_dir / 'report.md'}\n"
    errors = captured.err.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors)
    assert "nowhere" in errors[0] and f"{odd}: a record does not have the form" in errors[1]


def test_a_framework_is_named_by_a_word(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(run_dir / "run.json", lambda meta: meta["frameworks"].append("../other"))
    assert main([str(run_dir)]) == 2 and "'../other', which is no name" in capsys.readouterr().err


def test_a_class_may_be_called_like_a_formula(run_dir: Path) -> None:
    rewrite(run_dir / "samples.json", lambda value: value.update(categories=dict.fromkeys("123", r"$\no^$")))
    assert detection_grid(read_run(run_dir), run_dir / "report_detections.png")


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left, others = tmp_path / f".report-{int(ended.stdout)}-abc", tmp_path / f".report-{os.getpid()}-abc"
    for folder in (left, others):
        folder.mkdir()
        (folder / "report_loss.png").touch()
    with working_folder(tmp_path, "report") as folder:
        assert not left.exists() and others.exists() and folder.is_dir()
    assert list(tmp_path.iterdir()) == [others]
