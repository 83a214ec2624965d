"""A stand-in of the Hugging Face hub on loopback, and of the store of its large files."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What came: `requests` as (server, path, token or None), `files` as bytes by name."""

    def __init__(self):
        self.requests = []
        self.files = {}
        self.large = {}
        self.created = []
        self.refuses = False

    def answer(self, path, body):
        """The hub's reply to a POST, as its client expects it."""
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return {"url": f"{self.url}/datasets/me/pairs", "name": "me/pairs"}
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            return {"files": [{"path": name, "shouldIgnore": False,
                               "uploadMode": "regular" if name.endswith(".md") else "lfs"}
                              for name in names]}
        if path.endswith("/info/lfs/objects/batch"):
            return {"transfer": "basic", "objects": [
                {**each, "actions": {"upload": {"href": f"{self.store}/{each['oid']}"}}}
                for each in json.loads(body)["objects"]]}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[value["path"]] = self.large[value["oid"]]
            return {"success": True, "commitOid": "1",
                    "commitUrl": f"{self.url}/datasets/me/pairs/commit/1"}
        return {}


def _handler(hub, server):
    class Handler(BaseHTTPRequestHandler):
        def _serve(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.requests.append((server, self.path, self.headers.get("Authorization")))
            if server == "store":
                hub.large[self.path.strip("/")] = body
            content = json.dumps({"error": "no right to write"} if hub.refuses else
                                 hub.answer(self.path, body)).encode()
            self.send_response(403 if hub.refuses else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = _serve

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def running_hub():
    """A `Hub` with its `url`, and its `store` at another address."""
    hub = Hub()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, name))
               for name in ("hub", "store")]
    hub.url, hub.store = (f"http://127.0.0.1:{each.server_port}" for each in servers)
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        for each in servers:
            each.shutdown()
            each.server_close()
