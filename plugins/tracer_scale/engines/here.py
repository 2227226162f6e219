"""One shard after the other in this process: what the other engines are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from tracer_scale.engines.engine import Ordered, Outcomes, Told
from tracer_scale.work import Job, Work, quiet


class Here:
    """Computes shards in this process."""

    is_driver = True

    def __init__(self, retries: int = 3):
        self.retries = retries

    def run(self, work: Work, job: Job, shards: Sequence[int]) -> Outcomes:
        ordered = Ordered(shards, 1, self.retries)
        while not ordered.is_over:
            shard = ordered.next()
            assert shard is not None
            with quiet():
                outcome = work.do(job, shard)
            ordered.put(shard, outcome)
            yield from ordered.ready()

    def told(self, value: Told | None) -> Told:
        assert value is not None
        return value

    def close(self) -> None:
        """There is nothing to end."""

    abandon = close
