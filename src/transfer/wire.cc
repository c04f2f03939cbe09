// SPDX-License-Identifier: Apache-2.0
#include "transfer/wire.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace braid::transfer {
namespace {

using Json = nlohmann::json;

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char b : bytes) {
    text += "0123456789abcdef"[static_cast<unsigned char>(b) >> 4];
    text += "0123456789abcdef"[static_cast<unsigned char>(b) & 15];
  }
  return text;
}

std::string unhex(const std::string& text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) bytes += static_cast<char>(digit(text[i]) << 4 | digit(text[i + 1]));
  return bytes;
}

// The members of an object that somebody else wrote.
class Reader {
 public:
  explicit Reader(std::string_view text) : json_(Json::parse(text, nullptr, false)) {}
  bool ok() const { return json_.is_object() && missing_.empty(); }
  const std::string& missing() const { return missing_; }

  void read(const char* name, std::string& to) {
    if (const Json* v = find(name, &Json::is_string)) to = v->get<std::string>();
  }
  template <class Number>
    requires(std::is_integral_v<Number> && !std::is_same_v<Number, bool>)
  void read(const char* name, Number& to) {
    if (const Json* v = find(name, &Json::is_number_integer)) to = v->get<Number>();
  }
  void read(const char* name, bool& to) {
    if (const Json* v = find(name, &Json::is_boolean)) to = v->get<bool>();
  }
  bool has(const char* name) const { return json_.is_object() && json_.contains(name); }
  void read(const char* name, std::vector<std::int32_t>& to) {
    const Json* list = find(name, &Json::is_array);
    if (!list) return;
    for (const Json& v : *list) {
      if (v.is_number_integer()) to.push_back(v.get<std::int32_t>());
      else missing_ = name;
    }
  }

 private:
  const Json* find(const char* name, bool (Json::*right)() const) {
    const auto found = json_.is_object() ? json_.find(name) : json_.end();
    if (found != json_.end() && ((*found).*right)()) return &*found;
    missing_ = name;
    return nullptr;
  }

  Json json_;
  std::string missing_;
};

bool flag(const Json& params, const char* name, Status& status) {
  const auto found = params.find(name);
  if (found == params.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  status = invalid_argument(std::string("kv_transfer_params.") + name + " is " + found->dump() + "; it must be true or false", "kv_transfer_params");
  return false;
}

std::string text_of(const Json& params, const char* name) {
  const auto found = params.find(name);
  return found != params.end() && found->is_string() ? found->get<std::string>() : "";
}

// vLLM's proxies carry the port as a number or as text.
int port_of(const Json& params) {
  const auto found = params.find("remote_port");
  if (found == params.end()) return 0;
  if (found->is_number_integer()) return static_cast<int>(std::clamp<std::int64_t>(found->get<std::int64_t>(), 0, 65536));
  return found->is_string() ? std::atoi(found->get<std::string>().c_str()) : 0;
}

}  // namespace

Result<Params> read_params(const std::string& text) {
  Params params;
  if (text.empty()) return params;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return invalid_argument("kv_transfer_params must be an object", "kv_transfer_params");
  Status status;
  params.hold = flag(json, "do_remote_decode", status);
  params.early = flag(json, "early", status);
  const bool read = flag(json, "do_remote_prefill", status);
  RETURN_IF_ERROR(status);
  Source source{text_of(json, "remote_engine_id"), text_of(json, "remote_incarnation"), text_of(json, "remote_host"), port_of(json),
                text_of(json, "remote_request_id")};
  const bool whole = !source.engine_id.empty() && !source.host.empty() && !source.request_id.empty() && source.port > 0 && source.port < 65536;
  if (read && whole) params.source = std::move(source);
  return params;
}

std::string to_json(const Offer& o) {
  Json json{{"do_remote_prefill", true},
            {"do_remote_decode", false},
            {"remote_engine_id", o.source.engine_id},
            {"remote_block_ids", Json::array({o.blocks})},
            {"remote_request_id", o.source.request_id},
            {"remote_host", o.source.host},
            {"remote_port", o.source.port},
            {"tp_size", 1},
            {"remote_num_tokens", o.tokens},
            {"remote_blocks_expiry_time", o.expires},
            {"transfer_mode", "pull"},
            {"remote_incarnation", o.source.incarnation},
            {"remote_generation", o.generation},
            {"remote_block_size", o.block_size},
            {"remote_dtype", o.dtype}};
  if (o.cached >= 0) json["remote_cached_tokens"] = o.cached;
  return json.dump(-1, ' ', true);
}

