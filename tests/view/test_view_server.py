"""Ports and addresses, and `dvt view` as a process: the address, the browser, raw requests, Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from dvt.cli.main import run
from dvt.errors import ConfigError
from dvt.view.server import address_of, listen

COMMAND = [sys.executable, "-c", "from dvt.cli.main import main; main()", "view"]


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


MICRO = ("backbone=vit_micro", "backbone.image_size=64", "device=cpu")


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
    assert run(["view", "open=false", *(each for each in MICRO if each.partition("=")[0] not in keys), *options]) == 2
    out, err = capsys.readouterr()
    assert part in err and out == "" and "Traceback" not in err


def test_without_the_extra_it_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["view", "open=false", *MICRO]) == 2
    err = capsys.readouterr().err
    assert "pip install 'denoising-vit[view]'" in err and err.count("\n") == 1


@pytest.mark.process
@pytest.mark.network
@pytest.mark.skipif(sys.platform != "linux", reason="names a browser as Linux does")
def test_a_port_in_use_the_browser_raw_requests_and_ctrl_c_in_the_middle_of_stage_1(encoded, tmp_path):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >{opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o700)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DISPLAY": ":0", "BROWSER": f"{browser} %s &"}
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        options = [f"port={port}", "host=0.0.0.0", "denoiser=vit_micro/denoiser", "solver=gradient"]
        command = [*COMMAND, *MICRO, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
        try:
            line = process.stdout.readline()
            printed = re.search(r"http://127.0.0.1:(\d+)/", line)
            assert printed, process.communicate()
            address, new = printed[0], int(printed[1])
            assert new > port
            for path in ("/../../../../etc/passwd", "/explorer.js/../../../../etc/passwd", "//etc/passwd", "/%00", "*"):
                with socket.create_connection(("127.0.0.1", new)) as raw:
                    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                    answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))
                assert re.match(rb"HTTP/1.1 4\d\d ", answer) and b"root:" not in answer
            request = urllib.request.Request(f"{address}api/jobs?name=cat.png", encoded(), method="POST")
            with urllib.request.urlopen(request) as answered:
                assert answered.status == 200
            until_exists(opened)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, opened.read_text()) == (0, "", f"{address}\n")
    in_use, warning, ended = err.splitlines()
    assert in_use == f"port {port} is in use: taking {new}."
    assert "warning: host=0.0.0.0 lets every machine" in warning and f"http://{socket.gethostname()}:{new}/" in warning
    assert ended == "dvt view: ended."


def until_exists(path):
    """Wait for a file; after a minute it has failed."""
    end_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.02)
