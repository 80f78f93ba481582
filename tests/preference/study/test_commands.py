"""The commands as real processes, and what they say of what is wrong."""

import csv
import importlib.util
import signal
import stat
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from diffusion4k.cli.study import register
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.answers import read_answers
from diffusion4k.preference.study.config import origin_of
from diffusion4k.preference.study.service import EXPIRED
from diffusion4k.web.protection import own_address
from diffusion4k.web.serve import listen
from tests.preference.study.fake import make_study
from tests.preference.study.server import port_of, serving

app = typer.Typer()
register(app)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["study", *map(str, arguments)])


def refused(*arguments: object) -> Diffusion4kError:
    error = run(*arguments).exception
    assert isinstance(error, Diffusion4kError), error
    assert "\n" not in str(error)
    return error


def test_check_says_what_is_shown_and_begins_nothing(tmp_path: Path) -> None:
    study = make_study(tmp_path, prompts=4, models=3, views=5, participants={"each": 6})
    assert run("check", study).stdout.splitlines() == [
        "fake: 12 pairs of images",
        "each participant sees 6 and 3 checks: 27 answers, about 4 min",
        "10 participants show each 5 times: 180 answers in total, checks not counted",
    ]
    assert not (tmp_path / "kept" / "study.sqlite").exists()
    (tmp_path / "images-2" / "3.png").unlink()
    assert "images-2" in str(refused("check", study))
    assert isinstance(refused("check", tmp_path / "absent.yaml"), UsageError)


def test_from_links_to_answers(tmp_path: Path) -> None:
    study, links = make_study(tmp_path), tmp_path / "links.csv"
    made = run(
        "links", study, "--count", 3, "--out", links, "--address", "https://study.example.org/"
    )
    assert (made.exit_code, made.stderr) == (0, "")
    assert stat.S_IMODE(links.stat().st_mode) == 0o600
    rows = list(csv.DictReader(links.open()))
    assert [row["participant"] for row in rows] == ["p-0001", "p-0002", "p-0003"]
    assert all(row["link"].startswith("https://study.example.org/#") for row in rows)
    assert "already exists" in str(refused("links", study, "--out", links))
    with serving(study) as server:
        assert server.lines[0] == "fake: 3 participants, 0 answered; Ctrl-C ends"
        client = httpx.Client(base_url=server.address, trust_env=False, timeout=30)
        me = client.post("api/enter", json={"link": rows[1]["link"].partition("#")[2]}).json()
        assert me["participant"] == "p-0002"
        client.headers["X-CSRF-Token"] = me["csrf"]
        client.post("api/consent", json={})
        client.get("api/next")
        choices = {question["name"]: "left" for question in me["questions"]}
        body = {"position": 0, "key": "key-0000", "choices": choices, "seconds": 1}
        assert client.post("api/answers", json=body).is_success
        assert "server" not in client.get("").headers
        # Others work beside it.
        assert "another server is running this study" in str(refused("serve", study, "--port", 0))
        assert run("export", study, tmp_path / "answers.csv").stdout.startswith("3 answers in")
        backup = run("backup", study, tmp_path / "backup.sqlite").stdout
        assert (
            "backup.sqlite: sound; rows: 1 study, 3 participant, 5 event, 1 shown, 3 answer"
            in backup
        )
        assert run("links", study, "--revoke", "p-0003").stdout.startswith("revoked: p-0003;")
        revoked = client.post("api/enter", json={"link": rows[2]["link"].partition("#")[2]})
        assert (revoked.status_code, revoked.text) == (403, EXPIRED)
        run("links", study, "--count", 1, "--out", tmp_path / "more.csv")
        (late,) = csv.DictReader((tmp_path / "more.csv").open())
        secret = late["link"].partition("#")[2]
        assert client.post("api/enter", json={"link": secret}).json()["participant"] == "p-0004"
        code, out, err = server.stop(signal.SIGINT)
        assert (code, out) == (0, "1 answered\n")
        assert err.startswith("warning: the links that were made lead to https://study.example.org")
    assert [row.participant for row in read_answers(tmp_path / "answers.csv")] == ["p-0002"] * 3
    assert "answers.txt: found '.txt'" in str(refused("export", study, tmp_path / "answers.txt"))


