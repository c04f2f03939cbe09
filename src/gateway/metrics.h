// SPDX-License-Identifier: Apache-2.0
// What the gateway counts beside the router's metrics (router/metrics.h).
#pragma once

#include "metrics/metrics.h"

namespace braid::gateway {

struct Metrics {
  metrics::Family<metrics::Counter> poll_errors{{"endpoint_name"}};
  metrics::Family<metrics::Counter> extract_errors{{"endpoint_name"}};
  metrics::Family<metrics::Gauge> info{{"version"}};
  metrics::Family<metrics::Counter> kubernetes_errors{{"kind"}};
  metrics::Gauge dead_endpoints;
  metrics::Gauge upstream_connections;
  metrics::Gauge client_connections;
  metrics::Family<metrics::Counter> retries{{"why"}};
  metrics::Counter broken_streams;
  metrics::Counter client_disconnects;
  metrics::Family<metrics::Counter> prefills{{"outcome"}};
  metrics::Gauge peers;
  metrics::Gauge peer_requests;
  metrics::Family<metrics::Counter> peer_pushes{{"outcome"}};

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.metric("llm_d_epp_datalayer_poll_errors", self.poll_errors, "Scrapes of an endpoint's metrics that failed");
    v.metric("llm_d_epp_datalayer_extract_errors", self.extract_errors, "Answers to scrapes that told none of the endpoint's waiting and running requests and cache in use");
    v.metric("llm_d_epp_info", self.info, "1, with the version of this router");
    v.metric("braid_route_kubernetes_errors", self.kubernetes_errors, "Lists and watches of the Kubernetes API server that failed and are tried again, by kind");
    v.metric("braid_route_dead_endpoints", self.dead_endpoints, "Endpoints that have not answered their first or last scrapes");
    v.metric("braid_route_upstream_connections", self.upstream_connections, "Connections to endpoints in use");
    v.metric("braid_route_client_connections", self.client_connections, "Open connections of clients");
    v.metric("braid_route_retries", self.retries, "Requests sent to another endpoint, by what was wrong with the first: unreachable, broken, its status, or that none was left");
    v.metric("braid_route_broken_streams", self.broken_streams, "Answers that broke off after the client had part of them");
    v.metric("braid_route_client_disconnects", self.client_disconnects, "Requests whose client left before the answer's end");
    v.metric("braid_route_prefills", self.prefills, "Prefills on another endpoint than the decode's, by outcome: done, refused, failed, without_transfer");
    v.metric("braid_route_peers", self.peers, "Other routers whose requests in flight count here");
    v.metric("braid_route_peer_requests", self.peer_requests, "Their requests in flight");
    v.metric("braid_route_peer_pushes", self.peer_pushes, "Times that peers were told what is in flight here, by outcome: done, refused, failed");
  }
};

}  // namespace braid::gateway
