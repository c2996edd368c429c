"""A hub on loopback that speaks the part of the Hugging Face protocol that the clients use, and breaks when told to.

Served are `resolve` (HEAD and GET, with Range), `api/models` and `api/datasets` with `revision`, `tree` and
`paths-info`. Weights and parquet files are "large": their `resolve` redirects, as the real hub does, to another path
that is named by the SHA-256. Everything else has git's blob hash as its ETag.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field

LARGE = (".safetensors", ".parquet")


def git_hash(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def digest(name: str, content: bytes) -> str:
    """The hash by which the hub calls a file."""
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_hash(content)


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD path" matches `pattern`."""

    pattern: str
    action: Callable[[Handler], None]
    times: int = 1


@dataclass
class Hub:
    """The hub: repositories, faults still to come, and every request ("METHOD path") so far."""

    repositories: dict[tuple[str, str], dict[str, dict[str, bytes]]] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    others: dict[tuple[str, str, str], str] = field(default_factory=dict)  # branches beside the main one
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def add(self, kind: str, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Commit files to a branch of "model" or "dataset" NAME; returns the commit."""
        commit = hashlib.sha1(json.dumps([name, {path: git_hash(text) for path, text in files.items()}]).encode()).hexdigest()
        self.repositories.setdefault((kind, name), {})[commit] = files
        if branch == "main":
            self.branches[kind, name] = commit
        else:
            self.others[kind, name, branch] = commit
        return commit

    def fail(self, pattern: str, action: Callable[[Handler], None], times: int = 1) -> None:
        """Let the next requests that match fail in a way."""
        self.faults.append(Fault(pattern, action, times))

    def asked(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def __enter__(self) -> Hub:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


# --- faults -------------------------------------------------------------------------------------------------------------


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    """Answer with an error status, say 429 with Retry_After="1"."""
    return lambda handler: handler.reply(code, b"no", {name.replace("_", "-"): value for name, value in headers.items()})


def truncated(handler: Handler) -> None:
    """Promise the whole body, send half of it, hang up."""
    _, content = handler.find()
    handler.start(200, len(content), handler.file_headers())
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    handler.connection.close()
    handler.close_connection = True


def short(handler: Handler) -> None:
    """Send half of the body and say that this is all (a proxy with a damaged cache)."""
    _, content = handler.find()
    handler.reply(200, content[: len(content) // 2], handler.file_headers())


def wrong(handler: Handler) -> None:
    """Send a body of the right length in which one byte is another."""
    _, content = handler.find()
    middle = len(content) // 2
    handler.reply(200, content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], handler.file_headers())


def slow(parts: int, pause: float) -> Callable[[Handler], None]:
    """Send the body in parts with a pause before each."""

    def action(handler: Handler) -> None:
        _, content = handler.find()
        handler.start(200, len(content), handler.file_headers())
        size = -(-len(content) // parts)
        for begin in range(0, len(content), size):
            time.sleep(pause)
            handler.wfile.write(content[begin : begin + size])
            handler.wfile.flush()

    return action


def silent(seconds: float) -> Callable[[Handler], None]:
    """Accept the request and say nothing for a time, then hang up."""

    def action(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return action


# --- the protocol -------------------------------------------------------------------------------------------------------


class NotThere(Exception):
    """A request for something the hub does not have; carries the hub's error code."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: http.server.ThreadingHTTPServer

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client hung up first
            self.close_connection = True

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def start(self, code: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def reply(self, code: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.start(code, len(content), headers or {})
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {urllib.parse.unquote(self.path)}"
        self.hub.requests.append(request)
        for fault in self.hub.faults:
            if fault.times > 0 and re.search(fault.pattern, request):
                fault.times -= 1
                fault.action(self)
                return
        try:
            self.answer()
        except NotThere as error:
            self.reply(404, b"{}", {"X-Error-Code": str(error), "X-Error-Message": str(error)})

    do_HEAD = do_POST = do_GET

    def answer(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if match := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path):
            kind, name, what, revision, inside = match.groups()
            commit, files = self.commit(kind, name, urllib.parse.unquote(revision or "main"))
            if what == "tree":
                self.json(tree(files, urllib.parse.unquote(inside or ""), "recursive=true" in self.path.lower()))
            elif what == "paths-info":
                self.json([entry for path in wanted_paths(self.body) for entry in path_info(files, path)])
            else:
                siblings = [{"rfilename": path, "size": len(text), "blobId": git_hash(text)} for path, text in files.items()]
                self.json({"id": name, "sha": commit, "siblings": siblings, "private": False, "tags": [], "downloads": 0})
        elif path.startswith("/large/") or "/resolve/" in path:
            self.file()
        else:
            raise NotThere("RepoNotFound")

    def json(self, value: object) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def commit(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        commits = self.hub.repositories.get((kind, name))
        if commits is None:
            raise NotThere("RepoNotFound")
        commit = self.hub.branches[kind, name] if revision == "main" else self.hub.others.get((kind, name, revision), revision)
        if commit not in commits:
            raise NotThere("RevisionNotFound")
        return commit, commits[commit]

    def find(self) -> tuple[str, bytes]:
        """Name and content of the file that this request is for."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path.startswith("/large/"):
            files = [pair for commits in self.hub.repositories.values() for files in commits.values() for pair in files.items()]
            return next(pair for pair in files if digest(*pair) == path.removeprefix("/large/"))
        kind, name, revision, file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path).groups()
        self.found, files = self.commit("dataset" if kind else "model", name, revision)
        if file not in files:
            raise NotThere("EntryNotFound")
        return file, files[file]

    def file_headers(self) -> dict[str, str]:
        name, content = self.find()
        headers = {"ETag": f'"{digest(name, content)}"', "Accept-Ranges": "bytes"}
        if not self.path.startswith("/large/"):
            headers["X-Repo-Commit"] = self.found
        return headers

    def file(self) -> None:
        name, content = self.find()
        if name.endswith(LARGE) and not self.path.startswith("/large/"):
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{digest(name, content)}"'}
            # Another host name, as the real hub's storage has: the client would follow a redirect within the hub.
            place = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/large/{digest(name, content)}"
            self.reply(302, b"", {"X-Repo-Commit": self.found, "Location": place, **linked})
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            self.reply(200, content, self.file_headers())
            return
        begin, end = int(match[1]), int(match[2] or len(content) - 1)
        part = content[begin : end + 1]
        self.reply(206, part, {**self.file_headers(), "Content-Range": f"bytes {begin}-{begin + len(part) - 1}/{len(content)}"})


def file_entry(path: str, content: bytes) -> dict:
    """A file as `tree` and `paths-info` describe it."""
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": digest(path, content), "size": len(content), "pointerSize": 130}
    return entry


def folder_entry(path: str) -> dict:
    """A folder as the hub describes it; its hash is not computed as git would."""
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def tree(files: dict[str, bytes], inside: str, recursive: bool) -> list[dict]:
    """Entries below a folder ("" is the root)."""
    start = f"{inside}/" if inside else ""
    below = {path: text for path, text in files.items() if path.startswith(start)}
    if inside and not below:
        raise NotThere("EntryNotFound")
    folders = {start + rest.split("/")[0] for path in below if "/" in (rest := path.removeprefix(start))}
    shown = below if recursive else {path: text for path, text in below.items() if "/" not in path.removeprefix(start)}
    return [folder_entry(path) for path in sorted(folders)] + [file_entry(path, text) for path, text in shown.items()]


def path_info(files: dict[str, bytes], path: str) -> list[dict]:
    """The entry of one path, or nothing."""
    if path in files:
        return [file_entry(path, files[path])]
    return [folder_entry(path)] if any(name.startswith(f"{path}/") for name in files) else []


def wanted_paths(body: bytes) -> list[str]:
    """The paths that a `paths-info` request names, as JSON or as a form."""
    try:
        return json.loads(body)["paths"]
    except ValueError:
        return urllib.parse.parse_qs(body.decode()).get("paths", [])
