"""How much memory is free: on the host, by the system and the limits that this process has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

#: a group's limit and use, by the version of control groups
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
VERSION_2 = ("memory.max", "memory.current")

#: seconds for which an answer is good
FRESH = 0.5

_known: tuple[float, int | None] = (-1.0, None)


def host_memory() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say.

    On Linux what `/proc/meminfo` calls available, or what limits of control groups (containers,
    batch systems) leave of it; elsewhere the free pages, or else half of all.
    """
    global _known
    now = time.monotonic()
    if not 0 <= now - _known[0] < FRESH:
        _known = (now, _least((_meminfo, _pages, _address_space, *_groups())))
    return _known[1]


def _least(sources: tuple[Callable[[], int | None], ...]) -> int | None:
    found = [value for value in (source() for source in sources) if value is not None]
    return max(0, min(found)) if found else None


def _meminfo(path: str = "/proc/meminfo") -> int | None:
    for line in _read(path).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) << 10
    return None


def _pages() -> int | None:
    """By POSIX, where there is no `/proc`: macOS tells all pages alone."""
    if os.path.exists("/proc/meminfo") or not hasattr(os, "sysconf"):
        return None
    for name, share in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)):
        if name in os.sysconf_names:
            return int(os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") // share)
    return None


def _address_space() -> int | None:
    """What a limit of the process's addresses (`ulimit -v`) leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _read("/proc/self/statm").split()
    if limit == resource.RLIM_INFINITY or not used:
        return None
    return limit - int(used[0]) * resource.getpagesize()


def _groups(
    root: str = "/sys/fs/cgroup", of: str = "/proc/self/cgroup"
) -> Iterator[Callable[[], int | None]]:
    """The control groups that this process is in, each of which may have a limit."""
    for line in _read(of).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        base = Path(root, "memory") if controllers else Path(root)
        names = VERSION_1 if controllers else VERSION_2
        inside = Path(path.lstrip("/"))
        for group in (inside, *inside.parents):
            yield partial(_left, base / group, *names)


def _left(group: Path, limit: str, used: str) -> int | None:
    """What a group's limit leaves: caches of files are given back on demand."""
    most, now = _read(group / limit).strip(), _read(group / used).strip()
    if not most.isdigit() or not now.isdigit() or int(most) >= 1 << 60:
        return None
    files = 0
    for line in _read(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            files = int(value)
    return int(most) - int(now) + files


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return ""