std::string to_json(const Welcome& w) {
  const Json json{{"engine_id", w.engine_id}, {"incarnation", w.incarnation}, {"model", w.shape.model},
                  {"layers", w.shape.layers}, {"row_bytes", w.shape.row_bytes}, {"dtype", w.shape.dtype},
                  {"groups", w.shape.groups}, {"block_size", w.shape.block_size}, {"blocks", w.shape.blocks}, {"region", hex(w.region)}};
  return json.dump();
}

std::string to_json(const Grant& g) {
  const Json json{{"refused", g.refused}, {"word", g.word}, {"generation", g.generation}, {"tokens", g.tokens},
                  {"followed", g.followed}, {"digest", g.digest}, {"next", g.next}, {"blocks", g.blocks},
                  {"total", g.total}, {"growing", g.growing}, {"epoch", g.epoch}};
  return json.dump();
}

std::string request_json(const std::string& id) { return requests_json({id}); }
std::string take_json(const std::string& id) { return Json{{"request_ids", Json::array({id})}, {"follow", true}}.dump(-1, ' ', false, Json::error_handler_t::replace); }
std::string requests_json(const std::vector<std::string>& ids) {
  return Json{{"request_ids", ids}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Welcome> read_welcome(std::string_view text) {
  Reader r(text);
  Welcome w;
  std::string region;
  r.read("engine_id", w.engine_id);
  r.read("incarnation", w.incarnation);
  r.read("model", w.shape.model);
  r.read("layers", w.shape.layers);
  r.read("row_bytes", w.shape.row_bytes);
  r.read("dtype", w.shape.dtype);
  r.read("block_size", w.shape.block_size);
  r.read("groups", w.shape.groups);
  r.read("blocks", w.shape.blocks);
  r.read("region", region);
  w.region = unhex(region);
  if (!r.ok() || w.shape.block_size < 1 || w.shape.groups < 1) return internal_error("its welcome has no usable '" + r.missing() + "'; do both engines have the same version?");
  return w;
}

Result<Grant> read_grant(std::string_view text) {
  Reader r(text);
  Grant g;
  r.read("refused", g.refused);
  r.read("word", g.word);
  r.read("generation", g.generation);
  r.read("tokens", g.tokens);
  r.read("followed", g.followed);
  r.read("next", g.next);
  r.read("digest", g.digest);
  r.read("blocks", g.blocks);
  g.total = g.tokens;
  if (r.has("growing")) {  // engines of before do not say
    r.read("total", g.total);
    r.read("growing", g.growing);
    r.read("epoch", g.epoch);
  }
  if (!r.ok()) return internal_error("its answer has no usable '" + r.missing() + "'; do both engines have the same version?");
  return g;
}

std::vector<std::string> read_requests(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  std::vector<std::string> ids;
  if (!json.is_object() || !json.contains("request_ids") || !json["request_ids"].is_array()) return ids;
  for (const Json& id : json["request_ids"]) {
    if (id.is_string()) ids.push_back(id.get<std::string>());
  }
  return ids;
}

bool read_follows(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  return json.is_object() && json.contains("follow") && json["follow"] == true;
}

std::string random_id() {
  char bytes[16];
  CHECK(getrandom(bytes, sizeof bytes, 0) == static_cast<ssize_t>(sizeof bytes));
  return hex({bytes, sizeof bytes});
}

std::uint64_t digest_of(const std::int32_t* tokens, std::int32_t count) {
  std::uint64_t digest = 14695981039346656037u;
  for (std::int32_t i = 0; i < count; ++i) {
    for (int shift = 0; shift < 32; shift += 8) digest = (digest ^ (static_cast<std::uint32_t>(tokens[i]) >> shift & 255)) * 1099511628211u;
  }
  return digest;
}

}  // namespace braid::transfer