@pytest.mark.parametrize("trusted", [True, False])
def test_forwarded_addresses_are_believed_of_named_proxies_alone(
    tmp_path: Path, trusted: bool
) -> None:
    study = make_study(tmp_path, participants={"open": True})
    options = ["--address", "https://study.example.org"]
    options += ["--proxy", "127.0.0.1"] if trusted else ["--proxy", "192.0.2.1"]
    with serving(study, *options) as server:
        assert server.lines[1] == "open to all: https://study.example.org/"
        assert server.dashboard.startswith("https://study.example.org/dashboard#")
        port = port_of(server.process.pid)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)
        client.headers["Host"] = "study.example.org"
        statuses = [
            client.post(
                "/api/enter",
                json={"link": "wrong"},
                headers={
                    "X-Forwarded-For": f"198.51.100.{number}",
                    "X-Forwarded-Proto": "https",
                    "Origin": "https://study.example.org",
                },
            ).status_code
            for number in range(25)
        ]
        # Guesses are counted for each address: of the proxy's clients, or of the proxy itself.
        assert statuses == [403] * 25 if trusted else statuses == [403] * 20 + [429] * 5
        joined = client.post("/api/join", json={})
        assert joined.headers["set-cookie"].startswith("__Host-diffusion4k-study=")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    with listen("127.0.0.1", 0) as bound:
        error = refused("serve", study, "--port", bound.getsockname()[1])
    assert "taken by another program" in str(error)


def test_colleagues_in_one_network(tmp_path: Path) -> None:
    """The four lines of the manual: links with this machine's address, a server that listens on all
    of them; asked by that address, not by the loopback's."""
    study = make_study(tmp_path, address="http://placeholder:1")
    here = own_address("0.0.0.0")
    assert here != "0.0.0.0"
    with listen("0.0.0.0", 0) as free:
        port = free.getsockname()[1]
    address = f"http://{here}:{port}"
    study.write_text(study.read_text().replace("http://placeholder:1", address))
    made = run("links", study, "--count", 1, "--out", tmp_path / "links.csv")
    (row,) = csv.DictReader((tmp_path / "links.csv").open())
    page, _, secret = row["link"].partition("#")
    assert page == f"{address}/"
    assert ("opens only on this machine" in made.stderr) is here.startswith("127.")
    with serving(study, "--host", "0.0.0.0", port=port) as server:
        assert server.dashboard.startswith(f"{address}/dashboard#")
        client = httpx.Client(base_url=page, trust_env=False, timeout=30)
        assert client.get("").is_success
        origin = {"Origin": address}
        me = client.post("api/enter", json={"link": secret}, headers=origin).json()
        assert (me["participant"], me["total"]) == ("p-0001", 6)
        wrong = client.get("", headers={"Host": "printer.lan"})
        assert wrong.status_code == 421 and f"Open it as {here}:{port}" in wrong.text
        _, _, err = server.stop(signal.SIGINT)
        assert err == "note: nothing is encrypted on the way: fine in a network that you trust\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), ""),
        (("--host", "0.0.0.0"), "warning: 0.0.0.0 can be reached from other machines"),
        (("--host", "0.0.0.0", "--address", "http://x"), "note: nothing is encrypted on the way"),
        (("--host", "0.0.0.0", "--address", "https://x"), "can also be reached from other"),
        (("--address", "https://x"), ""),
    ],
)
def test_what_is_said_of_who_reaches_it(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    with serving(make_study(tmp_path, prompts=1), *options) as server:
        if "--address" not in options and options:
            assert server.dashboard.startswith(f"http://{own_address('0.0.0.0')}:")
        _, _, err = server.stop(signal.SIGINT)
    assert said in err if said else err == ""
    assert err.count("\n") == bool(said)
    assert ("proxy" in err) is (said.startswith("warning") or said.startswith("can also"))


def test_links_that_lead_elsewhere_are_named(tmp_path: Path) -> None:
    study = make_study(tmp_path, prompts=1)
    made = run("links", study, "--count", 2, "--out", tmp_path / "links.csv")
    assert made.stderr.startswith("warning: http://127.0.0.1:8765 opens only on this machine")
    with serving(study) as server:
        own = server.address.rstrip("/")
        _, _, err = server.stop(signal.SIGINT)
    assert err.startswith(
        f"warning: the links that were made lead to http://127.0.0.1:8765, not to {own}: "
    )
    with serving(study, "--address", "http://127.0.0.1:8765") as server:
        assert server.stop(signal.SIGINT)[2] == ""


def test_check_says_when_more_are_invited_than_see_anything(tmp_path: Path) -> None:
    study = make_study(tmp_path, views=2)
    assert "note" not in run("check", study).stdout
    run("links", study, "--count", 3, "--out", tmp_path / "links.csv")
    assert "raise `views` to 3" in run("check", study).stdout
    assert "note" not in run("check", study, "views=3").stdout
    run("links", study, "--revoke", "p-0002")
    assert "note" not in run("check", study).stdout


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://Study.example.org/", "https://study.example.org"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("study.example.org", None),
        ("ftp://study.example.org", None),
        ("https://study.example.org/path", None),
        ("https://user@study.example.org", None),
        ("https://", None),
        ("http://192.168.1.20:0", None),
        ("http://192.168.1.20:99999", None),
        ("http://[fd00::2]:8765", "http://[fd00::2]:8765"),
    ],
)
def test_public_addresses(address: str, origin: str | None) -> None:
    if origin:
        assert origin_of(address) == origin
    else:
        with pytest.raises(ValueError, match="allowed http"):
            origin_of(address)


