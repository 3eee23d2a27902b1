"""Plan, run, judge: the run folder, the ledger, the machine lock and the guardian."""
