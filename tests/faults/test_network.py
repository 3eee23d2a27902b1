"""Faults of links, against real servers behind real links; and which links and ways they choose."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pydantic import ValidationError
from small_server import serving

from gates.faults import FAULTS, ways
from gates.faults.capability import works
from gates.faults.link_probe import ANSWERED, SILENT, LinkProbe, Look, Question
from gates.faults.partition import Partition, PartitionSettings
from gates.faults.severed import HalfOpen, Reset
from gates.faults.spec import FaultSpec
from gates.faults.timeline import PlannedFault, play
from gates.faults.traffic import Bandwidth, Latency, Loss, Slicing, SlowReader
from gates.faults.watch import Watch
from gates.faults.ways import controls_of
from gates.model import ProcessSpec, Ready, TargetLayout, TargetPlan
from gates.target import RunningTarget, TargetError, running

pytestmark = pytest.mark.end_to_end

THREE = frozenset((one, other) for one in ("clients", "a", "b", "c") for other in ("clients", "a", "b", "c") if one != other)
NFT = pytest.mark.needs("nft", "apt-get install nftables")


class Pair:
    """Two servers that could speak to each other."""

    name, settings = "pair", dict

    def layout(self, settings: Any) -> TargetLayout:
        specs = [ProcessSpec(name, tuple(serving()), Ready(http="/"), links=tuple({"a", "b"} - {name})) for name in "ab"]
        return TargetLayout(tuple(specs), controls=("kill", "start", "links", "namespaces"))


class Anything:
    """Settings of a preset that has none."""

    @staticmethod
    def model_validate(value: Any) -> Any:
        return value


Pair.settings = Anything  # type: ignore[assignment]
PLAN = TargetPlan("pair", {}, ("a", "b"), ("links",))


def started(folder: Path, links: str) -> Any:
    return running(PLAN, folder=folder, plugins=lambda _: {"pair": Pair()}, links=links)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """Both servers, behind links by the proxy."""
    with started(tmp_path_factory.mktemp("pair"), "proxy") as target:
        yield target


def get(target: RunningTarget, name: str, patience: float = 0.3) -> int:
    """The status that a client gets from *name*."""
    with urllib.request.urlopen(target.endpoints[name], timeout=patience) as answer:
        return int(answer.status)


# --- which links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "struck"),
    [
        ({"nodes": ["b"]}, "ab ba bc cb"),
        ({"nodes": ["b"], "with": ["a"]}, "ab ba"),
        ({"nodes": ["b"], "direction": "out"}, "ba bc"),
        ({"nodes": ["b"], "direction": "in", "with": ["a"]}, "ab"),
        ({"nodes": ["a", "b"]}, "ac bc ca cb"),
    ],
)
def test_a_partition_strikes_what_it_says(settings: Mapping[str, Any], struck: str) -> None:
    """Full, partial, one-way, and of several nodes, which still speak to each other."""
    pairs = PartitionSettings.model_validate(settings).pairs(THREE)
    assert " ".join(sorted(one + other for one, other in pairs)) == struck


def test_clients_are_struck_only_when_asked_for() -> None:
    """A partition leaves clients alone; `all` and `clients` don't."""
    assert not any("clients" in pair for pair in PartitionSettings.model_validate({"nodes": ["b"]}).pairs(THREE))
    everything = PartitionSettings.model_validate({"nodes": ["b"], "with": "all"}).pairs(THREE)
    assert {("clients", "b"), ("b", "clients")} < set(everything)
    assert set(PartitionSettings.model_validate({"nodes": ["b"], "with": "clients"}).pairs(THREE)) == {
        ("b", "clients"),
        ("clients", "b"),
    }


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"nodes": []},
        {"nodes": ["b"], "with": ["b"]},
        {"nodes": ["b", "b"]},
        {"nodes": ["b"], "with": "everybody"},
        {"nodes": ["b"], "direction": "sideways"},
        {"nodes": ["b"], "flapping": {"down": "1 ms", "up": "1 s"}},
    ],
)
def test_links_that_make_no_sense_are_refused(bad: Mapping[str, Any]) -> None:
    """A link has two ends that differ, and a direction that there is."""
    with pytest.raises(ValidationError):
        PartitionSettings.model_validate(bad)


# --- which way --------------------------------------------------------------------------------------------------------


def fault(name: str, *asked: str, **settings: Any) -> PlannedFault:
    return PlannedFault(name, {"nodes": ["b"], **settings}, 0.0, 1.0, ("b",), asked[0] if asked else "", asked)


EVERYTHING = ("kill", "start", "links", "namespaces")


