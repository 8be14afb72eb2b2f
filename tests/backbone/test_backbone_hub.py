"""The hub, played by a server on this machine to the real client; then the hub that is not there."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from safetensors.torch import save

from dvt.backbone.build import build_vit
from dvt.backbone.weights import fetch_weights
from dvt.errors import WeightsError

pytestmark = pytest.mark.network
FILE = "/timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/resolve/main/model.safetensors"


@pytest.fixture
def hub():
    """Server of a hub that has one file, and the requests it got."""
    state = build_vit("vit_tiny_patch16_224").state_dict()
    content, requests = save({key: tensor.fill_(0.5) for key, tensor in state.items()}), []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            requests.append((self.command, self.path))
            found = self.path == FILE
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", "0" * 40)
            if found:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            if self.path == FILE:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def stop():
        if thread.is_alive():
            server.shutdown()
            thread.join()
            server.server_close()

    yield f"http://127.0.0.1:{server.server_port}", requests, stop
    stop()


# In a process of its own: the client reads its settings when it is imported.
CLIENT = """
import json, time
from dvt.backbone.weights import fetch_weights
from dvt.backbone.load import load_backbone
from dvt.errors import WeightsError

def refused(timm_name):
    start = time.perf_counter()
    try:
        fetch_weights(timm_name)
    except WeightsError as error:
        return str(error), time.perf_counter() - start

first = load_backbone("augreg_tiny", device="cpu")
absent, _ = refused("vit_small_patch16_224.dino")
print(json.dumps("stop the hub"), flush=True)
input()
again = load_backbone("augreg_tiny", device="cpu")
unreachable, seconds = refused("vit_base_patch14_dinov2.lvd142m")
print(json.dumps({
    "values": sorted({float(tensor.flatten()[0]) for tensor in first.vit.state_dict().values()}),
    "same": first.weights_hash == again.weights_hash,
    "absent": absent, "unreachable": unreachable, "seconds": seconds,
}))
"""


def test_fetched_once_then_from_the_cache_then_unreachable(hub, tmp_path):
    address, requests, stop = hub
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", CLIENT]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**surroundings, **settings},
    ) as client:
        ready = client.stdout.readline()
        stop()
        out, err = client.communicate("\n", timeout=60)
    assert ready, err
    result = json.loads(out)

    assert result["values"] == [0.5]
    assert result["same"], "the second time the hub was gone: the file came from the cache"
    assert [path for method, path in requests if method == "GET"] == [FILE]

    asked = {path.rpartition("/")[2] for _, path in requests if "vit_small_patch16_224.dino" in path}
    assert asked == {"model.safetensors", "pytorch_model.bin"}
    assert "the weights of vit_small_patch16_224.dino could not be fetched" in result["absent"]

    wanted = "file model.safetensors of timm/vit_base_patch14_dinov2.lvd142m on the Hugging Face hub"
    assert f"the weights of vit_base_patch14_dinov2.lvd142m could not be fetched: {wanted}" in result["unreachable"]
    assert "backbone.weights=<file>" in result["unreachable"]
    assert result["seconds"] < 5, "no long retries"


@pytest.mark.parametrize("timm_name", ["vit_huge_patch14_gap_224.in1k_ijepa", "vit_base_patch16_gap_224"])
def test_a_model_that_the_hub_does_not_have(timm_name):
    with pytest.raises(WeightsError, match=f"timm knows no weights of {timm_name} on the hub.*weights=random"):
        fetch_weights(timm_name)
