"""How many small changes of breaker and retry the tests notice, and what the rest of them are.

    python benchmarks/mutate_recovery.py [--least 95] [--write docs/recovery] [NAME...]

Runs mutmut over the modules that `[tool.mutmut]` of pyproject.toml names (or the mutants NAME, such as
`gates.recovery.retry.*`; what ran before is kept in `mutants/`). Ends with 1 when fewer than `--least` percent were noticed or
when one that survived has no reason here. `--write` renders mutation.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

REASONS: tuple[tuple[str, str], ...] = (
    (r"sequence (\+)?= ", "only the difference of two permits matters, not where they begin or how far apart they are"),
    (
        r"\n.*return 0\n.*return 1",
        "nobody reads this answer: what changes a breaker under its lock may answer a permit, and this doesn't",
    ),
    (r"_current\n.*permit > 0", "no permit is 0: generations begin with 1 and probes count down from -1"),
    (r"_moved\n.*until", "a breaker that is not isolated is closed or admits everybody, and then this time is not read"),
    (r"_at_least\n.*0\.0 <", "a pause of nothing lengthens none"),
    (
        r"or True else|and False else|window is None or|results is None:",
        "the long way round to the same result: only time is saved",
    ),
    (r"refresh\n", "the long way round to the same result: only time is saved"),
    (r"source\.(bind|local)\(", "the name that a value has in the woven function; nothing else depends on it"),
    (r"weave\n *started = ", "any empty value means that no time is taken"),
    (r'else "XXXX"', "any text that is not empty only makes the woven function look once more"),
    (
        r'self\.told\(permit, (SUCCESS|outcome), "", 0\.0',
        "text and pause belong to a failure; nothing reads them after anything else",
    ),
    (r"break_duration\n.*grown", "the minimum with the longest break follows"),
    (r"min\(successes, 30\)", "no breaker admits 2^30 probes at once"),
    (r"Outage\.__init__", "written by the opening before anything reads it"),
    (r"_retry_after\n.*0 < seconds", "0 seconds asked for are 0 seconds, either way"),
    (r"budgets\[:\] = ", "only whether the list is empty is asked"),
    (r"short = (False|None)|tokens < self\._capacity", "a budget that is full takes a deposit and stays full"),
    (r"gained > 0", "less than a millionth of a token is kept for the next time, in the clock's reading"),
    (r"CountTally\.tripped", "a window of so many calls never looks at the time"),
    (r"watchful", "the long way round to the same result: only time is saved"),
    (r"TimeTally\.(clear|totals)", "before the first call every bucket is empty, whichever of them are added up"),
    (r"TimeTally\._roll", "two more buckets are emptied, of those that are emptied anyway"),
    (r"_fraction", "every share that is written with more digits is exact as a ratio, which comes next"),
    (r"Snapshot\.__init__.*outage or", "the end of a break that is over lies in the past, and the greater of 0 and that is 0"),
    (r"_schedule\n.*type\(None\)", "the long way round to the same pauses: only time is saved"),
    (r"_schedule\n.*\(\), True", "no pause is known, so it is never asked whether the known ones are drawn"),
    (r"_weave_loop\n.*told\)\n.*None\)", "nothing is told where there is no deadline around, and any empty value says that"),
    (r"_interrupted\n.*\[0, 1\.0\]", "the pause before an attempt that was interrupted is read by nothing that comes after"),
    (r"_retry_after\n.*getattr", "an error that does not say raises, and that is 0 as well"),
    (r"_at = clock\(\)", "without a reserve no time is counted"),
)
"""What a survivor's change looks like (module.function, then the old and the new line), and why no test can or need tell."""

NOTICED = ("killed", "timeout", "segfault")
NOT_RUN = ("not checked",)


class Survivor(NamedTuple):
    """One change that no test noticed: in which function, the line as it was and as it became."""

    place: str
    before: str
    after: str

    @property
    def reason(self) -> str:
        """Why it may live; nothing where nobody has said so yet."""
        text = f"{self.place}\n{self.before}\n{self.after}"
        return next((reason for pattern, reason in REASONS if re.search(pattern, text, re.DOTALL)), "")


def mutmut(*arguments: str) -> str:
    """What a command of mutmut writes."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def run(names: Iterable[str]) -> None:
    """Run the mutants, a process each; the histories are short, because thousands of mutants run them."""
    command = [sys.executable, "-m", "mutmut", "run", *names]
    subprocess.run(command, check=True, env={**os.environ, "RECOVERY_STEPS": "500"})


def statuses() -> dict[str, str]:
    """What became of every mutant, by its name."""
    lines = (line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").splitlines() if "__mutmut_" in line)
    return {name: status for name, _, status in lines}


def survivor(name: str) -> Survivor:
    """The change that mutmut calls *name*."""
    lines = [line for line in mutmut("show", name).splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    before, after = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    place = name.rpartition("__mutmut_")[0].removeprefix("gates.recovery.")
    return Survivor(re.sub(r"\.xǁ(\w+)ǁ|\.x_", lambda match: f".{match[1]}." if match[1] else ".", place), before, after)


def share(known: dict[str, str]) -> float:
    """The percentage of mutants that were noticed; those that ran into their time limit hung, and that is noticed, too."""
    return 100 * sum(status in NOTICED for status in known.values()) / len(known)


def rendered(known: dict[str, str], alive: list[Survivor]) -> str:
    """The page that is published."""
    lines = [
        "# Mutants of breaker and retry",
        "",
        "Written by `./noxw -s mutants`: mutmut changes one thing at a time, and the tests of `tests/recovery` must notice. A",
        "mutant that hangs is noticed by its time limit. It runs every night, and fails below 95 % and at a survivor without a",
        "reason.",
        "",
        "| module | mutants | noticed | |",
        "|---|---:|---:|---:|",
    ]
    modules = Counter(name.split(".")[2] for name in known)
    for module, count in modules.items():
        noticed = sum(status in NOTICED for name, status in known.items() if name.split(".")[2] == module)
        lines.append(f"| `{module}` | {count} | {noticed} | {100 * noticed / count:.1f} % |")
    lines.append(f"| together | {len(known)} | {len(known) - len(alive)} | **{share(known):.1f} %** |")
    lines += [
        "",
        "## Those that survived, and why",
        "",
        "| where | as it is | as it was changed | reason |",
        "|---|---|---|---|",
    ]
    for each in alive:
        cells = (each.place, each.before, each.after)
        lines.append(
            f"| {' | '.join(f'`{cell}`'.replace('|', chr(92) + '|') for cell in cells)} | {each.reason or '**none yet**'} |"
        )
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="mutants, as mutmut names them; all without")
    parser.add_argument("--least", type=float, default=95.0, help="percent that must be noticed")
    parser.add_argument("--write", type=Path, help="the folder for mutation.md")
    options = parser.parse_args()
    run(options.names)
    known = {name: status for name, status in statuses().items() if status not in NOT_RUN}
    alive = [survivor(name) for name, status in known.items() if status not in NOTICED]
    sys.stdout.write(rendered(known, alive))
    if options.write:
        (options.write / "mutation.md").write_text(rendered(known, alive), "utf-8")
    return int(share(known) < options.least or not all(each.reason for each in alive))


if __name__ == "__main__":
    sys.exit(main())
