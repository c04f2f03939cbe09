// SPDX-License-Identifier: Apache-2.0
// Every attention kernel that this machine can run: against the reference, and bit for bit against
// itself when the batch, the chunks of a prompt or the number of workers change.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "backend/cpu/simd/fixture.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

using ops::AttentionDecode;
using ops::AttentionPrefill;
using ops::AttentionShape;

const AttentionShape kMla{4, 1, 576, 512, 0.07f};
const AttentionShape kMany{16, 1, 72, 40, 0.12f};
const AttentionShape kGqa{12, 2, 40, 40, 0.15f};
const AttentionShape kOdd{6, 2, 7, 5, 0.4f};
const AttentionShape kExpanded{4, 4, 192, 128, 0.072f};
const AttentionShape kExpandedOdd{3, 3, 40, 24, 0.16f};
const AttentionShape kWindow{12, 2, 40, 40, 0.15f, 48};
const AttentionShape kWideWindow{4, 1, 24, 16, 0.2f, 300};
const AttentionShape kChunks{6, 3, 32, 32, 0.18f, 0, 96};
const AttentionShape kSinks{6, 2, 20, 20, 0.2f, 0, 0, true};
const AttentionShape kWindowAndSinks{8, 1, 64, 64, 0.12f, 20, 0, true};

// From a sink that hardly weighs to one that outweighs all keys.
std::vector<float> sinks_of(const AttentionShape& s) {
  std::vector<float> sinks;
  for (int h = 0; s.sinks && h < s.heads; ++h) sinks.push_back(static_cast<float>(3 * h - 5));
  return sinks;
}
const float* given(const std::vector<float>& sinks) {
  return sinks.empty() ? nullptr : sinks.data();
}

float tolerance(DType dtype) {
  return dtype == DType::kBF16 ? 0.02f : 2e-5f;
}

void expect_near(const char* name, const TestRows& got, const TestRows& expected, float allowed) {
  for (std::int64_t r = 0; r < got.view.rows; ++r) {
    for (std::int64_t c = 0; c < got.view.cols; ++c) {
      ASSERT_NEAR(got.at(r, c), expected.at(r, c), allowed)
          << name << " row " << r << " column " << c;
    }
  }
}

// Element types of queries and cache.
struct Types {
  DType q, cache;
};
const Types kTypes[] = {{DType::kF32, DType::kF32}, {DType::kBF16, DType::kBF16}, {DType::kF32, DType::kF8E4M3}, {DType::kBF16, DType::kF8E4M3}};

// A paged cache of sequences with the given lengths; rows [k of every kv head | v], or, with one kv
// head and `absorbed`, values in front of keys' rows.
struct Paged {
  AttentionShape shape;
  int block;
  bool absorbed;
  TestRows cache;
  std::vector<std::vector<std::int32_t>> tables;

  static int width(const AttentionShape& s, bool absorbed) {
    return absorbed ? s.qk_dim : s.kv_heads * (s.qk_dim + s.v_dim);
  }
  // Heads that are not of one size have scales across their borders.
  static ops::Fp8Row fp8(const AttentionShape& s, bool absorbed) {
    if (absorbed) return ops::Fp8Row::latent(s.v_dim, s.qk_dim - s.v_dim);
    return s.qk_dim == s.v_dim ? ops::Fp8Row::keys_and_values(s.kv_heads, s.qk_dim) : ops::Fp8Row{width(s, false), 10, 0};
  }
  static std::int64_t columns(const AttentionShape& s, DType dtype, bool absorbed) {
    return dtype == DType::kF8E4M3 ? fp8(s, absorbed).bytes() : width(s, absorbed);
  }
  Paged(const AttentionShape& s,
        DType dtype,
        int block_size,
        bool shared,
        const std::vector<int>& contexts)
      : shape(s),
        block(block_size),
        absorbed(shared),
        cache(dtype, blocks(contexts, block_size) * block_size, columns(s, dtype, shared)) {
    if (dtype == DType::kF8E4M3) {
      TestRows plain(DType::kF32, cache.view.rows, width(s, shared));
      plain.fill(1, 2);
      for (std::int64_t r = 0; r < plain.view.rows; ++r) fp8(s, shared).put(cache.view.row(r), plain.f32().row(r));
    } else {
      cache.fill(1, 2);
    }
    const auto count = static_cast<std::int32_t>(blocks(contexts, block));
    std::int32_t next = 0;
    for (int context : contexts) {
      std::vector<std::int32_t> table;
      for (int b = 0; b * block < context; ++b) table.push_back(count - 1 - next++);
      tables.push_back(table);
    }
  }
  static std::int64_t blocks(const std::vector<int>& contexts, int block) {
    std::int64_t n = 0;
    for (int context : contexts) n += (context + block - 1) / block;
    return n;
  }
  ops::Rows k() const {
    return {cache.view.data, cache.view.dtype, cache.view.stride, shape.qk_dim, fp8(shape, absorbed)};
  }
  ops::Rows v() const {
    const int first = absorbed ? 0 : shape.kv_heads * shape.qk_dim;
    if (cache.view.dtype == DType::kF8E4M3) return {cache.view.data, cache.view.dtype, cache.view.stride, shape.v_dim, fp8(shape, absorbed), first};
    return {cache.view.columns(first, 1).data, cache.view.dtype, cache.view.stride, shape.v_dim};
  }
};

