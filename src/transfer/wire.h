// SPDX-License-Identifier: Apache-2.0
// What engines say to each other about blocks: kv_transfer_params, which travel through clients, and the
// frames of a control connection (fabric/connection.h), JSON too.
//
//   reader                                    lender
//   (hello)   empty                           kWelcome  Welcome, once
//   kTake     {"request_ids", "follow"}       kGrant    Grant, an answer; again as often as wanted
//   kRenew    {"request_ids"}: they are wanted still; also of none, as a sign of life
//   kRelease  {"request_id"}: the hold may end; also of one that was not taken
//
// A hold that was taken ends with the connection. A request id holds 128 random bits: only who was told
// of a hold can take it.
//
// A hold that grows is one whose prompt is still being computed. Only readers that can follow it are granted
// it: they look at its generation word, which changes when there is more to read, and take it again then.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transfer/memory.h"

namespace braid::transfer {

enum class FrameType : std::uint8_t { kTake = 1, kRenew, kRelease, kWelcome = 101, kGrant };

struct Welcome {
  std::string engine_id;
  std::string incarnation;  // random, new with every start
  Shape shape;
  std::string region;
};

struct Grant {
  std::string refused;  // why; empty: it is granted
  std::uint32_t word = 0;
  std::uint64_t generation = 0;
  std::int32_t tokens = 0;    // computed, from the first
  std::int32_t followed = 0;  // of them, those that the draft module has seen
  std::uint64_t digest = 0;   // of `total` tokens
  std::int32_t next = -1;     // the token that was chosen after them; -1: not told
  std::vector<std::int32_t> blocks;
  std::int32_t total = 0;   // tokens that there will be
  bool growing = false;     // they are still being computed
  std::uint64_t epoch = 0;  // another one: the blocks are others than before
};

// Where a prompt's keys and values are.
struct Source {
  std::string engine_id;
  std::string incarnation;  // empty: not told
  std::string host;
  int port = 0;
  std::string request_id;

  std::string where() const { return host + ":" + std::to_string(port); }
};

// A request's kv_transfer_params.
struct Params {
  bool hold = false;   // keep the blocks for another engine, and answer where they are
  bool early = false;  // and say so as soon as they begin to be computed
  std::optional<Source> source;
};

// `json` empty: none. Errors name the field; a source without its fields is none, as with vLLM.
Result<Params> read_params(const std::string& json);

// What a lender answers, with vLLM's names; those after transfer_mode are Braid's.
struct Offer {
  Source source;
  std::vector<std::int32_t> blocks;
  std::int32_t tokens = 0;
  std::uint64_t generation = 0;
  int block_size = 0;
  std::string dtype;
  double expires = 0;  // Unix seconds
  std::int32_t cached = -1;  // tokens that need not be computed; -1: not told
};
std::string to_json(const Offer& offer);

std::string to_json(const Welcome& welcome);
std::string to_json(const Grant& grant);
std::string request_json(const std::string& request_id);
std::string take_json(const std::string& request_id);  // of a reader that follows
std::string requests_json(const std::vector<std::string>& request_ids);

Result<Welcome> read_welcome(std::string_view json);
Result<Grant> read_grant(std::string_view json);
// Of kTake, kRelease and kRenew; empty when it cannot be read.
std::vector<std::string> read_requests(std::string_view json);
bool read_follows(std::string_view json);  // of kTake

// 128 random bits in hexadecimal.
std::string random_id();
std::uint64_t digest_of(const std::int32_t* tokens, std::int32_t count);

}  // namespace braid::transfer
