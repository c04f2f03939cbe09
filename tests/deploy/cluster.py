# SPDX-License-Identifier: Apache-2.0
"""A cluster on this machine that runs manifests: pods on a bridge, names of Services in their /etc/hosts, Deployments and
LeaderWorkerSets with their variables, restarts of groups and rolls."""
import base64
import concurrent.futures
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from pod import Pod

DEADLINE_S = 150
INSIDE = "BRAID_TEST_CLUSTER"
HOSTS_BYTES = 16384
WRONG_FLAGS = 2
SETS = ("Deployment", "LeaderWorkerSet")


def enter_namespaces():
    """The test goes on in namespaces of its own; they and all processes in them end with it."""
    if INSIDE in os.environ:
        return
    if os.geteuid() != 0:
        sys.exit("cluster: pods are made with namespaces and users, which only root may: run it as root")
    os.execvpe("unshare", ["unshare", "-nmpf", "--mount-proc", "--kill-child", "sh", "-c", 'mount -t sysfs sysfs /sys; ip link set lo up; exec "$@"',
                           "sh", sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain until " + what)
        time.sleep(0.05)


class Group:
    """Pods of a Deployment, or of one group of a LeaderWorkerSet."""

    def __init__(self, document, index):
        self.document, self.index = document, index
        self.is_set = document["kind"] == "LeaderWorkerSet"
        self.name = document["metadata"]["name"]
        self.recreated = 0

    def members(self):
        """Name, template and environment of each pod."""
        spec = self.document["spec"]
        if not self.is_set:
            return [(f"{self.name}-{self.index}", spec["template"], {})]
        size, leader = spec["leaderWorkerTemplate"]["size"], f"{self.name}-{self.index}"
        names = [leader] + [f"{leader}-{worker}" for worker in range(1, size)]
        return [(name, spec["leaderWorkerTemplate"]["workerTemplate"],
                 {"LWS_LEADER_ADDRESS": f"{leader}.{self.name}.default", "LWS_GROUP_SIZE": str(size), "LWS_WORKER_INDEX": str(worker)})
                for worker, name in enumerate(names)]

    def recreates(self):
        return self.is_set and self.document["spec"]["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"


class Cluster:
    numbers = itertools.count(2)  # of addresses, which no two pods share

    def __init__(self, documents, braid, models, seed):
        self.documents, self.models = documents, pathlib.Path(models).resolve()
        self.random = random.Random(seed)
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="braid-cluster-"))
        os.chmod(self.state, 0o755)
        (self.state / "bin").mkdir()
        shutil.copy(braid, self.state / "bin/braid")
        (self.state / "hosts").write_bytes(b"\n" * HOSTS_BYTES)
        self.lock, self.pods, self.generation, self.refused = threading.RLock(), {}, {}, ""
        subprocess.run(["ip", "link", "add", "pods0", "type", "bridge"], check=True)
        subprocess.run(["ip", "addr", "add", "10.88.0.1/16", "dev", "pods0"], check=True)
        subprocess.run(["ip", "link", "set", "pods0", "up"], check=True)
        self.groups = []
        self.create([start for document in documents if document["kind"] in SETS for start in self.grown(document, document["spec"].get("replicas", 1))])

    def close(self):
        for pod in self.all_pods():
            pod.ending.set()
            pod.kill()
        self.delete(self.all_pods())
        subprocess.run(["ip", "link", "del", "pods0"], check=True)
        shutil.rmtree(self.state)

    def all_pods(self):
        with self.lock:
            return list(self.pods.values())

    def object(self, kind, name):
        found = next(d for d in self.documents if d["kind"] == kind and d["metadata"]["name"] == name)
        if kind == "Secret":
            return {"data": {key: base64.b64decode(value).decode() for key, value in found["data"].items()}}
        return found

    def new_address(self):
        number = next(self.numbers)
        return f"10.88.{number // 250}.{number % 250 + 1}"

    def plug_in(self, pod):
        name = f"p{pod.ip.replace('.', '')}"
        inside = ["nsenter", f"--net=/proc/{pod.holder.pid}/ns/net", "ip"]
        for words in (["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pod.holder.pid)],
                      ["ip", "link", "set", name, "master", "pods0", "up"], [*inside, "addr", "add", f"{pod.ip}/16", "dev", "eth0"],
                      [*inside, "link", "set", "eth0", "up"], [*inside, "link", "set", "lo", "up"]):
            subprocess.run(words, check=True)

    def create(self, starts):
        """Pods come in any order."""
        self.random.shuffle(starts)
        for group, (name, template, env) in starts:
            with self.lock:
                self.generation[name] = self.generation.get(name, 0) + 1
                shutil.rmtree(self.state / name, ignore_errors=True)
                self.pods[name] = Pod(self, group, name, template, env)
        self.publish()

    @staticmethod
    def delete(pods):
        """All at once, as the pods of a group; names of containers and how they ended."""
        with concurrent.futures.ThreadPoolExecutor(max(1, len(pods))) as threads:
            return [end for ends in threads.map(Pod.delete, pods) for end in ends]

    def replace(self, group):
        """Deletes a group's pods and makes the next ones of their places; how the first ones' containers ended."""
        with self.lock:
            pods = [self.pods.pop(name) for name, _, _ in group.members()]
        exits = self.delete(pods)
        self.create([(group, member) for member in group.members()])
        return exits

    def recreate(self, group):
        self.replace(group)
        group.recreated += 1

    def scale(self, name, replicas):
        """Makes or ends pods of a Deployment, or groups of a set; how containers ended."""
        document = next(d for d in self.documents if d["metadata"]["name"] == name and d["kind"] in SETS)
        with self.lock:
            fewer = [group for group in self.groups if group.document is document and group.index >= replicas]
            self.groups = [group for group in self.groups if group not in fewer]
            ending = [self.pods.pop(pod) for group in fewer for pod, _, _ in group.members()]
        exits = self.delete(ending)
        self.create(self.grown(document, replicas))
        return exits

    def grown(self, document, replicas):
        there = sum(group.document is document for group in self.groups)
        more = [Group(document, index) for index in range(there, replicas)]
        self.groups += more
        return [(group, member) for group in more for member in group.members()]

    def container_ended(self, container):
        """One that nobody wanted to end; starting it again is up to the pod unless its whole group is made anew."""
        if container.process.returncode == WRONG_FLAGS:
            self.refused = container.pod.logs()
        if container.pod.group.recreates() and not container.pod.ending.is_set():
            container.pod.ending.set()
            threading.Thread(target=self.recreate, args=[container.pod.group], daemon=True).start()

    def publish(self):
        """Services name their ready pods, leaders are named as soon as they have an address."""
        with self.lock:
            lines = []
            for service in (d for d in self.documents if d["kind"] == "Service" and d["spec"].get("selector")):
                selector = service["spec"]["selector"]
                lines += [f"{p.ip} {service['metadata']['name']}" for p in self.pods.values() if p.ready and selector.items() <= p.labels.items()]
            lines += [f"{p.ip} {p.env['LWS_LEADER_ADDRESS']}" for p in self.pods.values() if p.env.get("LWS_WORKER_INDEX") == "0"]
            with open(self.state / "hosts", "r+b") as hosts:
                hosts.write("".join(line + "\n" for line in lines).encode().ljust(HOSTS_BYTES, b"\n"))

    def all_ready(self):
        if self.refused:
            raise AssertionError("a container refuses its flags\n" + self.refused)
        pods = self.all_pods()
        return len(pods) == sum(len(group.members()) for group in self.groups) and all(pod.ready for pod in pods)

    def logs(self):
        return "".join(pod.logs() for pod in self.all_pods())
