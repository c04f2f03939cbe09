// SPDX-License-Identifier: Apache-2.0
#include "events/encode.h"

#include <nlohmann/json.hpp>

namespace braid::events {
namespace {

using Json = nlohmann::json;
using Fields = std::vector<std::pair<const char*, Json>>;

const char* name_of(kv::Medium medium) { return medium == kv::Medium::kDevice ? "GPU" : "CPU"; }

class Encoder {
 public:
  explicit Encoder(const Form& form) : form_(form) {}

  // The first field is the event's type.
  Json shape(const Fields& fields) const {
    Json out = form_.maps ? Json::object() : Json::array();
    for (const auto& [name, value] : fields) {
      if (form_.maps) out[name] = value;
      else out.push_back(value);
    }
    return out;
  }

  Json operator()(const kv::BlocksStored& e) const {
    Fields fields{{"type", "BlockStored"},
                  {"block_hashes", hashes(e.blocks)},
                  {"parent_block_hash", e.parent.size == 0 ? Json() : hash(e.parent)},
                  {"token_ids", e.tokens},
                  {"block_size", form_.block_size},
                  {"lora_id", nullptr},
                  {"medium", name_of(e.medium)},
                  {"lora_name", nullptr}};
    if (!e.salt.empty()) {
      Json keys = Json::array();
      for (std::size_t i = 0; i < e.blocks.size(); ++i) keys.push_back(i == 0 ? Json::array({e.salt}) : Json());
      fields.emplace_back("extra_keys", std::move(keys));
    }
    return shape(fields);
  }

  Json operator()(const kv::BlocksRemoved& e) const {
    return shape({{"type", "BlockRemoved"}, {"block_hashes", hashes(e.blocks)}, {"medium", name_of(e.medium)}});
  }

  Json operator()(const kv::AllBlocksCleared&) const { return shape({{"type", "AllBlocksCleared"}}); }

 private:
  Json hash(const prefix::BlockHash& h) const {
    if (form_.int_hashes) return h.low64();
    return Json::binary({h.digest().begin(), h.digest().end()});
  }
  Json hashes(const std::vector<prefix::BlockHash>& blocks) const {
    Json all = Json::array();
    for (const auto& b : blocks) all.push_back(hash(b));
    return all;
  }

  const Form& form_;
};

}  // namespace

std::vector<std::uint8_t> encode(double unix_seconds, const std::vector<kv::CacheEvent>& events, const Form& form) {
  const Encoder encoder(form);
  Json list = Json::array();
  for (const auto& event : events) list.push_back(std::visit(encoder, event));
  return Json::to_msgpack(encoder.shape({{"ts", unix_seconds}, {"events", std::move(list)}, {"data_parallel_rank", form.rank}}));
}

}  // namespace braid::events
