"""A proxy between a node and AWS that makes trouble on request, and keeps a record of every call, as CloudTrail does.

What the stand-in for AWS can refuse by itself it is left to refuse; the proxy adds what it can't do: no connection, no
answer, a late one, half of one, one that is not AWS's, a fault inside AWS, throttling. Where real AWS would look at a
request's time or at a session's age, the request is signed anew as a machine with a wrong clock would have signed it.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import re
import threading
import time
import urllib.parse
import uuid

from .ports import Server, free_port

KMS, STS = "kms", "sts"
ID = "x-amzn-RequestId"
# Longer than any client waits.
FOREVER = 3600


@dataclasses.dataclass
class Call:
    """One call as AWS saw it."""

    service: str
    action: str
    region: str
    access_key: str
    parameters: dict
    session: str | None = None
    key: str | None = None
    request_id: str | None = None
    status: int | None = None
    code: str | None = None
    answered: bool = False
    at: float = dataclasses.field(default_factory=time.time)

    @property
    def name(self) -> str:
        """As in a policy."""
        return f"{self.service}:{self.action}"

    @property
    def context(self) -> dict:
        return self.parameters.get("EncryptionContext", {})


# --- what can go wrong: each takes the handler and the call, and says whether it has dealt with it --------------------


def answers(code: str, status: int = 400, text: str = "injected"):
    """AWS's own error, in the wire form of its service."""

    def fault(handler: "Handler", call: Call) -> bool:
        call.code = code
        if call.service == STS:
            body = (
                '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>"
                f"<RequestId>{call.request_id}</RequestId></ErrorResponse>"
            )
            handler.answer(call, status, "text/xml", body.encode())
        else:
            body = json.dumps({"__type": code, "message": text})
            handler.answer(call, status, "application/x-amz-json-1.1", body.encode())
        return True

    return fault


def page(status: int, text: str = "<html><body>This page is not from AWS.</body></html>"):
    """The page of something in between: a gateway, a captive portal."""

    def fault(handler: "Handler", call: Call) -> bool:
        call.request_id = None
        handler.answer(call, status, "text/html", text.encode())
        return True

    return fault


def hangs(handler: "Handler", call: Call) -> bool:
    """Takes the request and says nothing."""
    handler.wait(FOREVER)
    handler.cut()
    return True


def closes(handler: "Handler", call: Call) -> bool:
    """Takes the request and hangs up."""
    handler.cut()
    return True


