"""Every measurement of training and generation runs, on a tiny shape: figures come out of each."""

import pytest

from benchmarks import dpo, generation, gpu, sft


@pytest.mark.parametrize("kind", dpo.KINDS)
def test_a_dpo_step_is_measured(kind):
    figures = dpo.measure(kind, "tiny")
    assert figures["step_s"] > 0 and figures["peak_gb"] > 0


@pytest.mark.parametrize("kind", sft.KINDS)
def test_an_sft_row_is_measured(kind):
    figures = sft.measure(kind, "tiny")
    assert figures["row_s"] > 0 and figures["peak_gb"] > 0


@pytest.mark.parametrize("kind", generation.KINDS)
def test_replies_of_five_systems_are_measured(tmp_path, kind):
    generation.build_systems(tmp_path, "tiny")
    figures = generation.measure(kind, tmp_path, replies=2)
    assert figures["pair_s"] > 0 and figures["answer_s"] > 0 and figures["peak_gb"] > 0


def test_rows_of_a_dialogue_share_batches_only_where_that_is_measured():
    def dialogues_of_batches(kind):
        """How many of the three dialogues each batch has rows of; the first token tells them."""
        trainer = sft.sft_trainer(kind, "tiny")
        return [len({int(row[0]) for row in batch["input_ids"]})
                for batch in trainer.get_train_dataloader()]

    assert max(dialogues_of_batches("conversations")) == 2      # the end of one, the next's start
    assert max(dialogues_of_batches("packed")) == 3


def test_each_part_for_a_gpu_runs_without_one_or_says_what_it_needs(monkeypatch):
    for name, few in (("DPO_BATCHES", (2,)), ("SFT_BATCHES", (8,)), ("SAMPLED", (2,)),
                      ("ROUNDS", 1)):
        monkeypatch.setattr(gpu, name, few)
    found = {name: gpu.outcome(part) for name, part in gpu.parts("tiny", "tiny")
             if gpu.LIGER not in name}
    assert len(found) == 12
    assert [name for name, figures in found.items() if "failed" in figures] == []
    assert found["qlora"]["skipped"].startswith("QLoRA needs an NVIDIA GPU")
    assert found["parity sft"]["loss error of packed, float32"] < 1e-4


def test_the_parts_for_a_gpu_are_chosen_by_how_they_begin(monkeypatch):
    monkeypatch.setenv("BENCH_PARTS", "qlora,parity")
    assert [name for name, _ in gpu.parts("tiny", "tiny")] == ["parity dpo", "parity sft", "qlora"]
