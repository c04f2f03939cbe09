// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <cmath>

#include "ops/reference/fixture.h"

namespace braid::ops::reference {
namespace {

using ::testing::ElementsAre;

TEST(AttentionDecode, IsASoftmaxOverPagedKeys) {
  NoStream stream;
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .qk_dim = 1, .v_dim = 1, .scale = 2};
  // Rows [k | v] in blocks of 2; the sequence's blocks are 2 and 0.
  std::vector<float> cache = {0, 30, 9, 9, 9, 9, 9, 9, 0, 10, std::log(3.0f) / 2, 20};
  const std::int32_t table[] = {2, 0};
  std::vector<float> q = {1, 0}, out(2);
  const AttentionDecode::Row rows[] = {{table, 3}};
  AttentionDecode::Args args;
  args.shape = shape;
  args.q = f32(q, 1, 2);
  args.k = {cache.data(), DType::kF32, 2, 1};
  args.v = {cache.data() + 1, DType::kF32, 2, 1};
  args.block_size = 2;
  args.rows = rows;
  args.out = f32(out, 1, 2);
  kAttentionDecode.run(args, stream);
  EXPECT_NEAR(out[0], (10 + 3 * 20 + 30) / 5.0, 1e-5);  // weights 1 3 1
  EXPECT_NEAR(out[1], 20, 1e-5);                        // all equal
}

// One sequence of `length` tokens, 4 heads on 2 kv heads, keys and values contiguous.
struct Prompt {
  static constexpr AttentionShape kShape{4, 2, 6, 5, 0.4f};
  std::int64_t length;
  std::vector<float> q, k, v;

  explicit Prompt(std::int64_t n)
      : length(n),
        q(random_values(static_cast<std::size_t>(n * 24), 1, 3)),
        k(random_values(static_cast<std::size_t>(n * 12), 2, 3)),
        v(random_values(static_cast<std::size_t>(n * 10), 3)) {}

  AttentionPrefill::Args args(std::vector<float>& out, std::vector<float>& state) {
    AttentionPrefill::Args a;
    a.shape = kShape;
    a.q = f32(q, length, 24);
    a.k = {k.data(), DType::kF32, 12, 6};
    a.v = {v.data(), DType::kF32, 10, 5};
    a.out = f32(out, length, 20);
    a.state = state.data();
    return a;
  }

