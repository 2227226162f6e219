"""What this plugin registers."""

from tracer.extend import hookimpl
from tracer_scale.command import ShardedFold
from tracer_scale.team import MpiTeam


@hookimpl
def register_folds():
    return [ShardedFold()]


@hookimpl
def register_teams():
    return [MpiTeam()]