def half(handler: "Handler", call: Call) -> bool:
    """Passes the request on, and hangs up in the middle of the answer."""
    answer = handler.forward(call)
    handler.send_response(answer.status)
    handler.send_header("Content-Type", answer.headers["Content-Type"])
    handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(answer.body[: len(answer.body) // 2])
    handler.cut()
    return True


def late(seconds: float):
    """Passes the request on, after a while."""

    def fault(handler: "Handler", call: Call) -> bool:
        handler.wait(seconds)
        return False

    return fault


def skewed(offset: datetime.timedelta):
    """Signs the request anew as a machine would whose clock is off by this much. AWS refuses it then by itself."""

    def fault(handler: "Handler", call: Call) -> bool:
        handler.sign_again(call, offset)
        return False

    return fault


def short_session(handler: "Handler", call: Call) -> bool:
    """Makes the session one of a second. With a KMS that is called later than that, it has expired."""
    handler.body = handler.body.replace(b"DurationSeconds=900", b"DurationSeconds=1")
    handler.sign_again(call, datetime.timedelta())
    return False


@dataclasses.dataclass
class Rule:
    fault: object
    service: str | None
    action: str | None
    about: tuple[str, ...]

    def applies(self, call: Call) -> bool:
        parameters = call.parameters.values()
        return (
            self.service in (None, call.service)
            and self.action in (None, call.action)
            and (not self.about or any(name in parameters for name in self.about))
        )


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Proxy:
    """Listens on loopback; everything goes to `upstream`, unless a fault is on."""

    def __init__(self, upstream: str, secrets: dict[str, str]):
        """`secrets` are those of the access keys whose requests may have to be signed anew."""
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.secrets = dict(secrets)
        self.sessions: dict[str, str] = {}
        self.calls: list[Call] = []
        self.rules: list[Rule] = []
        self.lock = threading.Lock()
        self.healed = threading.Event()
        self.server: Server | None = None
        self.port = free_port()
        self.open()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        proxy = self

        class Bound(Handler):
            pass

        Bound.proxy = proxy
        self.server = Server(("127.0.0.1", self.port), Bound)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def shut(self) -> None:
        """Nobody listens any more."""
        self.healed.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @contextlib.contextmanager
    def refusing(self):
        """Connections are refused."""
        self.shut()
        try:
            yield
        finally:
            self.healed = threading.Event()
            self.open()

    def fault(self, fault, service: str | None = None, action: str | None = None, about: tuple[str, ...] = ()) -> None:
        """Turns a fault on: for a service or all, an action or all, and for calls that name one of these keys or roles."""
        with self.lock:
            self.rules.append(Rule(fault, service, action, about))

    def heal(self) -> None:
        """Ends every fault; what hangs is hung up."""
        with self.lock:
            self.rules.clear()
            ended, self.healed = self.healed, threading.Event()
        ended.set()

    def faults_for(self, call: Call) -> list:
        with self.lock:
            return [rule.fault for rule in self.rules if rule.applies(call)]

    def named(self, name: str, about: str | None = None) -> list[Call]:
        """The calls of this name so far, all of them or those about a key or a role."""
        with self.lock:
            return [it for it in self.calls if it.name == name and about in (None, *it.parameters.values())]


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection from the node."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.ended = self.proxy.healed
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = self.read_call()
        with self.proxy.lock:
            self.proxy.calls.append(call)
        try:
            for fault in self.proxy.faults_for(call):
                if fault(self, call):
                    return
            answer = self.forward(call)
            self.answer(call, answer.status, answer.headers["Content-Type"], answer.body)
        except (BrokenPipeError, ConnectionResetError):
            # The node gave up waiting.
            call.answered, self.close_connection = False, True

    def read_call(self) -> Call:
        found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", self.headers["Authorization"])
        assert found, self.headers["Authorization"]
        access_key, region, service = found.groups()
        if service == KMS:
            action = self.headers["X-Amz-Target"].removeprefix("TrentService.")
            parameters = json.loads(self.body)
        else:
            parameters = dict(urllib.parse.parse_qsl(self.body.decode()))
            action = parameters["Action"]
        call = Call(service, action, region, access_key, parameters, request_id=str(uuid.uuid4()))
        call.session = self.proxy.sessions.get(access_key)
        call.key = parameters.get("KeyId")
        return call

    def wait(self, seconds: float) -> None:
        """Until the time is over or all faults are ended."""
        self.ended.wait(seconds)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def forward(self, call: Call) -> Answer:
        """Asks the stand-in. The request goes on as it came, its Host included, which is signed."""
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            upstream.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("content-length", "connection"):
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(self.body)))
            upstream.endheaders(self.body)
            response = upstream.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            upstream.close()
        # The stand-in gives none where it refuses a signature; real AWS always does.
        call.request_id = answer.headers[ID] or call.request_id
        if answer.status != 200:
            call.code = self.code_of(call, answer)
        elif call.name == "sts:AssumeRole":
            self.learn_session(call, answer)
        return answer

    def code_of(self, call: Call, answer: Answer) -> str:
        if call.service == STS:
            return re.search(r"<Code>(.*?)</Code>", answer.body.decode()).group(1)
        return json.loads(answer.body)["__type"].rsplit("#", 1)[-1]

    def learn_session(self, call: Call, answer: Answer) -> None:
        text = answer.body.decode()
        find = lambda tag: re.search(rf"<{tag}>(.*?)</{tag}>", text).group(1)  # noqa: E731
        call.session = re.search(r"<AssumedRoleUser>.*?<Arn>(.*?)</Arn>", text, re.DOTALL).group(1)
        with self.proxy.lock:
            self.proxy.secrets[find("AccessKeyId")] = find("SecretAccessKey")
            self.proxy.sessions[find("AccessKeyId")] = call.session

    def answer(self, call: Call, status: int, kind: str, body: bytes) -> None:
        # Before it is sent: the node's record of it may be read before this thread runs again.
        call.status, call.answered = status, True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if call.request_id:
            self.send_header(ID, call.request_id)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def sign_again(self, call: Call, offset: datetime.timedelta) -> None:
        """AWS Signature Version 4 over the request as it stands now, at a time that is off by `offset`."""
        now = datetime.datetime.now(datetime.UTC) + offset
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        del self.headers["X-Amz-Date"]
        self.headers["X-Amz-Date"] = stamp
        digest = hashlib.sha256(self.body).hexdigest()
        names = [n for n in ("content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target")]
        names = [name for name in names if name in self.headers]
        lines = "".join(f"{name}:{self.headers[name].strip()}\n" for name in names)
        canonical = "\n".join(["POST", self.path, "", lines, ";".join(names), digest])
        scope = f"{day}/{call.region}/{call.service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        key = b"AWS4" + self.proxy.secrets[call.access_key].encode()
        for part in (*scope.split("/"), "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashed])):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        del self.headers["Authorization"]
        self.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={call.access_key}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={key.hex()}"
        )
        if "x-amz-content-sha256" in self.headers:
            del self.headers["x-amz-content-sha256"]

