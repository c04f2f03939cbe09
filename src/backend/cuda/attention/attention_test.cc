// SPDX-License-Identifier: Apache-2.0
// On a GPU: every attention kernel against the slow reference, paged, ragged and in segments.
#include <algorithm>

#include "backend/cuda/testing/gpu.h"

namespace braid::cuda {
namespace {

using namespace ops;

constexpr int kBlockSize = 16;
constexpr AttentionShape kGqa[] = {{8, 2, 24, 24, 0.2f}, {6, 6, 64, 64, 0.1f}, {40, 2, 64, 64, 0.1f}, {32, 4, 128, 128, 0.09f}};
// Windows, chunks and sinks, shorter and longer than a split.
constexpr AttentionShape kPartly[] = {{8, 2, 64, 64, 0.1f, 20, 0, true}, {8, 1, 128, 128, 0.1f, 300, 0, false}, {4, 4, 24, 24, 0.2f, 0, 100, false},
                                      {16, 2, 64, 64, 0.1f, 0, 0, true}, {4, 2, 32, 32, 0.2f, 40, 128, true}};
constexpr AttentionShape kMla[] = {{4, 1, 64, 48, 0.2f}, {16, 1, 576, 512, 0.05f}};

// Sequences' pages in a cache of shuffled blocks; keys and values side by side in a row.
struct Cache {
  Cache(Stream& stream, DType type, const AttentionShape& s, const std::vector<int>& contexts, bool latent)
      : shape(s), dtype(type), shared(latent), columns(latent ? s.qk_dim : s.kv_heads * (s.qk_dim + s.v_dim)),
        fp8(latent ? Fp8Row::latent(s.v_dim, s.qk_dim - s.v_dim) : Fp8Row::keys_and_values(s.kv_heads, s.v_dim)),
        memory(twin(stream, rows_of(blocks(contexts) * kBlockSize))), pages(twin(stream, table_of(contexts))) {
    std::int64_t first = 0;
    for (const int context : contexts) {
      starts.push_back(first);
      first += (context + kBlockSize - 1) / kBlockSize;
    }
  }
  static int blocks(const std::vector<int>& contexts) {
    int count = 0;
    for (const int context : contexts) count += (context + kBlockSize - 1) / kBlockSize;
    return count;
  }
  static std::vector<std::int32_t> table_of(const std::vector<int>& contexts) {
    std::vector<std::int32_t> table(static_cast<std::size_t>(blocks(contexts)));
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::int32_t>(i);
    std::shuffle(table.begin(), table.end(), std::mt19937(5));
    return table;
  }
  bool is_fp8() const { return dtype == DType::kF8E4M3; }
  std::int64_t row_bytes() const { return is_fp8() ? fp8.bytes() : columns * static_cast<std::int64_t>(size_of(dtype)); }
  // In FP8 rows' scales differ, and the reference is given what they hold as float32.
  std::vector<std::byte> rows_of(std::int64_t count) {
    std::vector<float> values = reference::random_values(static_cast<std::size_t>(count * columns), 17);
    std::vector<std::byte> bytes(static_cast<std::size_t>(count * row_bytes()));
    for (std::int64_t row = 0; row < count; ++row) {
      float* const x = values.data() + row * columns;
      std::byte* const to = bytes.data() + row * row_bytes();
      for (std::int64_t i = 0; is_fp8() && i < columns; ++i) x[i] *= std::ldexp(1.0f, static_cast<int>(row % 17) / 2 - 7);
      if (is_fp8()) fp8.put(to, x);
      for (std::int64_t i = 0; is_fp8() && i < columns; ++i) decoded.push_back(fp8.at(to, i));
      for (std::int64_t i = 0; dtype == DType::kBF16 && i < columns; ++i) reinterpret_cast<std::uint16_t*>(to)[i] = f32_to_bf16(x[i]);
      if (dtype == DType::kF32) std::memcpy(to, x, static_cast<std::size_t>(columns) * sizeof(float));
    }
    return bytes;
  }
  // Keys or values, on either side.
  ops::Rows rows(bool values, bool device) {
    std::byte* const base = device ? memory.device<std::byte>() : memory.host<std::byte>();
    const std::int64_t first = values && !shared ? shape.kv_heads * shape.qk_dim : 0, each = values && !shared ? shape.v_dim : shape.qk_dim;
    if (is_fp8() && device) return {base, dtype, fp8.bytes(), each, fp8, first};
    if (is_fp8()) return {decoded.data() + first, DType::kF32, columns, each};
    return {base + first * static_cast<std::int64_t>(size_of(dtype)), dtype, columns, each};
  }
  const std::int32_t* table(std::size_t sequence, bool device) {
    return (device ? pages.device<std::int32_t>() : pages.host<std::int32_t>()) + starts[sequence];
  }
  AttentionShape shape;
  DType dtype;
  bool shared;
  std::int64_t columns;
  Fp8Row fp8;
  std::vector<float> decoded;
  Twin memory, pages;
  std::vector<std::int64_t> starts;
};

std::string name_of(const char* kernel, const char* what, DType cached) {
  return std::string(kernel) + what + (cached == DType::kF8E4M3 ? " of an FP8 cache, " : ", ");
}

class AttentionTest : public Gpu {
 protected:
  // A logit for each head, on both sides.
  Twin sinks_of(const AttentionShape& shape) { return twin(*stream_, reference::random_values(static_cast<std::size_t>(shape.heads), 8, 2.0f)); }

