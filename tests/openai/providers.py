"""Plays Anthropic, Gemini, Azure and OpenAI from recorded transcripts: python providers.py DIRECTORY.

The model that is asked for names the transcript: `text` is `anthropic_text.sse` where Anthropic's path was asked. Prints its
port. `GET /asked` gives back the last request, so that a test can see what reached the provider.
"""

import json
import pathlib
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRANSCRIPTS = pathlib.Path(sys.argv[1])
STATUS = {"rate": 429, "key": 401, "context": 400, "invalid": 400, "overloaded": 529}
asked = {}


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, kind, body, headers=()):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, "application/json", json.dumps(asked).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        gemini = re.match(r".*/models/([^:]+):(\w+)", self.path)
        if gemini:
            name, model = "gemini", gemini[1]
        elif self.path.endswith("/messages"):
            name, model = "anthropic", body["model"]
        elif "api-version" in self.path:
            name, model = "azure", re.match(r".*/deployments/([^/]+)/", self.path)[1]
        else:
            name, model = "openai", body["model"]
        headers = {key.lower(): value for key, value in self.headers.items()}
        asked.clear()
        asked.update(provider=name, path=self.path, headers=headers, body=body)
        stream = TRANSCRIPTS / f"{name}_{model}.sse"
        if stream.exists():
            return self.answer(200, "text/event-stream", stream.read_bytes())
        document = TRANSCRIPTS / f"{name}_{model}.json"
        if not document.exists():
            return self.answer(404, "application/json", b'{"error":{"message":"no such transcript"}}')
        status = STATUS.get(model, 200)
        self.answer(status, "application/json", document.read_bytes(), [("retry-after", "0")] if status == 429 else [])


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
print(server.server_port, flush=True)
server.serve_forever()
