// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>

#include "router/index/approximate.h"
#include "router/index/precise.h"
#include "router/kv_feed.h"
#include "router/testing/msgpack_writer.h"

namespace braid::router {
namespace {

using testing::MsgWriter;

std::vector<std::uint8_t> stored(const std::vector<std::uint64_t>& hashes,
                                 std::optional<std::uint64_t> parent,
                                 const std::vector<std::int32_t>& tokens,
                                 int block_size,
                                 const char* medium = "GPU") {
  MsgWriter out;
  out.array(2).number(1.5).array(1).array(7).text("BlockStored").array(hashes.size());
  for (const std::uint64_t hash : hashes) out.integer(hash);
  parent ? out.integer(*parent) : out.nil();
  out.array(tokens.size());
  for (const std::int32_t token : tokens) out.integer(static_cast<std::uint64_t>(token));
  out.integer(static_cast<std::uint64_t>(block_size)).nil().text(medium);
  return out.bytes();
}

std::vector<std::uint8_t> removed(const std::vector<std::uint64_t>& hashes) {
  MsgWriter out;
  out.array(3).number(1.5).array(1).array(2).text("BlockRemoved").array(hashes.size());
  for (const std::uint64_t hash : hashes) out.integer(hash);
  out.integer(3);
  return out.bytes();
}

std::vector<std::uint8_t> cleared() {
  MsgWriter out;
  out.array(2).number(0).array(1).array(1).text("AllBlocksCleared");
  return out.bytes();
}

KvEventBatch batch_of(const std::vector<std::uint8_t>& bytes) {
  auto batch = parse_kv_events(bytes);
  EXPECT_TRUE(batch.ok()) << (batch.ok() ? "" : batch.error().message);
  return batch.ok() ? *batch : KvEventBatch{};
}

TEST(KvEvents, arrays_and_maps_say_the_same) {
  MsgWriter map;
  map.map(2).text("events").array(1).map(6).text("block_size").integer(2).text("block_hashes").array(1).binary("xx\x01\x02\x03\x04\x05\x06\x07\x08");
  map.text("medium").text("CPU").text("token_ids").array(2).integer(7).integer(8).text("new_field").map(1).text("a").nil().text("type").text("BlockStored");
  map.text("ts").number(2);
  const KvEventBatch named = batch_of(map.bytes());
  ASSERT_EQ(named.events.size(), 1u);
  const auto& event = std::get<BlockStored>(named.events[0]);
  EXPECT_EQ(event.hashes, (std::vector<std::uint64_t>{0x0102030405060708}));
  EXPECT_EQ(event.token_ids, (std::vector<std::int32_t>{7, 8}));
  EXPECT_EQ(event.medium, "cpu");
  EXPECT_FALSE(event.parent.has_value());
  const KvEventBatch positional = batch_of(stored({0x0102030405060708}, std::nullopt, {7, 8}, 2, "CPU"));
  const auto& same = std::get<BlockStored>(positional.events.at(0));
  EXPECT_EQ(same.hashes, event.hashes);
  EXPECT_EQ(same.token_ids, event.token_ids);
  EXPECT_EQ(same.medium, event.medium);
  EXPECT_EQ(batch_of(removed({9})).rank, 3);
}

TEST(KvEvents, trailing_and_unknown_things_are_left_out_and_broken_ones_refused) {
  MsgWriter more;
  more.array(4).number(0).array(2).array(2).text("Novelty").integer(1).array(5).text("BlockRemoved").array(1).integer(4).nil().integer(0).text("later");
  more.nil().text("more");
  const KvEventBatch batch = batch_of(more.bytes());
  ASSERT_EQ(batch.events.size(), 1u);
  EXPECT_EQ(std::get<BlockRemoved>(batch.events[0]).hashes, (std::vector<std::uint64_t>{4}));
  std::vector<std::uint8_t> whole = stored({1, 2}, 5, {1, 2, 3, 4}, 2);
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(parse_kv_events(std::span(whole).first(size)).ok()) << size;
  EXPECT_FALSE(parse_kv_events(stored({1, 2}, 5, {1, 2, 3}, 2)).ok()) << "two blocks of two tokens are four tokens";
  const std::uint8_t huge[] = {0x92, 0x00, 0xdd, 0xff, 0xff, 0xff, 0xff};
  EXPECT_FALSE(parse_kv_events(huge).ok());
}

// Follows one source and writes down what reaches the index.
class Followed {
 public:
  explicit Followed(int replay_port = 1)
      : feed_({"", "kv@", 5557, replay_port},
              {[this](const std::string&, const KvEventBatch& batch) {
                 for (const KvEvent& event : batch.events) log += " " + std::to_string(std::get<BlockRemoved>(event).hashes[0]);
               },
               [this](const std::string&) { log += " forget"; }}) {}

