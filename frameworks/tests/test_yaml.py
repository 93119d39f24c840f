"""YAML files: a spec read back is equal, inheriting files, and errors as one line with the place."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frameworks.config import (
    PRESETS,
    ExperimentSpec,
    HGNetv2Spec,
    ParameterGroup,
    RegNetSpec,
    SpecError,
    added,
    dump_changes,
    dump_yaml,
    load_spec,
    load_yaml,
    preset,
    spec_files,
    spec_hash,
    to_dict,
)
from frameworks.config.mappings import read_mapping

TINY = preset("tiny")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_mappings_are_merged_as_yaml_says(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: &d {<<: *b, y: 4}\ne: {<<: *d}\n"
    found = read_mapping(write(tmp_path / "a.yml", text + "".join(f"f{i}: {{<<: *a}}\n" for i in range(300))))
    assert found["c"] == {"x": 1, "y": 1, "z": 3}
    assert found["d"] == found["e"] == {"x": 2, "z": 2, "y": 4}
    assert found["f299"] == {"x": 1, "y": 1} and len(found) == 305
    deep = read_mapping(write(tmp_path / "b.yml", CHAIN[: CHAIN.index("a500:")]))
    assert deep["a499"] == {"x": 1}


def read(tmp_path: Path, text: str) -> ExperimentSpec:
    return load_yaml(write(tmp_path / "spec.yml", text))


def changed(spec: ExperimentSpec, part: str, **fields: Any) -> ExperimentSpec:
    """``spec`` with other fields in the part of that dotted path."""
    if not part:
        return dataclasses.replace(spec, **fields)
    head, _, rest = part.partition(".")
    return dataclasses.replace(spec, **{head: changed(getattr(spec, head), rest, **fields)})


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_its_file(name: str, tmp_path: Path) -> None:
    spec = read(tmp_path, dump_yaml(preset(name)))
    assert spec == preset(name)
    assert spec_hash(spec) == spec_hash(preset(name))


def later_spec(monkeypatch: pytest.MonkeyPatch, field: Any) -> None:
    """Make files describe a spec that has a field ``extra``, too."""
    later = dataclasses.make_dataclass("Later", [("extra", int, field)], bases=(ExperimentSpec,), frozen=True)
    monkeypatch.setattr(spec_files, "ExperimentSpec", later)


def test_complete_file_may_lack_a_field_that_was_added_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    later_spec(monkeypatch, added(3))
    assert to_dict(read(tmp_path, dump_yaml(TINY))) == to_dict(TINY) | {"extra": 3}
    assert to_dict(read(tmp_path, dump_yaml(TINY) + "extra: 5\n"))["extra"] == 5


def test_complete_file_may_lack_no_other_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    later_spec(monkeypatch, dataclasses.field(default=3))
    with pytest.raises(SpecError, match="extra is missing"):
        read(tmp_path, dump_yaml(TINY))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("base", ["tiny", "rtdetr_regnet", "rtdetrv2_hgnetv2_l"])
def test_changes_describe_the_spec(name: str, base: str, tmp_path: Path) -> None:
    text = dump_changes(preset(name), preset(base))
    assert text.startswith(f"inherit: {base}\n")
    assert (text.count("\n") == 1) == (name == base), "nothing but what differs"
    assert read(tmp_path, text) == preset(name)


positive = st.floats(min_value=0, max_value=1e300, allow_nan=False)


AWKWARD = ("no", "1e5", "0x10", "~", "", "2024-01-01", "- a", "a: b", "a\nb  ", "*x", "é\x85")


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    name=st.text() | st.sampled_from(AWKWARD),
    lr=positive,
    eps=st.floats(min_value=1e-300, max_value=1.0),
    milestones=st.lists(st.integers(0, 10**6), max_size=20),
)
def test_any_text_and_number_survives(
    name: str, lr: float, eps: float, milestones: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    groups = (ParameterGroup("^(?=.*norm|bn).*$", lr, 0.0), ParameterGroup("", lr, 1e-4))
    fields = {"groups": groups, "eps": eps, "milestones": tuple(milestones), "tuning": name}
    spec = changed(dataclasses.replace(TINY, name=name), "recipe", **fields)
    found = read(tmp_path_factory.mktemp("any"), dump_yaml(spec))
    assert found == spec
    assert spec_hash(found) == spec_hash(spec)


def test_text_is_readable() -> None:
    text = dump_yaml(preset("rtdetrv2_r18vd_sp1"))
    lines = text.splitlines()
    assert lines[:4] == ["name: rtdetrv2_r18vd_sp1", "model:", "  version: v2", "  num_classes: 80"]
    assert "    num_points: [1, 1, 1]" in lines
    assert "  - pattern: ^(?=.*(?:norm|bn)).*$" in lines
    assert [line.rstrip(":") for line in lines if line[0].isalpha()][1:] == ["model", "criterion", "recipe", "data"]


def test_inheritance_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    found = read(
        tmp_path, "inherit: tiny\nrecipe: {milestones: [3, 4], gamma: 0.5}\nmodel: {decoder: {eval_idx: 0}}\n"
    )
    expected = changed(TINY, "recipe", milestones=(3, 4), gamma=0.5)
    assert found == changed(expected, "model.decoder", eval_idx=0)
    groups = read(
        tmp_path, "inherit: tiny\nrecipe: {groups: [{pattern: '', lr: 1, weight_decay: 0}]}\n"
    ).recipe.groups
    assert groups == (ParameterGroup("", 1.0, 0.0),)


def test_another_kind_replaces_the_backbone(tmp_path: Path) -> None:
    text = "inherit: rtdetr_r50vd\nmodel: {backbone: {kind: %s, freeze_at: 1}}\n"
    assert read(tmp_path, text % "hgnetv2").model.backbone == HGNetv2Spec(freeze_at=1), (
        "freeze_norm is HGNetv2's own"
    )
    assert read(tmp_path, text % "regnet").model.backbone == RegNetSpec(freeze_at=1)
    same = changed(preset("rtdetr_r50vd"), "model.backbone", freeze_at=1)
    assert read(tmp_path, text % "presnet").model.backbone == same.model.backbone


def test_chain_is_relative_to_each_file(tmp_path: Path) -> None:
    write(tmp_path / "base" / "small.yml", "inherit: tiny\nname: small\nmodel: {num_classes: 3}\n")
    write(tmp_path / "base" / "long.yaml", "inherit: small.yml\nrecipe: {epochs: 9}\n")
    found = read(tmp_path, "inherit: base/long.yaml\nname: mine\n")
    assert (found.name, found.model.num_classes, found.recipe.epochs) == ("mine", 3, 9)
    assert found.criterion == TINY.criterion


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E3", 1e3), ("2.5e2", 250.0), (".5e1", 5.0), ("3", 3.0)]
)
def test_number_without_a_dot_is_a_number(text: str, value: float, tmp_path: Path) -> None:
    found = read(tmp_path, f"inherit: tiny\nrecipe: {{eps: {text}}}\n")
    assert found.recipe.eps == value
    assert type(found.recipe.eps) is float


def test_words_for_true_and_false(tmp_path: Path) -> None:
    text = "inherit: tiny\nmodel: {backbone: {freeze_norm: on}}\ncriterion: {aux_loss: no}\n"
    found = read(tmp_path, text)
    assert (found.model.backbone.freeze_norm, found.criterion.aux_loss) == (True, False)


MANY_LAUGHS = "a: &a [1]\n" + "".join(f"{y}: &{y} [{f'*{x}, ' * 9}]\n" for x, y in pairwise("abcdefghij"))
MERGED = "a: &a {x: 1}\n" + "".join(f"{y}: &{y} {{<<: [{f'*{x}, ' * 9}]}}\n" for x, y in pairwise("abcdefghij"))
WIDE = f"a: &a {{{', '.join(f'k{i}: 1' for i in range(1000))}}}\nb: {{<<: [{'*a, ' * 9000}]}}\n"
CHAIN = "a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} {{<<: *a{i}}}\n" for i in range(3000))
BAD = [
    (MERGED, ["expands to more than 100000 values"]),
    (WIDE, ["expands to more than 100000 values"]),
    ("inherit: tiny\nz: &z\n  <<: *z\n", ["no field 'z'"]),
    ("inherit: tiny\nz:\n  <<: [1]\n", ["spec.yml:3:8", "<< takes a mapping"]),
    (f"inherit: tiny\nseed: {':'.join('1' * 9000)}\n", ["spec.yml:2:7", "17999 characters"]),
    (f"inherit: tiny\nseed: {'9' * 9000}\n", ["spec.yml:2:7", "9000 characters"]),
    (f"inherit: tiny\nseed: {':'.join('1' * 400)}.5\n", ["spec.yml", "form or tag"]),
    (f"inherit: tiny\nname: !!binary {'A' * 9000}\n", ["spec.yml:2:7", "characters"]),
    ("# " + "x" * 2**18, ["larger than 262144 bytes"]),
    ("é" * 2**18, ["larger than 262144 bytes"]),
    ("", ["is empty"]),
    ("# only this\n", ["is empty"]),
    ("- name\n- model\n", ["holds a list", "mapping"]),
    ("just words\n", ["holds a str", "mapping"]),
    ("inherit: tiny\nmodel: {decoder: {num_queries: [3\n", ["spec.yml:3:1", "not valid YAML"]),
    ("inherit: tiny\nmodel:\n\tdecoder: 3\n", ["spec.yml:3:1", "not valid YAML"]),
    ("inherit: tiny\nname: a\x07b\n", ["spec.yml:2:8", "0x7", "not text"]),
    ("inherit: tiny\nname: a\nname: b\n", ["spec.yml:3:1", "'name'", "second time"]),
    ("inherit: tiny\nrecipe:\n  gamma: 1\n  gamma: 2\n", ["spec.yml:4:3", "'gamma'"]),
    ("inherit: tiny\nrecipe: *r\n", ["spec.yml:2:9", "undefined alias"]),
    ("inherit: tiny\nrecipe: &r {gamma: *r}\n", ["expands to more than 100000 values"]),
    (MANY_LAUGHS, ["expands to more than 100000 values"]),
    ("inherit: tiny\nname: !!python/name:os.system ''\n", ["spec.yml:2:7", "not valid YAML"]),
    ("inherit: tiny\nname: 2024-13-45\n", ["spec.yml", "month"]),
    ("[" * 9000, ["nested too deeply"]),
    ("inherit: tiny\n? [a, b]\n: 3\n", ["spec.yml:2", "not valid YAML"]),
    ("inherit: tiny\nmodle: {}\n", ["no field 'modle'", "Did you mean 'model'?"]),
    ("inherit: tiny\nmodel: {decoder: {num_querys: 3}}\n", ["model.decoder", "Did you mean 'num_queries'?"]),
    ("inherit: tiny\nrecipe: {groups: [{patern: ''}]}\n", ["groups[0]", "'patern'", "'pattern'"]),
    ("inherit: tiny\nrecipe: {epochs: 3.5}\n", ["recipe.epochs is 3.5", "expected int"]),
    ("inherit: tiny\nrecipe: {epochs: true}\n", ["recipe.epochs is True", "expected int"]),
    ("inherit: tiny\nrecipe: {gamma: fast}\n", ["recipe.gamma is 'fast'", "expected float"]),
    ("inherit: tiny\nrecipe: {gamma: .inf}\n", ["recipe.gamma is inf", "finite"]),
    (f"inherit: tiny\nrecipe: {{gamma: 1{'0' * 400}}}\n", ["recipe.gamma is inf", "finite"]),
    (f"inherit: tiny\nmodel: {{encoder: {{hidden_dim: 1{'0' * 400}}}}}\n", ["hidden_dim is 1000", "64 bits"]),
    ("inherit: tiny\nname: no\n", ["name is False", "expected str", "quotes"]),
    ("inherit: tiny\nmodel: [1]\n", ["model is [1]", "mapping"]),
    ("inherit: tiny\nmodel:\n", ["model is None", "mapping"]),
    ("inherit: tiny\ndata: {image_size: 64}\n", ["image_size is 64", "expected a list"]),
    ("inherit: tiny\ndata: {image_size: [64]}\n", ["image_size is [64]", "2 values"]),
    ("inherit: tiny\ndata: {image_size: [60, 64]}\n", ["image_size", "multiples of 32"]),
    ("inherit: tiny\nmodel: {backbone: {kind: hgnetv3}}\n", ["'hgnetv3'", "Did you mean 'hgnetv2'?"]),
    ("inherit: tiny\nmodel: {backbone: {kind: [dla]}}\n", ["kind is ['dla']"]),
    ("inherit: tiny\nmodel: {backbone: dla}\n", ["backbone is 'dla'", "kind"]),
    ("inherit: tiny\nmodel: {backbone: {kind: dla, blocks: [1]}}\n", ["'blocks'", "backbone"]),
    ("inherit: tinny\n", ["'tinny'", "Did you mean 'tiny'?"]),
    ("inherit: other.yml\n", ["'other.yml'", "no file"]),
    ("inherit: [tiny]\n", ["inherit is ['tiny']", "preset"]),
    ("inherit:\n", ["inherit is None"]),
]


@pytest.mark.parametrize(("text", "fragments"), BAD)
def test_bad_file(text: str, fragments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    for fragment in ["spec.yml", *fragments]:
        assert fragment in message
    assert len(message) < 1500


@pytest.mark.parametrize("path", ["model.decoder.eps", "recipe.groups[1].lr", "data.augmentation", "name"])
def test_without_a_preset_nothing_may_be_missing(path: str, tmp_path: Path) -> None:
    """A default would fill the gap, and another default would change what an old file means."""
    text = "\n".join(_without(dump_yaml(TINY).splitlines(), path))
    with pytest.raises(
        SpecError, match=r"spec\.yml: .*" + path.replace("[", r"\[").replace("]", r"\]") + ".* is missing"
    ):
        read(tmp_path, text)


def _without(lines: list[str], path: str) -> list[str]:
    """The lines of a dump without those of one field."""
    field = path.rpartition(".")[2]
    start = [i for i, line in enumerate(lines) if line.lstrip(" -").startswith(f"{field}:")]
    index = start[{"model.decoder.eps": 0, "recipe.groups[1].lr": 1}.get(path, 0)]
    indent = len(lines[index]) - len(lines[index].lstrip())
    end = next(
        (i for i in range(index + 1, len(lines)) if len(lines[i]) - len(lines[i].lstrip()) <= indent), len(lines)
    )
    return lines[:index] + lines[end:]


def test_circle_names_its_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yml", "inherit: b.yml\n")
    write(tmp_path / "b.yml", "inherit: ./a.yml\n")
    with pytest.raises(SpecError, match=r"a\.yml inherits from itself: .*a\.yml -> .*b\.yml -> .*a\.yml"):
        load_yaml(tmp_path / "a.yml")


def test_fault_in_a_parent_names_the_parent(tmp_path: Path) -> None:
    write(tmp_path / "parent.yml", "inherit: tiny\nrecipe: {epochs: 0}\n")
    with pytest.raises(SpecError, match=r"^.*parent\.yml: RecipeSpec\.epochs is 0"):
        read(tmp_path, "inherit: parent.yml\n")


def test_what_is_no_text_file(tmp_path: Path) -> None:
    (tmp_path / "model.yml").write_bytes(b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01")
    with pytest.raises(SpecError, match="is not text"):
        load_yaml(tmp_path / "model.yml")
    with pytest.raises(SpecError, match="is a folder"):
        load_yaml(tmp_path)
    with pytest.raises(SpecError, match="no such file"):
        load_yaml(tmp_path / "nowhere.yml")


def test_file_that_inherits_is_one_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.yml", "inherit: tiny\ntask: detection\n")
    with pytest.raises(SpecError, match="no field 'task'"):
        load_spec(str(path))


def test_load_spec_takes_names_and_files(tmp_path: Path) -> None:
    assert load_spec("rtdetr_dla34") == preset("rtdetr_dla34")
    path = write(tmp_path / "without_suffix", dump_yaml(TINY))
    assert load_spec(str(path)) == TINY
    assert to_dict(load_spec(str(path))) == to_dict(TINY)


@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("rtdetr_r18", ["unknown preset", "Did you mean 'rtdetr_r18vd'?"]),
        ("nowhere/tiny.yml", ["nowhere/tiny.yml", "no such file"]),
        ("", ["unknown preset"]),
    ],
)
def test_load_spec_refuses(name: str, fragments: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(name)
    for fragment in fragments:
        assert fragment in str(caught.value)