def chosen(*faults: PlannedFault, lacking: str = "", controls: tuple[str, ...] = EVERYTHING) -> ways.Chosen:
    return ways.chosen(faults, FAULTS, controls, lambda name: f"there is no {name}" if name == lacking else "")


EITHER = ("namespace", "proxy")


def test_the_first_way_of_those_named_that_works_is_taken() -> None:
    """Namespaces where they work, else the proxy; and what is used is written into the fault."""
    assert chosen(fault("partition", *EITHER)).faults[0].way == "namespace"
    assert chosen(fault("partition", *EITHER), lacking="nft").faults[0].way == "proxy"
    assert chosen(fault("partition", "proxy", "namespace")).faults[0].way == "proxy"
    assert chosen(fault("partition", *EITHER), controls=("links",)).links == "proxy"
    assert chosen(fault("crash")).links == ""


def test_no_fallback_is_chosen_that_the_scenario_does_not_name() -> None:
    """It may be another fault, as a small address space is another than a kill by the kernel; what could be named is told."""
    for name, lacking in (("partition", "nft"), ("oom-kill", "cgroup-memory"), ("disk-full", "tmpfs")):
        planned = PlannedFault(name, {}, 0.0, 1.0, ("b",))
        (problem,) = ways.chosen(
            [planned], FAULTS, (*EVERYTHING, "data"), lambda each, no=lacking: each * (each == no)
        ).problems
        assert lacking in problem
        assert "a scenario may name a fallback: way: [" in problem
    assert controls_of(FAULTS["partition"], (), ("links",)) == ("links", "namespaces")
    assert controls_of(FAULTS["partition"], EITHER, ("links",)) == ("links",)


@pytest.mark.parametrize("bad", ["sideways", ["proxy", "sideways"], ["proxy", "proxy"], []])
def test_a_way_that_is_not_there_or_named_twice_is_refused(bad: Any) -> None:
    """One or several ways, each once, of those that the fault has."""
    text = {"at": "10 %", "for": "10 %", "partition": {"nodes": ["b"]}}
    assert FaultSpec.model_validate({**text, "way": "proxy"}).ways == ("proxy",)
    assert FaultSpec.model_validate({**text, "way": list(EITHER)}).ways == EITHER
    assert FaultSpec.model_validate(text).ways == ()
    with pytest.raises(ValidationError):
        FaultSpec.model_validate({**text, "way": bad})


def test_faults_of_one_trial_share_their_links() -> None:
    """What only the proxy can do makes the others take the proxy too."""
    found = chosen(fault("partition", *EITHER), fault("reset"), fault("crash"))
    assert found.links == "proxy"
    assert [each.way for each in found.faults[:2]] == ["proxy", "proxy"]
    assert not found.problems


def test_a_way_that_is_pinned_is_not_replaced() -> None:
    """It works, or there is a problem that says why not."""
    assert chosen(fault("partition", "proxy")).faults[0].way == "proxy"
    (problem,) = chosen(fault("partition", "namespace"), lacking="nft").problems
    assert problem.startswith("partition: by namespace: there is no nft")
    (problem, *_) = chosen(fault("partition", "namespace"), fault("reset")).problems
    assert "links must be made of something else" in problem


# --- what the probe sees ----------------------------------------------------------------------------------------------


def probe(*looks: Look, fewest: int = 1) -> LinkProbe:
    """A probe that has taken *looks*; the fault was caused at 1 and healed at 3."""
    found = LinkProbe(lambda question: looks[0], ("a", "b"), Question(), lambda row: row[-1].how == SILENT, lambda: 9.0)
    for look in looks:
        if look.asked >= 1:
            found.caused(1.0)
        if look.asked >= 3:
            found.healing(3.0)
        found._note(look)
    return found


def test_only_looks_after_the_cause_and_after_the_heal_count() -> None:
    """It is seen at the first silent look that was asked after it was caused, and gone at the first answer asked after."""
    looks = [(0.5, ANSWERED), (1.2, SILENT), (2.9, ANSWERED), (3.1, SILENT), (3.7, ANSWERED)]
    found = probe(*(Look(asked, how, 0.1) for asked, how in looks))
    assert (found.seen_at, found.gone_at, found.leaks) == (1.2, 9.0, 1)


def test_what_was_never_sound_can_not_break() -> None:
    """A link that was silent before the fault shows nothing of it."""
    found = probe(Look(0.5, SILENT, 0.5), Look(1.2, SILENT, 0.5), Look(3.7, ANSWERED, 0.1))
    assert (found.seen_at, found.gone_at) == (None, None)