struct Decode {
  Paged paged;
  TestRows q;
  std::vector<AttentionDecode::Row> rows;
  std::vector<float> sinks;

  Decode(const AttentionShape& s,
         const Types& types,
         int block,
         bool absorbed,
         const std::vector<int>& contexts)
      : paged(s, types.cache, block, absorbed, contexts),
        q(types.q, static_cast<std::int64_t>(contexts.size()), s.heads * s.qk_dim),
        sinks(sinks_of(s)) {
    q.fill(2, 2);
    for (std::size_t i = 0; i < contexts.size(); ++i) {
      rows.push_back({paged.tables[i].data(), contexts[i]});
    }
  }
  // Rows [first, first + count).
  TestRows run(const ops::Kernel<AttentionDecode>& kernel,
               Stream& stream,
               std::int64_t first,
               std::int64_t count) {
    const AttentionShape& s = paged.shape;
    TestRows out(q.view.dtype, count, s.heads * s.v_dim);
    AttentionDecode::Args a;
    a.shape = s;
    a.q = q.view.slice_rows(first, count);
    a.k = paged.k();
    a.v = paged.v();
    a.block_size = paged.block;
    a.rows =
        std::span(rows).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    a.out = out.view;
    std::int64_t longest = 1;
    for (const auto& row : a.rows) longest = std::max<std::int64_t>(longest, row.context);
    Buffer scratch(AttentionDecode::scratch_bytes(s, count, longest));
    a.scratch = scratch.data();
    a.sinks = given(sinks);
    kernel.run(a, stream);
    return out;
  }
  TestRows all(const ops::Kernel<AttentionDecode>& kernel, Stream& stream) {
    return run(kernel, stream, 0, static_cast<std::int64_t>(rows.size()));
  }
};

struct DecodeCase {
  AttentionShape shape;
  bool absorbed;
};
const DecodeCase kDecodeCases[] = {
    {kMla, true},     {kMany, true},         {kGqa, false},    {kOdd, false},  {kWindow, false},
    {kWideWindow, false}, {kChunks, false}, {kSinks, false}, {kWindowAndSinks, false}};

TEST(CpuAttentionDecode, AgreesWithTheReference) {
  const auto stream = make_stream({.threads = 2});
  const std::vector<int> contexts = {1, 2, 3, 5, 15, 16, 17, 63, 64, 100, 255, 256, 257, 513, 1000};
  for (const Types& types : kTypes) {
    for (const auto& [shape, absorbed] : kDecodeCases) {
      for (int block : {1, 16, 64}) {
        Decode decode(shape, types, block, absorbed, contexts);
        const TestRows expected = decode.all(ops::reference::kAttentionDecode, *stream);
        for (const auto* kernel :
             runnable(kernels().attention_decode, {types.q, types.cache, shape}, stream->capabilities())) {
          expect_near(kernel->name, decode.all(*kernel, *stream), expected, tolerance(types.q));
        }
        if (&shape == &kDecodeCases[0].shape) break;  // the reference is slow here
      }
    }
  }
}

