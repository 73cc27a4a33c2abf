import pytest

from scrimp.cli.settings import lay_over, tables_of
from scrimp.errors import NotFound, SettingError, UnknownName
from scrimp.plan import Plan, read_plan
from scrimp.settings import to_toml
from scrimp.training import Recipe

SMALL = """
[images]
source = "digits"
[recipe]
model = "ultralight"
epochs = 3
"""


def test_a_plan_survives_its_file(tmp_path):
    (tmp_path / "plan.toml").write_text(SMALL)
    plan = read_plan(tmp_path / "plan.toml")
    assert (plan.recipe.model, plan.recipe.epochs, plan.images.source) == ("ultralight", 3, "digits")
    (tmp_path / "resolved.toml").write_text(to_toml(plan))
    assert read_plan(tmp_path / "resolved.toml") == plan


def test_an_unknown_key_offers_the_nearest(tmp_path):
    (tmp_path / "plan.toml").write_text(SMALL + "epoch = 4\n")
    with pytest.raises(UnknownName, match=r"'epoch'.*Did you mean 'epochs'"):
        read_plan(tmp_path / "plan.toml")
    (tmp_path / "plan.toml").write_text(SMALL + "[preperation]\nimage_px = 32\n")
    with pytest.raises(UnknownName, match=r"'preperation'.*'preparation'"):
        read_plan(tmp_path / "plan.toml")


def test_impossible_values_are_refused_with_the_value():
    with pytest.raises(SettingError, match=r"Recipe.epochs: .*not -3"):
        Recipe(model="ultralight", epochs=-3)
    with pytest.raises(SettingError, match=r"optimiser.*'sdg'"):
        Recipe(model="ultralight", optimiser="sdg")
    with pytest.raises(SettingError, match="contradict"):
        Recipe(model="ultralight", weights="a.pth", pretrained=False)
    with pytest.raises(SettingError, match=r"Recipe.model"):
        Recipe()


def test_unknown_models_and_augmentations_are_refused_before_anything_is_read():
    with pytest.raises(UnknownName, match="Did you mean 'mobilenet_v3_small'"):
        Recipe(model="mobilnet_v3_small")
    with pytest.raises(UnknownName, match="Did you mean 'mirror'"):
        Recipe(model="ultralight", augment="shift,miror")
    assert Recipe(model="timm:anything").model == "timm:anything"


def test_changes_are_checked_again():
    recipe = Recipe(model="ultralight")
    assert recipe.but(epochs=7).epochs == 7
    assert recipe.epochs == 12
    with pytest.raises(SettingError):
        recipe.but(epochs=0)


def test_plans_that_differ_have_different_names():
    plan = Plan(images={"source": "digits"}, recipe={"model": "ultralight"})
    others = [
        plan.but(recipe=plan.recipe.but(seed=1)),
        plan.but(recipe=plan.recipe.but(lr=0.5)),
        plan.but(preparation=plan.preparation.but(image_px=64)),
        plan.but(images=plan.images.but(per_class=5)),
    ]
    assert len({plan.name, *(other.name for other in others)}) == 5
    assert len(plan.name.rpartition("-")[2]) == 12, "a thousand plans share a name once in half a billion times"
    assert [other.variant == plan.variant for other in others] == [True, False, False, False]


def test_bad_files_are_named(tmp_path):
    with pytest.raises(NotFound, match=r"nowhere\.toml"):
        read_plan(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("[recipe\n")
    with pytest.raises(SettingError, match=r"bad\.toml.*line 1"):
        read_plan(tmp_path / "bad.toml")


def test_what_is_given_is_varied_no_more(tmp_path):
    (tmp_path / "plan.toml").write_text(
        '[recipe]\nepochs = 3\n[vary]\n"recipe.epochs" = [5, 10]\n"recipe.lr" = [0.1]\n'
    )
    tables, axes = tables_of(tmp_path / "plan.toml", ["recipe.epochs=1"])
    assert (tables["recipe"]["epochs"], axes) == (1, {"recipe.lr": [0.1]})
    lay_over(tables, "recipe", axes, lr=0.2, freeze=None)
    assert (tables["recipe"]["lr"], axes) == (0.2, {})
