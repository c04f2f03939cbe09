#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the Grafana dashboards beside it from the tables below. usage: dashboards.py [--check]"""
import json
import os
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "grafana")
RATE = "[$__rate_interval]"
MODEL = '{model_name=~"$model"}'


def rate(metric, by="", labels=MODEL):
    return f"sum{' by (' + by + ') ' if by else ''}(rate({metric}{labels}{RATE}))"


def quantile(q, metric, by="le", labels=MODEL):
    return f"histogram_quantile({q}, sum by ({by}) (rate({metric}_bucket{labels}{RATE})))"


def quantiles(metric, labels=MODEL):
    return [(quantile(q, metric, labels=labels), f"P{int(100 * q)}") for q in (0.5, 0.9, 0.99)]


# title, unit, [(query, legend)]
ENGINE = [
    ("Generated tokens", "short", [(rate("vllm:generation_tokens_total"), "tokens/s")]),
    ("Prompt tokens", "short", [(rate("vllm:prompt_tokens_by_source_total", "source"), "{{source}}")]),
    ("Requests", "reqps", [(rate("vllm:request_success_total", "finished_reason"), "{{finished_reason}}")]),
    ("Queue", "short", [("sum(vllm:num_requests_running" + MODEL + ")", "running"), ("sum(vllm:num_requests_waiting" + MODEL + ")", "waiting")]),
    ("Time to first token", "s", quantiles("vllm:time_to_first_token_seconds")),
    ("Time between tokens", "s", quantiles("vllm:inter_token_latency_seconds")),
    ("Whole answer", "s", quantiles("vllm:e2e_request_latency_seconds")),
    ("Time in queue", "s", quantiles("vllm:request_queue_time_seconds")),
    ("Cache in use", "percentunit", [("max(vllm:kv_cache_usage_perc" + MODEL + ")", "fullest"), ("avg(vllm:kv_cache_usage_perc" + MODEL + ")", "mean")]),
    ("Prefix cache hits", "percentunit", [(rate("vllm:prefix_cache_hits_total") + " / " + rate("vllm:prefix_cache_queries_total"), "share of prompt tokens")]),
    ("Preemptions", "short", [(rate("vllm:num_preemptions_total"), "a second")]),
    ("Tokens in a step", "short", quantiles("vllm:iteration_tokens_total")),
]
RANKS = [
    ("Healthy", "short", [("vllm:engine_healthy" + MODEL, "rank {{engine}}")]),
    ("Generated tokens by rank", "short", [(rate("vllm:generation_tokens_total", "engine"), "rank {{engine}}")]),
    ("Running by rank", "short", [("vllm:num_requests_running" + MODEL, "rank {{engine}}")]),
    ("Cache in use by rank", "percentunit", [("vllm:kv_cache_usage_perc" + MODEL, "rank {{engine}}")]),
    ("Ranks that step together", "short", [("braid:group_ranks" + MODEL, "rank {{engine}}")]),
    ("Dispatch, a layer", "s", [(rate("braid:moe_dispatch_seconds_total", "engine") + " / " + rate("braid:moe_dispatches_total", "engine"), "rank {{engine}}")]),
    ("Combine, a layer", "s", [(rate("braid:moe_combine_seconds_total", "engine") + " / " + rate("braid:moe_dispatches_total", "engine"), "rank {{engine}}")]),
    ("Waiting for others, share of time", "percentunit", [(rate("braid:moe_wait_seconds_total", "engine, peer"), "{{engine}} for {{peer}}")]),
    ("Bytes to other ranks", "Bps", [(rate("braid:moe_dispatched_bytes_total", "engine"), "tokens of {{engine}}"), (rate("braid:moe_returned_bytes_total", "engine"), "results of {{engine}}")]),
    ("Rows computed by experts", "short", [(rate("braid:moe_expert_rows_total", "engine"), "rank {{engine}}")]),
    ("Balance by layer, 1 at best", "short", [("braid:eplb_balancedness" + MODEL, "layer {{layer}}")]),
    ("Rows of experts in the load window", "short", [("topk(16, braid:eplb_expert_rows" + MODEL + ")", "expert {{expert}}")]),
    ("Work by rank in the load window", "short", [("braid:eplb_rank_rows" + MODEL, "rank {{rank}}")]),
    ("Rearrangements", "short", [("sum(braid:eplb_rearrangements_total" + MODEL + ")", "in all")]),
    ("Pause of a step for balancing", "s", quantiles("braid:eplb_pause_seconds")),
]
ROUTER = [
    ("Requests", "reqps", [(rate("llm_d_epp_request_total", "model_name", ""), "{{model_name}}")]),
    ("Errors", "reqps", [(rate("llm_d_epp_request_error_total", "error_code", "") + " or vector(0)", "{{error_code}}")]),
    ("In flight", "short", [("sum by (model_name) (llm_d_epp_request_running)", "{{model_name}}")]),
    ("Endpoints", "short", [("llm_d_epp_ready_endpoints", "usable"), ("braid_route_dead_endpoints", "dead"), ("llm_d_epp_unknown_endpoints", "without reports")]),
    ("First byte", "s", quantiles("llm_d_epp_request_ttft_seconds", "")),
    ("Whole answer", "s", quantiles("llm_d_epp_request_duration_seconds", "")),
    ("A decision", "s", quantiles("llm_d_epp_scheduler_e2e_duration_seconds", "")),
    ("Requests by endpoint", "reqps", [(rate("llm_d_epp_scheduler_attempts_total", "endpoint_name", ""), "{{endpoint_name}}")]),
    ("Queue of endpoints", "short", [("llm_d_epp_per_endpoint_queue_size", "{{endpoint_name}}")]),
    ("Pool", "short", [("llm_d_epp_average_queue_size", "waiting, mean"), ("llm_d_epp_average_running_requests", "running, mean")]),
    ("Cache in use", "percentunit", [("llm_d_epp_average_kv_cache_utilization", "mean")]),
    ("Held back by flow control", "short", [("sum(llm_d_epp_flow_control_queue_size) or vector(0)", "requests")]),
    ("Tried elsewhere", "reqps", [(rate("braid_route_retries_total", "why", "") + " or vector(0)", "{{why}}")]),
    ("Broken off", "reqps", [(rate("braid_route_broken_streams_total", "", ""), "answers"), (rate("braid_route_client_disconnects_total", "", ""), "clients")]),
    ("Failed scrapes", "reqps", [(rate("llm_d_epp_datalayer_poll_errors_total", "", "") + " or vector(0)", "a second")]),
    ("Connections", "short", [("braid_route_client_connections", "clients"), ("braid_route_upstream_connections", "endpoints")]),
]
DIVIDED = [
    ("Decisions", "reqps", [(rate("llm_d_epp_disagg_decision_total", "decision_type", ""), "{{decision_type}}")]),
    ("Prefills apart", "reqps", [(rate("braid_route_prefills_total", "outcome", ""), "{{outcome}}")]),
    ("Wanted a prefiller, found none", "reqps", [(rate("llm_d_epp_disagg_prefill_missing_total", "", ""), "a second")]),
    ("First byte", "s", quantiles("llm_d_epp_request_ttft_seconds", "")),
    ("Prompt tokens by instance and source", "short", [(rate("vllm:prompt_tokens_by_source_total", "instance, source", ""), "{{instance}} {{source}}")]),
    ("Generated tokens by instance", "short", [(rate("vllm:generation_tokens_total", "instance", ""), "{{instance}}")]),
    ("Prefill time", "s", [(quantile(0.9, "vllm:request_prefill_time_seconds", "le, instance", ""), "P90 {{instance}}")]),
    ("Time between tokens", "s", [(quantile(0.9, "vllm:inter_token_latency_seconds", "le, instance", ""), "P90 {{instance}}")]),
    ("Waiting, by what for", "short", [("sum by (instance, reason) (vllm:num_requests_waiting_by_reason)", "{{instance}} {{reason}}")]),
    ("Cache in use", "percentunit", [("max by (instance) (vllm:kv_cache_usage_perc)", "{{instance}}")]),
]
DASHBOARDS = [("engine", "Braid: engine", ENGINE, True), ("ranks", "Braid: ranks and experts", RANKS, True),
              ("router", "Braid: router", ROUTER, False), ("pd", "Braid: prefill and decode", DIVIDED, False)]


