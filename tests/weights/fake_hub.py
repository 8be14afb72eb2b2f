"""The Hugging Face hub, played by a server on this machine to the real client: files, new repositories, commits."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def fake_hub():
    """A server with `.files` (repository/path -> bytes), `.requests`, `.address` and `.stop()`."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub.files, hub.requests = {}, []
    hub.address = f"http://127.0.0.1:{hub.server_port}"
    thread = threading.Thread(target=hub.serve_forever)

    def stop():
        if thread.is_alive():
            hub.shutdown()
            thread.join()
            hub.server_close()

    hub.stop = stop
    thread.start()
    try:
        yield hub
    finally:
        stop()


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.server.requests.append((self.command, self.path))
        repository, _, rest = self.path[1:].partition("/resolve/")
        content = self.server.files.get(f"{repository}/{rest.partition('/')[2]}")
        self.send_response(404 if content is None else 200)
        self.send_header("X-Repo-Commit", self._commit(repository))
        if content is None:
            known = any(name.startswith(f"{repository}/") for name in self.server.files)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content

    def do_GET(self):
        self.wfile.write(self.do_HEAD() or b"")

    def do_POST(self):
        self.server.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            wish = json.loads(body)
            if wish["name"] == "refused":
                return self._answer({"error": "you may not write here"}, 403)
            repository = f"{wish.get('organization', 'me')}/{wish['name']}"
            self._answer({"url": f"{self.server.address}/{repository}"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            wishes = json.loads(body)["files"]
            files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in wishes]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            repository = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[f"{repository}/{value['path']}"] = base64.b64decode(value["content"])
            sha = self._commit(repository)
            address = f"{self.server.address}/{repository}/commit/{sha}"
            self._answer({"commitUrl": address, "commitOid": sha, "success": True})
        else:
            self._answer({}, 404)
        return None

    def _answer(self, body, status=200):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _commit(self, repository):
        """Changes with the files of the repository."""
        files = sorted((name, content) for name, content in self.server.files.items() if name.startswith(repository))
        return hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()

    def log_message(self, *_):
        pass
