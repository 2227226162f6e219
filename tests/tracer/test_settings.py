"""Settings of plugins: a variable, else the file of the working directory, else the default."""

import pytest

from tracer import settings as module
from tracer.errors import SettingsError
from tracer.extend import settings

DEFAULTS = {"limit": 1.5, "rows": 3, "quiet": False, "style": "plain", "names": ("a",), "any": None}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "declared", {})
    return tmp_path


def write(folder, table, name="soft-clip"):
    (folder / "pyproject.toml").write_text(f"[tool.tracer.{name}]\n{table}\n")


def test_without_anything_the_defaults_are_it():
    assert settings("soft-clip", **DEFAULTS) == DEFAULTS
    assert {setting.source for setting in module.settings_of("soft-clip")} == {"default"}


def test_the_file_and_then_variables_win(folder, monkeypatch):
    write(folder, "limit = 2\nrows = 4\nquiet = true\nnames = ['b', 'c']\nany = 'x'")
    monkeypatch.setenv("TRACER_SOFT_CLIP_ROWS", "5")
    monkeypatch.setenv("TRACER_SOFT_CLIP_QUIET", "no")
    monkeypatch.setenv("TRACER_SOFT_CLIP_STYLE", "12")
    found = settings("soft-clip", **DEFAULTS)
    wanted = {"limit": 2.0, "rows": 5, "quiet": False, "style": "12", "names": ("b", "c")}
    assert found == {**wanted, "any": "x"}
    assert type(found["limit"]) is float
    sources = {setting.key: setting.source for setting in module.settings_of("soft-clip")}
    assert sources["rows"] == "TRACER_SOFT_CLIP_ROWS"
    assert sources["limit"] == "[tool.tracer.soft-clip] of pyproject.toml"


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("ROWS", "many", "TRACER_SOFT_CLIP_ROWS='many' is str, where .* takes int, as in 3"),
        ("ROWS", "true", "is bool, where .* takes int"),
        ("QUIET", "maybe", "is str, where .* takes bool"),
        ("LIMT", "3", "no setting 'limt', which TRACER_SOFT_CLIP_LIMT gives.*'limit'"),
    ],
)
def test_what_is_wrong_in_a_variable_is_told(monkeypatch, variable, text, message):
    monkeypatch.setenv(f"TRACER_SOFT_CLIP_{variable}", text)
    with pytest.raises(SettingsError, match=message):
        settings("soft-clip", **DEFAULTS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("rows = 'many'", r"rows = 'many' in \[tool\.tracer\.soft-clip\] of pyproject.* takes int"),
        ("roww = 1", r"no setting 'roww', which \[tool.*Did you mean 'rows'\?.*It has: limit"),
        ("rows = ", r"pyproject\.toml cannot be read for the settings of plugin 'soft-clip'"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(folder, table, message):
    write(folder, table)
    with pytest.raises(SettingsError, match=message):
        settings("soft-clip", **DEFAULTS)


def test_what_is_no_table(folder):
    (folder / "pyproject.toml").write_text("[tool.tracer]\nsoft-clip = 3")
    with pytest.raises(SettingsError, match="is 3, where a table"):
        settings("soft-clip")


def test_settings_may_be_asked_for_in_several_places(folder):
    write(folder, "limit = 2.0\nrows = 4")
    settings("soft-clip", limit=1.0, rows=1)
    assert settings("soft-clip", rows=1) == {"rows": 4}


def test_variables_of_a_plugin_whose_name_goes_on_are_its_own(monkeypatch):
    monkeypatch.setenv("TRACER_SOFT_CLIP_ROWS", "5")
    settings("soft-clip", rows=1)
    assert settings("soft", limit=1.0) == {"limit": 1.0}
    monkeypatch.setenv("TRACER_DISABLE_PLUGINS", "")
    assert settings("disable", limit=1.0) == {"limit": 1.0}
