// SPDX-License-Identifier: Apache-2.0
// Bodies of a request that is prefilled on one server and decoded on another, as the nixlv2 protocol of
// routing sidecars has them:
//
//   prefill: the client's body with kv_transfer_params that ask for a remote decode, no stream, and
//            every limit on new tokens set to 1
//   decode:  the client's body with the kv_transfer_params that the prefill's answer brought
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http_message.h"

namespace braid::gateway {

// The APIs that can be divided: chat completions, completions, messages, responses, generate.
bool can_be_divided(std::string_view path);

// `early`: kv_transfer_params are wanted as soon as the prompt begins to be computed, in an interim answer;
// servers that do not know this ignore it. Errors: the body is not one JSON object.
Result<std::string> prefill_body(std::string_view path, std::string_view body, bool early);
// `transfer` empty: the body as it is.
Result<std::string> decode_body(std::string_view body, std::string_view transfer);

struct PrefillAnswer {
  std::string transfer;             // kv_transfer_params as they came, or empty: none, decoding computes all
  std::int64_t cached_tokens = 0;   // of its prompt
};
PrefillAnswer read_prefill_answer(std::string_view body);
// Of an interim answer with these headers; nothing: it does not tell.
std::optional<PrefillAnswer> read_early_answer(const std::vector<net::Header>& headers);

}  // namespace braid::gateway