  void check_decode(const AttentionShape& shape, DType dtype, bool latent, const std::vector<int>& contexts = {1, 16, 17, 255, 256, 257, 512, 513, 700, 1100}) {
    for (const DType cached : {dtype, DType::kF8E4M3}) check_decode(shape, dtype, cached, latent, contexts);
  }

  void check_decode(const AttentionShape& shape, DType dtype, DType cached, bool latent, const std::vector<int>& contexts) {
    const int longest = *std::max_element(contexts.begin(), contexts.end());
    Cache cache(*stream_, cached, shape, contexts, latent);
    const auto count = static_cast<std::int64_t>(contexts.size());
    const AttentionDecode::Problem problem{dtype, cached, shape};
    Twin sinks = sinks_of(shape);
    for (const auto* kernel : runnable(kernels().attention_decode, problem, *stream_)) {
      TwinRows q(*stream_, dtype, count, shape.heads * shape.qk_dim, 2), out(*stream_, dtype, count, shape.heads * shape.v_dim, 3);
      std::vector<AttentionDecode::Row> here, there;
      for (std::size_t i = 0; i < contexts.size(); ++i) {
        here.push_back({cache.table(i, false), contexts[i]});
        there.push_back({cache.table(i, true), contexts[i]});
      }
      const Buffer rows = upload(*stream_, there);
      const Buffer scratch = stream_->allocate(AttentionDecode::scratch_bytes(shape, count, longest));
      kernel->run({shape, q.device(), cache.rows(false, true), cache.rows(true, true), kBlockSize,
                   {here.data(), rows.as<AttentionDecode::Row>(), here.size()}, out.device(), scratch.data(), shape.sinks ? sinks.device<float>() : nullptr}, *stream_);
      reference::kAttentionDecode.run({shape, q.host(), cache.rows(false, false), cache.rows(true, false), kBlockSize, here, out.host(), nullptr,
                                      shape.sinks ? sinks.host<float>() : nullptr}, host_);
      expect_close(out.got(), out.wanted(), tolerance_of(dtype), name_of(kernel->name, " decode", cached) + std::to_string(shape.heads) + " heads of " + std::to_string(shape.qk_dim));
    }
  }

  void check_prefill(const AttentionShape& shape, DType dtype) {
    check_prefill(shape, dtype, dtype);
    if (shape.qk_dim == shape.v_dim) check_prefill(shape, dtype, DType::kF8E4M3);
  }

