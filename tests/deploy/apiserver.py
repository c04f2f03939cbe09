# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver and its etcd on this machine, for as long as the object lives."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
GO = ROOT / "build/go"
DEFINITIONS = [*sorted((ROOT / "deploy/crds").glob("*.yaml")), *sorted((GO / "definitions").glob("*.yaml"))]
DEADLINE_S = 120
CERTIFICATE = """
set -e
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt
openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout server.key -out server.csr
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc' > names
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt
openssl genrsa -out accounts.key 2048
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class ApiServer:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="braid-apiserver-"))
        self.processes = []
        subprocess.run(["sh", "-c", CERTIFICATE], cwd=self.folder, check=True, capture_output=True, timeout=DEADLINE_S)
        (self.folder / "tokens.csv").write_text("admin-token,admin,1,system:masters\n")
        self.client, peer, self.port = free_ports(3)
        self.begin("etcd", "--data-dir=etcd", f"--listen-client-urls=http://127.0.0.1:{self.client}", f"--advertise-client-urls=http://127.0.0.1:{self.client}",
                   f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                   f"--initial-cluster=default=http://127.0.0.1:{peer}", "--unsafe-no-fsync")
        self.start()
        self.kubeconfig = self.write_kubeconfig("admin.yaml", "admin-token")
        self.env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder), "PATH": f"{GO}/bin:{os.environ['PATH']}"}
        self.wait_until(self.ready, "the API server is ready")

    def begin(self, *command):
        with open(self.folder / f"{pathlib.Path(command[0]).name}.log", "ab") as log:
            self.processes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                                   env={**os.environ, "PATH": f"{GO}/bin:{os.environ['PATH']}"}))

    def start(self):
        self.begin("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.client}", f"--secure-port={self.port}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
                   "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
                   "--tls-cert-file=server.crt", "--tls-private-key-file=server.key", "--token-auth-file=tokens.csv",
                   "--service-account-key-file=accounts.key", "--service-account-signing-key-file=accounts.key",
                   "--service-account-issuer=https://kubernetes.default.svc", "--disable-admission-plugins=ServiceAccount")

    def stop(self):
        self.end(self.processes.pop())

    def close(self):
        while self.processes:
            self.stop()
        shutil.rmtree(self.folder)

    @staticmethod
    def end(process):
        process.terminate()
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until(self, condition, what):
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end or self.processes[-1].poll() is not None:
                raise AssertionError(f"waited in vain until {what}\n" + (self.folder / "kube-apiserver.log").read_text()[-3000:])
            time.sleep(0.1)

    def ready(self):
        return self.run("kubectl", "get", "--raw=/readyz").returncode == 0

    def write_kubeconfig(self, name, token, namespace="default"):
        file = self.folder / name
        file.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.folder / "ca.crt")}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}]}))
        return file

    def run(self, *command, text=None):
        return subprocess.run(command, input=text, capture_output=True, text=True, env=self.env, cwd=ROOT, timeout=DEADLINE_S)

    def kubectl(self, *words, text=None):
        done = self.run("kubectl", *words, text=text)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def get(self, *words):
        return json.loads(self.kubectl("get", "-o", "json", *words))

    def apply(self, text, namespace="default"):
        """As the server checks it: no field that its definition does not know."""
        return self.kubectl("apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-", text=text)

    def define(self):
        for file in DEFINITIONS:
            self.kubectl("apply", "--server-side", "--validate=strict", "-f", str(file))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", f"--timeout={DEADLINE_S}s")


def answer_of(url):
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return 0, str(error)
