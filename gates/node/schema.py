"""What the two databases of a node hold. A change of a table is one more script at the end, never a change of an older one."""

from __future__ import annotations

from gates.node import dag, federation, governance, jobbook, ledger, lifecycle, outbox

LEDGER_MIGRATIONS: tuple[str, ...] = (
    ";".join(
        tables.strip().rstrip(";")
        for tables in (
            ledger.TABLES,
            jobbook.TABLES,
            outbox.TABLES,
            lifecycle.TABLES,
            governance.LEDGER_TABLES,
            federation.TABLES,
        )
    ),
)
DAG_MIGRATIONS: tuple[str, ...] = (";".join(tables.strip().rstrip(";") for tables in (dag.TABLES, governance.DAG_TABLES)),)
