// SPDX-License-Identifier: Apache-2.0
// Settings of the publishing of cache events. Names are those of vLLM's --kv-events-config; format and
// int-block-hashes are Braid's.
#pragma once

#include <optional>
#include <string>

#include "config/describe.h"

namespace braid::events {

struct Settings {
  bool enable_kv_cache_events = false;
  std::optional<std::string> publisher;
  std::string endpoint = "tcp://*:5557";
  std::optional<std::string> replay_endpoint;
  int buffer_steps = 10000;
  int hwm = 100000;
  int max_queue_size = 100000;
  std::string topic;
  std::string format = "array";
  bool int_block_hashes = true;

  bool enabled() const { return enable_kv_cache_events && publisher.value_or("zmq") != "null"; }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("enable-kv-cache-events", self.enable_kv_cache_events, {.help = "Tell which blocks the cache holds, for routers"});
    v.field("publisher", self.publisher, {.help = "How; unset: zmq when enabled", .choices = {"zmq", "null"}});
    v.field("endpoint", self.endpoint,
            {.help = "ZeroMQ address to publish at, of rank 0; rank r has the port r above. One with * or ::, and ipc, is "
                     "listened at, any other one connected to"});
    v.field("replay-endpoint", self.replay_endpoint,
            {.help = "ZeroMQ address where subscribers can ask for what they missed, of rank 0; unset: nowhere"});
    v.field("buffer-steps", self.buffer_steps, {.help = "Latest messages kept for those", .unit = "messages", .min = 1, .max = 1e7});
    v.field("hwm", self.hwm, {.help = "Messages that may wait for a slow subscriber; further ones it misses", .unit = "messages", .min = 0, .max = 1e9});
    v.field("max-queue-size", self.max_queue_size,
            {.help = "Messages that may wait to be sent; further ones are lost, as the sequence numbers tell", .unit = "messages", .min = 1, .max = 1e9});
    v.field("topic", self.topic, {.help = "First part of every message, by which subscribers choose"});
    v.field("format", self.format,
            {.help = "Events as positional arrays, which every consumer reads, or as maps with names, as in newer vLLM",
             .choices = {"array", "map"}});
    v.field("int-block-hashes", self.int_block_hashes,
            {.help = "Blocks are named by the low 64 bits of their hash; otherwise by all its bytes",
             .environment = "VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES"});
  }
};

}  // namespace braid::events
