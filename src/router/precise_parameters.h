// SPDX-License-Identifier: Apache-2.0
// Parameters of the precise prefix producer and of the producer of its token ids.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "router/config_reader.h"

namespace braid::router {

struct TokenProcessor {
  std::optional<int> block_size_tokens;
  std::optional<int> block_size;
  std::string seed;
  std::string algorithm = "cbor-fnv";

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("blockSizeTokens", self.block_size_tokens, {.help = "Tokens per block; 16 if left out", .min = 1, .max = 65536});
    v.field("blockSize", self.block_size, {.help = "Old name of blockSizeTokens", .min = 1, .max = 65536});
    v.field("hashSeed", self.seed, {.help = "Seed of the hashes; with an engine's algorithm the engines' seed"});
    v.field("hashAlgorithm", self.algorithm, {.help = "sha256_cbor or xxhash_cbor: as the engines hash; cbor-fnv or xxh64: keys of the router's own", .choices = {"cbor-fnv", "xxh64", "sha256_cbor", "xxhash_cbor"}});
  }
};

struct TierWeight {
  std::string name;
  double weight = 1;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("name", self.name, {.help = "Tier: gpu, cpu ..."});
    v.field("weight", self.weight, {.help = "What a block there counts", .min = 0, .max = 1});
  }
};

struct InMemoryIndex {
  std::int64_t size = 100000000;
  int endpoints = 10;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("size", self.size, {.help = "Ignored: engines bound the index by what they hold", .min = 1});
    v.field("podCacheSize", self.endpoints, {.help = "Ignored: all endpoints of a block are kept", .min = 1});
  }
};

struct BlockIndex {
  std::optional<InMemoryIndex> memory;
  bool metrics = true;
  std::string interval;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.optional("inMemoryConfig", self.memory, "The only kind of index there is");
    v.field("enableMetrics", self.metrics, {.help = "Ignored: metrics are always on"});
    v.field("metricsLoggingInterval", self.interval, {.help = "Ignored"});
  }
};

struct IndexerConfig {
  BlockIndex index;
  std::vector<TierWeight> tiers;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.object("kvBlockIndexConfig", self.index, "The index");
    v.list("kvCacheBackendConfigs", self.tiers, "Weights of tiers; gpu 1, cpu 0.8, others 1 if left out");
  }
};

struct PodDiscovery {
  std::string selector, name_space;
  int port = 5557;
  int replay_port = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("podLabelSelector", self.selector, {.help = "Ignored: endpoints come from discovery"});
    v.field("podNamespace", self.name_space, {.help = "Ignored"});
    v.field("socketPort", self.port, {.help = "Port of rank 0's events; rank i has port + i", .min = 1, .max = 65535});
    v.field("replaySocketPort", self.replay_port, {.help = "The same for replays; 0: engines do not replay", .min = 0, .max = 65535});
  }
};

struct KvEventsConfig {
  std::string central;
  std::string filter = "kv@";
  int concurrency = 4;
  std::string engine = "vllm";
  bool discover = true;
  PodDiscovery discovery;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("zmqEndpoint", self.central, {.help = "One socket that engines connect to, in place of dialling each"});
    v.field("topicFilter", self.filter, {.help = "Topics that are read"});
    v.field("concurrency", self.concurrency, {.help = "Ignored: one thread keeps the order", .min = 1});
    v.field("engineType", self.engine, {.help = "vllm or sglang; both are read alike", .choices = {"vllm", "sglang"}});
    v.field("discoverPods", self.discover, {.help = "Dial every endpoint"});
    v.object("podDiscoveryConfig", self.discovery, "Where endpoints publish");
  }
};

struct PreciseParameters {
  TokenProcessor tokens;
  IndexerConfig indexer;
  KvEventsConfig events;
  bool speculative = false;
  std::optional<DurationText> speculative_ttl;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.object("tokenProcessorConfig", self.tokens, "How prompts are cut and hashed");
    v.object("indexerConfig", self.indexer, "The index");
    v.object("kvEventsConfig", self.events, "Where events come from");
    v.field("speculativeIndexing", self.speculative, {.help = "Count a prompt as cached where it was sent, from then until speculativeTTL after its answer began"});
    v.duration("speculativeTTL", self.speculative_ttl, "How long after the first piece of an answer; 2s if left out");
  }
};

struct TokenProducerParameters {
  struct Server {
    std::string url = "http://localhost:8000";
    std::optional<DurationText> timeout, mm_timeout;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("url", self.url, {.help = "Server with /v1/completions/render and /v1/chat/completions/render"});
      v.duration("timeout", self.timeout, "Longest wait; 5s if left out");
      v.duration("mmTimeout", self.mm_timeout, "The same for prompts with media; 30s if left out");
    }
  };
  struct Estimate {
    template <class Self, class Visitor>
    static void describe(Self&, Visitor&) {}
  };
  std::string model;
  std::optional<Server> vllm;
  std::optional<Estimate> estimate;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("modelName", self.model, {.help = "Model that prompts are rendered for; the request's if left out"});
    v.optional("vllm", self.vllm, "Asks a server for token ids");
    v.optional("estimate", self.estimate, "Counts four bytes a token; nothing is asked");
  }
};

}  // namespace braid::router
