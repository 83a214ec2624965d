"""What weights say of themselves goes with them, and names no folder of anybody's machine."""

import huggingface_hub

from persuasion_lib.core.config import load_config
from persuasion_lib.core.hub import upload
from persuasion_lib.models.cards import adapter_card, merged_card

HERE = "model.base=/home/somebody/models/Qwen-small"
STAND_INS = ("label_ai.judge=offline", "label_human.source=simulated")


def test_a_card_names_the_base_and_no_path(project):
    card = adapter_card(load_config("full", [HERE, "data.path=/home/somebody/rows"]), "rlhf")
    assert "/home" not in card and "on Qwen-small (main)" in card and "…/rows" in card
    assert "stand-in" not in card.lower()


def test_a_model_that_learned_from_stand_ins_says_so_before_all_else(project):
    card = merged_card(load_config("full", [HERE, *STAND_INS]), "rlaif", "Run b.", {}, "")
    first = card.partition("# rlaif\n\n")[2].splitlines()[0]
    assert first.startswith("**REHEARSAL") and "judge of labels, annotator" in first


def test_the_same_training_has_the_same_card_on_any_day(project, monkeypatch):
    card = adapter_card(load_config("demo", ["dpo.beta=0.2"]), "rlhf")
    assert "`dpo.beta = 0.2`" in card and "revision" not in card and "STAND-INS" in card


def test_the_folder_goes_up_as_it_is_with_its_own_card(tmp_path, monkeypatch):
    sent = {}

    class Hub:
        def create_repo(self, repository, *, repo_type, private, exist_ok):
            sent["made"] = (repository, repo_type, private, exist_ok)

        def upload_folder(self, *, repo_id, repo_type, folder_path, commit_message):
            sent[repo_id] = (folder_path / "README.md").read_text()

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    (tmp_path / "README.md").write_text("our card")
    upload(tmp_path, "me/model", kind="model")
    assert sent == {"made": ("me/model", "model", True, True), "me/model": "our card"}
