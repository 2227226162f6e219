"""What this plugin registers."""

from __future__ import annotations

from tracer.extend import Command, Compiled, hookimpl
from tracer_native import loading
from tracer_native.kernels import Kernels


@hookimpl
def register_kernels() -> list[Compiled]:
    """Those for CPUs, unless `TRACER_NATIVE=0`. They are loaded when one is first needed."""
    return [] if loading.is_off() else [Kernels()]


@hookimpl
def register_commands() -> list[Command]:
    return [Command("kernels", "tracer_native.command:app")]
