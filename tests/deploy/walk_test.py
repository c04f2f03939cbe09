# SPDX-License-Identifier: Apache-2.0
"""A newcomer's walk: the commands of each path's page, copied from it, against a real kube-apiserver whose pods are played on this
machine. As root, with helm, kube-apiserver and kubectl in build/go/bin. usage: walk_test.py BRAID MODEL

Two programs are not what the page means: helm gets the small model's values behind the page's own, and `kubectl port-forward`,
which would go through a kubelet, is a proxy to the played pod."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

import envoy
import yaml

from cluster import SETS, Cluster, enter_namespaces, wait_until

enter_namespaces()

from apiserver import GO, ROOT, ApiServer, answer_of  # noqa: E402
from cluster_test import scaled  # noqa: E402
from paths_test import PATHS  # noqa: E402

BRAID, MODEL = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
KINDS = {"deployments", "leaderworkersets", "services", "configmaps", "secrets"}
HELM = """#!/bin/sh
case "$1" in install|upgrade) exec {helm} "$@" -f {values};; esac
exec {helm} "$@"
"""
KUBECTL = """#!/bin/sh
if [ "$1" = port-forward ]; then exec {python} {forward} "$2" "$3"; fi
exec {kubectl} "$@"
"""
FORWARD = """
import asyncio, json, sys
SERVICES = json.load(open({services!r}))

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()

async def main(service, ports):
    ours, theirs = map(int, ports.split(":"))
    host, port = SERVICES[service][str(theirs)]
    async def serve(reader, writer):
        there = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
    server = await asyncio.start_server(serve, "127.0.0.1", ours)
    await server.serve_forever()

asyncio.run(main(*sys.argv[1:]))
"""


def commands(path, heading):
    """The lines of a section's blocks that a reader would copy."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (PATHS / path / "README.md").read_text(), re.M | re.S).group(1)
    return [line for block in re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S) for line in block.splitlines() if line]


