// SPDX-License-Identifier: Apache-2.0
// Settings of `braid route` and `braid sidecar`. Names are llm-d's where it has them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/describe.h"
#include "tracing/settings.h"

namespace braid::gateway {

// What both have: clients, servers behind, the end.
struct HttpSettings {
  std::string host = "0.0.0.0";
  int max_connections = 32768;
  int max_body_mib = 64;
  int max_attempts = 3;
  double connect_timeout_seconds = 2;
  int response_timeout_seconds = 600;
  int request_timeout_seconds = 3600;
  int idle_timeout_seconds = 60;
  int max_idle_connections = 1024;
  int keep_alive_timeout_seconds = 300;
  int drain_timeout_seconds = 30;
  bool access_log = true;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("host", self.host, {.help = "Address to listen on"});
    v.field("max-connections", self.max_connections, {.help = "Most open connections of clients", .min = 1});
    v.field("max-body-size", self.max_body_mib, {.help = "Largest request body that is held here; braid route lets longer ones through that its decisions do not look into", .unit = "MiB", .min = 1, .max = 4096});
    v.field("max-attempts", self.max_attempts,
            {.help = "Servers that a request is tried on at most, while its client has nothing of an answer yet", .min = 1, .max = 100});
    v.field("connect-timeout", self.connect_timeout_seconds,
            {.help = "A server that has not accepted a connection by then is tried no longer", .unit = "seconds", .min = 0.001, .max = 3600});
    v.field("response-timeout", self.response_timeout_seconds,
            {.help = "Longest time without a byte of an answer", .unit = "seconds", .min = 1});
    v.field("request-timeout", self.request_timeout_seconds, {.help = "Longest time of a whole answer", .unit = "seconds", .min = 1});
    v.field("idle-timeout", self.idle_timeout_seconds,
            {.help = "A connection to a server that is not used for so long is closed; less than the servers' own timeout", .unit = "seconds", .min = 1});
    v.field("max-idle-conns-per-host", self.max_idle_connections, {.help = "Unused connections kept to one server", .min = 0});
    v.field("timeout-keep-alive", self.keep_alive_timeout_seconds,
            {.help = "A client's connection without a request is closed after this time", .unit = "seconds", .min = 1});
    v.field("drain-timeout", self.drain_timeout_seconds, {.help = "How long requests may go on after SIGTERM", .unit = "seconds", .min = 0});
    v.field("access-log", self.access_log, {.help = "One line a request"});
  }
};

struct RouteSettings {
  HttpSettings http;
  tracing::Settings tracing;
  std::vector<std::string> api_key;
  int port = 8081;
  int grpc_port = 0;
  int grpc_health_port = 0;
  bool secure_serving = true;
  std::string cert_path;
  std::string config_file;
  std::string config_text;
  std::string explain;
  bool explain_json = false;
  std::vector<std::string> endpoints;
  std::string endpoints_file;
  std::vector<std::string> endpoints_dns;
  double dns_interval_seconds = 5;
  std::string pool_name;
  std::string pool_namespace;
  std::string pool_group = "inference.networking.k8s.io";
  std::string kubeconfig;
  int refresh_metrics_interval_ms = 50;
  int metrics_timeout_ms = 2000;
  std::string disaggregation = "proxy";
  bool early_transfer = true;
  std::vector<std::string> peers;
  std::string peer_key;
  int peer_interval_ms = 100;
  bool old_metric_names = false;
  int decision_history = 1024;
  std::string log_level = "info";
  std::string log_format = "human";

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("port", self.port, {.help = "Port to listen on; 0: any free one", .min = 0, .max = 65535});
    v.field("grpc-port", self.grpc_port, {.help = "Port on which Envoy asks by external processing (ext_proc); 0: none. llm-d's is 9002", .min = 0, .max = 65535, .aliases = {"ext-proc-port"}});
    v.field("grpc-health-port", self.grpc_health_port, {.help = "Port of gRPC's health service alone, without TLS; 0: only on grpc-port. llm-d's is 9003", .min = 0, .max = 65535});
    v.field("secure-serving", self.secure_serving, {.help = "TLS on grpc-port"});
    v.field("cert-path", self.cert_path, {.help = "Folder with tls.crt and tls.key for grpc-port, read again when they change; unset: a certificate of its own, which can't be verified"});
    v.field("config-file", self.config_file, {.help = "EndpointPickerConfig of llm-d (YAML), objectives and model rewrites behind it; unset: queue, cache and prefix scorers"});
    v.field("config-text", self.config_text, {.help = "The same as text"});
    v.field("explain", self.explain, {.help = "Plays a scenario from this file (tests/scenarios/router/README.md), prints every decision and why, and ends"});
    v.field("explain-json", self.explain_json, {.help = "Prints decisions as JSON, one a line"});
    v.field("endpoints", self.endpoints,
            {.help = "Servers: host:port, host:port@rank for a rank behind a shared port, labels behind ';': host:port;role=prefill"});
    v.field("endpoints-file", self.endpoints_file,
            {.help = "YAML file with endpoints: [{name, namespace, address, port, labels}], read again when it changes"});
    v.field("endpoints-dns", self.endpoints_dns, {.help = "name:port whose addresses are all servers, looked up again and again; labels as above"});
    v.field("dns-interval", self.dns_interval_seconds, {.help = "Time between look-ups", .unit = "seconds", .min = 0.1, .max = 86400});
    v.field("pool-name", self.pool_name, {.help = "InferencePool in Kubernetes whose pods are the servers; unset: Kubernetes is not asked. Not heeded where file-discovery is configured"});
    v.field("pool-namespace", self.pool_namespace, {.help = "Its namespace; unset: that of the service account or context, else default"});
    v.field("pool-group", self.pool_group, {.help = "Its API group", .choices = {"inference.networking.k8s.io", "inference.networking.x-k8s.io"}});
    v.field("kubeconfig", self.kubeconfig, {.help = "Where the API server is and who we are; unset: as Kubernetes tells a pod"});
    v.field("refresh-metrics-interval", self.refresh_metrics_interval_ms, {.help = "Time between scrapes of a server", .unit = "ms", .min = 1, .max = 3600000});
    v.field("metrics-timeout", self.metrics_timeout_ms, {.help = "A scrape that takes longer has failed", .unit = "ms", .min = 1, .max = 3600000});
    v.field("disaggregation", self.disaggregation,
            {.help = "Who prefills elsewhere when the decision says so. proxy: this process; header: the sidecar of the decode server, told by x-prefiller-host-port",
             .choices = {"proxy", "header"}});
    v.field("early-transfer", self.early_transfer, {.help = "A decode server begins with a request as soon as its prefill does, and reads keys and values as they are computed, where both can"});
    v.field("peers", self.peers, {.help = "Other routers in front of the same servers, host:port; every address of a name is one, this router may be among them. They count each other's requests in flight"});
    v.field("peer-key", self.peer_key, {.help = "The word that such routers share", .environment = "BRAID_ROUTE_PEER_KEY", .secret = true});
    v.field("peer-interval", self.peer_interval_ms, {.help = "Time between two messages to a peer; what a peer told counts ten times as long if it falls silent", .unit = "ms", .min = 1, .max = 60000});
    v.field("api-key", self.api_key,
            {.help = "Keys of which one must come, as a bearer token or as the password of a browser, for /dashboard and /debug; requests to "
                     "servers pass with what they bring", .environment = "BRAID_ROUTE_API_KEY", .secret = true});
    v.field("old-metric-names", self.old_metric_names, {.help = "/metrics also has the names of before llm_d_epp_*: inference_objective_*, inference_pool_*, inference_extension_*"});
    v.field("decision-history", self.decision_history, {.help = "Decisions kept for /debug/decisions", .min = 0, .max = 1000000});
    v.group("HTTP", self.http);
    v.group("Tracing", self.tracing);
    v.field("log-level", self.log_level, {.help = "Least level logged", .choices = {"debug", "info", "warning", "error"}});
    v.field("log-format", self.log_format, {.help = "One line an event, for people or machines", .choices = {"human", "json"}});
  }
};