  void check_prefill(const AttentionShape& shape, DType dtype, DType cached) {
    const std::vector<int> contexts{5, 70, 150, 64}, queries{5, 1, 83, 64};
    Cache cache(*stream_, cached, shape, contexts, false);
    std::int64_t rows = 0;
    std::vector<AttentionPrefill::Sequence> here, there;
    for (std::size_t i = 0; i < contexts.size(); ++i) {
      here.push_back({rows, queries[i], contexts[i] - queries[i], 0, contexts[i], cache.table(i, false), 0});
      there.push_back(here.back());
      there.back().table = cache.table(i, true);
      rows += queries[i];
    }
    const AttentionPrefill::Problem problem{dtype, cached, shape};
    Twin sinks = sinks_of(shape);
    for (const auto* kernel : runnable(kernels().attention_prefill, problem, *stream_)) {
      TwinRows q(*stream_, dtype, rows, shape.heads * shape.qk_dim, 2), out(*stream_, dtype, rows, shape.heads * shape.v_dim, 3);
      const Buffer state = stream_->allocate(AttentionPrefill::state_bytes(shape, rows));
      for (const int cut : {1 << 20, 64}) {  // in one piece; in segments of 64 keys
        for (int first = 0; first < 150; first += cut) {
          auto parts = there, part_host = here;
          for (std::size_t i = 0; i < parts.size(); ++i) {
            part_host[i].key_first = parts[i].key_first = std::min(first, contexts[i]);
            part_host[i].key_end = parts[i].key_end = std::min<std::int64_t>(static_cast<std::int64_t>(first) + cut, contexts[i]);
          }
          const Buffer sequences = upload(*stream_, parts);
          kernel->run({shape, q.device(), cache.rows(false, true), cache.rows(true, true), kBlockSize,
                       {part_host.data(), sequences.as<AttentionPrefill::Sequence>(), parts.size()}, out.device(), state.as<float>(), first == 0, first + cut >= 150,
                       shape.sinks ? sinks.device<float>() : nullptr}, *stream_);
        }
        reference::kAttentionPrefill.run({shape, q.host(), cache.rows(false, false), cache.rows(true, false), kBlockSize, here, out.host(), nullptr, true, true,
                                       shape.sinks ? sinks.host<float>() : nullptr}, host_);
        expect_close(out.got(), out.wanted(), tolerance_of(dtype), name_of(kernel->name, " prefill", cached) + std::to_string(shape.heads) + " heads of " + std::to_string(shape.qk_dim));
      }
    }
  }
};

TEST_F(AttentionTest, DecodeAgreesOnRaggedContexts) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const auto& shape : kGqa) check_decode(shape, dtype, false);
    for (const auto& shape : kMla) check_decode(shape, dtype, true);
  }
}

TEST_F(AttentionTest, WindowsChunksAndSinksAgree) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const auto& shape : kPartly) {
      check_decode(shape, dtype, false);
      check_prefill(shape, dtype);
    }
  }
}

TEST_F(AttentionTest, DecodeOfLatentRowsAgreesWithFewAndManyHeads) {
  check_decode({1, 1, 576, 512, 0.05f}, DType::kBF16, true);
  check_decode({70, 1, 576, 512, 0.05f}, DType::kBF16, true, {1, 64, 65, 1024, 1100});
  check_decode({128, 1, 576, 512, 0.05f}, DType::kBF16, true, {63, 130, 2048, 2049});
}

TEST_F(AttentionTest, PrefillAgreesOnRaggedChunksAndSegments) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const auto& shape : kGqa) check_prefill(shape, dtype);
    check_prefill({4, 4, 40, 24, 0.2f}, dtype);
    check_prefill({16, 16, 192, 128, 0.07f}, dtype);
  }
}

}  // namespace
}  // namespace braid::cuda
