import json
import os
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc

import pytest

from persuasion_lib.core.errors import DataError, MissingInput, PersuasionError
from persuasion_lib.core.store import (
    AppendLog,
    KeyedLog,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)


def test_rows_come_back_as_written(tmp_path):
    rows = [{"a": 1, "text": "line\u2028separator, ünïcode"}, {"a": 2}]
    assert write_jsonl(tmp_path / "x.jsonl", rows) == 2
    assert read_jsonl(tmp_path / "x.jsonl", dict, made_by="00") == rows


def test_a_missing_file_names_the_notebook_that_writes_it(tmp_path):
    with pytest.raises(MissingInput, match="Run notebooks/01_label_ai.ipynb first"):
        read_jsonl(tmp_path / "x.jsonl", dict, made_by="notebooks/01_label_ai.ipynb")


@pytest.mark.parametrize("line", ["{", "[1]", "nonsense"])
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(DataError, match=r"x\.jsonl:2: "):
        read_jsonl(tmp_path / "x.jsonl", dict, made_by="00")


def test_broken_json_names_its_line(tmp_path):
    (tmp_path / "x.json").write_text('{\n"a": oops}')
    with pytest.raises(DataError, match=r"x\.json:2 is not JSON"):
        read_json(tmp_path / "x.json", made_by="06")


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path):
    write_text(tmp_path / "x.txt", "old")
    code = f"""
        import resource
        from pathlib import Path
        from persuasion_lib.core.store import write_text
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        write_text(Path({str(tmp_path / "x.txt")!r}), "new" * 10_000)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                            text=True)
    assert "its old content is unchanged" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


def test_a_log_continues_where_it_ended(tmp_path):
    with AppendLog(tmp_path / "log.jsonl") as log:
        log.append({"n": 1})
    with AppendLog(tmp_path / "log.jsonl") as log:
        log.extend([{"n": 2}, {"n": 3}])
        assert [row["n"] for row in log.rows] == [1, 2, 3]


def test_a_torn_last_line_is_set_aside_and_the_rest_kept(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": 1}\n{"n": 2')
    with AppendLog(path) as log:
        assert log.rows == [{"n": 1}]
    assert path.read_text() == '{"n": 1}\n'
    assert '{"n": 2' in (tmp_path / "log.jsonl.torn").read_text()


def test_damage_in_the_middle_is_refused_and_nothing_is_changed(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": 1}\ngarbage\n{"n": 3}\n')
    with pytest.raises(DataError, match=r"log\.jsonl:2"):
        AppendLog(path)
    assert path.read_text() == '{"n": 1}\ngarbage\n{"n": 3}\n'


def test_a_second_writer_is_turned_away(tmp_path):
    code = "import sys; from pathlib import Path\n" \
           "from persuasion_lib.core.store import AppendLog\n" \
           "AppendLog(Path(sys.argv[1]))"
    with AppendLog(tmp_path / "log.jsonl"):
        result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "log.jsonl")],
                                capture_output=True, text=True)
    assert result.returncode == 1 and "in use by another process" in result.stderr


def test_what_was_appended_survives_kill_9(tmp_path):
    code = """
        import os, signal, sys
        from pathlib import Path
        from persuasion_lib.core.store import AppendLog
        log = AppendLog(Path(sys.argv[1]))
        for n in range(5):
            log.append({"n": n})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "log.jsonl"
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)])
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 1, 2, 3, 4]
    with AppendLog(path) as log:
        assert len(log.rows) == 5


