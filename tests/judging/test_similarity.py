from persuasion_lib.judging.similarity import another


def test_a_baseline_compares_with_the_oracle_of_another_prompt_each_once():
    others = another([f"e{i}" for i in range(7)], seed=0)
    assert set(others) == set(others.values()) and all(a != b for a, b in others.items())
    assert another(["alone"], seed=0) == {}
