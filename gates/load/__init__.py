"""Load: open-loop arrivals against a target, with latency from the intended send time.

Used by a kind (all times in seconds, on the load's own clock that starts at 0 with the first second of the schedule)::

    from gates.load.scenario import Scenario, resolve      # base dependencies: for planning
    plan = resolve(scenario)                                # -> LoadPlan, plain and frozen; gates.codec takes it

    from gates.load.engine import run_load                  # needs the extra `load`: inside run() only
    outcome = run_load(
        plan,                                               # LoadPlan
        target.endpoints,                                   # Mapping[str, str]: name -> base URL
        seed=request.seed,
        headers=target.headers,                             # what every request carries (default none)
        record=True,                                        # keep a model.Operation an arrival (default False)
        on_start=lambda zero: ...,                          # optional, once, with time.monotonic() of second 0
        on_second=lambda second: ...,                       # optional, each second, in the loop's thread, a SecondReport
        stop=threading.Event(),                             # optional: when set, no more arrivals start
    )
    outcome.operations        # tuple[model.Operation, ...] when recorded, ordered by intended start
    outcome.intended, .dispatched, .sent, .completed        # numpy float64 a planned arrival; NaN where it did not happen
    outcome.flow, .endpoint, .code, .failure                # numpy integers: indices, status, Failure

`run_load` blocks, and may be called in a thread of its own: the caller injects faults from the main thread, timed from the
value that `on_start` received::

    from gates.load.measure import measurements             # phases: name -> (from, to) of intended start
    measurements(outcome, phases={"before": (3, 8), "fault": (8, 11), "recovery": (11, 16)}, seed=request.seed)
    # -> tuple[Measurement, ...]: latency.*, service.*, errors.*, requests.count, throughput, with and without /flow, for the
    #    whole run (no phase) and for each phase; plus lateness.*, unsent.ratio and the four valid.* of the whole run
    from gates.load.exhibits import exhibits, write_evidence
    exhibits(outcome, limits=..., windows=...)              # -> tuple[Exhibit, ...]
    write_evidence(outcome, folder)                         # per-second CSV and latencies

    from gates.load.validity import valid_criteria          # base dependencies
    valid_criteria(context.criteria)                        # -> valid.unsent, .lateness, .cpu, .steal, .clock
"""
