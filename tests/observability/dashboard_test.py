# SPDX-License-Identifier: Apache-2.0
"""/dashboard of engine and router in a real Chromium. usage: dashboard_test.py BRAID MODEL [FOLDER FOR SCREENSHOTS]"""
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

from cluster import Cluster
from server import wait_until

KEY = "s3cret"
SHOTS = sys.argv[3] if len(sys.argv) > 3 else None
LOOK_MS = 14000  # of the page's own time


class Browser:
    """Opens a page, lets it live for some seconds of its own time, and gives its document."""

    def __init__(self, url):
        self.url = url.replace("http://", f"http://any:{KEY}@")

    def run(self, *words, width=1280, height=1500, dark=False):
        with tempfile.TemporaryDirectory() as home:
            words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={home}",
                     f"--window-size={width},{height}", "--timeout=20000", f"--virtual-time-budget={LOOK_MS}", *words]
            if dark:
                words.append("--blink-settings=preferredColorScheme=0")
            return subprocess.run([*words, self.url + "/dashboard"], check=True, capture_output=True, text=True, timeout=120).stdout

    def document(self, **how):
        return self.run("--dump-dom", **how).partition("<script>")[0]

    def screenshot(self, path, **how):
        self.run(f"--screenshot={os.path.abspath(path)}", **how)


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(KEY)
        cls.addClassCleanup(cls.cluster.end)
        wait_until(lambda: "braid:eplb_expert_rows" in cls.cluster.ranks.get("/metrics"), "expert loads are measured")

    def data(self, server, headers):
        with urllib.request.urlopen(urllib.request.Request(server.url + "/dashboard/data", headers=headers), timeout=30) as answer:
            return json.load(answer)

    def test_nothing_is_shown_without_the_key(self):
        for server in self.cluster.ranks, self.cluster.router:
            for path in "/dashboard", "/dashboard/data":
                with self.assertRaises(urllib.error.HTTPError) as refused:
                    server.get(path)
                self.assertEqual(refused.exception.code, 401)
                self.assertIn("Basic", refused.exception.headers["WWW-Authenticate"])
                refused.exception.close()
        browser_key = {"Authorization": "Basic " + base64.b64encode(f"any:{KEY}".encode()).decode()}
        for headers in self.cluster.headers, browser_key:
            self.assertEqual(self.data(self.cluster.ranks, headers)["kind"], "engine")
            self.assertEqual(self.data(self.cluster.router, headers)["kind"], "router")

    def test_the_engine_shows_ranks_experts_waits_and_requests(self):
        wait_until(lambda: self.data(self.cluster.ranks, self.cluster.headers)["requests"], "a request has ended")
        page = Browser(self.cluster.ranks.url).document()
        self.assertEqual(re.findall(r"rank (\d)</span><span class=\"tag good\">healthy", page), ["0", "1"])
        experts = len(self.data(self.cluster.ranks, self.cluster.headers)["experts"]["rows"])
        self.assertEqual(len(re.findall(r"expert \d+: \S+ rows", page)), experts)
        for what in "Waits between ranks", "Balance by layer", "dispatch, a layer", "prompt tokens (", 'class="state good" role="status">healthy':
            self.assertIn(what, page)
        self.assertNotRegex(page, r"NaN|undefined|\[object")

    def test_the_router_shows_endpoints_decisions_and_timelines(self):
        wait_until(lambda: any(len(j["legs"]) == 2 for j in self.data(self.cluster.router, self.cluster.headers)["journeys"]), "one was prefilled apart")
        page = Browser(self.cluster.router.url).document()
        self.assertEqual(len(re.findall(r'class="card endpoint"', page)), 3)
        for what in "queue-scorer", "prefix-cache-scorer", "prefill apart: chosen", 'class="prefill" title="prefill on 127.0.0.1:', 'class="state good" role="status">ready':
            self.assertIn(what, page)
        self.assertNotRegex(page, r"NaN|undefined|\[object")

    def test_it_fits_a_phone(self):
        for server in self.cluster.ranks, self.cluster.router:
            page = Browser(server.url).document(width=500, height=900)  # Chromium has no narrower window
            self.assertIn('class="card', page)

    def test_screenshots(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, server, how in (("engine", self.cluster.ranks, {"height": 1060}), ("router", self.cluster.router, {"height": 830, "dark": True})):
                path = os.path.join(SHOTS or folder, f"dashboard-{name}.png")
                Browser(server.url).screenshot(path, width=1180, **how)
                self.assertGreater(os.path.getsize(path), 20000)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
