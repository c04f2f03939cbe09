# SPDX-License-Identifier: Apache-2.0
"""A pod played by processes: a network namespace with an address of its own, and in it containers, each in a mount and a PID
namespace whose root is read-only but for the volumes, as a user without capabilities. What the kubelet does is done by one
thread a pod: sidecars first, probes, restarts, preStop, SIGTERM and, after the grace period, SIGKILL."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT_OF_CONTAINER = r'''
set -e
R=$1 STATE=$2; shift 2
mkdir -p "$R"
mount -t tmpfs pod "$R"
cd "$R"
mkdir -p usr etc dev/shm proc sys tmp models
mount --rbind /usr usr
mount --bind "$STATE/bin" usr/local/bin
for link in bin lib lib64 sbin; do ln -s "usr/$link" "$link"; done
echo "hosts: files" > etc/nsswitch.conf
echo "multi on" > etc/host.conf
: > etc/hosts
mount --bind "$STATE/hosts" etc/hosts
for device in null zero full random urandom; do : > "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
mount -t proc proc proc
mount -t sysfs sysfs sys
while [ "$1" != -- ]; do mkdir -p ".$2"; mount --bind "$1" ".$2"; shift 2; done
shift
mount -o remount,ro "$R"
cd /
exec chroot "$R" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"
'''
SHORTER = 50  # preStop sleeps are so many times shorter than in a cluster


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Container:
    def __init__(self, pod, spec):
        self.pod, self.spec, self.name = pod, spec, spec["name"]
        self.process, self.restarts, self.failures, self.started = None, -1, 0, False
        self.log = pod.folder / f"{self.name}.log"

    def start(self):
        volumes = []
        for mount in self.spec.get("volumeMounts", []):
            volumes += [str(self.pod.volume(mount["name"])), mount["mountPath"]]
        if not any(path == "/models" for path in volumes):
            volumes += [str(self.pod.cluster.models), "/models"]
        env = {e["name"]: self.pod.value_of(e) for e in self.spec.get("env", [])}
        words = [re.sub(r"\$\((\w+)\)", lambda m: env.get(m.group(1), m.group(0)), w) for w in [*self.spec["command"], *self.spec.get("args", [])]]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", **self.pod.env, **env}
        inside = ["nsenter", f"--net=/proc/{self.pod.holder.pid}/ns/net", "unshare", "-mpf", "--kill-child"]
        root = [str(self.pod.folder / f"root-{self.name}"), str(self.pod.cluster.state)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*inside, "sh", "-c", ROOT_OF_CONTAINER, "sh", *root, *volumes, "--", *(f"{k}={v}" for k, v in env.items()), *words],
                                            stdout=log, stderr=log, start_new_session=True)
        self.restarts += 1
        self.failures, self.started = 0, False

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        """To the container's first process, whose end is that of all others in it."""
        for pid in children(self.process.pid) if self.running() else []:
            os.kill(pid, number)

    def probe(self, kind):
        probe = self.spec.get(kind)
        if probe is None:
            return True
        if "tcpSocket" in probe:
            return self.pod.connects(probe["tcpSocket"]["port"])
        return self.pod.get(probe["httpGet"]["port"], probe["httpGet"]["path"])

    def look(self):
        """What the kubelet does now and then: starts it again when it has ended, or when it is not alive."""
        if not self.running():
            if self.process:
                self.pod.cluster.container_ended(self)
            if not self.pod.ending.is_set():
                self.start()
            return False
        self.started = self.started or self.probe("startupProbe")
        if not self.started:
            return False
        self.failures = 0 if self.probe("livenessProbe") else self.failures + 1
        if self.failures >= self.spec.get("livenessProbe", {}).get("failureThreshold", 3) * 5:
            self.signal(signal.SIGKILL)
        return self.probe("readinessProbe")


class Pod:
    def __init__(self, cluster, group, name, template, env):
        self.cluster, self.group, self.name, self.env = cluster, group, name, env
        self.labels, self.spec = template["metadata"]["labels"], template["spec"]
        self.ip = cluster.new_address()
        self.folder = cluster.state / name
        self.folder.mkdir()
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo there; exec sleep 3600"], stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"there\n"
        cluster.plug_in(self)
        self.sidecars = [Container(self, c) for c in self.spec.get("initContainers", [])]
        self.containers = [Container(self, c) for c in self.spec["containers"]]
        self.ready, self.ending = False, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def volume(self, name):
        source = next(v for v in self.spec["volumes"] if v["name"] == name)
        folder = self.folder / f"volume-{name}"
        if "persistentVolumeClaim" in source:
            return self.cluster.models
        if not folder.exists():
            folder.mkdir()
            if "configMap" in source:
                for file, text in self.cluster.object("ConfigMap", source["configMap"]["name"])["data"].items():
                    (folder / file).write_text(text)
            else:
                os.chown(folder, 10001, 10001)
        return folder

    def value_of(self, variable):
        source = variable.get("valueFrom")
        if not source:
            return variable["value"]
        if "secretKeyRef" in source:
            return self.cluster.object("Secret", source["secretKeyRef"]["name"])["data"][source["secretKeyRef"]["key"]]
        return {"status.podIP": self.ip, "metadata.name": self.name}[source["fieldRef"]["fieldPath"]]

    def get(self, port, path):
        try:
            return urllib.request.urlopen(f"http://{self.ip}:{port}{path}", timeout=5).status == 200
        except (OSError, urllib.error.URLError):
            return False

    def connects(self, port):
        try:
            with socket.create_connection((self.ip, port), 5):
                return True
        except OSError:
            return False

    def run(self):
        while not self.ending.wait(0.1):
            ready = all([c.look() for c in self.sidecars])
            if all(c.started for c in self.sidecars):
                ready = all([c.look() for c in self.containers]) and ready
            self.set_ready(ready and not self.ending.is_set())

    def set_ready(self, ready):
        if ready != self.ready:
            self.ready = ready
            self.cluster.publish()

    def kill(self):
        """Its containers die at once, as by lack of memory; the kubelet starts them again."""
        for container in self.containers:
            container.signal(signal.SIGKILL)

    def delete(self):
        """The orderly end of a pod; tells how its containers have ended."""
        self.ending.set()
        self.thread.join()
        self.set_ready(False)
        grace, exits = self.spec["terminationGracePeriodSeconds"], []
        for group in self.containers, self.sidecars[::-1]:
            for container in group:
                time.sleep(container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) / SHORTER)
                container.signal(signal.SIGTERM)
            for container in group:
                exits.append((f"{self.name} {container.name}", self.wait(container, grace)))
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        return exits

    def wait(self, container, grace):
        if container.process is None:
            return 0
        try:
            return container.process.wait(grace)
        except subprocess.TimeoutExpired:
            container.signal(signal.SIGKILL)
            container.process.wait()
            return "killed after the grace period"

    def logs(self):
        return "".join(f"--- {self.name} {c.name}\n" + c.log.read_text(errors="replace")[-3000:] for c in self.sidecars + self.containers if c.log.exists())
