"""Recipes as overlays, and single values by dotted paths."""

from dataclasses import replace
from pathlib import Path

import pytest

from frameworks.config import (
    PRESETS,
    RECIPES,
    SpecError,
    from_dict,
    load_recipe,
    load_with_account,
    preset,
    spec_hash,
    to_dict,
    with_recipe,
    with_settings,
)

R18 = preset("rtdetr_r18vd")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_fits_every_preset(recipe: str) -> None:
    overlay = load_recipe(recipe)
    for name in PRESETS:
        spec = with_recipe(preset(name), overlay, {})
        assert (spec.model, spec.criterion) == (preset(name).model, preset(name).criterion)
        assert (spec == preset(name)) == (recipe == "official")


def test_fine_tuning_is_what_users_of_small_subsets_run() -> None:
    spec = with_recipe(preset("rtdetrv2_r18vd"), load_recipe("finetune"), {})
    decays = [0.0, 1e-4]  # norms and the rest, as in the preset
    assert [(group.lr, group.weight_decay) for group in spec.recipe.groups] == [(5e-5, decay) for decay in decays]
    assert spec.recipe.epochs == 50 and spec.recipe.warmup_steps < 50
    assert spec.data.augmentation == preset("rtdetrv2_r18vd").data.augmentation


def test_unknown_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown recipe 'quik'.*Did you mean 'quick'\?"):
        load_recipe("quik")
    with pytest.raises(SpecError, match="no such file"):
        load_recipe(str(tmp_path / "mine.yml"))


def test_what_is_said_stays() -> None:
    spec = with_recipe(
        R18, load_recipe("quick"), {"recipe": {"epochs": 50}, "data": {"augmentation": {"zoom_out": 1}}}
    )
    assert (spec.recipe.epochs, spec.recipe.warmup_steps) == (50, 10)
    assert (spec.data.augmentation.zoom_out, spec.data.augmentation.iou_crop) == (1, 0)


def test_files_tell_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("inherit: tiny\nrecipe: {epochs: 3}\ndata: {batch_size: 8}\n")
    (tmp_path / "mine.yml").write_text("inherit: base.yml\ndata: {batch_size: 4}\n")
    loaded = load_with_account(str(tmp_path / "mine.yml"))
    assert (loaded.base, loaded.said) == ("tiny", {"recipe": {"epochs": 3}, "data": {"batch_size": 4}})
    assert (load_with_account("tiny").base, load_with_account("tiny").said) == ("tiny", {})


@pytest.mark.parametrize(
    ("settings", "path", "value"),
    [
        (["recipe.epochs=50"], ("recipe", "epochs"), 50),
        (["recipe.eps=1e-4"], ("recipe", "eps"), 1e-4),
        (["data.image_size=[64,128]"], ("data", "image_size"), [64, 128]),
        (["data.image_size.1=128"], ("data", "image_size"), [640, 128]),
        (["recipe.groups.0.lr=0"], ("recipe", "groups", 0, "lr"), 0),
        (["recipe.groups={lr: 3e-4}"], ("recipe", "groups", 3, "lr"), 3e-4),
        (["name=mine"], ("name",), "mine"),
        (["recipe.optimizer=sgd", "recipe.momentum=0.9"], ("recipe", "momentum"), 0.9),
        (["data.augmentation={zoom_out: 0}"], ("data", "augmentation", "iou_crop"), 0.8),
        (["recipe.epochs=1", "recipe.epochs=2"], ("recipe", "epochs"), 2),
    ],
)
def test_settings(settings: list[str], path: tuple, value: object) -> None:
    found = to_dict(with_settings(R18, settings))
    for key in path:
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    ("setting", "fragment"),
    [
        ("recipe.epochs", "expected key=value, as in recipe.epochs=50"),
        ("recipe.epoch=3", r"no field 'recipe.epoch'. Did you mean 'recipe.epochs'\?"),
        ("epoches=3", r"no field 'epoches'. Did you mean 'recipe.epochs'\?"),
        ("recipe.groups.9.lr=3", r"no field 'recipe.groups.9.lr'. Did you mean 'recipe.groups"),
        ("recipe.epochs=many", "recipe.epochs is 'many'; expected int"),
        ("recipe.epochs=0", "epochs is 0; expected at least 1"),
        ("recipe.milestones=[1", "not valid YAML"),
        ("recipe.momentum=0.9", "only the optimizer 'sgd' has it"),
        ("recipe.optimizer=lion", "expected one of 'adamw', 'adam', 'sgd'"),
        ("recipe.schedule=linear", "expected one of 'multistep', 'cosine', 'onecycle'"),
    ],
)
def test_settings_that_mean_nothing(setting: str, fragment: str) -> None:
    with pytest.raises(SpecError, match=fragment) as found:
        with_settings(R18, [setting])
    assert str(found.value).startswith("-u") and "\n" not in str(found.value)


def test_sgd_is_another_spec() -> None:
    """Fields that cannot change alone are in the hash."""
    sgd = with_settings(R18, ["recipe.optimizer=sgd"])
    momentum = with_settings(sgd, ["recipe.momentum=0.9"])
    nesterov = with_settings(momentum, ["recipe.nesterov=true"])
    assert len({spec_hash(spec) for spec in (R18, sgd, momentum, nesterov)}) == 4
    assert from_dict(type(R18), to_dict(nesterov)) == nesterov
    with pytest.raises(SpecError, match="nesterov"):
        replace(sgd.recipe, nesterov=True)
