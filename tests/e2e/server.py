# SPDX-License-Identifier: Apache-2.0
"""A real server for a test. The script's first words are BRAID MODEL."""
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from openai import OpenAI

BRAID, MODEL = sys.argv[1:3]
DEADLINE_S = 60


def wait_until(condition, what):
    """Polls until condition() is true; the one place where a test waits for another process's state."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain until " + what)
        time.sleep(0.01)


def process_fields(pid):
    """State and parent of a process, or None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None


def alive(pid):
    fields = process_fields(pid)
    return fields is not None and fields[0] != "Z"


def children_of(pid):
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and alive(p) and process_fields(p)[1] == str(pid)]


def free_ports(count):
    """The first of so many free ports in a row, none of those that the kernel gives to connections in the meantime."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        lowest = int(f.read().split()[0])
    while True:
        first = random.randrange(10000, max(lowest, 11000) - count)
        try:
            for port in range(first, first + count):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


class Process:
    """A program whose log is read as it comes, and what it serves once its url is known."""

    def __init__(self, words, env=None):
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.log = []
        self.logged = threading.Condition()
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()

    def wait_ready(self):
        watchdog = threading.Timer(DEADLINE_S, self.process.kill)
        watchdog.start()
        self.port = int(self.wait_for_log(r"url=http://\S+:(\d+)").group(1))
        watchdog.cancel()
        self.url = f"http://127.0.0.1:{self.port}"

    def read_log(self):
        for line in self.process.stderr:
            with self.logged:
                self.log.append(line)
                self.logged.notify_all()

    def wait_for_log(self, pattern):
        found = []
        with self.logged:
            if not self.logged.wait_for(lambda: found.extend(filter(None, (re.search(pattern, line) for line in self.log))) or found, DEADLINE_S):
                raise RuntimeError(f"nothing like {pattern} in the log: " + "".join(self.log))
        return found[0]

    def client(self, key="none"):
        return OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0, timeout=DEADLINE_S)

    def answers(self, path):
        try:
            self.get(path)
            return True
        except OSError:
            return False

    def get(self, path):
        return urllib.request.urlopen(self.url + path, timeout=DEADLINE_S).read().decode()

    def post(self, path, body, headers=None):
        status, _, text = self.post_raw(path, body, headers)
        return status, json.loads(text)

    def post_raw(self, path, body, headers=None):
        request = urllib.request.Request(self.url + path, data=body if isinstance(body, bytes) else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def metric(self, name):
        return sum(float(line.split()[-1]) for line in self.get("/metrics").splitlines() if line.startswith(name))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        status = self.process.wait(DEADLINE_S)
        self.reader.join(DEADLINE_S)
        self.process.stderr.close()
        return status

    def end(self):
        """Ends it, however it is; its log stays readable."""
        self.process.kill()
        self.wait()


class Server(Process):
    def __init__(self, *flags, env=None, wait=True, prefix=()):
        super().__init__([*prefix, BRAID, "serve", MODEL, "--host", "127.0.0.1", "--port", "0", *flags], env)
        if wait:
            self.wait_ready()