def test_a_paid_reply_that_a_full_disk_refuses_is_whole_in_a_second_place(tmp_path):
    """The disk takes 2,000 bytes of a file, and the second place is on another one."""
    second = tmp_path / "second"
    second.mkdir()
    code = f"""
        import resource, tempfile
        from pathlib import Path
        from persuasion_lib.core import appending
        from persuasion_lib.core.store import AppendLog
        tempfile.tempdir = {str(second)!r}
        log = AppendLog(Path({str(tmp_path / "log")!r}))
        log.append({{"n": 1}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))
        elsewhere = appending.kept_elsewhere
        def on_another_disk(path, data):
            resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
            return elsewhere(path, data)
        import persuasion_lib.core.store as store
        store.kept_elsewhere = on_another_disk
        log.append({{"n": 2, "reply": "word " * 1000}})
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                            text=True)
    (kept,) = second.iterdir()
    assert f"cat {kept} >> {tmp_path / 'log'}" in result.stderr
    with (tmp_path / "log").open("a") as log:
        log.write(kept.read_text())
    with AppendLog(tmp_path / "log") as log:
        assert log.rows == [{"n": 1}, {"n": 2, "reply": "word " * 1000}]
    assert kept.stat().st_mode & 0o777 == 0o600


def test_where_no_disk_is_free_a_paid_reply_is_printed_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with AppendLog(tmp_path / "log") as log:
        os.close(log._fd)
        log._fd = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(PersuasionError, match="No space left.*was printed above"):
            log.append({"n": 2, "reply": "word " * 1000})
    assert "word " * 1000 in capsys.readouterr().err


def test_a_million_rows_need_no_memory_but_that_for_their_places(tmp_path):
    """Rows of 2,000 bytes: 50,000 of them are 100 MB on disk; 300 bytes each are 15 MB."""
    rows = ({"key": f"{n:040x}", "verdict": {"choice": "1"}, "reply": "x" * 1900}
            for n in range(50_000))
    write_jsonl(tmp_path / "log", rows)
    tracemalloc.start()
    with KeyedLog(tmp_path / "log", agree_on="verdict") as log:
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(log.by_key) == 50_000
        assert log.by_key[f"{49_999:040x}"]["reply"] == "x" * 1900
    assert held < 15e6 and peak < 20e6


def test_a_file_that_cannot_be_made_whole_leaves_the_old_one(tmp_path):
    write_jsonl(tmp_path / "x", [{"a": 1}])
    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "x", ({"a": 1 / n} for n in (1, 0)))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert read_jsonl(tmp_path / "x", dict, made_by="00") == [{"a": 1}]


def test_an_error_of_the_disk_is_a_clear_message_not_an_oserror(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((PersuasionError, OSError)):
        write_text(tmp_path / "file" / "x.txt", "no folder here")


def test_a_row_is_found_by_its_key_as_soon_as_it_is_written_and_after_reopening(tmp_path):
    with KeyedLog(tmp_path / "log") as log:
        log.append({"key": "a", "n": 1})
        assert log.by_key["a"] == {"key": "a", "n": 1}
        assert log.missing(["b", "a", "c", "b"]) == ["b", "c"]
    with KeyedLog(tmp_path / "log") as log:
        assert log.missing(["a"]) == []
    assert KeyedLog.rows_in(tmp_path / "log") == {"a": {"key": "a", "n": 1}}


def test_the_rows_of_a_log_that_is_not_there_are_none_and_it_is_not_made(tmp_path):
    assert KeyedLog.rows_in(tmp_path / "log") == {}
    assert not (tmp_path / "log").exists()


def test_a_key_with_another_content_is_refused_before_it_is_written(tmp_path):
    with KeyedLog(tmp_path / "log", agree_on="n") as log:
        log.extend([{"key": "a", "n": 1}, {"key": "a", "n": 1, "at": "later"}])
        with pytest.raises(DataError, match="log:3 gives the n of a a second time, differently"):
            log.append({"key": "a", "n": 2})
        assert len((tmp_path / "log").read_text().splitlines()) == len(log.by_key) + 1 == 2


@pytest.mark.parametrize("damage", [{"n": 1}, {"key": "a"}, {"key": "b", "n": 3}])
def test_a_damaged_keyed_log_is_refused_and_left_closed(tmp_path, damage):
    with AppendLog(tmp_path / "log") as log:
        log.extend([{"key": "b", "n": 2}, damage])
    with pytest.raises(DataError, match="log:2"):
        KeyedLog(tmp_path / "log", agree_on="n")
    AppendLog(tmp_path / "log").close()


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_json_file_is_said_to_be_empty(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="nothing is in it"):
        read_json(tmp_path / "a.json", made_by="somebody")
