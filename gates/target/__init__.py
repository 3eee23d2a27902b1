"""The system under test: start it, wait until it is ready, control it, stop it.

::

    with running(request.gate.target, folder=Path(request.folder)) as target:
        target.endpoints                # Mapping[str, str]: endpoint name -> base URL (through a proxy where one was asked for)
        target.headers                  # Mapping[str, str]: what every request to it carries, secrets filled in
        target.controls                 # frozenset of "kill", "start", "pause", "data"
        target.kill("node-b")           # SIGKILL, returns when the process is gone
        target.start("node-b")          # same port and data; returns when it is ready, else TargetError
        target.pause("node-b"); target.resume("node-b")
        target.is_running("node-b")
        target.died()                   # Mapping[str, int]: processes that ended though nobody asked, with exit codes
        target.logs()                   # tuple[LogTail, ...]: the last lines of every process
        target.processes()              # Mapping[str, int]: name -> process id, for probes
        target.ready_paths              # Mapping[str, str]: the path that says whether it is ready, where HTTP does
        target.data("node-b")           # Path of its data folder, which survives a restart

A process that dies at start or never gets ready is a `TargetError` whose `tail` holds its last log lines.
"""

from gates.target.error import TargetError
from gates.target.supervisor import RunningTarget, running

__all__ = ["RunningTarget", "TargetError", "running"]
