"""Locust in the comparison of load engines: its fast client asks for LOAD_PATH, for LOAD_SECONDS once all users are there."""

from __future__ import annotations

import json
import os
import resource
import time
from typing import Any

import gevent
from locust import FastHttpUser, constant_throughput, events, task

THROUGHPUT = float(os.environ["LOAD_THROUGHPUT"])


class Asks(FastHttpUser):  # type: ignore[misc]
    """Asks again at once, or so many times a second."""

    if THROUGHPUT:
        wait_time = constant_throughput(THROUGHPUT)

    @task  # type: ignore[misc]
    def ask(self) -> None:
        self.client.get(os.environ["LOAD_PATH"])


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@events.init.add_listener  # type: ignore[misc]
def count_when_all_are_there(environment: Any, **_: Any) -> None:
    """After spawning: forget what came before, count for the time asked, print it and end."""

    def count() -> None:
        if not THROUGHPUT:
            gevent.sleep(0.5)
        environment.stats.reset_all()
        began, spent = time.monotonic(), _processor()
        gevent.sleep(float(os.environ["LOAD_SECONDS"]))
        total = environment.stats.total
        told = {"requests": total.num_requests, "seconds": time.monotonic() - began, "processor": _processor() - spent}
        told |= {f"p{part}": total.get_response_time_percentile(part / 100) for part in (50, 90, 95, 99)}
        print(json.dumps(told), flush=True)
        os._exit(1 if total.num_failures else 0)

    environment.events.spawning_complete.add_listener(lambda **_: gevent.spawn(count))
