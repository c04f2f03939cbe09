// SPDX-License-Identifier: Apache-2.0
// Any bytes as KV event messages and as request bodies. The first byte of each piece says its sequence
// number; the index never holds more than the messages could have stored.
#include "require.h"
#include "router/index/precise.h"
#include "router/kv_feed.h"
#include "router/request.h"

namespace {

using namespace braid;
using namespace braid::router;

void follow(std::span<const std::uint8_t> input) {
  PreciseParameters parameters;
  parameters.tokens.block_size_tokens = 4;
  PrecisePrefix index(parameters);
  std::size_t tokens = 0;
  KvFeed feed({"", "kv@", 5557, 5558},
              {[&](const std::string&, const KvEventBatch& batch) {
                 for (const KvEvent& event : batch.events) {
                   if (const auto* stored = std::get_if<BlockStored>(&event)) tokens += stored->token_ids.size();
                 }
                 index.apply(0, batch);
               },
               [&](const std::string&) { index.forget(0); }});
  TimePoint now{};
  while (!input.empty()) {
    const std::size_t size = std::min<std::size_t>(input.size(), 1 + input[0] % 64);
    const auto piece = input.first(size);
    input = input.subspan(size);
    now += std::chrono::seconds(1);
    feed.on_message("a", piece[0] % 8, piece.subspan(1), now);
    for (const ReplayRequest& request : feed.take_replays(now)) {
      feed.on_replayed("a", request.from, piece.subspan(1));
      feed.on_replay_end("a");
    }
  }
  require(index.blocks() <= tokens / 4, "no more blocks than tokens make");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span input(data, size);
  const auto batch = parse_kv_events(input);
  if (!batch.ok()) require(!batch.error().message.empty(), "an error says something");
  follow(input);
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/inference/v1/generate"}) {
    auto request = read_request({"POST", path, {}, std::string(reinterpret_cast<const char*>(data), size)}, {});
    if (!request.ok()) continue;
    for (const Piece& piece : request->facts.prompt) require(piece.begin + piece.size <= size, "a piece lies within the body");
    require(body_with_model(*request, "m").size() + size >= 1, "the model can be replaced");
  }
  return 0;
}