# --- against servers --------------------------------------------------------------------------------------------------


def applied(target: RunningTarget, kind: Any, settings: Mapping[str, Any], during: Callable[[], Any]) -> Watch:
    """What *kind* noted, with *during* called while it lasted."""
    with kind.apply(target, {"nodes": ["b"], **settings}) as watch:
        during()
    assert watch.caused is not None
    assert watch.healing is not None
    return watch


def test_a_partition_from_clients_is_real_seen_and_healed(target: RunningTarget) -> None:
    """Clients of b get nothing, those of a everything, and afterwards both are served."""

    def during() -> None:
        assert get(target, "a") == 200
        with pytest.raises(OSError, match="timed out"):
            get(target, "b")

    watch = applied(target, Partition(), {"with": "all"}, during)
    assert watch.caused <= watch.seen_start < watch.healing <= watch.seen_end  # type: ignore[operator]
    assert get(target, "b") == 200


FLAPPING = {"with": "clients", "flapping": {"down": "200 ms", "up": "300 ms"}}


def test_a_flapping_partition_is_seen_to_come_and_go(target: RunningTarget) -> None:
    """Down, up and down again; one look at silence would be a plain partition."""
    watch = applied(target, Partition(), FLAPPING, lambda: time.sleep(1.5))
    assert None not in (watch.seen_start, watch.seen_end), watch.detail
    turns = re.search(r"came and went at least (\d+) times", watch.detail)
    assert turns is not None
    assert int(turns[1]) >= 2


