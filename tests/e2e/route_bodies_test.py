# SPDX-License-Identifier: Apache-2.0
"""Long bodies through a real router, which keeps little of them however slow the other side reads. usage: route_bodies_test.py BRAID MODEL"""
import hashlib
import http.client
import socket
import sys
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from route_test import Router
from server import DEADLINE_S, wait_until

MIB = 1 << 20
LENGTH = 200 * MIB
PIECE = bytes(range(256)) * 4096
MOST_ON_THE_WAY = 64 * MIB  # in four sockets' buffers and the router
MOST_MEMORY = 96 * MIB
WHOLE = hashlib.sha256(PIECE * (LENGTH // len(PIECE))).hexdigest()


def send_until_stuck(sock, sent):
    """Sends LENGTH bytes; the first time that the other side takes nothing for a second, tells `sent` how much it has taken."""
    view, total = memoryview(PIECE), 0
    sock.settimeout(1)
    while total < LENGTH:
        try:
            total += sock.send(view[total % len(PIECE):])
        except TimeoutError:
            sent.stuck(total)
    sent.stuck(total)


class Sent:
    """How far a sender has come when the other side stopped reading."""

    def __init__(self):
        self.event, self.total = threading.Event(), None

    def stuck(self, total):
        if self.total is None:
            self.total = total
        self.event.set()


class Engine(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent, self.may_read = Sent(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/metrics":
            return self.answer(b"vllm:num_requests_waiting 0\nvllm:num_requests_running 0\n")
        self.send_response(200)
        self.send_header("Content-Length", str(LENGTH))
        self.end_headers()
        send_until_stuck(self.connection, self.server.sent)

    def do_POST(self):
        if self.path.endswith("/refused"):
            self.close_connection = True
            return self.answer(b"no", 422)
        self.server.may_read.wait(DEADLINE_S)
        digest = hashlib.sha256()
        if "Content-Length" in self.headers:
            left = int(self.headers["Content-Length"])
            while left > 0:
                piece = self.rfile.read(min(left, MIB))
                digest.update(piece)
                left -= len(piece)
        else:
            while (size := int(self.rfile.readline(), 16)) > 0:
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        self.answer(digest.hexdigest().encode())


class Bodies(unittest.TestCase):
    def setUp(self):
        self.engine = Engine()
        self.addCleanup(self.engine.end)
        self.router = Router("--endpoints", f"127.0.0.1:{self.engine.server_address[1]}")
        self.addCleanup(self.router.end)
        wait_until(lambda: self.router.usable(1), "the engine is there")

    def peak_memory(self):
        with open(f"/proc/{self.router.process.pid}/status") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM"))

    def check_bounded(self, sent):
        self.assertTrue(sent.event.wait(DEADLINE_S))
        self.assertLess(sent.total, MOST_ON_THE_WAY)
        self.assertLess(self.peak_memory(), MOST_MEMORY)

    def test_an_answer_is_read_no_faster_than_its_client_reads(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.router.port, timeout=DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("GET", "/v1/files/large")
        answer = connection.getresponse()
        self.check_bounded(self.engine.sent)
        digest = hashlib.sha256()
        while piece := answer.read(MIB):
            digest.update(piece)
        self.assertEqual(digest.hexdigest(), WHOLE)
        self.assertLess(self.peak_memory(), MOST_MEMORY)

    def test_a_request_is_read_no_faster_than_its_engine_reads(self):
        with socket.create_connection(("127.0.0.1", self.router.port), timeout=DEADLINE_S) as sock:
            sock.sendall(f"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\nExpect: 100-continue\r\n\r\n".encode())
            sent = Sent()
            sender = threading.Thread(target=send_until_stuck, args=(sock, sent))
            sender.start()
            self.check_bounded(sent)
            self.engine.may_read.set()
            sender.join(DEADLINE_S)
            sock.settimeout(DEADLINE_S)
            answer = b""
            while WHOLE.encode() not in answer:
                piece = sock.recv(MIB)
                self.assertTrue(piece, answer)
                answer += piece
        self.assertLess(self.peak_memory(), MOST_MEMORY)

    def test_a_request_of_unknown_length_arrives_whole(self):
        self.engine.may_read.set()
        connection = http.client.HTTPConnection("127.0.0.1", self.router.port, timeout=DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/files", body=iter([PIECE] * (LENGTH // len(PIECE))), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(connection.getresponse().read().decode(), WHOLE)
        self.assertLess(self.peak_memory(), MOST_MEMORY)

    def test_an_engine_may_refuse_before_it_has_the_body(self):
        with socket.create_connection(("127.0.0.1", self.router.port), timeout=DEADLINE_S) as sock:
            sock.sendall(f"POST /v1/files/refused HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n".encode() + PIECE)
            answer = b""
            while b"\r\n\r\nno" not in answer:
                piece = sock.recv(MIB)
                self.assertTrue(piece, answer)
                answer += piece
        self.assertIn(b"422", answer.split(b"\r\n")[0])
        wait_until(lambda: self.router.metric("llm_d_epp_request_running") == 0, "nothing is under way")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
