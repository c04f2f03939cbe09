# SPDX-License-Identifier: Apache-2.0
"""One trace through router, prefill and decode, as a collector gets it. usage: traces_test.py BRAID MODEL"""
import http.server
import json
import sys
import threading
import unittest

from server import BRAID, Process, Server, free_ports, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
ASK = {"model": "lexicon", "prompt": [1, 2, 3, 4, 5, 6, 7, 8] * 20, "max_tokens": 4, "temperature": 0}
DISAGGREGATED = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: always-disagg-pd-decider
- type: disagg-profile-handler
  parameters: {deciders: {prefill: always-disagg-pd-decider}}
- type: prefill-filter
- type: decode-filter
- type: queue-scorer
- type: max-score-picker
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
"""


class Collector:
    """Keeps every span that comes, with the service that sent it."""

    def __init__(self):
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in body["resourceSpans"]:
                    service = resource["resource"]["attributes"][0]["value"]["stringValue"]
                    collector.spans += [{"service": service, **span} for scope in resource["scopeSpans"] for span in scope["spans"]]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.spans = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, trace):
        return [s for s in self.spans if s["traceId"] == trace]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


class Traces(unittest.TestCase):
    def setUp(self):
        self.collector = Collector()
        self.addCleanup(self.collector.close)
        self.flags = ["--otlp-traces-endpoint", self.collector.endpoint]

    def engine(self, name, role="kv_both"):
        transfer = json.dumps({"kv_connector": "NixlConnector", "kv_role": role, "kv_port": 0})
        engine = Server("--backend", "simulated", "--kv-transfer-config", transfer, *self.flags, env={"OTEL_SERVICE_NAME": name})
        self.addCleanup(engine.end)
        return engine

    def route(self, *words):
        router = Process([BRAID, "route", "--host", "127.0.0.1", "--port", "0", *self.flags, *words])
        self.addCleanup(router.end)
        router.wait_ready()
        wait_until(lambda: router.answers("/readyz"), "the router is ready")
        return router

    def test_one_trace_goes_through_router_prefill_and_decode(self):
        prefill, decode = self.engine("prefiller"), self.engine("decoder")
        router = self.route("--config-text", DISAGGREGATED, "--endpoints",
                            f"127.0.0.1:{prefill.port};role=prefill,127.0.0.1:{decode.port};role=decode")
        wait_until(lambda: router.metric("llm_d_epp_ready_endpoints ") == 2, "both engines are there")
        status, _ = router.post("/v1/completions", {**ASK, "model": decode.client().models.list().data[0].id}, HEADERS)
        self.assertEqual(status, 200)
        wait_until(lambda: {"llm_request", "route.request"} <= {s["name"] for s in self.collector.of(TRACE)}
                   and sum(s["name"] == "llm_request" for s in self.collector.of(TRACE)) == 2, "all spans have come")
        spans = self.collector.of(TRACE)
        by_name = {s["name"]: s for s in spans if s["service"] == "braid-route"}
        self.assertEqual(set(by_name), {"route.request", "route.decision", "route.prefill", "route.decode"})
        self.assertEqual(by_name["route.request"]["parentSpanId"], PARENT)
        for part in "route.decision", "route.prefill", "route.decode":
            self.assertEqual(by_name[part]["parentSpanId"], by_name["route.request"]["spanId"])
        for service, leg in ("prefiller", "route.prefill"), ("decoder", "route.decode"):
            request = next(s for s in spans if s["service"] == service and s["name"] == "llm_request")
            self.assertEqual(request["parentSpanId"], by_name[leg]["spanId"])
            parts = {s["name"] for s in spans if s.get("parentSpanId") == request["spanId"]}
            self.assertLessEqual({"queue", "prefill" if service == "prefiller" else "kv_transfer"}, parts)
        moved = next(s for s in spans if s["name"] == "kv_transfer")
        self.assertGreater(int(attributes(moved)["braid.bytes"]), 0)
        self.assertNotIn("prefill", parts, "the first token came with the keys and values")
        told = attributes(request)
        self.assertEqual((told["gen_ai.usage.prompt_tokens"], told["gen_ai.usage.completion_tokens"], told["gen_ai.request.max_tokens"]), ("160", "4", "4"))
        self.assertGreater(told["gen_ai.latency.time_to_first_token"], 0)
        decoding = int(by_name["route.decode"]["startTimeUnixNano"])
        self.assertLessEqual(int(by_name["route.prefill"]["startTimeUnixNano"]), decoding)
        self.assertLessEqual(decoding, int(by_name["route.prefill"]["endTimeUnixNano"]), "it begins beside the prefill")

    def test_the_sidecar_is_part_of_the_trace(self):
        prefill, decode = self.engine("prefiller"), self.engine("decoder")
        port = free_ports(1)
        sidecar = Process([BRAID, "sidecar", "--host", "127.0.0.1", "--port", str(port), "--model-server-port", str(decode.port),
                           "--allowed-prefillers", "127.0.0.1", *self.flags])
        self.addCleanup(sidecar.end)
        sidecar.wait_for_log("ready")
        sidecar.url = f"http://127.0.0.1:{port}"
        ask = {**ASK, "model": decode.client().models.list().data[0].id}
        status, _ = sidecar.post("/v1/completions", ask, {**HEADERS, "x-prefiller-host-port": f"127.0.0.1:{prefill.port}"})
        self.assertEqual(status, 200)
        wait_until(lambda: {"sidecar.request", "sidecar.prefill", "sidecar.decode"} <= {s["name"] for s in self.collector.of(TRACE)}
                   and sum(s["name"] == "llm_request" for s in self.collector.of(TRACE)) == 2, "all spans have come")

    def test_a_request_without_a_trace_begins_one_and_a_dead_collector_costs_no_answer(self):
        engine = self.engine("alone")
        ask = {**ASK, "model": engine.client().models.list().data[0].id}
        self.assertEqual(engine.post("/v1/completions", ask)[0], 200)
        wait_until(lambda: any(s["name"] == "llm_request" and "parentSpanId" not in s for s in self.collector.spans), "its span has come")
        self.collector.close()
        self.assertEqual(engine.post("/v1/completions", ask)[0], 200)
        wait_until(lambda: engine.metric('braid_trace_spans_dropped_total{reason="unreachable"}') > 0, "the loss is counted")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