def test_a_partition_that_stays_is_not_one_that_flaps(target: RunningTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut is there, but it was asked for one that comes and goes."""
    monkeypatch.setattr("gates.faults.partition._flapping", lambda *_: nullcontext())
    watch = applied(target, Partition(), FLAPPING, lambda: time.sleep(0.5))
    assert (watch.seen_start, watch.seen_end) == (None, None)
    assert "not seen to come and go on clients to b" in watch.detail


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Latency(), {"by": "40 ms"}),
        (Latency(), {"by": "40 ms", "direction": "in"}),
        (Slicing(), {"size": "16 B", "pause": "2 ms"}),
        (Bandwidth(), {"per_second": "4 kB", "path": "/"}),
        (Loss(), {"share": "60 %", "with": "clients"}),
        (Reset(), {}),
        (HalfOpen(), {"with": "clients"}),
    ],
)
def test_faults_of_traffic_and_connections_are_seen(target: RunningTarget, kind: Any, settings: Mapping[str, Any]) -> None:
    """Each by requests that had no part in it, at its start and at its end; then the link is as it was."""
    watch = applied(target, kind, settings, lambda: None)
    assert watch.seen_start is not None, watch.detail
    assert watch.seen_end is not None, watch.detail
    assert get(target, "b") == 200


def test_a_cut_that_cuts_nothing_is_not_seen(target: RunningTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes don't take the cause's word for it."""
    monkeypatch.setattr(type(target.links), "shape", lambda self, traffic: None)
    monkeypatch.setattr("gates.faults.network.NOTICE", 0.2)
    watch = applied(target, Partition(), {}, lambda: None)
    assert (watch.seen_start, watch.seen_end) == (None, None)
    assert "not seen on a to b, b to a" in watch.detail


CURT = """
import socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self): self.request.recv(1000)
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_who_hangs_up_without_an_answer_can_not_be_seen_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe asks for /, and needs an answer, whatever its status; the one who reads of it must know what to serve."""
    monkeypatch.setattr("gates.faults.network.SOUND", 0.3)
    monkeypatch.setattr("gates.faults.network.NOTICE", 0.1)
    plan = TargetPlan("command", {"name": "b", "run": [sys.executable, "-c", CURT, "{port}"]}, ("b",))
    with running(plan, folder=tmp_path, links="proxy") as curt:
        watch = applied(curt, Partition(), {"with": "clients"}, lambda: None)
    assert watch.seen_start is None
    assert "before the fault GET / was not answered on clients to b (ended)" in watch.detail
    assert "not seen on" not in watch.detail


def test_a_link_is_healed_after_an_error(target: RunningTarget) -> None:
    """Whatever happens inside."""
    with pytest.raises(ZeroDivisionError), Partition().apply(target, {"nodes": ["b"], "with": "clients"}):
        raise ZeroDivisionError
    assert get(target, "b") == 200


def test_a_heal_that_fails_ends_the_timeline(target: RunningTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and no later fault is caused."""

    def fail(self: Any, pairs: Any) -> None:
        raise TargetError("the heal failed")

    zero = time.monotonic()
    with monkeypatch.context() as context:
        context.setattr(type(target.links), "restore", fail)
        faults = [fault("partition", "proxy"), fault("reset", "proxy")]
        first, second = play(faults, target, FAULTS, clock=lambda: time.monotonic() - zero + 0.9, stop=Event())
    target.links.restore(target.links.pairs)  # type: ignore[union-attr]
    assert "the heal failed" in first.detail
    assert not first.seen
    assert second.caused is None


def test_a_target_without_links_can_not_be_struck(tmp_path: Path) -> None:
    """The error says so, and nothing has happened."""
    with (
        started(tmp_path, "") as plain,
        pytest.raises(TargetError, match="started without links"),
        Partition().apply(plain, {"nodes": ["b"]}),
    ):
        pass


def test_what_somebody_else_started_is_struck_on_our_side(tmp_path: Path, target: RunningTarget) -> None:
    """Clients that go through us are cut off; who does not is served."""
    host, port = target._links.address("a")  # type: ignore[union-attr]
    plan = TargetPlan("url", {"url": f"http://{host}:{port}"}, ("main",), ("links",))
    with running(plan, folder=tmp_path, links="proxy") as theirs:
        with (
            Partition().apply(theirs, {"nodes": ["main"], "with": "clients"}) as watch,
            pytest.raises(OSError, match="timed out"),
        ):
            get(theirs, "main")
        assert get(theirs, "main") == 200
    assert watch.seen_end is not None


# --- namespaces -------------------------------------------------------------------------------------------------------


def need_namespaces() -> None:
    """Leave the test out where there are none."""
    reason = works("namespace") or works("bridge") or works("nft")
    if reason:
        pytest.skip(reason)


@NFT
def test_packets_between_namespaces_are_dropped_counted_and_pass_again(tmp_path: Path) -> None:
    """The kernel's count is the second witness; loss is of packets too; and the gate's own network is as it was."""
    need_namespaces()
    before = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    with started(tmp_path, "namespace") as target:
        watch = applied(target, Partition(), {"with": "all"}, lambda: None)
        assert None not in (watch.seen_start, watch.seen_end), watch.detail
        assert "packets dropped by the kernel's count" in watch.detail
        lossy = applied(target, Loss(), {"share": "50 %"}, lambda: None)
        assert None not in (lossy.seen_start, lossy.seen_end), lossy.detail
        target.kill("b")
        assert not target.listens("b", 0.2)
        target.start("b")
        assert target.listens("b", 0.2)
        now = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
        assert now == before


RUNNER = """
import sys, time
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from test_network import Partition, started
with started(Path(sys.argv[1]), sys.argv[2]) as target, Partition().apply(target, {"nodes": ["b"], "with": "all"}):
    print(*target.processes().values(), target._links.process.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("links", ["proxy", pytest.param("namespace", marks=NFT)])
def test_nothing_is_left_of_a_killed_runner(tmp_path: Path, links: str, how: signal.Signals) -> None:
    """In the middle of a partition: no process within 10 s, and with the last one its namespace and rules are gone."""
    if links == "namespace":
        need_namespaces()
    here = Path(__file__).parent
    command = [sys.executable, "-c", RUNNER, str(tmp_path), links, str(here), str(here.parent / "target")]
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as runner,
    ):
        assert runner.stdout is not None
        pids = [int(word) for word in runner.stdout.readline().split()]
        assert len(pids) == 3, (tmp_path / "said").read_text()
        namespaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in pids}
        assert len(namespaces) == (3 if links == "namespace" else 1)
        runner.send_signal(how)
    until = time.monotonic() + 10
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert links == "proxy" or not namespaces & set(_namespaces())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _namespaces() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield os.readlink(process / "ns" / "net")
        except OSError:
            continue


@pytest.mark.parametrize("directions", [(True, False), (False, True), (True, True)])
def test_a_slow_reader_is_seen_whichever_way_is_slow(directions: tuple[bool, bool]) -> None:
    """On an idle link, too: the probe sends and gets enough to tell a slow answer from a sound one."""
    fault = SlowReader()
    asked = fault.settings.model_validate({"nodes": ["a"], "with": "nodes"})
    sent = len(fault.question(asked).text())
    there, back = directions
    slowly = (sent * there + 4000 * back) / 2000
    assert fault.struck(asked, [Look(0.0, ANSWERED, slowly, sent, (4000,))], directions)
    assert not fault.struck(asked, [Look(0.0, ANSWERED, 0.01, sent, (4000,))], directions)