def test_an_address_that_is_none(tmp_path: Path) -> None:
    study = make_study(tmp_path, prompts=1)
    for verb in ("links", "serve"):
        error = str(refused(verb, study, "--address", "study.example.org"))
        assert error.startswith("--address: found 'study.example.org', allowed http(s)://NAME")
    error = str(refused("check", study, "address=study.example.org"))
    assert "study.yaml: address: found 'study.example.org', allowed http(s)://NAME" in error


def test_before_it_has_begun(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    for verb in ("export", "backup"):
        assert "has not begun" in str(refused(verb, study, tmp_path / f"{verb}.csv"))
    assert not (tmp_path / "kept").exists()


def test_libraries_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion4k.web.extra.find_spec", lambda name: None)
    error = str(refused("check", tmp_path / "study.yaml"))
    assert "pip install 'diffusion4k[web]'" in error


def test_help_shows_examples() -> None:
    for verb in ("check", "links", "serve", "export", "backup"):
        text = run(verb, "--help").stdout
        assert f"diffusion4k study {verb} recipes/pocket-study.yaml" in " ".join(text.split())


@pytest.mark.slow
def test_kill_9_loses_no_answer_of_many_participants(tmp_path: Path) -> None:
    load = benchmark("study_load")
    result = load.measure(tmp_path, 30, 12, 3, (0.1, 0.6), 128)
    assert result["answers"] == result["expected"] == result["acknowledged"] == 360
    assert result["lost"] == result["doubled"] == result["incomplete"] == 0
    assert len(result["seconds without a server"]) == 3
    assert result["sent again"] > 0


def benchmark(name: str) -> ModuleType:
    """A script of `benchmarks/`, which finds its neighbours beside it."""
    pytest.importorskip("aiohttp")
    folder = Path(__file__).parents[3] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module
