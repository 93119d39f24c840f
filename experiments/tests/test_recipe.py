"""The spec of a run: what a user says is law, a recipe fills the rest, and every departure is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.deviations import TRAIN_IMAGES, deviations
from experiments.runs.options import Options, parse_options
from experiments.runs.recipe import FEW_IMAGES, NO_AUGMENTATION, Resolved, resolve
from frameworks.config import RECIPES, dump_yaml, load_with_account, preset, spec_hash
from frameworks.errors import UserError

OFFICIAL = preset("rtdetr_r18vd")
PRETRAINED = "random initial weights; the official recipe starts from a backbone pretrained on ImageNet"


def resolved(name: str = "rtdetr_r18vd", subset: int = 50, **given: Any) -> Resolved:
    return resolve(Options(subset=subset, preset=name, **given), load_with_account(name))


def file(folder: Path, text: str) -> str:
    (folder / "mine.yml").write_text(text)
    return str(folder / "mine.yml")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "quick"),
        ({"subset": FEW_IMAGES}, "quick"),
        ({"device": "cuda"}, "scratch"),
        ({"device": "cuda", "weights": "f.pth"}, "finetune"),
        ({"device": "cuda", "subset": FEW_IMAGES}, "official"),
        ({"device": "cuda", "recipe": "overfit"}, "overfit"),
        ({"recipe": "official"}, "official"),
    ],
)
def test_a_recipe_is_chosen_where_nothing_is_said(given: dict[str, Any], name: str) -> None:
    assert resolved(**given).sentence.startswith(f"{name} (")


def test_the_default_on_a_cpu_says_what_it_changes() -> None:
    found = resolved()
    assert found.sentence == (
        "quick (the default on a CPU): lr 0.0004 for all parameters, warmup_steps 10, "
        "epochs 26, schedule cosine, schedule_by step, image_size 128x128, batch_size 4, no augmentation"
    )
    spec = found.spec
    assert spec.model == OFFICIAL.model and spec.criterion == OFFICIAL.criterion
    assert spec.data.augmentation == NO_AUGMENTATION
    said = deviations(OFFICIAL, spec, train_images=50)
    for line in (
        "`recipe.epochs` is 26 instead of 72",
        "`data.image_size[1]` is 128 instead of 640",
        "`data.batch_size` is 4 instead of 16",
        "`data.augmentation.iou_crop` is 0 instead of 0.8",
        "50 training images instead of the 118,287 of COCO train2017",
        PRETRAINED,
    ):
        assert line in said


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_official_recipe_changes_nothing(device: str) -> None:
    found = resolved(recipe="official", device=device)
    assert found.spec == OFFICIAL
    assert found.sentence == "official (as the command says): nothing is changed"
    assert deviations(OFFICIAL, found.spec, train_images=TRAIN_IMAGES) == [PRETRAINED]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("form", ["own", "complete"])
def test_what_a_file_says_is_never_changed(tmp_path: Path, recipe: str, form: str) -> None:
    """The words that were replaced in silence: lr 0 and 5e-5, 50 epochs, a rectangle."""
    groups = "[{pattern: backbone, lr: 0, weight_decay: 0}, {pattern: '', lr: 5e-5, weight_decay: 0}]"
    own = f"inherit: rtdetr_r18vd\nrecipe: {{epochs: 50, groups: {groups}}}\ndata: {{image_size: [128, 256]}}\n"
    name = file(tmp_path, own)
    if form == "complete":
        (tmp_path / "whole.yml").write_text(dump_yaml(load_with_account(name).spec))
        name = str(tmp_path / "whole.yml")
    found = resolved(name, recipe=recipe)
    spec = found.spec
    assert [(group.lr, group.weight_decay) for group in spec.recipe.groups] == [(0, 0), (5e-5, 0)]
    assert (spec.recipe.epochs, spec.data.image_size) == (50, (128, 256))
    if recipe == "quick":
        assert "; kept as" in found.sentence and "image_size 128x256" in found.sentence
    if form == "complete":
        assert spec == load_with_account(name).spec


def test_files_that_inherit_from_files_say_what_all_of_them_say(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("inherit: rtdetr_r18vd\nrecipe: {epochs: 7, warmup_steps: 3}\n")
    name = file(tmp_path, "inherit: ./base.yml\nname: mine\nrecipe: {warmup_steps: 4}\n")
    found = resolved(name)
    assert (found.spec.recipe.epochs, found.spec.recipe.warmup_steps, found.spec.data.batch_size) == (7, 4, 4)
    assert found.official == OFFICIAL
    assert "`recipe.epochs` is 7 instead of 72" in deviations(found.official, found.spec, 50)


def test_a_file_that_says_everything_gets_the_official_recipe(tmp_path: Path) -> None:
    name = file(tmp_path, dump_yaml(replace(OFFICIAL, name="whole")))
    found = resolved(name)
    assert found.spec == replace(OFFICIAL, name="whole")
    assert found.sentence == "official (mine.yml says every field): nothing is changed"
    assert "says every field itself" in deviations(found.official, found.spec, TRAIN_IMAGES)[0]


def test_options_go_before_files_and_settings_before_options(tmp_path: Path) -> None:
    name = file(
        tmp_path, "inherit: rtdetr_r18vd\nrecipe: {epochs: 7}\ndata: {image_size: [320, 320], batch_size: 2}\n"
    )
    given: dict[str, Any] = {"epochs": 100, "image_size": (160, 320), "batch_size": 10}
    spec = resolved(name, **given).spec
    assert (spec.recipe.epochs, spec.data.image_size, spec.data.batch_size) == (100, (160, 320), 10)
    spec = resolved(name, **given, update=("recipe.epochs=3", "recipe.groups.0.lr=0")).spec
    assert (spec.recipe.epochs, spec.recipe.groups[0].lr) == (3, 0)


def test_the_command_line_of_recipes() -> None:
    options = parse_options(
        ["--subset", "8", "--budget", "overfit", "--image-size", "64x128", "-u", "a=1", "b=2", "-u", "c=3"]
    )
    assert isinstance(options, Options)
    assert (options.recipe, options.image_size, options.update) == ("overfit", (64, 128), ("a=1", "b=2", "c=3"))
    for text in ("big", "64x", "64x128x3", "-1"):
        with pytest.raises(UserError, match=r"--image-size.*expected"):
            parse_options(["--subset", "8", "--image-size", text])


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = file(tmp_path, "recipe: {epochs: 9, optimizer: sgd, momentum: 0.9}\n")
    found = resolved(recipe=path)
    assert (found.spec.recipe.epochs, found.spec.recipe.momentum) == (9, 0.9)
    assert found.sentence.endswith("(as the command says): epochs 9, optimizer sgd, momentum 0.9")
    (tmp_path / "mine.yml").write_text("recipe: {epoch: 9}\n")
    with pytest.raises(UserError, match=r"--recipe .*mine\.yml: .*no field 'epoch'. Did you mean 'epochs'"):
        resolved(recipe=path)


def test_a_batch_is_one_that_the_images_fill_unless_someone_said_another(tmp_path: Path) -> None:
    found = resolved(subset=3)
    assert found.spec.data.batch_size == 3 and "batch_size 3, as many as there are images" in found.sentence
    name = file(tmp_path, "inherit: rtdetr_r18vd\ndata: {batch_size: 4}\n")
    cases: tuple[dict[str, Any], ...] = (
        {"name": name},
        {"recipe": "official"},
        {"update": ("data.batch_size=4",)},
        {"batch_size": 4},
        {"recipe": file(tmp_path / "..", "data: {batch_size: 4}\n")},
    )
    for given in cases:
        with pytest.raises(UserError, match=r"batch.size (4|16) is more than --subset 3"):
            resolved(subset=3, **given)


def test_too_few_tokens_for_the_queries_are_said_before_anything_starts() -> None:
    """128 x 128 has 16² + 8² + 4² = 336 tokens, 96 x 128 has 252; the decoder selects 300."""
    assert resolved(image_size=(128, 128)).spec.data.image_size == (128, 128)
    with pytest.raises(UserError, match=r"96x128 has 252 tokens .* selects 300"):
        resolved(image_size=(96, 128))
    with pytest.raises(UserError, match="64x64 has 84 tokens"):
        resolved(update=("data.augmentation.scales=[64, 640]",))


def test_sizes_drawn_for_batches_are_said_beside_another_image_size() -> None:
    given: dict[str, Any] = {"recipe": "official", "image_size": (320, 320)}
    hint = "; but batches have sides of 480 to 800 px: for 320x320 alone add -u data.augmentation.scales=[]"
    assert resolved(**given).sentence.endswith(hint)
    assert hint not in resolved(**given, update=("data.augmentation.scales=[]",)).sentence


def test_a_training_without_a_parameter_is_refused() -> None:
    with pytest.raises(UserError, match="nothing would be trained"):
        resolved(update=("recipe.groups={lr: 0}",))


def test_a_run_that_is_tuned_from_a_checkpoint_officially_says_where_it_starts() -> None:
    official = preset("rtdetrv2_r34vd_dsp")
    said = deviations(official, resolved(official.name).spec, train_images=TRAIN_IMAGES)
    assert said[-1] == f"random initial weights; the official recipe starts from {official.recipe.tuning}"


@pytest.mark.parametrize("change", [{"clip_max_norm": 0.5}, {"betas": (0.9, 0.99)}, {"milestones": (3, 4)}])
def test_any_other_field_that_differs_is_said_too(change: dict) -> None:
    other = replace(OFFICIAL, recipe=replace(OFFICIAL.recipe, **change))
    (line, start) = deviations(OFFICIAL, other, train_images=TRAIN_IMAGES)
    assert next(iter(change)) in line and start == PRETRAINED


def test_another_kind_of_backbone_is_one_difference() -> None:
    other = replace(OFFICIAL, model=replace(OFFICIAL.model, backbone=preset("rtdetr_dla34").model.backbone))
    said = deviations(OFFICIAL, other, train_images=TRAIN_IMAGES)
    assert any(line.startswith("`model.backbone` is") for line in said)


def test_overfitting_is_a_subset_a_recipe_and_precision_on_the_way() -> None:
    options = parse_options(["--overfit", "8"])
    assert isinstance(options, Options)
    assert (options.subset, options.recipe) == (8, "overfit")
    assert (options.monitoring.validate_every, options.monitoring.validate_on) == (10, "train")
    other = parse_options(["--overfit", "8", "--recipe", "quick", "--validate-every", "3"])
    assert isinstance(other, Options) and (other.recipe, other.monitoring.validate_every) == ("quick", 3)
    with pytest.raises(UserError, match=r"--overfit N .* --subset is given, too"):
        parse_options(["--overfit", "8", "--subset", "8"])


def test_mixed_precision_is_part_of_the_spec_and_refused_for_a_framework_that_lacks_it() -> None:
    alone = {"frameworks": ("torch",), "device": "cpu"}
    spec = resolved(use_amp=True, **alone).spec
    assert spec.recipe.amp and spec == resolved(update=("recipe.amp=true",), **alone).spec
    assert spec_hash(spec) != spec_hash(resolved(**alone).spec)
    half = resolved(use_amp="float16", **alone).spec
    assert half == resolved(update=("recipe.amp=true", "recipe.amp_dtype=float16"), **alone).spec
    assert spec_hash(half) != spec_hash(spec)
    options = parse_options(["--subset", "2", "--use-amp", "--seed", "1"])
    assert isinstance(options, Options) and options.use_amp is True
    with pytest.raises(UserError, match=r"jittor cannot train in mixed precision.*train torch alone"):
        resolved(use_amp=True)
