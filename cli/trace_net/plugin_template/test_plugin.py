from tracer import plugins


def test_the_plugin_is_loaded():
    found = {plugin.name: plugin for plugin in plugins.loaded()}
    assert found["softclip"].status == "loaded", found["softclip"].error