TEST(CpuAttentionDecode, ARowDoesNotDependOnTheBatchOrTheWorkers) {
  const auto one = make_stream({.threads = 1});
  const auto three = make_stream({.threads = 3, .pin = false});
  const std::vector<int> contexts = {700, 1, 30, 256, 257};
  for (const Types& types : kTypes) {
    for (const auto& [shape, absorbed] : kDecodeCases) {
      Decode decode(shape, types, 16, absorbed, contexts);
      for (const auto* kernel :
           runnable(kernels().attention_decode, {types.q, types.cache, shape}, one->capabilities())) {
        const TestRows together = decode.all(*kernel, *three);
        EXPECT_EQ(decode.all(*kernel, *one).values(), together.values()) << kernel->name;
        for (std::int64_t r = 0; r < 5; ++r) {
          const TestRows alone = decode.run(*kernel, *three, r, 1);
          for (std::int64_t c = 0; c < alone.view.cols; ++c) {
            ASSERT_EQ(alone.at(0, c), together.at(r, c)) << kernel->name << " row " << r;
          }
        }
      }
    }
  }
}

TEST(CpuAttentionDecode, NoRowsIsNoWork) {
  const auto stream = make_stream({.threads = 2});
  Decode decode(kGqa, kTypes[0], 16, false, {});
  for (const auto& kernel : kernels().attention_decode) {
    if (kernel.supports({DType::kF32, DType::kF32, kGqa}, stream->capabilities()).empty()) {
      decode.all(kernel, *stream);
    }
  }
}

// Prompts of given lengths one after another; keys and values in pages or, contiguous, in rows of
// the same order as the queries.
struct Prefill {
  Paged paged;
  std::vector<int> lengths;
  TestRows q;
  TestRows out;
  Buffer state;
  std::vector<float> sinks;

  Prefill(const AttentionShape& s, const Types& types, int block, const std::vector<int>& n)
      : paged(s, types.cache, block, false, n),
        lengths(n),
        q(types.q, std::accumulate(n.begin(), n.end(), 0), s.heads * s.qk_dim),
        out(types.q, q.view.rows, s.heads * s.v_dim),
        state(AttentionPrefill::state_bytes(s, q.view.rows)),
        sinks(sinks_of(s)) {
    q.fill(3, 2);
  }

  AttentionPrefill::Args args() {
    AttentionPrefill::Args a;
    a.shape = paged.shape;
    a.q = q.view;
    a.k = paged.k();
    a.v = paged.v();
    a.block_size = paged.block;
    a.out = out.view;
    a.state = state.as<float>();
    a.sinks = given(sinks);
    return a;
  }
  std::int64_t first_row(std::size_t i) const {
    return std::accumulate(lengths.begin(), lengths.begin() + static_cast<std::ptrdiff_t>(i), 0);
  }
  AttentionPrefill::Sequence sequence(std::size_t i, std::int64_t from, std::int64_t rows) const {
    return {first_row(i) + from, rows, from, 0, from + rows, paged.tables[i].data(), 0};
  }
  const std::vector<float> whole(const ops::Kernel<AttentionPrefill>& kernel, Stream& stream) {
    std::vector<AttentionPrefill::Sequence> all;
    for (std::size_t i = 0; i < lengths.size(); ++i) all.push_back(sequence(i, 0, lengths[i]));
    auto a = args();
    a.sequences = all;
    kernel.run(a, stream);
    return out.values();
  }
};

const AttentionShape kPrefillShapes[] = {kExpanded, kExpandedOdd, kGqa, kOdd, kWindow, kWideWindow,
                                         kChunks, kSinks, kWindowAndSinks};

TEST(CpuAttentionPrefill, AgreesWithTheReference) {
  const auto stream = make_stream({.threads = 2});
  for (const Types& types : kTypes) {
    for (const auto& shape : kPrefillShapes) {
      for (int block : {1, 16, 64}) {
        if (types.cache == DType::kF8E4M3 && block != 16) continue;  // the reference is slow here
        Prefill prefill(shape, types, block, {1, 7, 64, 65, 0, 150});
        const auto expected = prefill.whole(ops::reference::kAttentionPrefill, *stream);
        for (const auto* kernel :
             runnable(kernels().attention_prefill, {types.q, types.cache, shape}, stream->capabilities())) {
          const auto got = prefill.whole(*kernel, *stream);
          for (std::size_t i = 0; i < got.size(); ++i) {
            ASSERT_NEAR(got[i], expected[i], tolerance(types.q)) << kernel->name << " element " << i;
          }
        }
      }
    }
  }
}

