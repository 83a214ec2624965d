"""Embeddings by a model on this machine: cached by its weights; what is missing is said."""

import sys
import types

import numpy as np
import pytest
import torch

from persuasion_lib import evaluate
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, MissingInput
from persuasion_lib.core.manifest import hashes
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import Example
from persuasion_lib.core.stage import StageRun
from persuasion_lib.judging import check, local_embedder
from persuasion_lib.judging.embed import embed, embedding_plan
from persuasion_lib.models.sampling import Generation


@pytest.fixture
def config(project, monkeypatch):
    """A folder as a model's, and a package that embeds a text as its length and its weights."""
    asked = []

    class SentenceTransformer:
        def __init__(self, folder, **_):
            self.weight = len((project / "mini" / "model.safetensors").read_bytes())

        def encode(self, texts, **_):
            asked.extend(texts)
            rows = np.array([[len(text), self.weight] for text in texts], dtype=np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    (project / "mini").mkdir()
    (project / "mini" / "model.safetensors").write_bytes(b"1234")
    monkeypatch.setattr(local_embedder.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "sentence_transformers",
                        types.SimpleNamespace(SentenceTransformer=SentenceTransformer))
    for cached in (local_embedder._model, local_embedder._hash):
        cached.cache_clear()
    found = load_config("full", ["similarity.embedder=local", "similarity.local_model=mini"])
    return found, asked


def test_each_text_has_its_vector_and_none_is_computed_twice(config, tmp_path):
    config, asked = config
    vectors = embed(["abc", "abc", "x" * 4], config, cache=tmp_path / "cache")
    assert vectors == pytest.approx(np.array([[.6, .8], [.6, .8], [.5 ** .5, .5 ** .5]]))
    assert asked == ["abc", "xxxx"]
    assert np.array_equal(embed(["abc"], config, cache=tmp_path / "cache")[0], vectors[0])
    assert len(asked) == 2


def test_another_model_in_the_same_folder_never_finds_the_old_vectors(config, tmp_path):
    config, asked = config
    embed(["abc"], config, cache=tmp_path / "cache")
    (config.root / "mini" / "model.safetensors").write_bytes(b"12345678")
    for cached in (local_embedder._model, local_embedder._hash):    # as in another process
        cached.cache_clear()
    assert embed(["abc"], config, cache=tmp_path / "cache")[0] != pytest.approx([.6, .8])
    assert asked == ["abc", "abc"]


def test_it_costs_nothing_and_needs_no_key(config, tmp_path):
    config, _ = config
    assert embedding_plan(["abc"], config, cache=tmp_path / "cache").usd == (0.0, 0.0)
    assert check.check(config)["embedder"] == ""


def test_a_missing_package_and_a_missing_model_are_said_before_anything_is_asked(
        config, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elsewhere = load_config("full", ["similarity.embedder=local", "similarity.local_model=no/such"])
    with pytest.raises(MissingInput, match="'no/such' is neither a folder nor reachable"):
        local_embedder.model_folder(elsewhere)
    monkeypatch.setattr(local_embedder.importlib.util, "find_spec", lambda name: None)
    assert "pip install -e '.[local]'" in check.check(config[0])["embedder"]


def test_only_an_embedder_can_be_local(project):
    with pytest.raises(ConfigError, match="evaluation.judge: there is no 'local'"):
        load_config("full", ["evaluation.judge=local"])


# ---- whose vectors, and of a whole model

def forgotten():
    for cached in (local_embedder._model, local_embedder._hash):    # as in another process
        cached.cache_clear()


def test_weights_in_the_older_form_count_as_well(config, tmp_path):
    config, asked = config
    (config.root / "mini" / "pytorch_model.bin").write_bytes(b"one")
    embed(["abc"], config, cache=tmp_path / "cache")
    (config.root / "mini" / "pytorch_model.bin").write_bytes(b"two")
    forgotten()
    embed(["abc"], config, cache=tmp_path / "cache")
    assert asked == ["abc", "abc"]


@pytest.mark.parametrize("name, is_kept", [
    ("sentence-transformers/kept", True), ("kept", True), ("/no/such/kept", False),
    ("./kept", False), ("another/kept", False), ("sentence-transformers/../kept", False)])
def test_only_a_model_of_that_name_is_found_where_it_was_unpacked(config, name, is_kept,
                                                                  monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("no network")

    config, _ = config
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    (config.root / "models" / "kept").mkdir(parents=True)
    there = load_config("full", ["similarity.embedder=local", f"similarity.local_model={name}"])
    if is_kept:
        assert local_embedder.model_folder(there) == config.root / "models" / "kept"
    else:
        with pytest.raises(MissingInput, match="neither a folder nor reachable"):
            local_embedder.model_folder(there)


def broken(*_, **__):
    raise ValueError("Unrecognized model")


def test_a_folder_that_is_no_model_is_named_by_check_and_before_any_vector(config, monkeypatch,
                                                                           tmp_path):
    config, _ = config
    monkeypatch.setattr(sys.modules["sentence_transformers"], "SentenceTransformer", broken)
    words = r"mini .similarity.local_model. is no whole model.*ValueError: Unrecognized"
    with pytest.raises(MissingInput, match=words):
        embed(["abc"], config, cache=tmp_path / "cache")
    assert "is no whole model" in check.check(config)["embedder"]


def test_weights_that_lack_a_tensor_are_refused_and_not_drawn_at_random(config, monkeypatch,
                                                                        tmp_path):
    config, _ = config
    made = sys.modules["sentence_transformers"].SentenceTransformer
    seen = []

    class Drawn(made):
        def state_dict(self):
            seen.append(self)
            return {"whole": torch.ones(1), "layer.3": torch.tensor([float(len(seen))])}

    monkeypatch.setattr(sys.modules["sentence_transformers"], "SentenceTransformer", Drawn)
    with pytest.raises(MissingInput, match="its weights lack 1 tensors, such as layer.3"):
        embed(["abc"], config, cache=tmp_path / "cache")


def test_what_05_compares_with_is_one_of_its_inputs(config):
    config, _ = config
    run = StageRun(STAGES["evaluate"], config, {})
    example = Example("e", [{"role": "user", "content": "Cats?"}], "Dogs.", {})
    evaluate.similarity_to_oracle(run, [example], {"e": {"sft": Generation("No.", "stop", 2)}},
                                  {"e": "Yes."})
    before = run.inputs["embedder"]
    (config.root / "mini" / "model.safetensors").write_bytes(b"12345678")
    assert before and hashes(config, ["embedder"])["embedder"] != before
