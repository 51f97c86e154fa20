"""An HTTP server for the tests: Python's own, with what one JSON object on the command line says.

host, port, requests (a file that gets one JSON line a request), certificate and key (for TLS), and the answer: status,
headers, text, repeat (how often the text comes), drip (seconds before each byte of it), hang.
"""

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

options = json.loads(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        # Python takes headers for Latin-1.
        headers = {name.lower(): value.encode("latin-1").decode() for name, value in self.headers.items()}
        with open(options["requests"], "a") as requests:
            print(json.dumps({"path": self.path, "headers": headers, "body": body}), file=requests)
        if options.get("hang"):
            time.sleep(600)
        text = options.get("text", "")
        self.send_response(options.get("status", 200))
        for name, value in options.get("headers", {}).items():
            self.send_header(name, value)
        repeat = options.get("repeat", 1)
        self.send_header("Content-Length", str(len(text) * repeat))
        self.end_headers()
        drip = options.get("drip", 0)
        for piece in [text] * repeat if not drip else text:
            time.sleep(drip)
            self.wfile.write(piece.encode())

    do_GET = do_POST

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer((options["host"], options["port"]), Handler)
if "certificate" in options:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certificate"], options["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