  void live(std::uint64_t sequence) { feed_.on_message("a", sequence, removed({sequence}), now); }
  void replay(std::uint64_t sequence) { feed_.on_replayed("a", sequence, removed({sequence})); }
  std::string asked() {
    std::string text;
    for (const ReplayRequest& request : feed_.take_replays(now)) text += request.source + " from " + std::to_string(request.from);
    return text;
  }
  void end() { feed_.on_replay_end("a"); }
  const KvFeedCounts& counts() const { return feed_.counts(); }

  std::string log;
  TimePoint now{};

 private:
  KvFeed feed_;
};

TEST(KvFeed, a_gap_is_filled_by_a_replay_in_order) {
  Followed source;
  source.live(0);
  source.live(1);
  source.live(4);
  source.live(5);
  EXPECT_EQ(source.log, " 0 1");
  EXPECT_EQ(source.asked(), "a from 2");
  EXPECT_EQ(source.asked(), "") << "one replay at a time";
  for (const std::uint64_t sequence : {2, 3, 4, 5, 6}) source.replay(sequence);
  source.end();
  source.live(6);  // the replay has brought it already
  source.live(7);
  EXPECT_EQ(source.log, " 0 1 2 3 4 5 6 7");
  EXPECT_EQ(source.counts().gaps, 1u);
  EXPECT_EQ(source.counts().restarts, 0u);
  EXPECT_EQ(source.counts().lost_messages, 0u);
}

TEST(KvFeed, who_joins_late_asks_for_the_beginning) {
  Followed source;
  source.live(3);
  EXPECT_EQ(source.asked(), "a from 0");
}

TEST(KvFeed, an_engine_that_started_anew_is_forgotten_first) {
  Followed source;
  source.live(0);
  source.live(1);
  source.live(1);
  EXPECT_EQ(source.log, " 0 1 forget");
  EXPECT_EQ(source.asked(), "a from 0");
  source.replay(0);
  source.end();
  EXPECT_EQ(source.log, " 0 1 forget 0 1");
  EXPECT_EQ(source.counts().restarts, 1u);
}

TEST(KvFeed, what_cannot_be_replayed_is_given_up_and_counted) {
  Followed source;
  source.live(0);
  source.live(5);
  EXPECT_EQ(source.asked(), "a from 1");
  source.end();
  EXPECT_EQ(source.log, " 0 5");
  EXPECT_EQ(source.counts().lost_messages, 4u);
  source.live(8);
  EXPECT_EQ(source.asked(), "") << "not so soon after the last one";
  source.now += std::chrono::seconds(30);
  EXPECT_EQ(source.asked(), "a from 6");
  Followed without(0);
  without.live(2);
  EXPECT_EQ(without.log, " 2");
  EXPECT_EQ(without.counts().lost_messages, 2u);
}

TEST(KvFeed, knows_the_source_of_a_topic) {
  EXPECT_EQ(topic_source("kv@10.0.0.1:8000@model", "kv@"), "10.0.0.1:8000");
  EXPECT_EQ(topic_source("other", "kv@"), "");
}

// A producer with two endpoints, asked by token ids.
template <class Producer>
class Asked {
 public:
  explicit Asked(typename Producer::Parameters parameters) : producer(std::move(parameters)) {
    for (const char* name : {"a", "b"}) endpoints_.push_back({{name, "10.0.0.1", 8000, 0}, {}, {}});
  }

  PrefixMatch match(std::vector<std::int32_t> tokens, const std::string& model = "m") {
    request.tokens = std::move(tokens);
    data = {};
    data.model = model;
    data.prefixes.resize(1);
    data.looked_up.resize(1);
    Context context{request, endpoints_, slots_, candidates_, data, random_, now};
    return producer.match(context);
  }
  FlightNumber send(Slot slot) {
    Sent sent{++flights_, request, data};
    sent.decode = slot;
    sent.decode_index = static_cast<EndpointIndex>(slot);
    sent.now = now;
    producer.sent(sent);
    return flights_;
  }

  Producer producer;
  RoutedRequest request;
  RequestData data;
  TimePoint now{};