// Chunks of a prompt, among other sequences' chunks, in pages.
TEST(CpuAttentionPrefill, ChunksEqualTheWholePromptBitForBit) {
  const auto stream = make_stream({.threads = 3, .pin = false});
  const auto one = make_stream({.threads = 1});
  for (const Types& types : kTypes) {
    for (const auto& shape : kPrefillShapes) {
      Prefill prefill(shape, types, 16, {300, 90});
      for (const auto* kernel :
           runnable(kernels().attention_prefill, {types.q, types.cache, shape}, stream->capabilities())) {
        const auto expected = prefill.whole(*kernel, *stream);
        EXPECT_EQ(prefill.whole(*kernel, *one), expected) << kernel->name;
        prefill.out.fill(9);
        for (std::int64_t first = 0; first < 300; first += 71) {
          std::vector<AttentionPrefill::Sequence> chunk = {
              prefill.sequence(0, first, std::min<std::int64_t>(71, 300 - first))};
          if (first == 142) chunk.insert(chunk.begin(), prefill.sequence(1, 0, 90));
          auto a = prefill.args();
          a.sequences = chunk;
          kernel->run(a, *stream);
        }
        EXPECT_EQ(prefill.out.values(), expected) << kernel->name;
      }
    }
  }
}

TEST(CpuAttentionPrefill, SegmentsOfContiguousKeysEqualTheWholeBitForBit) {
  const auto stream = make_stream({.threads = 2});
  const int length = 260;
  for (const Types& types : kTypes) {
    for (const auto& shape : kPrefillShapes) {
      Prefill prefill(shape, types, 1, {length});
      std::vector<std::int32_t> straight(length);
      std::iota(straight.begin(), straight.end(), 0);
      prefill.paged.tables[0] = straight;
      for (const auto* kernel :
           runnable(kernels().attention_prefill, {types.q, types.cache, shape}, stream->capabilities())) {
        const auto expected = prefill.whole(*kernel, *stream);
        prefill.out.fill(9);
        for (std::int64_t first = 0; first < length; first += 128) {
          const std::int64_t end = std::min<std::int64_t>(first + 128, length);
          const AttentionPrefill::Sequence segment[] = {{0, length, 0, first, end, nullptr, first}};
          auto a = prefill.args();
          a.sequences = segment;
          a.first_segment = first == 0;
          a.last_segment = end == length;
          kernel->run(a, *stream);
        }
        EXPECT_EQ(prefill.out.values(), expected) << kernel->name;
      }
    }
  }
}

void check_last_row(const AttentionShape& shape) {
  const auto stream = make_stream({.threads = 2});
  for (const Types& types : kTypes) {
    Prefill prefill(shape, types, 16, {300});
    const auto capabilities = stream->capabilities();
    const auto best = ops::select<AttentionPrefill>(
        kernels().attention_prefill, {types.q, types.cache, shape}, capabilities);
    const auto decode = ops::select<AttentionDecode>(
        kernels().attention_decode, {types.q, types.cache, shape}, capabilities);
    prefill.whole(*best->kernel, *stream);
    const AttentionDecode::Row rows[] = {{prefill.paged.tables[0].data(), 300}};
    TestRows out(types.q, 1, shape.heads * shape.v_dim);
    Buffer scratch(AttentionDecode::scratch_bytes(shape, 1, 300));
    decode->kernel->run({shape,
                         prefill.q.view.slice_rows(299, 1),
                         prefill.paged.k(),
                         prefill.paged.v(),
                         16,
                         rows,
                         out.view,
                         scratch.data(),
                         given(prefill.sinks)},
                        *stream);
    for (std::int64_t c = 0; c < out.view.cols; ++c) {
      EXPECT_NEAR(out.at(0, c), prefill.out.at(299, c), tolerance(types.q));
    }
  }
}

TEST(CpuAttention, APrefillsLastRowIsADecode) {
  for (const auto& shape : {kGqa, kWindow, kWideWindow, kChunks, kSinks, kWindowAndSinks}) check_last_row(shape);
}

}  // namespace
}  // namespace braid::cpu
