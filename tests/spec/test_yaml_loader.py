"""The restricted loader: what is plain stays plain, what surprises is refused, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gates.spec import SpecErrors, yaml


def refused(text: str) -> str:
    """What the loader says against *text*."""
    with pytest.raises(SpecErrors) as raised:
        yaml.parse(text, "f.yaml")
    return str(raised.value)


def refused_file(path: Path) -> str:
    """What the loader says against the file at *path*."""
    with pytest.raises(SpecErrors) as raised:
        yaml.read(path, path.name)
    assert int(raised.value.code) == 4
    return str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "off",
        "yes",
        "no",
        "y",
        "True",
        "NULL",
        "12:30:45",
        "010",
        "0x1f",
        "0o7",
        "1_000",
        "2020-01-01",
        ".inf",
        ".nan",
        "1e999",
    ]
    + ["<<", "=", "9" * 5000],
)
def test_what_other_loaders_reinterpret_stays_text(text: str) -> None:
    """The traps of YAML 1.1 are plain strings."""
    assert yaml.parse(f"a: {text}", "f.yaml").plain() == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("false", False),
        ("5", 5),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
    ]
    + [("'5'", "5"), ('"true"', "true"), ("0", 0), ("!!str 5", "5"), (".5", 0.5)],
)
def test_null_truth_and_decimal_numbers_are_what_they_look_like(text: str, value: Any) -> None:
    """The few types that a scalar can have; quotes make text."""
    found = yaml.parse(f"a: {text}", "f.yaml").plain()["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_text() -> None:
    """`on:` is not the key True, and `1:` is not a number."""
    assert yaml.parse("on: 1\n1: 2\nnull: 3", "f.yaml").plain() == {"on": 1, "1": 2, "null": 3}


def test_duplicate_keys_are_all_reported_with_both_lines() -> None:
    """The last one does not win silently, at any depth."""
    text = refused("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert "f.yaml:2:11: b.c: the key is there twice (first on line 2)" in text
    assert "f.yaml:3:1: a: the key is there twice (first on line 1)" in text


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    """Nothing is expanded, so nothing can explode."""
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
    assert "f.yaml:1:4: a: an anchor (got &a)" in refused(bomb)
    assert "f.yaml:2:8: b.0: an alias (got *a)" in refused(bomb)


def test_a_cyclic_document_is_refused() -> None:
    """A value that holds itself is an alias like any other."""
    assert "1:5: 0: an alias (got *a)" in refused("&a [*a]")


def test_a_merge_key_is_refused() -> None:
    """`<<` is not a way to inherit."""
    assert "a merge key" in refused("a: {<<: {b: 1}}")


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!custom", "!!int", "!!binary"])
def test_a_tag_is_refused(tag: str) -> None:
    """A value is what is written; no tag constructs anything."""
    assert "f.yaml:1:4: a: a tag" in refused(f"a: {tag} 5")


def test_nesting_has_a_limit() -> None:
    """Depth that no person writes is one clear error, not a crash."""
    assert "nested more than 32 levels deep" in refused("[" * 50_000)
    assert "nested more than 32 levels deep" in refused("a: " + "[" * 40 + "]" * 40)


def test_values_have_a_limit() -> None:
    """So many values that later work would take minutes are refused."""
    assert "more than 20,000 values" in refused("[" + "1," * 30_000 + "1]")


def test_a_second_document_is_refused() -> None:
    """Nothing below `---` is silently ignored."""
    assert "f.yaml:2:1: a second document" in refused("a: b\n---\nc: d")


@pytest.mark.parametrize("text", ["? [a]\n: b", "? {a: 1}\n: b"])
def test_a_key_that_is_no_text_is_refused(text: str) -> None:
    """Lists and mappings as keys have no path."""
    assert "a key that is a list or a mapping" in refused(text)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_an_empty_document_is_refused(text: str) -> None:
    """Nothing is not a spec."""
    assert "the file is empty" in refused(text)


def test_a_syntax_error_has_its_line_and_a_caret() -> None:
    """The parser's own complaint is put at its place."""
    text = refused("a: 1\nb: c: d\n")
    assert text.startswith("f.yaml:2:5: not valid YAML:")
    assert "  2 | b: c: d\n    |     ^" in text


def test_a_control_character_is_refused_at_its_place_and_not_echoed() -> None:
    """A terminal is not steered by a file."""
    text = refused("a: 1\nb: \x1b[31m")
    assert "f.yaml:2:4: a character that YAML does not allow (got U+001B)" in text
    assert "\x1b" not in text


def test_an_escaped_control_character_is_not_echoed() -> None:
    """Neither is one that YAML allows by an escape."""
    assert "\x1b" not in refused('"\\e[31m": 1\n"\\e[31m": 2')


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    """The first thing that can be wrong."""
    assert refused_file(tmp_path / "none.yaml").startswith("none.yaml: the file is not there")


def test_a_directory_is_said_to_be_one(tmp_path: Path) -> None:
    """A path to a folder is a mistake with a name."""
    assert "this is a directory" in refused_file(tmp_path)


def test_a_binary_file_is_refused_at_its_first_wrong_byte(tmp_path: Path) -> None:
    """What is not UTF-8 is not guessed at."""
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"ok: 1\nb: \xff\xfe")
    assert refused_file(path).startswith("binary.yaml:2:4: not UTF-8 text (got byte 0xff)")


def test_a_nul_byte_is_refused_at_its_place(tmp_path: Path) -> None:
    """Valid UTF-8 that is no text."""
    path = tmp_path / "nul.yaml"
    path.write_bytes(b"ok: 1\nb: \0")
    assert refused_file(path).startswith("nul.yaml:2:4: a NUL byte")


def test_a_file_of_ten_megabytes_is_refused_by_its_size(tmp_path: Path) -> None:
    """Only as much is read as shows that it is too large."""
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(10 * 1024 * 1024)
    assert "larger than 1 MiB" in refused_file(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "mark.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert yaml.read(path, "mark.yaml")[0].plain() == {"a": 1, "b": 2}


def test_every_value_and_key_knows_its_place() -> None:
    """Lines and columns count from 1."""
    node = yaml.parse("a:\n  - b: 1\n    c: [x,  y]\n", "f.yaml").get("a", 0, "c", 1)
    assert node is not None
    assert (node.place.line, node.place.column) == (3, 13)
    inner = yaml.parse("a:\n  - b: 1\n", "f.yaml").get("a", 0, "b")
    assert inner is not None
    assert (inner.named.line, inner.named.column, inner.place.column) == (2, 5, 8)