 private:
  std::vector<Endpoint> endpoints_;
  Slot slots_[2] = {0, 1};
  FlightNumber flights_ = 0;
  EndpointIndex candidates_[2] = {0, 1};
  Random random_{1};
};

PreciseParameters precise(const char* algorithm, int block_size) {
  PreciseParameters parameters;
  parameters.tokens.algorithm = algorithm;
  parameters.tokens.block_size_tokens = block_size;
  parameters.tokens.seed = "0";
  parameters.speculative = true;
  return parameters;
}

std::vector<std::int32_t> counting(int count) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(i);
  return tokens;
}

TEST(PrecisePrefix, follows_blocks_of_any_size_through_their_parents) {
  for (const int engine_block : {2, 4, 8}) {
    SCOPED_TRACE(engine_block);
    Asked<PrecisePrefix> asked(precise("cbor-fnv", 4));
    std::vector<std::int32_t> tokens = counting(16);
    std::optional<std::uint64_t> parent;
    for (int at = 0; at < 16; at += engine_block) {
      const std::uint64_t hash = 1000 + static_cast<std::uint64_t>(at);
      asked.producer.apply(1, batch_of(stored({hash}, parent, {tokens.begin() + at, tokens.begin() + at + engine_block}, engine_block)));
      parent = hash;
    }
    EXPECT_EQ(asked.match(counting(19)).blocks, (std::vector<int>{0, 4}));
    tokens[9] = 77;
    EXPECT_EQ(asked.match(tokens).blocks, (std::vector<int>{0, 2}));
    asked.producer.apply(1, batch_of(removed({engine_block == 2 ? 1010u : 1008u})));  // completes the third block
    EXPECT_EQ(asked.match(counting(16)).blocks[1], 2);
    asked.producer.apply(1, batch_of(cleared()));
    EXPECT_EQ(asked.match(counting(16)).blocks[1], 0);
    EXPECT_EQ(asked.producer.blocks(), 0u);
  }
}

TEST(PrecisePrefix, a_block_without_its_parent_is_counted_and_left_out) {
  Asked<PrecisePrefix> asked(precise("cbor-fnv", 4));
  asked.producer.apply(0, batch_of(stored({2, 3}, 1, counting(8), 4)));
  EXPECT_EQ(asked.producer.orphans(), 2u);
  EXPECT_EQ(asked.producer.blocks(), 0u);
}

TEST(PrecisePrefix, hashes_of_the_engines_own_kind_need_no_parents) {
  prefix::BlockHasher hasher(prefix::Algorithm::kSha256Cbor, "0");
  const std::vector<std::int32_t> tokens = counting(8);
  const auto first = hasher.hash(hasher.none(), std::span(tokens).first(4));
  const auto second = hasher.hash(first, std::span(tokens).last(4));
  Asked<PrecisePrefix> asked(precise("sha256_cbor", 4));
  asked.producer.apply(0, batch_of(stored({second.low64()}, first.low64(), counting(4), 4)));
  EXPECT_EQ(asked.match(tokens).blocks[0], 0) << "the first block is not there yet";
  asked.producer.apply(0, batch_of(stored({first.low64()}, std::nullopt, counting(4), 4)));
  EXPECT_EQ(asked.match(tokens).blocks[0], 2);
  EXPECT_EQ(asked.producer.strangers(), 0u);
  asked.producer.apply(0, batch_of(stored({12345}, std::nullopt, counting(4), 4)));
  EXPECT_EQ(asked.producer.strangers(), 1u) << "other hashes than configured do not go unnoticed";
}

TEST(PrecisePrefix, tiers_weigh_and_stores_are_counted) {
  Asked<PrecisePrefix> asked(precise("cbor-fnv", 4));
  asked.producer.apply(0, batch_of(stored({1, 2}, std::nullopt, counting(8), 4)));
  asked.producer.apply(0, batch_of(stored({1}, std::nullopt, {}, 4, "CPU")));
  EXPECT_DOUBLE_EQ(asked.match(counting(8)).weighted[0], 2);
  asked.producer.apply(0, batch_of(removed({1})));  // from the gpu
  EXPECT_DOUBLE_EQ(asked.match(counting(8)).weighted[0], 1.8);
  asked.producer.apply(0, batch_of(stored({2}, 1, {4, 5, 6, 7}, 4)));
  asked.producer.apply(0, batch_of(removed({2})));
  EXPECT_EQ(asked.match(counting(8)).blocks[0], 2) << "stored twice, removed once";
}

TEST(PrecisePrefix, a_prompt_counts_as_cached_where_it_was_sent_until_shortly_after_its_answer_began) {
  Asked<PrecisePrefix> asked(precise("cbor-fnv", 4));
  EXPECT_EQ(asked.match(counting(8)).blocks[1], 0);
  const FlightNumber flight = asked.send(1);
  asked.now += std::chrono::minutes(1);
  EXPECT_EQ(asked.match(counting(8)).blocks[1], 2) << "it waits in the engine's queue";
  asked.producer.first_chunk(flight, asked.now);
  asked.now += std::chrono::milliseconds(1999);
  asked.producer.done(flight, {}, asked.now);
  EXPECT_EQ(asked.match(counting(8)).blocks[1], 2);
  asked.now += std::chrono::milliseconds(1);
  EXPECT_EQ(asked.match(counting(8)).blocks[1], 0);
  EXPECT_EQ(asked.producer.blocks(), 0u);
}

TEST(PrecisePrefix, a_request_that_failed_or_whose_engine_started_anew_leaves_nothing_cached) {
  Asked<PrecisePrefix> asked(precise("cbor-fnv", 4));
  asked.match(counting(8));
  const FlightNumber refused = asked.send(0), lost = asked.send(1);
  asked.producer.done(refused, {.status = 503}, asked.now);
  EXPECT_EQ(asked.match(counting(8)).blocks, (std::vector<int>{0, 2}));
  asked.producer.endpoint_restarted(1, "b");
  EXPECT_EQ(asked.match(counting(8)).blocks[1], 0);
  EXPECT_EQ(asked.producer.blocks(), 0u);
  asked.producer.first_chunk(lost, asked.now);
  asked.now += std::chrono::seconds(2);
  EXPECT_EQ(asked.match(counting(8)).blocks[1], 0);
}

TEST(PrecisePrefix, without_token_ids_it_says_that_it_does_not_know) {
  Asked<PrecisePrefix> asked(precise("cbor-fnv", 4));
  EXPECT_FALSE(asked.match({}).known);
}

// Random prompts against a map of lists that does the same slowly.
TEST(ApproximatePrefix, agrees_with_a_naive_twin) {
  ApproximatePrefix::Parameters parameters;
  parameters.auto_tune = false;
  parameters.capacity = 12;
  Asked<ApproximatePrefix> asked(parameters);
  std::vector<std::vector<std::uint64_t>> twin(2);  // the newest last
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::int32_t> tokens(64 * (1 + random() % 6), 0);
    for (std::size_t i = 0; i < tokens.size(); i += 64) tokens[i] = static_cast<std::int32_t>(random() % 3);
    const PrefixMatch match = asked.match(tokens);
    for (Slot slot = 0; slot < 2; ++slot) {
      int expected = 0;
      while (expected < match.total() && std::count(twin[slot].begin(), twin[slot].end(), match.keys[static_cast<std::size_t>(expected)]) > 0) ++expected;
      ASSERT_EQ(match.blocks[slot], expected) << "round " << round;
    }
    const Slot to = random() % 2;
    asked.send(to);
    for (auto key = match.keys.rbegin(); key != match.keys.rend(); ++key) {
      std::erase(twin[to], *key);
      twin[to].push_back(*key);
    }
    if (twin[to].size() > 12) twin[to].erase(twin[to].begin(), twin[to].end() - 12);
    if (random() % 100 == 0) {
      asked.producer.endpoint_restarted(to, "");
      twin[to].clear();
    }
  }
}