def panel(number, title, unit, targets):
    source = {"type": "prometheus", "uid": "${source}"}
    return {"id": number + 1, "type": "timeseries", "title": title, "datasource": source,
            "gridPos": {"x": 8 * (number % 3), "y": 8 * (number // 3), "w": 8, "h": 8},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            "targets": [{"refId": chr(ord("A") + i), "datasource": source, "expr": expr, "legendFormat": legend} for i, (expr, legend) in enumerate(targets)]}


def dashboard(name, title, panels, by_model):
    variables = [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]
    if by_model:
        variables.append({"name": "model", "label": "Model", "type": "query", "datasource": {"type": "prometheus", "uid": "${source}"},
                          "query": {"query": "label_values(vllm:num_requests_running, model_name)", "refId": "model"}, "refresh": 2,
                          "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}})
    return {"uid": "braid-" + name, "title": title, "tags": ["braid"], "timezone": "browser", "schemaVersion": 39, "editable": True, "refresh": "5s",
            "time": {"from": "now-30m", "to": "now"}, "templating": {"list": variables}, "panels": [panel(i, *p) for i, p in enumerate(panels)]}


def main():
    stale = []
    for name, *rest in DASHBOARDS:
        path = os.path.join(FOLDER, name + ".json")
        text = json.dumps(dashboard(name, *rest), indent=1) + "\n"
        if "--check" in sys.argv:
            stale += [path] if not os.path.exists(path) or open(path).read() != text else []
        else:
            open(path, "w").write(text)
    if stale:
        sys.exit("stale: " + ", ".join(stale) + "; run deploy/observability/dashboards.py")


if __name__ == "__main__":
    main()
