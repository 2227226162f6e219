"""Which version of trace-net a plugin's distribution asks for, and whether it is this one."""

from __future__ import annotations

import re
from importlib import metadata

from tracer.blame import OURS as NAME
from tracer.errors import PluginError

#: a requirement of this distribution, as `Requires-Dist` has it
_OURS = re.compile(r"trace[-_.]+net(?![\w.-])", re.IGNORECASE)


def installed_version() -> str:
    """The version of trace-net; "not installed" where it runs from its source alone."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "not installed"


def require(distribution: metadata.Distribution, version: str) -> None:
    """Raise `PluginError` if the distribution asks for another trace-net than this `version`."""
    asked = [text for text in distribution.requires or () if _OURS.match(text)]
    if not asked or version == "not installed":
        return
    from packaging.requirements import InvalidRequirement, Requirement  # where one asks at all

    for text in asked:
        try:
            needed = Requirement(text)
        except InvalidRequirement as error:
            raise PluginError(f"its requirement {text!r} cannot be read: {error}") from error
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if applies and not needed.specifier.contains(version, prereleases=True):
            raise PluginError(
                f"it needs {NAME}{needed.specifier}, and {version} is installed: install that "
                f"with `pip install '{NAME}{needed.specifier}'`, or a version of "
                f"{distribution.name} that goes with {version}"
            )
