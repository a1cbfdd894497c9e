"""The command line without a service."""

import json
import subprocess
import sys

import pytest

from edge_cl import cli
from edge_cl.commands import exits
from edge_cl.commands.concurrency import bounded_map
from edge_cl.commands.folders import interleaved, labelled_files


def run(capsys, *words):
    code = cli.run([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def nothing_listens(words):
    return [*words, "--url", "http://127.0.0.1:9"]


@pytest.fixture
def class_folders(tmp_path):
    for label, names in {"cup": ["1.jpg", "2.PNG", "deep/3.webp"], "pen": ["1.jpeg"]}.items():
        for name in names:
            path = tmp_path / "set" / label / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\xff\xd8\xff" + name.encode())
    (tmp_path / "set" / "cup" / "notes.txt").write_text("no image")
    (tmp_path / "set" / ".cache").mkdir()
    (tmp_path / "set" / ".cache" / "hidden.jpg").write_bytes(b"x")
    return tmp_path / "set"


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == exits.OK
    assert all(name in out for name in cli.COMMANDS)


def test_help_imports_no_command():
    script = (
        "import sys; from edge_cl import cli; cli.run(['--help']); "
        "print([m for m in sys.modules if m in ('rich', 'httpx', 'service.config')])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "edge_cl", "--version"], check=True, capture_output=True, text=True
    )
    assert ran.stdout.startswith("0.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["teech"], "teech"),
        (["teach", "/does/not/exist"], "/does/not/exist"),
        (["predict"], "Missing argument"),
        (["check-config", "--port", "70000"], "setting port = 70000"),
        (["check-config", "--memory-budget", "8 apples"], "setting memory_budget = '8 apples'"),
        (["check-config", "--set", "colour=red"], "there is no setting 'colour'"),
        (["check-config", "--set", "colour"], "write NAME=VALUE"),
        (["check-config", "--set", "options={"], "no JSON"),
        (["check-config", "--host", "0.0.0.0"], "EDGE_CL_API_KEY"),
    ],
)
def test_a_wrong_word_is_one_line(capsys, words, expected):
    code, out, err = run(capsys, *words)
    assert code == exits.USAGE
    assert out == ""
    assert expected in err
    assert len(err.splitlines()) == 1


def test_a_setting_comes_from_option_environment_and_file(capsys, tmp_path, monkeypatch):
    config = tmp_path / "edge.toml"
    config.write_text('port = 1001\nstrategy = "ncm"\nmemory_budget = "2MiB"\n')
    monkeypatch.setenv("EDGE_CL_PORT", "1002")
    monkeypatch.setenv("EDGE_CL_STRATEGY", "slda")
    words = ["check-config", "--config", config, "--port", "1003", "--json"]
    code, out, _ = run(capsys, *words, "--set", 'options={"replay_batch": 8}')
    settings = json.loads(out)
    assert code == exits.OK
    assert settings["port"] == 1003
    assert settings["strategy"] == "slda"
    assert settings["memory_budget"] == 2 * 2**20
    assert settings["options"] == {"replay_batch": 8}


def test_check_config_never_shows_the_key(capsys, monkeypatch):
    monkeypatch.setenv("EDGE_CL_API_KEY", "a-secret-key")
    for words in (["check-config"], ["check-config", "--json"]):
        code, out, err = run(capsys, *words)
        assert code == exits.OK
        assert "a-secret-key" not in out + err


def test_no_service_is_said_once_with_what_to_do(capsys, class_folders):
    image = class_folders / "cup" / "1.jpg"
    for words in (["predict", image], ["eval", class_folders], ["teach", class_folders]):
        code, _, err = run(capsys, *nothing_listens(words))
        assert code == exits.UNREACHABLE
        assert "edge-cl serve" in err.splitlines()[-1]
        assert "Traceback" not in err


def test_health_without_a_service(capsys):
    code, _, err = run(capsys, "health", "--url", "http://127.0.0.1:9", "--timeout", "1")
    assert code == 1
    assert "not ready" in err
    code, out, _ = run(capsys, "health", "--url", "http://127.0.0.1:9", "--json")
    assert json.loads(out) == {"ready": False, "status": 0, "url": "http://127.0.0.1:9/readyz"}


def test_health_asks_where_this_environment_listens(capsys, monkeypatch):
    monkeypatch.setenv("EDGE_CL_HOST", "0.0.0.0")
    monkeypatch.setenv("EDGE_CL_PORT", "9")
    _, _, err = run(capsys, "health")
    assert "http://127.0.0.1:9/readyz" in err


def test_class_folders_are_read_by_class(class_folders):
    files = labelled_files(class_folders)
    assert [file.name for file in files] == [
        "cup/1.jpg",
        "cup/2.PNG",
        "cup/deep/3.webp",
        "pen/1.jpeg",
    ]
    assert [file.label for file in files] == ["cup", "cup", "cup", "pen"]
    assert [file.name for file in labelled_files(class_folders, per_class=1)] == [
        "cup/1.jpg",
        "pen/1.jpeg",
    ]


def test_classes_take_turns(class_folders):
    files = labelled_files(class_folders)
    mixed = interleaved(files, seed=0)
    assert [file.label for file in mixed] == ["cup", "pen", "cup", "cup"]
    assert sorted(mixed, key=lambda file: file.name) == files
    assert mixed == interleaved(files, seed=0)


def test_a_folder_without_images(capsys, tmp_path):
    code, _, err = run(capsys, *nothing_listens(["teach", tmp_path]))
    assert code == exits.USAGE
    assert "<label>" in err


def test_bounded_map_keeps_the_order_and_takes_few_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = bounded_map(lambda number: number * number, items(), at_once=3)
    assert next(results) == 0
    assert len(taken) <= 7
    assert list(results) == [number * number for number in range(1, 100)]


def test_bounded_map_stops_at_the_first_error():
    def fail(number):
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(bounded_map(fail, range(1000), at_once=2))
