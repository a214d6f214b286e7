"""A llama-server look-alike as a program, as far as its process goes: it is not ready at once, may fail to load, and
may crash. After tools/server of llama.cpp: `/health` is 503 while it loads, `/v1/models` is 200 all the time.

A prompt of `crash` ends it, `cut` ends it within its stream, `takes N` answers after N seconds. `--refuse WORDS` ends
it while it loads, `--die-after SECONDS` once it is ready."""

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": %s}]}\n\n'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/health":
            ready = time.monotonic() > ready_at
            message = {"status": "ok"} if ready else {"error": {"message": "Loading model", "code": 503}}
            self.answer(200 if ready else 503, message)
        else:
            self.answer(200, {"data": [{"id": options.alias}], "path": self.path})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = str(body["messages"][-1]["content"]).split()
        if words == ["crash"]:
            os._exit(1)
        if words[0] == "takes":
            self.sleep(float(words[1]))
        if not body.get("stream"):
            message = {"role": "assistant", "content": f"I am {options.alias}"}
            self.answer(200, {"choices": [{"message": message, "finish_reason": "stop"}], "path": self.path})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.write(CHUNK % ("I am ", "null"))
        if words == ["cut"]:
            os._exit(1)
        self.write(CHUNK % (options.alias, '"stop"') + "data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def sleep(self, seconds: float) -> None:
        """Wait, and note when the caller hangs up meanwhile."""
        self.connection.settimeout(seconds)
        try:
            if self.connection.recv(1) == b"":
                sys.stderr.write("the caller has hung up\n")
        except TimeoutError:
            self.connection.settimeout(None)

    def write(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()


parser = argparse.ArgumentParser()
parser.add_argument("--model", default="")
parser.add_argument("--port", type=int)
parser.add_argument("--alias")
parser.add_argument("--load-seconds", type=float, default=0.0)
parser.add_argument("--refuse", default="")
parser.add_argument("--die-after", type=float)
options = parser.parse_args()
ready_at = time.monotonic() + options.load_seconds
if options.refuse:
    sys.exit(options.refuse)
sys.stderr.write(f"{options.alias} starts\n")
server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever).start()
if options.die_after is not None:
    time.sleep(options.load_seconds + options.die_after)
    os._exit(1)
