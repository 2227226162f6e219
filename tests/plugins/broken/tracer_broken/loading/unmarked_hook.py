"""register_rows is named as a hook and not marked as one: put @tracer.hookimpl above it"""


def register_rows():  # named
    return []
