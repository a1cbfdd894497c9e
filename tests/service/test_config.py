"""Settings: where they come from, which wins, what is refused."""

import pytest

from service.config import ConfigError, Settings, load_settings


def test_an_argument_wins_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    file = tmp_path / "edge-cl.toml"
    file.write_text('port = 1\ndata = "a"\nmemory_budget = "2MiB"\n[options]\nepochs = 3\n')
    monkeypatch.setenv("EDGE_CL_PORT", "2")
    monkeypatch.setenv("EDGE_CL_DATA", "b")
    settings = load_settings(file, {"port": 3, "host": None})
    assert settings.port == 3
    assert str(settings.folder) == "b"
    assert settings.memory_budget == 2 * 1024 * 1024
    assert settings.options == {"epochs": 3}
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    "overrides",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "example.org"},
        {"prot": 1},
        {"port": 65_536},
        {"memory_budget": "0"},
        {"memory_budget": "2MiB", "learners_budget": "1MiB"},
        {"max_body_bytes": "1GiB"},
        {"api_key": "short"},
        {"api_key": "a long secret", "api_key_file": "/x"},
        {"snapshot_interval_s": 0},
    ],
)
def test_settings_that_cannot_be_used(overrides):
    with pytest.raises(ConfigError):
        load_settings(overrides=overrides)


@pytest.mark.parametrize("content", ["nothing = 1\n", "port = \n"])
def test_files_that_cannot_be_used(tmp_path, content):
    file = tmp_path / "edge-cl.toml"
    file.write_text(content)
    with pytest.raises(ConfigError):
        load_settings(file)
    with pytest.raises(ConfigError):
        load_settings(tmp_path / "missing.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_needs_no_key(host):
    assert load_settings(overrides={"host": host}).key() is None


def test_beyond_loopback_with_a_key_or_a_word(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("from a file\n")
    assert load_settings(overrides={"host": "::", "api_key_file": secret}).key() == "from a file"
    assert load_settings(overrides={"host": "::", "allow_anonymous": "1"}).key() is None


def test_every_setting_is_explained_and_a_key_is_never_shown():
    assert all(field.description for field in Settings.model_fields.values())
    assert "secret" not in repr(load_settings(overrides={"api_key": "my secret key"}))
