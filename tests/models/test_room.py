"""How much memory there is: never more than what a container may still take."""

import psutil
import pytest

from persuasion_lib.models import room

GB = 10**9


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A container of 8 GB that has taken 5 GB, 1 GB of it for files that were read."""
    monkeypatch.setattr(room, "GROUPS", tmp_path)
    monkeypatch.setattr(room, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Room", (), {"available": 20 * GB}))
    limited(tmp_path, 8 * GB)
    return tmp_path


def limited(folder, most):
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{5 * GB}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {GB}\nactive_file 9\n")


def test_a_container_gives_what_it_has_left(group):
    assert room.free_bytes() == (8 - 5 + 1) * GB


def test_a_job_below_the_whole_machine_counts_too(group):
    limited(group / "job", 6 * GB)
    (group / "own").write_text("1:cpu:/x\n0::/job\n")
    assert room.free_bytes() == (6 - 5 + 1) * GB


@pytest.mark.parametrize("most", ["max", ""])
def test_without_a_limit_it_is_what_the_machine_has(group, most):
    (group / "memory.max").write_text(most)
    assert room.free_bytes() == 20 * GB


def test_without_such_files_it_is_what_the_machine_has(group):
    (group / "memory.stat").unlink()
    assert room.free_bytes() == 20 * GB


def test_what_a_process_holds_is_more_than_nothing():
    assert 0 < room.held_bytes() < psutil.virtual_memory().total
