"""Where alerts are sent to."""

import http.server
import threading

from .ports import Server, free_port


class Receiver:
    """A webhook on this machine; `answers` are the statuses of its next answers, 200 afterwards. `asked` are the paths that
    anybody asked for."""

    def __init__(self):
        self.port, self.got, self.answers, self.asked = free_port(), [], [], []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 - the library's name
                receiver.asked.append(self.path)
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self):  # noqa: N802 - the library's name
                receiver.asked.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 200
                receiver.got.append((status, self.headers, body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def deliveries(self) -> list[tuple]:
        """The first try of each delivery. There may be more: who has no answer in time sends it again."""
        firsts = {}
        for status, headers, body in self.got:
            firsts.setdefault(headers["Custody-Delivery"], (status, headers, body))
        return list(firsts.values())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-path"
