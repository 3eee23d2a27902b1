"""The clients of the comparison, each as a process on a core: what a run of it cost, and what it said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from load_servers import CHANGING, STATIC, program

CONNECTIONS = 64
WARMUP = 0.5
LOCUSTFILE = str(Path(__file__).with_name("load_locustfile.py"))
_STEP = (
    "{path: %s, check: {status: 200, headers: {Content-Type: {matches: json}}, body_contains: height,"
    " json: {status: ok, node: {matches: '^node-'}, height: {type: integer, at_least: 1}}}}"
)
_HEAD = """version: 1
arrivals: {rate: 1000/s, for: 10 s}
warmup: %s s
connections: %d
"""
SCENARIOS = {
    "bare": f"mix: {{ask: 1}}\nflows:\n  ask: {{steps: [{{path: {STATIC}}}]}}\n",
    "everything": "mix: {ask: 3, look: 1, wait: 1}\nflows:\n"
    + "".join(f"  {flow}: {{steps: [{_STEP % STATIC}]}}\n" for flow in ("ask", "look", "wait")),
    "changing": "mix: {ask: 3, look: 1, wait: 1}\nflows:\n"
    + "".join(f"  {flow}: {{steps: [{_STEP % CHANGING}]}}\n" for flow in ("ask", "look", "wait")),
}
"""What ours does: nothing but look at the status; check status, header, text and JSON in flows that are counted apart; the same
on bodies none of which repeats."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One run: how many requests were answered rightly, in how many seconds, at how much processor time."""

    requests: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of processor time a request."""
        return self.processor / max(1, self.requests) * 1e6


def on_core(core: int, command: list[str], *, good: tuple[int, ...] = (0,), **more: str) -> tuple[str, float]:
    """What *command* printed, and the seconds of processor time that it took in all. Raises RuntimeError when it failed."""
    taken = ["taskset", "-c", str(core), *command]
    with subprocess.Popen(taken, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **more}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.read().decode(errors="replace")
        complaint = process.stderr.read().decode(errors="replace")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in good:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {complaint[-2000:] or said[-2000:]}")
    return said, used.ru_utime + used.ru_stime


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no {pattern!r} in {text[-2000:]}")
    return float(found[1])


def wrk(core: int, url: str, seconds: float) -> Pass:
    """wrk with one thread; its processor time is the whole process's."""
    tool = program("wrk", "apt-get install wrk")
    said, processor = on_core(core, [tool, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", url])
    if "Non-2xx" in said:
        raise RuntimeError(said)
    requests = int(_number(r"(\d+) requests in", said))
    return Pass(requests, requests / _number(r"Requests/sec:\s+([\d.]+)", said), processor)


def hey(core: int, url: str, seconds: float) -> Pass:
    """hey on one processor; its processor time is the whole process's."""
    tool = program("hey", "apt-get install hey")
    said, processor = on_core(core, [tool, "-z", f"{seconds:g}s", "-c", str(CONNECTIONS), "-cpus", "1", url])
    return Pass(int(_number(r"\[200\]\s+(\d+) responses", said)), _number(r"Total:\s+([\d.]+) secs", said), processor)


def locust(core: int, url: str, seconds: float) -> Pass:
    """Locust's FastHttpUser, one process; counted from when all users are there, without its start."""
    path = url[url.index("/", 8) :]
    told = _locust(core, url.removesuffix(path), path, seconds, CONNECTIONS, 0)
    return Pass(told["requests"], told["seconds"], told["processor"])


def _locust(core: int, host: str, path: str, seconds: float, users: int, throughput: float) -> dict[str, float]:
    command = [sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless", "--only-summary", "-L", "ERROR", "--host", host]
    size = ["-u", str(users), "-r", str(users), "--stop-timeout", "0"]
    asked = {"LOAD_PATH": path, "LOAD_SECONDS": f"{seconds:g}", "LOAD_THROUGHPUT": f"{throughput:g}"}
    said, _ = on_core(core, [*command, *size], **asked)
    return json.loads(next(line for line in said.splitlines() if line.startswith("{")))  # type: ignore[no-any-return]


def ours(core: int, url: str, seconds: float, scenario: str, folder: Path) -> Pass:
    """`gates load --closed`; counted without its start and a warm-up of half a second."""
    file = folder / f"{scenario}.yaml"
    file.write_text(_HEAD % (WARMUP, CONNECTIONS) + SCENARIOS[scenario])
    base = url[: url.index("/", 8)]
    command = [sys.executable, "-m", "gates", "load", str(file), "--closed", "--json", "--target", base]
    said, _ = on_core(core, [*command, "--duration", f"{seconds + WARMUP:g}s"])
    told = json.loads(said)
    if told["failures"]:
        raise RuntimeError(f"{scenario}: {told['failures']}, {told['examples']}")
    return Pass(told["right"], told["seconds"], told["processor"]["seconds"])


# --- the stall: 1,000 requests a second for 10 s, as each tool can be told


@dataclass(frozen=True, slots=True)
class Stalled:
    """What a tool reports of a server that stalls: milliseconds at percentiles, None where it does not say.

    *is_valid* is False when the tool itself says that it could not measure.
    """

    issued: int
    percentiles: dict[str, float | None]
    is_valid: bool = True


def stall_ours(core: int, url: str, folder: Path) -> Stalled:
    """The open loop of `gates load`."""
    file = folder / "stall.yaml"
    flow = "mix: {ask: 1}\nflows:\n  ask: {steps: [{path: /, check: {status: 200, json: {ok: true}}}]}\n"
    file.write_text(_HEAD % (0, CONNECTIONS) + flow)
    command = [sys.executable, "-m", "gates", "load", str(file), "--json", "--target", url]
    for _ in range(2):
        # 3 says that the generator was late, which is the machine's doing, and gets one second attempt
        told = json.loads(on_core(core, [*command, "--rate", "1000/s", "--duration", "10s"], good=(0, 3))[0])
        is_valid = all(outcome == "pass" for outcome in told["valid"].values())
        if is_valid:
            break
    found = {each["metric"]: each for each in told["measurements"] if not each.get("phase") and not each.get("selector")}
    if told["failures"]:
        raise RuntimeError(str(told["failures"]))
    percentiles = {name: found[f"latency.{name}"]["value"] * 1e3 for name in ("p50", "p90", "p95", "p99")}
    return Stalled(int(found["requests.count"]["value"]), percentiles, is_valid)


def stall_wrk(core: int, url: str, folder: Path) -> Stalled:
    """wrk has no rate: as fast as it can, with the correction that it makes by itself."""
    said, _ = on_core(core, [program("wrk", "apt-get install wrk"), "--latency", "-t1", "-c50", "-d10s", url])
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {name: float(value) * unit[of] for name, value, of in re.findall(r"\s(\d+)%\s+([\d.]+)(us|ms|s)\b", said)}
    return Stalled(
        int(_number(r"(\d+) requests in", said)),
        {"p50": found["50"], "p90": found["90"], "p95": None, "p99": found["99"]},
    )


def stall_hey(core: int, url: str, folder: Path) -> Stalled:
    """50 workers of 20 requests a second."""
    said, _ = on_core(core, [program("hey", "apt-get install hey"), "-z", "10s", "-c", "50", "-q", "20", "-cpus", "1", url])
    found = {f"p{name}": float(value) * 1e3 for name, value in re.findall(r"(\d+)% in ([\d.]+) secs", said)}
    return Stalled(
        int(_number(r"\[200\]\s+(\d+) responses", said)), {name: found[name] for name in ("p50", "p90", "p95", "p99")}
    )


def stall_locust(core: int, url: str, folder: Path) -> Stalled:
    """100 users of a constant throughput of 10 a second."""
    told = _locust(core, url, "/", 10, 100, 10)
    return Stalled(int(told["requests"]), {name: told[name] for name in ("p50", "p90", "p95", "p99")})
