"""docs/guide/federation.md is a walk through a federation: what it shows is run, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from gates.node.settings import Settings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "federation.md").read_text("utf-8")


def test_every_setting_of_a_node_is_in_the_table_with_its_default() -> None:
    """No setting is missing, none is left over, and each default is the one that a node takes."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*?) ?\| ", GUIDE, re.MULTILINE)
    told = {name: default.strip() for names, default in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == {setting.name: _default(setting.default) for setting in fields(Settings)}


def _default(value: object) -> str:
    if value is MISSING or value == "":
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).lower()


@pytest.mark.end_to_end
@pytest.mark.needs("curl", "apt-get install curl")
@pytest.mark.needs("jq", "apt-get install jq")
def test_the_walk_through_a_federation_goes_as_it_is_written(tmp_path: Path) -> None:
    """Its files where their first lines say, its commands in one shell that ends with the first that fails."""
    for name, text in re.findall(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    walk = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**_outside(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    subprocess.run([sys.executable, "-m", "gates", "federation", "down"], cwd=tmp_path, capture_output=True, check=False)
    assert walk.returncode == 0, walk.stdout + walk.stderr
    assert re.search(r"node-b +http\S+ +ended", walk.stdout)
    assert re.search(r"^refused$", walk.stdout, re.MULTILINE)
    assert "ended node-a, node-b, node-c" in walk.stderr


def _outside() -> dict[str, str]:
    """The environment without what the run of this test would hand on."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GATES_", "GITHUB_", "READINESS_"))}
