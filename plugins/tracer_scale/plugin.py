"""What this plugin registers."""

from tracer.extend import hookimpl
from tracer_scale.command import ShardedFold


@hookimpl
def register_folds():
    return [ShardedFold()]