  std::vector<float> whole() {
    NoStream stream;
    std::vector<float> out(static_cast<std::size_t>(length * 20));
    std::vector<float> state(static_cast<std::size_t>(length * 28));
    auto a = args(out, state);
    const AttentionPrefill::Sequence all[] = {{0, length, 0, 0, length}};
    a.sequences = all;
    kAttentionPrefill.run(a, stream);
    return out;
  }
};

TEST(AttentionPrefill, IsCausal) {
  Prompt prompt(3);
  const auto out = prompt.whole();
  // The first query sees the first key only.
  for (int h = 0; h < 4; ++h) {
    for (int i = 0; i < 5; ++i) EXPECT_FLOAT_EQ(out[h * 5 + i], prompt.v[h / 2 * 5 + i]);
  }
}

TEST(AttentionPrefill, SegmentsEqualTheWholeBitForBit) {
  NoStream stream;
  Prompt prompt(200);
  const auto expected = prompt.whole();
  std::vector<float> out(200 * 20), state(200 * 28);
  auto a = prompt.args(out, state);
  for (std::int64_t first = 0; first < 200; first += 64) {
    const std::int64_t end = std::min<std::int64_t>(first + 64, 200);
    const AttentionPrefill::Sequence segment[] = {{0, 200, 0, first, end, nullptr, first}};
    a.sequences = segment;
    a.first_segment = first == 0;
    a.last_segment = end == 200;
    kAttentionPrefill.run(a, stream);
  }
  EXPECT_EQ(out, expected);
}

TEST(AttentionPrefill, ChunksEqualTheWholeBitForBit) {
  NoStream stream;
  Prompt prompt(150);
  const auto expected = prompt.whole();
  std::vector<float> out(150 * 20), state(150 * 28);
  auto a = prompt.args(out, state);
  for (std::int64_t first = 0; first < 150; first += 37) {
    const std::int64_t rows = std::min<std::int64_t>(37, 150 - first);
    const AttentionPrefill::Sequence chunk[] = {{first, rows, first, 0, first + rows}};
    a.sequences = chunk;
    kAttentionPrefill.run(a, stream);
  }
  EXPECT_EQ(out, expected);
}

// With equal scores, a query's result is the mean of the values that it sees; here a key's value is its position.
struct Mean {
  const char* name;
  int window, chunk;
  bool sinks;
  std::int64_t first;  // that the query at position 149 sees
};
constexpr Mean kMeans[] = {{"all", 0, 0, false, 0},       {"window", 20, 0, false, 130},      {"wide window", 200, 0, false, 0},
                           {"chunk", 0, 100, false, 100}, {"begun chunk", 0, 149, false, 149}, {"both", 20, 140, false, 140},
                           {"sink", 0, 0, true, 0},       {"window and sink", 20, 0, true, 130}};

TEST(Attention, AQuerySeesItsWindowItsChunkAndTheSink) {
  NoStream stream;
  constexpr std::int64_t kKeys = 150;
  std::vector<float> q(kKeys), k(kKeys), v(kKeys), out(kKeys), last(1), state(kKeys * 3);
  std::vector<std::int32_t> table(kKeys);
  for (std::int64_t i = 0; i < kKeys; ++i) v[i] = static_cast<float>(table[i] = static_cast<std::int32_t>(i));
  const float sink = std::log(10.0f);  // weighs as much as ten keys
  for (const Mean& mean : kMeans) {
    const AttentionShape shape{1, 1, 1, 1, 1.0f, mean.window, mean.chunk, mean.sinks};
    AttentionPrefill::Args prefill;
    prefill.shape = shape;
    prefill.q = f32(q, kKeys, 1);
    prefill.k = {k.data(), DType::kF32, 1, 1};
    prefill.v = {v.data(), DType::kF32, 1, 1};
    prefill.out = f32(out, kKeys, 1);
    prefill.state = state.data();
    prefill.sinks = mean.sinks ? &sink : nullptr;
    const AttentionPrefill::Sequence all[] = {{0, kKeys, 0, 0, kKeys}};
    prefill.sequences = all;
    kAttentionPrefill.run(prefill, stream);
    AttentionDecode::Args decode;
    decode.shape = shape;
    decode.q = f32(q, 1, 1);
    decode.k = prefill.k;
    decode.v = prefill.v;
    decode.block_size = 1;
    const AttentionDecode::Row rows[] = {{table.data(), kKeys}};
    decode.rows = rows;
    decode.out = f32(last, 1, 1);
    decode.sinks = prefill.sinks;
    kAttentionDecode.run(decode, stream);
    double sum = 0, weight = mean.sinks ? 10 : 0;
    for (std::int64_t p = mean.first; p < kKeys; ++p, ++weight) sum += static_cast<double>(p);
    EXPECT_NEAR(out[kKeys - 1], sum / weight, 1e-3) << mean.name;
    EXPECT_NEAR(last[0], sum / weight, 1e-3) << mean.name;
    EXPECT_NEAR(out[0], 0, 1e-6) << mean.name;
  }
}

TEST(AttentionDecode, EqualsTheLastRowOfAPrefill) {
  NoStream stream;
  Prompt prompt(100);
  const auto expected = prompt.whole();
  std::vector<std::int32_t> table(100);
  for (int i = 0; i < 100; ++i) table[i] = i;
  const AttentionDecode::Row rows[] = {{table.data(), 100}};
  std::vector<float> out(20);
  AttentionDecode::Args a;
  a.shape = Prompt::kShape;
  a.q = f32(prompt.q, 100, 24).slice_rows(99, 1);
  a.k = {prompt.k.data(), DType::kF32, 12, 6};
  a.v = {prompt.v.data(), DType::kF32, 10, 5};
  a.block_size = 1;
  a.rows = rows;
  a.out = f32(out, 1, 20);
  kAttentionDecode.run(a, stream);
  for (int i = 0; i < 20; ++i) EXPECT_NEAR(out[i], expected[99 * 20 + i], 1e-5);
}

}  // namespace
}  // namespace braid::ops::reference
