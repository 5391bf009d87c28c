import pytest
import torch

from diffnas.engine.devices import rounding_products
from diffnas.engine.settings import EvaluateSettings, SearchSettings, as_dict, merge_settings
from diffnas.method import METHODS
from diffnas.recipes import RECIPES


def test_later_layers_win():
    settings = merge_settings(SearchSettings, {"epochs": 200, "lr": 0.1}, {}, {"epochs": 3})
    assert (settings.epochs, settings.lr, settings.batch) == (3, 0.1, 64)


def test_a_misspelt_setting_gets_a_suggestion_and_the_list():
    with pytest.raises(ValueError) as error:
        merge_settings(SearchSettings, {"epoch": 3})
    assert str(error.value).startswith(
        "unknown setting 'epoch'. Did you mean 'epochs'? Known: epochs, batch, channels,"
    )


def test_an_evaluation_does_not_take_the_settings_of_a_search():
    with pytest.raises(ValueError, match="unknown setting 'alpha_lr'"):
        merge_settings(EvaluateSettings, {"alpha_lr": 1.0})


WRONG = [
    (SearchSettings, "epochs", 0),
    (SearchSettings, "batch", -1),
    (SearchSettings, "lr", 0.0),
    (SearchSettings, "lr", float("nan")),
    (SearchSettings, "alpha_init", -1e-3),
    (SearchSettings, "alpha_lr", -1.0),
    (SearchSettings, "clip", -5.0),
    (SearchSettings, "alpha_warmup", -1),
    (SearchSettings, "seed", -1),
    (SearchSettings, "channels", 0),
    (SearchSettings, "depth", -3),
    (SearchSettings, "prune_every", "year"),
    (SearchSettings, "split", "sorted"),
    (SearchSettings, "backend", "batch"),
    (EvaluateSettings, "lr_fall", "stairs"),
    (EvaluateSettings, "channels", 0),
    (EvaluateSettings, "drop_path", 1.0),
    (EvaluateSettings, "label_smoothing", -0.1),
    (EvaluateSettings, "auxiliary", -0.4),
    (EvaluateSettings, "cutout", -1),
    (EvaluateSettings, "warmup", -1.0),
    (EvaluateSettings, "decay", "norms"),
    (SearchSettings, "flip", "perhaps"),
]


@pytest.mark.parametrize(("kind", "name", "wrong"), WRONG)
def test_a_setting_that_cannot_work_is_named_with_what_was_given(kind, name: str, wrong):
    with pytest.raises(ValueError) as error:
        kind(**{name: wrong})
    assert name in str(error.value)
    assert str(wrong) in str(error.value)


def test_settings_go_to_plain_data_and_back():
    for settings in (SearchSettings(epochs=3, split="ordered"), EvaluateSettings(cutout=None)):
        assert merge_settings(type(settings), as_dict(settings)) == settings


def test_every_method_and_recipe_names_settings_that_exist():
    for method in METHODS.values():
        merge_settings(SearchSettings, method.settings)
        for recipe in RECIPES.values():
            merge_settings(SearchSettings, method.settings, recipe.search)
    for recipe in RECIPES.values():
        merge_settings(EvaluateSettings, recipe.evaluate)


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_allowed_or_not_on_a_gpu_and_left_as_it_was(tf32: bool):
    def flags() -> tuple[bool, bool]:
        return torch.get_float32_matmul_precision() != "highest", torch.backends.cudnn.allow_tf32

    before = flags()
    with rounding_products(torch.device("cuda"), tf32=tf32):
        assert flags() == (tf32, tf32)
    assert flags() == before
    with rounding_products(torch.device("cpu"), tf32=tf32):
        assert flags() == before
