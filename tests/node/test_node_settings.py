"""A node's settings: what is wrong in a file is said with its place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates.node.settings import InvalidSettings, Settings, load, parse

DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def written(folder: Path, text: str) -> Path:
    path = folder / "node.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> list[str]:
    """The lines of the error that the file *text* gives, without the folder."""
    path = written(folder, text)
    with pytest.raises(InvalidSettings) as caught:
        load(path, {})
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_the_file_is_read_and_flags_go_over_it(tmp_path: Path) -> None:
    """A flag wins over the file, the file over the default."""
    path = written(tmp_path, f"name: node-a\ndata: {tmp_path}\nmana: 5\npeers: {{node-b: 'http://127.0.0.1:7000/'}}\n")
    settings = parse(["--config", str(path), "--mana", "7", "--api-key", "a-long-key"])
    assert settings == Settings("node-a", tmp_path, mana=7, api_key="a-long-key", peers={"node-b": "http://127.0.0.1:7000"})


def test_every_error_has_file_line_and_field_and_all_come_at_once(tmp_path: Path) -> None:
    """Three wrong lines and one missing setting are four messages, in the order of the file."""
    assert refused(tmp_path, "name: Node A\nmana: -1\nbidding_window: 3\n") == [
        "node.yaml:1: data: is missing",
        "node.yaml:1: name: expected 1 to 63 lower-case letters, digits and dashes, found 'Node A'",
        "node.yaml:2: mana: expected an integer from 0 to 1,000,000,000,000,000, found -1",
        f"node.yaml:3: bidding_window: no such setting; there are {', '.join(Settings.__dataclass_fields__)}",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port: 70000", "expected an integer from 0 to 65,535, found 70000"),
        ("port: 1.5", "found 1.5"),
        ("mana: true", "found True"),
        ("peers: [node-b]", "expected name: http://host:port"),
        ("peers: {node-b: 'https://127.0.0.1:1'}", "expected http://host:port"),
        ("peers: {node-b: 'http://user@127.0.0.1:1'}", "expected http://host:port"),
        ("peers: {node-b: 'http://127.0.0.1:99999'}", "expected http://host:port"),
        ("peers: {node-a: 'http://127.0.0.1:1'}", "'node-a' is the node itself"),
        ("api_key: short", "expected 8 to 200 visible ASCII characters"),
        ("principals: {a-long-key: 'did:web:example'}", "a did:key of Ed25519"),
        ("preset: fast", "expected one of production, development, testing"),
        ("data: ''", "expected a folder"),
    ],
)
def test_a_wrong_value_says_what_was_expected(tmp_path: Path, line: str, said: str) -> None:
    """Each field has its own sentence, at its own line."""
    text = "name: node-a\n" + ("" if line.startswith("data") else "data: x\n") + line + "\n"
    (message,) = refused(tmp_path, text)
    assert message.startswith(f"node.yaml:{text.count(chr(10))}: {line.partition(':')[0]}: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "node.yaml:1: expected settings, such as `name: node-a`"),
        ("name: a\nname: b\n", "node.yaml:2: name: is given more than once"),
        ("name: [\n", "no valid YAML"),
        ("name: !!python/object:os.system x\n", "node.yaml:1: no valid YAML"),
        ("a: " + "[" * 3000, "no valid YAML"),
    ],
)
def test_what_is_no_settings_file_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """Wrong shapes and broken YAML never end in a traceback."""
    assert said in refused(tmp_path, text)[0]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A missing file and one that is no text are errors with the path."""
    with pytest.raises(InvalidSettings, match=r"missing\.yaml: can't be read"):
        load(tmp_path / "missing.yaml", {})
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSettings, match=r"bytes\.yaml"):
        load(tmp_path / "bytes.yaml", {})


def test_principals_are_keys_and_their_dids(tmp_path: Path) -> None:
    """A further API key acts as the DID that is written beside it."""
    settings = load(written(tmp_path, f"name: a\ndata: x\nprincipals: {{a-long-key: '{DID}'}}\n"), {})
    assert dict(settings.principals) == {"a-long-key": DID}
