// SPDX-License-Identifier: Apache-2.0
// Settings of the transfer of keys and values between engines. Names are those of vLLM's
// --kv-transfer-config; kv-secret is Braid's.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "config/describe.h"

namespace braid::transfer {

struct Settings {
  std::optional<std::string> kv_connector;
  std::optional<std::string> kv_role;
  std::optional<std::string> engine_id;
  std::string kv_ip = "127.0.0.1";
  int kv_port = 5600;
  std::string kv_secret;
  std::string kv_load_failure_policy = "fail";
  std::string kv_buffer_device = "auto";
  config::JsonObject kv_connector_extra_config;

  bool enabled() const { return kv_connector.has_value() || kv_role.has_value(); }
  bool produces() const { return enabled() && kv_role.value_or("kv_both") != "kv_consumer"; }
  bool consumes() const { return enabled() && kv_role.value_or("kv_both") != "kv_producer"; }
  bool recomputes() const { return kv_load_failure_policy == "recompute"; }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("kv-connector", self.kv_connector,
            {.help = "Exchange keys and values with other engines: one computes a prompt, another one goes on from there. Names that "
                     "vLLM has for reading a peer's memory are taken; unset: off",
             .choices = {"NixlConnector", "BraidConnector"}});
    v.field("kv-role", self.kv_role,
            {.help = "kv_producer only lends blocks, kv_consumer only reads them; unset: both",
             .choices = {"kv_producer", "kv_consumer", "kv_both"}});
    v.field("engine-id", self.engine_id, {.help = "Name of this engine among its peers; unset: a random one"});
    v.field("kv-ip", self.kv_ip,
            {.help = "Address of this machine where peers ask for blocks, and towards other hosts; 127.0.0.1: peers of this host only",
             .environment = "VLLM_NIXL_SIDE_CHANNEL_HOST"});
    v.field("kv-port", self.kv_port,
            {.help = "Port there, of rank 0; rank r has the one r above. 0: any free one", .min = 0, .max = 65535,
             .environment = "VLLM_NIXL_SIDE_CHANNEL_PORT"});
    v.field("kv-secret", self.kv_secret,
            {.help = "Word that all engines must know; needed when peers are on other hosts", .secret = true});
    v.field("kv-load-failure-policy", self.kv_load_failure_policy,
            {.help = "What becomes of a request whose blocks cannot be read: it fails, or its prompt is computed here",
             .choices = {"fail", "recompute"}});
    v.field("kv-buffer-device", self.kv_buffer_device,
            {.help = "Taken for compatibility: blocks are read from where they are", .choices = {"auto", "cpu", "cuda"}});
    v.field("kv-connector-extra-config", self.kv_connector_extra_config,
            {.help = "kv_lease_duration: seconds for which blocks are held for a reader that gives no sign of life, 10 if unset; "
                     "other keys are ignored"});
  }
};

// kv_lease_duration, or what is wrong with it.
Result<Duration> lease_of(const Settings& settings);
// Whether address, secret and lease go together.
Status check(const Settings& settings);
// Only processes of this host can reach that address.
bool is_loopback(const std::string& host);

}  // namespace braid::transfer
