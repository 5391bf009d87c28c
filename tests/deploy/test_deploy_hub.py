"""Networks on the hub, against stand-ins that have the signatures of its own client."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

import diffnas
from diffnas.deploy import hub
from diffnas.deploy.formats import export

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    """A hub in a folder: what is uploaded can be downloaded."""
    place = tmp_path / "hub"
    api = create_autospec(huggingface_hub.HfApi, instance=True)
    api.create_repo.side_effect = lambda repo_id, **options: f"https://huggingface.co/{repo_id}"

    def upload(*, repo_id, folder_path, **options):
        for file in Path(folder_path).iterdir():
            (place / repo_id).mkdir(parents=True, exist_ok=True)
            (place / repo_id / file.name).write_bytes(file.read_bytes())

    def download(repo_id, *, allow_patterns, **options):
        if not (place / repo_id).exists():
            raise FileNotFoundError(f"no repository {repo_id}")
        assert {file.name for file in (place / repo_id).iterdir()} >= set(allow_patterns)
        return str(place / repo_id)

    api.upload_folder.side_effect = upload
    fetch = create_autospec(huggingface_hub.snapshot_download, side_effect=download)
    stand_in = SimpleNamespace(HfApi=lambda: api, snapshot_download=fetch)
    monkeypatch.setattr(hub, "_client", lambda: stand_in)
    return place


def test_a_network_comes_back_from_the_hub_as_it_was(shelf, trained, pictures, tmp_path):
    network = trained("|nor_conv_3x3~0|+|none~0|skip_connect~1|")
    shown = pictures(network)
    export(network, tmp_path / "out", ["torch", "source"], shown)
    address = hub.upload(tmp_path / "out", "me/digits", network, accuracy=0.987)
    assert address == "https://huggingface.co/me/digits"
    loaded = diffnas.load("hub:me/digits")
    assert torch.equal(loaded.logits(shown), network.logits(shown))
    card = (shelf / "me/digits/README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffnas\n")
    assert 'diffnas.load("hub:me/digits")' in card
    assert "98.70%" in card
    assert "|nor_conv_3x3~0|+|none~0|skip_connect~1|" in card
    assert (shelf / "me/digits/network.py").exists()


def test_a_folder_that_could_not_be_loaded_is_not_uploaded(shelf, trained, tmp_path):
    with pytest.raises(
        ValueError, match=r"has no network\.json and no network\.safetensors; export the network as torch"
    ):
        hub.upload(tmp_path, "me/digits", trained("|nor_conv_3x3~0|"))
    assert not shelf.exists()


@pytest.mark.parametrize("name", ["digits", "me/", "/digits", "me/digits/more"])
def test_a_name_on_the_hub_has_an_owner(name, shelf):
    with pytest.raises(ValueError, match=f"is called hub:OWNER/NAME, not hub:{name}"):
        diffnas.load(f"hub:{name}")


def test_a_network_of_sequences_has_no_card_and_its_files_stay(shelf, trained, tmp_path):
    network = trained("|nor_conv_3x3~0|+|none~0|skip_connect~1|")
    export(network, tmp_path, ["torch"], torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"this one reads text\. Upload the files in"):
        hub.upload(tmp_path, "me/words", replace(network, kind="text"))
    assert not shelf.exists()
    assert not (tmp_path / "README.md").exists()
