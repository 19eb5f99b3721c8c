import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.unplugged import Machine, network_of_its_own

PYTHON = Path(sys.executable)
NOBODYS = "192.0.2.1"  # reserved for documentation
TRY = """
import socket, sys
for host in sys.argv[2:]:
    try:
        with socket.socket() as connection:
            connection.settimeout(60)
            connection.connect((host, int(sys.argv[1])))
        print("reached")
    except OSError as error:
        print(error.strerror)
"""
SERVE_AND_TRY = f"""
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
sys.argv[1:] = [str(server.getsockname()[1]), "localhost"]
{TRY}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "home").mkdir()
    return Machine(tmp_path / "home")


def ran(machine: Machine, *arguments: str) -> Sequence[str]:
    done = machine.run(PYTHON, *arguments, cwd=machine.home)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("attempt", "note"),
    [
        (f"socket.socket().connect(({NOBODYS!r}, 443))", f"socket.connect {NOBODYS}"),
        (f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ({NOBODYS!r}, 53))", f"socket.sendto {NOBODYS}"),
        ("socket.getaddrinfo('www.vectronode.com', 443)", "socket.getaddrinfo www.vectronode.com"),
    ],
)
def test_what_its_programs_try_outside_of_it_is_refused_and_written_down(
    machine: Machine, attempt: str, note: str
) -> None:
    done = machine.run(PYTHON, "-c", f"import socket; {attempt}", cwd=machine.home)
    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr
    assert machine.attempts == [note]


def test_its_programs_reach_each_other(machine: Machine) -> None:
    assert ran(machine, "-c", SERVE_AND_TRY) == ["reached"]
    assert machine.attempts == []


@pytest.mark.skipif(not network_of_its_own(), reason="no network namespaces are granted here")
def test_behind_its_loopback_there_is_no_network_at_all(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as here:
        port = str(here.getsockname()[1])
        # -I: nothing of what refuses and writes down
        assert ran(machine, "-I", "-c", TRY, port, NOBODYS, "127.0.0.1") == [
            "Network is unreachable",
            "Connection refused",
        ]
    assert machine.attempts == []


def test_its_programs_know_nothing_of_this_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORNODE_API_KEY", "sk-canary-0d41aa")
    [environ] = ran(machine, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    assert "VECTORNODE_API_KEY" not in json.loads(environ)
    assert json.loads(environ)["HOME"] == str(machine.home)
