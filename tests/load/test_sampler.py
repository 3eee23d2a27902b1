"""The sampler of the target's processes, against real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from gates.load.sampler import Sample, Sampler

# does one thing for each line that it is given, and answers when it is done
SERVANT = """
import os, socket, subprocess, sys, threading, time
kept, data = [], sys.argv[1]
def memory(): kept.append(bytearray(b"x" * 64 * 1024 * 1024))
def files(): kept.extend(open("/dev/null") for _ in range(10))
def sockets(): kept.extend(socket.socket() for _ in range(5))
def threads(): [threading.Thread(target=time.sleep, args=(600,), daemon=True).start() for _ in range(3)]
def burn():
    until = time.process_time() + 0.3
    while time.process_time() < until: pass
def write():
    with open(data + "/written", "wb") as file:
        file.write(os.urandom(4 * 1024 * 1024)); file.flush(); os.fsync(file.fileno())
WORKER = "x = b'x' * 96 * 1024 * 1024; print(1, flush=True); input()"
def child():
    kept.append(subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    kept[-1].stdout.readline()
def end(): kept[-1].communicate(b"\\n")
print("here", flush=True)
for line in sys.stdin:
    globals()[line.strip()]()
    print("done", flush=True)
"""


@contextmanager
def servant(folder: Path, prefix: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process that does what it is told, until the end."""
    command = [*prefix, sys.executable, "-c", SERVANT, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str], what: str) -> None:
    """Let *process* do it, and wait until it has."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def change(folder: Path, what: str) -> tuple[Sample, Sample]:
    """A servant before and after it did *what*."""
    with servant(folder) as process:
        sampler = Sampler(lambda: {"it": process.pid})
        sampler.look()
        tell(process, what)
        sampler.look()
        before, after = sampler.taken(0.0).samples["it"]
    return before, after


def test_memory_is_resident_memory(tmp_path: Path) -> None:
    """64 MiB that were written to are 64 MiB more."""
    before, after = change(tmp_path, "memory")
    assert after.rss - before.rss == pytest.approx(64 * 2**20, rel=0.05)


def test_descriptors_are_counted_and_sockets_among_them(tmp_path: Path) -> None:
    """Ten files and five sockets are fifteen descriptors."""
    before, after = change(tmp_path, "files")
    assert before.files is not None
    assert (after.files, after.sockets) == (before.files + 10, before.sockets)
    before, after = change(tmp_path, "sockets")
    assert before.sockets is not None
    assert after.sockets == before.sockets + 5


def test_threads_are_counted(tmp_path: Path) -> None:
    """Three more."""
    before, after = change(tmp_path, "threads")
    assert after.threads == before.threads + 3


def test_processor_time_is_that_of_the_process(tmp_path: Path) -> None:
    """It says itself that it used 0.3 s; the kernel counts in hundredths."""
    before, after = change(tmp_path, "burn")
    assert after.cpu - before.cpu == pytest.approx(0.3, abs=0.05)


def test_bytes_to_storage_are_those_of_the_process(tmp_path: Path) -> None:
    """4 MiB that were forced to the disk; a file system in memory has no storage, and the kernel counts none."""
    before, after = change(tmp_path, "write")
    assert before.written is not None
    assert after.written is not None
    in_memory = os.statvfs(tmp_path).f_fsid == os.statvfs("/dev/shm").f_fsid
    assert after.written - before.written >= (0 if in_memory else 4 * 2**20)


def test_what_a_process_has_started_is_part_of_it_and_its_time_stays_when_it_has_ended(tmp_path: Path) -> None:
    """A start script is not the server, and a worker that was replaced has worked."""
    with servant(tmp_path) as process:
        sampler = Sampler(lambda: {"it": process.pid})
        for what in ("files", "child", "end"):
            sampler.look()
            tell(process, what)
        sampler.look()
        _, alone, with_child, after = sampler.taken(0.0).samples["it"]
    assert with_child.rss - alone.rss > 96 * 2**20
    assert with_child.threads == alone.threads + 1
    assert after.rss < alone.rss + 16 * 2**20
    assert after.cpu >= with_child.cpu


def test_a_process_that_is_gone_has_no_sample_and_the_others_have(tmp_path: Path) -> None:
    """Nothing is made up for it, also while nobody has asked for its exit code."""
    with servant(tmp_path) as one, servant(tmp_path) as other:
        sampler = Sampler(lambda: {"one": one.pid, "other": other.pid})
        sampler.look()
        one.kill()
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
        sampler.look()
        samples = sampler.taken(0.0).samples
    assert {name: len(each) for name, each in samples.items()} == {"one": 1, "other": 2}


def test_a_process_without_a_network_of_its_own_has_no_bytes_and_is_named(tmp_path: Path) -> None:
    """The counters of the machine are not the process' own."""
    with servant(tmp_path) as process:
        sampler = Sampler(lambda: {"it": process.pid})
        sampler.look()
        taken = sampler.taken(0.0)
    assert taken.shared == {"it"}
    assert (taken.samples["it"][0].received, taken.samples["it"][0].sent) == (None, None)


@pytest.mark.needs("unshare", "apt-get install util-linux")
def test_a_process_in_a_network_namespace_has_the_bytes_of_its_interfaces(tmp_path: Path) -> None:
    """Nothing but loopback is in a fresh one, so nothing came and nothing went: that is known."""
    ways = (["--net"], ["--user", "--map-root-user", "--net"])
    made = (["unshare", *way] for way in ways if subprocess.run(["unshare", *way, "true"], check=False).returncode == 0)
    prefix = next(made, None)
    if prefix is None or shutil.which("unshare") is None:
        pytest.skip("this machine lets nobody make a network namespace")
    with servant(tmp_path, prefix) as process:
        sampler = Sampler(lambda: {"it": process.pid})
        sampler.look()
        taken = sampler.taken(0.0)
    assert taken.shared == frozenset()
    assert (taken.samples["it"][0].received, taken.samples["it"][0].sent) == (0, 0)


def test_it_looks_at_once_and_then_at_every_period_until_it_is_left(tmp_path: Path) -> None:
    """Times are from the start of load, and what the looks cost is told."""
    looked = threading.Event()
    moments: list[float] = []

    def processes() -> dict[str, int]:
        if len(moments) > 3:
            looked.set()
        return {"it": os.getpid()}

    def clock() -> float:
        moments.append(len(moments) * 0.25)
        return moments[-1]

    with Sampler(processes, clock=clock, period=0.0) as sampler:
        assert looked.wait(10)
    taken = sampler.taken(1.0)
    assert taken.looks == len(taken.samples["it"]) > 1
    assert taken.samples["it"][0].at == moments[1] - 1.0
    assert taken.cost > 0


def test_a_target_without_processes_is_not_looked_at() -> None:
    """No thread, no sample, no name."""
    with Sampler(dict) as sampler:
        assert "resources" not in {thread.name for thread in threading.enumerate()}
    assert sampler.taken(0.0).names == ()
