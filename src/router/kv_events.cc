// SPDX-License-Identifier: Apache-2.0
#include "router/kv_events.h"

#include <algorithm>
#include <cctype>

#include "router/index/msgpack.h"

namespace braid::router {
namespace {

using Kind = MsgReader::Kind;

std::uint64_t read_hash(MsgReader& in) {
  if (in.kind() == Kind::kInteger) return in.integer();
  const std::string_view bytes = in.text();
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size() > 8 ? bytes.size() - 8 : 0; i < bytes.size(); ++i) {
    value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  }
  return value;
}

std::vector<std::uint64_t> read_hashes(MsgReader& in) {
  std::vector<std::uint64_t> hashes;
  const std::size_t count = in.array();
  for (std::size_t i = 0; i < count && in.ok(); ++i) hashes.push_back(read_hash(in));
  return hashes;
}

std::string read_medium(MsgReader& in) {
  if (in.nil()) return "gpu";
  std::string medium(in.text());
  for (char& c : medium) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return medium.empty() ? "gpu" : medium;
}

// The extra keys of the first block. Others, and pairs of hash and offset, name media: skipped.
std::vector<std::string> read_extra_keys(MsgReader& in) {
  std::vector<std::string> keys;
  if (in.nil()) return keys;
  const std::size_t blocks = in.array();
  for (std::size_t block = 0; block < blocks && in.ok(); ++block) {
    if (block > 0 || in.kind() != Kind::kArray) {
      in.skip();
      continue;
    }
    const std::size_t count = in.array();
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
      if (in.kind() == Kind::kText) {
        keys.emplace_back(in.text());
      } else {
        in.skip();
      }
    }
  }
  return keys;
}

// Groups of layers that see a window or keep a state do not tell whether a prefix is cached.
bool sees_whole_prefix(std::string_view kind) {
  return kind.empty() || kind.find("full") != std::string_view::npos || kind.find("mla") != std::string_view::npos;
}

std::string_view lower_kind(std::string_view text, std::string& storage) {
  storage.assign(text);
  for (char& c : storage) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return storage;
}

// Fields in the order of the positional form.
constexpr std::string_view kStoredFields[] = {"block_hashes", "parent_block_hash", "token_ids", "block_size",
                                              "lora_id", "medium", "lora_name", "extra_keys",
                                              "group_idx", "kv_cache_spec_kind", "kv_cache_spec_sliding_window"};
constexpr std::string_view kRemovedFields[] = {"block_hashes", "medium", "group_idx"};

void read_field(MsgReader& in, std::string_view field, BlockStored& event) {
  if (field == "block_hashes") {
    event.hashes = read_hashes(in);
  } else if (in.nil()) {
    return;
  } else if (field == "parent_block_hash") {
    event.parent = read_hash(in);
  } else if (field == "token_ids") {
    const std::size_t count = in.array();
    event.token_ids.reserve(count);
    for (std::size_t i = 0; i < count && in.ok(); ++i) event.token_ids.push_back(static_cast<std::int32_t>(in.integer()));
  } else if (field == "block_size") {
    event.block_size = static_cast<int>(std::min<std::uint64_t>(in.integer(), 1 << 24));
  } else if (field == "medium") {
    event.medium = read_medium(in);
  } else if (field == "lora_name") {
    event.adapter = in.text();
  } else if (field == "extra_keys") {
    event.extra_keys = read_extra_keys(in);
  } else if (field == "kv_cache_spec_kind" && in.kind() == Kind::kText) {
    std::string storage;
    event.indexed = sees_whole_prefix(lower_kind(in.text(), storage));
  } else {
    in.skip();
  }
}

void read_field(MsgReader& in, std::string_view field, BlockRemoved& event) {
  if (field == "block_hashes") {
    event.hashes = read_hashes(in);
  } else if (field == "medium" && (in.kind() == Kind::kText || in.kind() == Kind::kNil)) {
    event.medium = read_medium(in);
  } else {
    in.skip();
  }
}

// `count` positional fields; those beyond the known ones are skipped.
template <class Event, std::size_t n>
void read_positional(MsgReader& in, std::size_t count, const std::string_view (&fields)[n], Event& event) {
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    if (i < n) {
      read_field(in, fields[i], event);
    } else {
      in.skip();
    }
  }
}

template <class Event>
void read_named(MsgReader& in, std::size_t count, Event& event) {
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    const std::string_view field = in.text();
    read_field(in, field, event);
  }
}

// The value of the key "type" of a map, wherever it stands.
std::string_view type_of(MsgReader in, std::size_t count) {
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    if (in.text() == "type") return in.text();
    in.skip();
  }
  return {};
}

bool well_formed(const BlockStored& event) {
  if (event.token_ids.empty()) return true;
  return event.block_size > 0 && event.token_ids.size() == event.hashes.size() * static_cast<std::size_t>(event.block_size);
}

void read_event(MsgReader& in, std::vector<KvEvent>& events, bool& sound) {
  const bool named = in.kind() == Kind::kMap;
  std::size_t count = named ? in.map() : in.array();
  if (!in.ok() || (!named && count == 0)) {
    sound = false;
    return;
  }
  const std::string_view type = named ? type_of(in, count) : in.text();
  if (!named) --count;
  const auto rest = [&] {
    for (std::size_t i = 0; i < (named ? 2 * count : count) && in.ok(); ++i) in.skip();
  };
  if (type == "BlockStored") {
    BlockStored event;
    named ? read_named(in, count, event) : read_positional(in, count, kStoredFields, event);
    sound = sound && well_formed(event);
    events.emplace_back(std::move(event));
  } else if (type == "BlockRemoved") {
    BlockRemoved event;
    named ? read_named(in, count, event) : read_positional(in, count, kRemovedFields, event);
    events.emplace_back(std::move(event));
  } else {
    rest();
    if (type == "AllBlocksCleared") events.emplace_back(AllBlocksCleared{});
  }
}

void read_batch_field(MsgReader& in, std::string_view field, KvEventBatch& batch, bool& sound) {
  if (field == "ts") {
    batch.timestamp = in.number();
  } else if (field == "events") {
    const std::size_t count = in.array();
    for (std::size_t i = 0; i < count && in.ok() && sound; ++i) read_event(in, batch.events, sound);
  } else if (field == "data_parallel_rank" && !in.nil()) {
    batch.rank = static_cast<int>(in.integer() & 0x7fffffff);
  } else if (field != "data_parallel_rank") {
    in.skip();
  }
}

}  // namespace

Result<KvEventBatch> parse_kv_events(std::span<const std::uint8_t> payload) {
  static constexpr std::string_view kFields[] = {"ts", "events", "data_parallel_rank"};
  MsgReader in(payload);
  KvEventBatch batch;
  bool sound = true;
  if (in.kind() == Kind::kMap) {
    const std::size_t count = in.map();
    for (std::size_t i = 0; i < count && in.ok() && sound; ++i) {
      const std::string_view field = in.text();
      read_batch_field(in, field, batch, sound);
    }
  } else {
    const std::size_t count = in.array();
    sound = count >= 2;
    for (std::size_t i = 0; i < count && in.ok() && sound; ++i) read_batch_field(in, i < 3 ? kFields[i] : "", batch, sound);
  }
  if (!in.ok() || !sound || !in.ended()) {
    return invalid_argument("a KV event message of " + std::to_string(payload.size()) + " bytes is not of the known form");
  }
  return batch;
}

}  // namespace braid::router
