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