struct SidecarSettings {
  HttpSettings http;
  tracing::Settings tracing;
  int port = 8000;
  int model_server_port = 8200;
  int data_parallel_size = 1;
  std::string kv_connector = "nixlv2";
  bool enable_prefiller_sampling = false;
  int prefill_max_retries = 1;
  int prefill_retry_backoff_ms = 200;
  bool early_transfer = true;
  bool enable_ssrf_protection = true;
  std::vector<std::string> allowed_prefillers;
  bool secure_proxy = false;
  std::string log_level = "info";
  std::string log_format = "human";

  SidecarSettings() { http.idle_timeout_seconds = 90; }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("port", self.port, {.help = "Port to listen on; with several ranks the first of as many", .min = 0, .max = 65535});
    v.field("model-server-port", self.model_server_port, {.help = "Port of the decode server on this host; with several ranks the first", .min = 1, .max = 65535, .aliases = {"vllm-port"}});
    v.field("data-parallel-size", self.data_parallel_size, {.help = "Ranks, each with a port of its own", .min = 1, .max = 512});
    v.field("kv-connector", self.kv_connector, {.help = "Protocol between prefill and decode", .choices = {"nixlv2"}});
    v.field("enable-prefiller-sampling", self.enable_prefiller_sampling, {.help = "Begin with any prefiller of a list, not its first"});
    v.field("prefill-max-retries", self.prefill_max_retries,
            {.help = "Further tries of a prefill that failed: on the next prefiller of the list, or again on the only one", .min = 0, .max = 100});
    v.field("prefill-retry-backoff", self.prefill_retry_backoff_ms, {.help = "Pause before the same prefiller is tried again", .unit = "ms", .min = 0, .max = 60000});
    v.field("early-transfer", self.early_transfer, {.help = "A decode server begins with a request as soon as its prefill does, and reads keys and values as they are computed, where both can"});
    v.field("enable-ssrf-protection", self.enable_ssrf_protection, {.help = "Prefill only on servers of allowed-prefillers; none given: on none"});
    v.field("allowed-prefillers", self.allowed_prefillers, {.help = "Hosts or host:port that a request's header may name; addresses of a name are looked up every 5 seconds"});
    v.field("secure-proxy", self.secure_proxy, {.help = "TLS is not available: only false is taken"});
    v.group("HTTP", self.http);
    v.group("Tracing", self.tracing);
    v.field("log-level", self.log_level, {.help = "Least level logged", .choices = {"debug", "info", "warning", "error"}});
    v.field("log-format", self.log_format, {.help = "One line an event, for people or machines", .choices = {"human", "json"}});
  }
};

}  // namespace braid::gateway
