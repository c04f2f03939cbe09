// SPDX-License-Identifier: Apache-2.0
#include "gateway/transfer_bodies.h"

#include <charconv>
#include <vector>

#include "gateway/usage.h"
#include "protocol/json_members.h"
#include "protocol/request.h"

namespace braid::gateway {
namespace {

using protocol::JsonEdit;

constexpr const char* kParams = "kv_transfer_params";
constexpr std::string_view kAskForDecode =
    R"({"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null)";
constexpr std::string_view kGenerate = "/inference/v1/generate";
constexpr std::string_view kDivided[] = {"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", kGenerate};

// A limit that is there becomes 1, and one of those that end the answer is always set.
Status limit(std::string_view path, const std::vector<protocol::JsonMember>& members, std::vector<JsonEdit>& edits) {
  if (path == kGenerate) {
    const std::string_view sampling = protocol::find_member(members, "sampling_params");
    ASSIGN_OR_RETURN(const auto inner, protocol::json_members(sampling.empty() || sampling == "null" ? "{}" : sampling));
    std::vector<JsonEdit> limits{{"max_tokens", "1"}};
    if (!protocol::find_member(inner, "min_tokens").empty()) limits.push_back({"min_tokens", "1"});
    edits.push_back({"sampling_params", protocol::edit_members(inner, limits)});
    return {};
  }
  if (path == "/v1/responses") {
    edits.push_back({"max_output_tokens", "1"});
    return {};
  }
  edits.push_back({"max_tokens", "1"});
  if (path == "/v1/chat/completions" || !protocol::find_member(members, "max_completion_tokens").empty()) edits.push_back({"max_completion_tokens", "1"});
  if (!protocol::find_member(members, "min_tokens").empty()) edits.push_back({"min_tokens", "1"});
  return {};
}

}  // namespace

bool can_be_divided(std::string_view path) {
  for (const std::string_view divided : kDivided) {
    if (path == divided) return true;
  }
  return false;
}

Result<std::string> prefill_body(std::string_view path, std::string_view body, bool early) {
  ASSIGN_OR_RETURN(const auto members, protocol::json_members(body));
  std::vector<JsonEdit> edits{{kParams, std::string(kAskForDecode) + (early ? ",\"early\":true}" : "}")}, {"stream", "false"}, {"stream_options", std::nullopt}};
  RETURN_IF_ERROR(limit(path, members, edits));
  return protocol::edit_members(members, edits);
}

Result<std::string> decode_body(std::string_view body, std::string_view transfer) {
  if (transfer.empty()) return std::string(body);
  ASSIGN_OR_RETURN(const auto members, protocol::json_members(body));
  return protocol::edit_members(members, {{kParams, std::string(transfer)}});
}

PrefillAnswer read_prefill_answer(std::string_view body) {
  PrefillAnswer answer;
  const auto members = protocol::json_members(body);
  if (!members.ok()) return answer;
  const std::string_view transfer = protocol::find_member(*members, kParams);
  if (transfer.starts_with('{')) answer.transfer = transfer;
  UsageReader usage;
  usage.feed("\"usage\":" + std::string(protocol::find_member(*members, "usage")));
  answer.cached_tokens = usage.usage().cached_tokens;
  return answer;
}

std::optional<PrefillAnswer> read_early_answer(const std::vector<net::Header>& headers) {
  PrefillAnswer answer;
  answer.transfer = net::find_header(headers, protocol::kEarlyTransfer);
  const auto members = protocol::json_members(answer.transfer);
  if (!members.ok()) return std::nullopt;
  const std::string_view cached = protocol::find_member(*members, "remote_cached_tokens");
  std::from_chars(cached.data(), cached.data() + cached.size(), answer.cached_tokens);
  return answer;
}

}  // namespace braid::gateway
