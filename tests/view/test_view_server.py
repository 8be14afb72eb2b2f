"""Ports and addresses, and `dvt view` as a process: the address, raw requests, Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from dvt.cli.main import run
from dvt.errors import ConfigError
from dvt.view.server import address_of, listen

COMMAND = [sys.executable, "-c", "from dvt.cli.main import main; main()", "view", "device=cpu", "open=false"]


@pytest.mark.network
def test_the_next_port_is_taken():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 20
            assert address_of(second, "127.0.0.1") == f"http://127.0.0.1:{second.getsockname()[1]}/"
        assert address_of(first, "0.0.0.0") == f"http://127.0.0.1:{port}/"
        assert address_of(first, "::1") == f"http://[::1]:{port}/"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a" * 300])
def test_a_host_that_is_not_this_machine(host):
    with pytest.raises(ConfigError, match=f"host={host}"):
        listen(host, 0)


MICRO = ("backbone=vit_micro", "backbone.image_size=64", "device=cpu", "open=false")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["backbone=vit_none"], "backbone=vit_none does not exist"),
        (["backbones=[vit_none]"], "there is no backbone 'vit_none'"),
        (["backbone=augreg_tiny", "denoiser=vit_micro/denoiser"], "does not belong to this backbone"),
        (["denoiser=nowhere"], "nowhere"),
        (["images=nowhere"], "nowhere does not exist"),
        (["method=[raw,magic]"], "method 'magic'"),
        (["backbone.layer=9"], "layer 9 does not exist"),
        (["port=99999"], "port=99999: give a number from 0 to 65535"),
        (["host=no.such.host.invalid"], "host=no.such.host.invalid is not known here"),
    ],
)
def test_faults_are_found_before_the_server_starts(capsys, tmp_path, monkeypatch, options, part):
    monkeypatch.chdir(tmp_path)
    keys = {option.partition("=")[0] for option in options}
    assert run(["view", *(each for each in MICRO if each.partition("=")[0] not in keys), *options]) == 2
    out, err = capsys.readouterr()
    assert part in err and out == "" and "Traceback" not in err


def test_without_the_extra_it_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["view", *MICRO]) == 2
    err = capsys.readouterr().err
    assert "pip install 'denoising-vit[view]'" in err and err.count("\n") == 1


@pytest.fixture
def started(tmp_path):
    """started(options) -> a process that serves, and its address."""
    processes = []

    def start(*options):
        process = subprocess.Popen(
            [*COMMAND, "backbone=vit_micro", "backbone.image_size=64", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        line = process.stdout.readline()
        assert "http://" in line, process.communicate()
        return process, re.search(r"http://\S+", line)[0]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.process
@pytest.mark.network
def test_ctrl_c_ends_it_cleanly_in_the_middle_of_stage_1(started, encoded):
    process, address = started("port=0", "denoiser=vit_micro/denoiser", "solver=gradient")
    request = urllib.request.Request(f"{address}api/jobs?name=cat.png", encoded(), method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "dvt view: ended.\n")


@pytest.mark.process
@pytest.mark.network
def test_a_port_in_use_other_machines_and_paths_of_raw_requests(started):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        process, address = started(f"port={port}", "host=0.0.0.0")
        new = int(re.search(r":(\d+)/", address)[1])
        assert new > port
        for path in ("/../../../../etc/passwd", "/explorer.js/../../../../etc/passwd", "//etc/passwd", "/%00", "*"):
            with socket.create_connection(("127.0.0.1", new)) as raw:
                raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))
            assert re.match(rb"HTTP/1.1 4\d\d ", answer) and b"root:" not in answer
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.splitlines()[0] == f"port {port} is in use: taking {new}."
    assert "warning: host=0.0.0.0 lets every machine" in err and err.splitlines()[-1] == "dvt view: ended."
