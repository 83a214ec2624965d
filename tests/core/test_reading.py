"""Files as people really bring them: read, or refused in one sentence with file, line and cure."""

import gzip
import json
import os
import random

import pytest

from persuasion_lib.core import reading
from persuasion_lib.core.errors import DataError, MissingInput, PersuasionError
from persuasion_lib.core.store import read_json, read_jsonl, write_json, write_jsonl

ROW = '{"a": "café"}\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.jsonl"


def rows_of(file, data):
    file.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return read_jsonl(file, dict, made_by="their program")


@pytest.mark.parametrize("data", [ROW.encode("utf-8-sig"), ROW.replace("\n", "\r\n").encode(),
                                  ROW.replace("\n", "\r").encode(), ("\n" + ROW).encode()],
                         ids=["BOM", "Windows", "old Mac", "blank line"])
def test_text_of_excel_and_powershell_is_read(file, data):
    assert rows_of(file, data) == [{"a": "café"}]
    assert read_json(file, made_by="them") == {"a": "café"}


@pytest.mark.parametrize("data, words", [
    (gzip.compress(ROW.encode(), mtime=0), "is gzip: unpack it"),
    (b"PK\x03\x04rest", "is a zip archive"),
    (ROW.encode("utf-16"), "is UTF-16: save it as UTF-8"),
    (ROW.encode("utf-16-le"), "is UTF-16 without a mark"),
    (ROW.encode("utf-32"), "is UTF-32: save it"),
    (("{}\n" + ROW).encode("cp1252"), r"mine\.jsonl:2 is not UTF-8 text .byte 13, 'é' in Latin-1"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"<!DOCTYPE html><p>Not found", "is a web page"),
    ('[{"a": 1},\n {"a": 2}]', r"is one JSON array. Write one object a line .jq -c '\.\[\]'"),
    ("[]", "is one JSON array"),
    ('{\n "a": 1\n}\n', "is one JSON object over several lines"),
    ('{"a": 1}\n{"a": Infinity}', r"mine\.jsonl:2: Infinity is not a number of JSON"),
    ('{"a": -Infinity}', r"mine\.jsonl:1: -Infinity is not"),
    ('{"a": 1e999}', r"mine\.jsonl:1: 1e999 is too large"),
    ('{"a": ' + "9" * 5000 + "}", r"mine\.jsonl:1: Exceeds the limit"),
    ('{}\n{"a": ' + "[" * 100_000, r"mine\.jsonl:2: it is nested more than 100 levels deep"),
    ('{"a": "cut \\ud83d"}', r"mine\.jsonl:1: half a character"),
    ('{"a": "\ud83d"}', r"mine\.jsonl:1 is not UTF-8"),
    ("Unit,Turn\nHello,0\n", r"mine\.jsonl:1: Expecting value"),
    ('{}\n{"label": "1", "label": "2"}', r"mine\.jsonl:2: the name 'label' stands twice"),
    ('{"a": {"b": 1, "b": 1}}', r"mine\.jsonl:1: the name 'b' stands twice"),
    ('{"a": "b\0c"}', r"is UTF-16 without a mark, or no text"),
    ('{"a": "' + "b" * 1000 + '\0c"}', r"mine\.jsonl:1: Invalid control character"),
])
def test_what_cannot_be_read_is_named_with_what_to_do(file, data, words):
    with pytest.raises(DataError, match=words):
        rows_of(file, data)


def test_nan_which_pandas_writes_is_absent(file):
    assert rows_of(file, '{"id": NaN, "text": "NaN Infinity"}') == [
        {"id": None, "text": "NaN Infinity"}]


def test_whole_characters_and_deep_brackets_inside_of_text_are_only_text(file):
    row = {"a": "\U0001f600 " + "[{" * 200}
    assert rows_of(file, json.dumps(row)) == [row]


@pytest.mark.parametrize("text, words", [
    ('{\n"a": -Infinity}', r"x\.json:2 is not JSON .-Infinity is not"),
    ('{\n"a": 1e400}', r"x\.json:2 is not JSON"),
    ('{\n\n"a": "\\udead"}', r"x\.json:3 is not JSON"),
    ("[" * 5000 + "]" * 5000, "nested more than 100 levels"), ("", r"x\.json:1 is not JSON")])
def test_a_document_is_refused_by_line_too(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_json(tmp_path / "x.json", made_by="06")


def test_lines_where_one_document_belongs_are_named(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"x\.json:2 is not JSON .Extra data., but perhaps JSON li"):
        read_json(tmp_path / "x.json", made_by="06")


def test_a_link_that_leads_to_itself_is_one_sentence(tmp_path):
    (tmp_path / "x").symlink_to(tmp_path / "x")
    with pytest.raises(DataError, match="cannot be read .Too many levels of symbolic links"):
        read_json(tmp_path / "x", made_by="06")


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1e308", "0.1e-400"])
def test_a_number_of_any_length_is_read(file, number):
    assert rows_of(file, f'{{"a": {number}}}') == [{"a": json.loads(number)}]


def test_a_file_that_is_too_large_is_not_opened(file, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="has more than 0 GB. Split it"):
        rows_of(file, ROW)


def test_a_folder_or_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError, match="is no file"):
            read_jsonl(path, dict, made_by="them")
    with pytest.raises(MissingInput, match="Run them first"):
        read_jsonl(tmp_path / "none", dict, made_by="them")


def test_half_a_character_of_a_reply_is_written_so_that_it_can_be_read(tmp_path):
    write_jsonl(tmp_path / "x", [{"a": "cut \ud83d", "b": "\U0001f600"}])
    assert read_jsonl(tmp_path / "x", dict, made_by="01") == [{"a": "cut ?", "b": "\U0001f600"}]
    write_json(tmp_path / "y", ["cut \ud83d"])
    assert read_json(tmp_path / "y", made_by="01") == ["cut ?"]


def test_damaged_files_are_read_or_refused_and_never_end_in_another_error(file):
    chance = random.Random(7)
    whole = json.dumps({"prompt": [{"role": "user", "content": "ünï \U0001f600"}],
                        "metadata": {"n": 1.5e3, "m": None}}).encode() + b"\n"
    odd = [b"\0", b"\xff\xfe", b'"', b"[", b"}", b"NaN", b"-Infinity", b"\\ud800", b"\xe9",
           b"1e999"]
    for _ in range(2000):
        data = bytearray(whole * 2)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            data[at:at + chance.randint(0, 3)] = chance.choice(odd)
        try:
            rows_of(file, bytes(data))
        except PersuasionError as error:
            assert "mine.jsonl" in str(error)
