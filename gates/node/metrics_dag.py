"""What the block store, the outbox and anti-entropy count."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BYTES = (64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)
_BLOCKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class DagMetrics:
    """The families of blocks, each updated where the thing happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._blocks(registry)
        self._merkle(registry)
        self._outbox(registry)
        self._sync(registry)

    def _blocks(self, registry: CollectorRegistry) -> None:
        outcomes = "Blocks brought to the store: new, repeated, refused, deferred"
        self.puts = Counter("icn_dag_puts", outcomes, ["outcome"], registry=registry)
        self.gets = Counter("icn_dag_gets", "Blocks asked for: found, missing, damaged", ["outcome"], registry=registry)
        self.pins = Counter("icn_dag_pins", "Changes of pins: pinned, unpinned", ["change"], registry=registry)
        self.sizes = Histogram("icn_dag_block_size_bytes", "Size of new blocks", buckets=_BYTES, registry=registry)
        self.stored = Counter("icn_dag_stored_bytes", "Bytes of new blocks", registry=registry)
        self.projected = Counter("icn_dag_projected", "New blocks indexed, by type", ["type"], registry=registry)

    def _merkle(self, registry: CollectorRegistry) -> None:
        self.blocks = Gauge("icn_dag_blocks", "Blocks under the Merkle root as last computed", registry=registry)
        self.buckets = Counter("icn_merkle_buckets_hashed", "Buckets whose hash was computed again", registry=registry)
        self.rooting = Histogram("icn_merkle_duration_seconds", "Time to the root", buckets=_SECONDS, registry=registry)

    def _outbox(self, registry: CollectorRegistry) -> None:
        kept = "Blocks in the outbox: waiting to be anchored, refused by this node's own block store"
        self.depth = Gauge("icn_outbox_depth", kept, ["fate"], registry=registry)
        self.anchored = Counter(
            "icn_outbox_blocks", "Blocks that left the outbox: anchored, refused", ["outcome"], registry=registry
        )
        self.drains = Counter(
            "icn_outbox_drains", "Batches taken from the outbox: done, failed", ["outcome"], registry=registry
        )
        self.anchoring = Histogram("icn_outbox_drain_duration_seconds", "Time of a batch", buckets=_SECONDS, registry=registry)

    def _sync(self, registry: CollectorRegistry) -> None:
        self.rounds = Counter("icn_sync_rounds", "Rounds with a peer: equal, pulled, failed", ["outcome"], registry=registry)
        self.round = Histogram("icn_sync_round_duration_seconds", "Time of a round", buckets=_SECONDS, registry=registry)
        self.compared = Counter("icn_sync_comparisons", "How differences were found: tail, tree", ["by"], registry=registry)
        self.pulled = Counter(
            "icn_sync_blocks", "Blocks from peers: new, repeated, refused, deferred", ["outcome"], registry=registry
        )
        self.received = Counter("icn_sync_received_bytes", "Bytes of blocks from peers", registry=registry)
        self.batches = Histogram("icn_sync_batch_blocks", "Blocks in an answer of a peer", buckets=_BLOCKS, registry=registry)
        self.served = Counter("icn_sync_served_blocks", "Blocks given to peers", registry=registry)
        self.served_bytes = Counter("icn_sync_served_bytes", "Bytes of blocks given to peers", registry=registry)
        self.agreed = Gauge("icn_sync_agreed_timestamp_seconds", "When a peer last had the same root", registry=registry)