class Shell:
    """One bash for a whole page, a line at a time."""

    def __init__(self, env):
        self.process = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT,
                                        start_new_session=True)

    def run(self, line):
        """Status and output; of a line in the background when what it starts listens."""
        self.process.stdin.write(f"{line}\n" + 'printf "\\n<<%d>>\\n" $?\n')
        self.process.stdin.flush()
        output = ""
        for text in self.process.stdout:
            if done := re.fullmatch(r"<<(\d+)>>\n", text):
                break
            output += text
        if line.endswith("&"):
            wait_until(lambda: answer_of("http://127.0.0.1:8081/health")[0] == 200, "the port is forwarded")
        return int(done.group(1)), output

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Walk(unittest.TestCase):
    engines = {"inference-scheduling": {"serve": {"replicas": 2}}, "precise-prefix-cache": {"serve": {"replicas": 2}}, "simulated": {"serve": {"replicas": 2}},
               "flow-control": {"serve": {"replicas": 1}}, "autoscaling": {"serve": {}}, "gateway": {"serve": {"replicas": 1}},
               "pd-disaggregation": {"prefill": {"replicas": 1}, "decode": {"replicas": 1}},
               "wide-ep-lws": {"prefill": {"size": 2, "ranksPerPod": 2}, "decode": {"size": 2, "ranksPerPod": 2}}}

    @classmethod
    def setUpClass(cls):
        cls.server = ApiServer()
        cls.addClassCleanup(cls.server.close)
        cls.server.define()
        for file in (ROOT / "deploy/crds").glob("*.yaml"):
            cls.server.kubectl("delete", "-f", str(file))  # the page says how to get these

    def programs(self, path):
        """What stands before the real programs in PATH."""
        folder = self.server.folder / "programs"
        folder.mkdir(exist_ok=True)
        self.services = folder / "services.json"
        (folder / "values.yaml").write_text(yaml.safe_dump(scaled(path, self.engines[path])))
        (folder / "forward.py").write_text(FORWARD.format(services=str(self.services)))
        for name, text in (("helm", HELM.format(helm=GO / "bin/helm", values=folder / "values.yaml")),
                           ("kubectl", KUBECTL.format(kubectl=GO / "bin/kubectl", python=sys.executable, forward=folder / "forward.py"))):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        if not (folder / "braid").exists():
            (folder / "braid").symlink_to(BRAID)
        return folder

    def copy(self, path, heading):
        output = ""
        for line in commands(path, heading):
            with self.subTest(path, line=line):
                status, text = self.shell.run(line)
                self.assertEqual(status, 0, text)
                output += text
        return output

    def living(self):
        known = {line.split(".")[0] for line in self.server.kubectl("api-resources", "-o", "name").splitlines()}
        return self.server.get(",".join(KINDS & known))["items"]

    def play(self):
        """The pods of what the server now holds, there and on this machine."""
        cluster = Cluster(self.living(), BRAID, MODEL.parent, 7)
        self.addCleanup(cluster.close)
        self.addCleanup(lambda: self._outcome.success or print(cluster.logs(), file=sys.stderr))
        wait_until(cluster.all_ready, "every pod is ready")
        services = {}
        for pod in cluster.all_pods():
            self.server.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name, "labels": pod.labels}, "spec": pod.spec}))
            status = {"status": {"phase": "Running", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "conditions": [{"type": "Ready", "status": "True"}]}}
            self.server.kubectl("patch", "pod", pod.name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
            self.addCleanup(self.server.kubectl, "delete", "pod", pod.name, "--grace-period=0", "--force")
        for service in (d for d in cluster.documents if d["kind"] == "Service" and d["spec"].get("selector")):
            pod = next(p for p in cluster.all_pods() if service["spec"]["selector"].items() <= p.labels.items())
            services["service/" + service["metadata"]["name"]] = {port["port"]: (pod.ip, port.get("targetPort", port["port"])) for port in service["spec"]["ports"]}
        self.services.write_text(json.dumps(services))
        return services

    def walk(self, path):
        self.shell = Shell({**self.server.env, "PATH": f"{self.programs(path)}:{self.server.env['PATH']}"})
        self.addCleanup(self.shell.close)
        self.copy(path, "Deploy")
        services = self.play()
        if path == "gateway":
            self.gateway(services["service/gateway-epp"][9002])
        checked = self.copy(path, "Check")
        self.assertIn("Running", checked)
        self.assertIn('"object":"list"', checked)
        self.assertIn("lexicon", checked)
        self.assertIn(", 0 failed", self.copy(path, "Measure"))
        self.copy(path, "Clean up")
        self.assertEqual([d["metadata"]["name"] for d in self.living() if d["kind"] in SETS], [])

    def gateway(self, picker):
        """What a gateway's controller does: an Envoy, and its address in the Gateway's status."""
        config = (PATHS / "envoy/envoy.yaml").read_text().replace("port_value: 8080", "port_value: 80")
        config = config.replace("address: 127.0.0.1, port_value: 9002", f"address: {picker[0]}, port_value: {picker[1]}")
        self.server.begin(str(pathlib.Path(envoy.__file__).parent / "_bin/envoy"), "--config-yaml", config, "--disable-hot-restart", "--concurrency", "1")
        self.addCleanup(self.server.stop)
        status = {"status": {"addresses": [{"type": "IPAddress", "value": "10.88.0.1"}]}}
        self.server.kubectl("patch", "gateway", "inference-gateway", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        wait_until(lambda: answer_of("http://10.88.0.1/v1/models")[0] == 200, "the gateway answers")

    def test_inference_scheduling(self):
        self.walk("inference-scheduling")

    def test_precise_prefix_cache(self):
        self.walk("precise-prefix-cache")

    def test_pd_disaggregation(self):
        self.walk("pd-disaggregation")

    def test_wide_ep_lws(self):
        self.walk("wide-ep-lws")

    def test_flow_control(self):
        self.walk("flow-control")

    def test_autoscaling(self):
        self.walk("autoscaling")

    def test_gateway(self):
        self.walk("gateway")

    def test_simulated(self):
        self.walk("simulated")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