TEST(FlatMap, agrees_with_a_map) {
  FlatMap<int> flat;
  std::map<std::uint64_t, int> twin;
  std::mt19937_64 random(5);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t key = random() % 300 * 0x9e3779b97f4a7c15u;
    if (random() % 2 == 0) {
      flat[key] = twin[key] = i;
    } else {
      ASSERT_EQ(flat.erase(key), twin.erase(key) > 0);
    }
    ASSERT_EQ(flat.size(), twin.size());
    const std::uint64_t other = random() % 300 * 0x9e3779b97f4a7c15u;
    const auto found = twin.find(other);
    ASSERT_EQ(flat.find(other) != nullptr, found != twin.end());
    if (found != twin.end()) { ASSERT_EQ(*flat.find(other), found->second); }
  }
}

TEST(Holders, keep_hundreds_of_endpoints_apart) {
  Holders holders;
  const std::uint64_t keys[] = {11, 22, 33};
  for (Slot slot = 0; slot < 300; ++slot) {
    for (std::size_t i = 0; i < slot % 4; ++i) holders.add(keys[i], slot);
  }
  std::vector<Slot> slots(300);
  for (Slot slot = 0; slot < 300; ++slot) slots[slot] = slot;
  std::vector<int> counts(300);
  holders.match(keys, slots, counts);
  for (Slot slot = 0; slot < 300; ++slot) ASSERT_EQ(counts[slot], static_cast<int>(slot % 4)) << slot;
}

}  // namespace
}  // namespace braid::router
