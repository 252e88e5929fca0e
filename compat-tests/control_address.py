"""The control address of a client under test: POST requests that act on brokers and answer when that is done."""

import http.server
import threading


class UnknownPath(Exception):
    """Nothing is done under that path."""


def serve(act):
    """Calls act(path) for each POST; an error is the reason that the client reports. Returns the server, and serves on a thread of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                act(self.path)
                status, text = 200, "done"
            except UnknownPath:
                status, text = 404, "unknown path"
            except Exception as error:
                status, text = 500, str(error)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
