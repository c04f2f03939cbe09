// SPDX-License-Identifier: Apache-2.0
// On a GPU: the row-wise kernels and those around experts against the slow reference.
#include <algorithm>

#include "backend/cuda/testing/gpu.h"

namespace braid::cuda {
namespace {

using namespace ops;

constexpr DType kTypes[] = {DType::kF32, DType::kBF16};

class RowsTest : public Gpu {
 protected:
  std::vector<std::int32_t> integers(std::size_t count, int below, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::int32_t> all(count);
    for (auto& i : all) i = static_cast<std::int32_t>(random() % static_cast<unsigned>(below));
    return all;
  }
  // Distinct slots of `rows` cache rows, the second one skipped.
  std::vector<std::int32_t> slots(std::size_t count, int rows) {
    std::vector<std::int32_t> all(static_cast<std::size_t>(rows));
    for (int i = 0; i < rows; ++i) all[static_cast<std::size_t>(i)] = i * 7 % rows;
    all.resize(count);
    if (count > 1) all[1] = -1;
    return all;
  }
};

// Rows of an FP8 cache on both sides, random at first.
struct Fp8Cache {
  Fp8Cache(Stream& stream, Fp8Row row_shape, std::int64_t row_count, unsigned seed)
      : shape(row_shape), count(row_count), memory(stream, bytes(seed)) {}

  Activations host() { return {memory.host<std::byte>(), DType::kF8E4M3, count, shape.bytes(), shape.bytes()}; }
  Activations device() const { return {memory.device<std::byte>(), DType::kF8E4M3, count, shape.bytes(), shape.bytes()}; }
  std::vector<float> wanted() { return floats(memory.host<std::byte>()); }
  std::vector<float> got() const {
    const auto result = memory.result();
    return floats(result.data());
  }

  Fp8Row shape;
  std::int64_t count;
  Twin memory;

 private:
  int columns() const { return shape.elements + shape.plain; }
  std::vector<std::byte> bytes(unsigned seed) const {
    const auto values = reference::random_values(static_cast<std::size_t>(count * columns()), seed);
    std::vector<std::byte> all(static_cast<std::size_t>(count * shape.bytes()));
    for (std::int64_t r = 0; r < count; ++r) shape.put(all.data() + r * shape.bytes(), values.data() + r * columns());
    return all;
  }
  std::vector<float> floats(const std::byte* data) const {
    std::vector<float> values;
    for (std::int64_t r = 0; r < count; ++r) {
      for (int i = 0; i < columns(); ++i) values.push_back(shape.at(data + r * shape.bytes(), i));
    }
    return values;
  }
};

// A value that lies between two codes may become either.
constexpr double kFp8Tolerance = 1.0 / 16;

struct Rotation {
  Rotation(Stream& stream, int dim, bool interleaved) : cos(stream, DType::kF32, 50, dim / 2, 41), sin(stream, DType::kF32, 50, dim / 2, 42), d(dim), i(interleaved) {}
  RopeTable host() { return {cos.host_f32().data, sin.host_f32().data, d, i}; }
  RopeTable device() const { return {cos.device_f32().data, sin.device_f32().data, d, i}; }
  TwinRows cos, sin;
  int d;
  bool i;
};

TEST_F(RowsTest, EmbedTakesRows) {
  for (const DType dtype : kTypes) {
    TwinRows table(*stream_, dtype, 31, 77, 1), out(*stream_, DType::kF32, 9, 77, 2, 1.0f, 5);
    auto ids = integers(9, 31, 3);
    Twin index = twin(*stream_, ids);
    kernels().embed[0].run({table.device().data, dtype, {index.device<std::int32_t>(), 9}, out.device_f32()}, *stream_);
    reference::kEmbed.run({table.host().data, dtype, ids, out.host_f32()}, host_);
    EXPECT_EQ(out.got(), out.wanted());
  }
}

TEST_F(RowsTest, RmsNormAgrees) {
  for (const DType dtype : kTypes) {
    for (const std::int64_t cols : {1, 33, 512, 7168}) {
      TwinRows x(*stream_, DType::kF32, 5, cols, 1, 3.0f, 1), weight(*stream_, DType::kF32, 1, cols, 2), out(*stream_, dtype, 5, cols, 3, 1.0f, 2),
          exact(*stream_, DType::kF32, 5, cols, 4);
      const auto view = [](Matrix<float> m) { return Matrix<const float>(m.data, m.rows, m.cols, m.stride); };
      kernels().rms_norm[0].run({view(x.device_f32()), weight.device_f32().data, 1e-6f, out.device(), exact.device_f32()}, *stream_);
      reference::kRmsNorm.run({view(x.host_f32()), weight.host_f32().data, 1e-6f, out.host(), exact.host_f32()}, host_);
      expect_close(out.got(), out.wanted(), tolerance_of(dtype), "rms_norm");
      expect_close(exact.got(), exact.wanted(), 1e-5, "rms_norm exact");
    }
  }
}

Matrix<const float> constant(Matrix<float> m) { return {m.data, m.rows, m.cols, m.stride}; }

TEST_F(RowsTest, MlaStoreAndQueryAgree) {
  const int lora = 40, nope = 24, heads = 3;
  for (const DType dtype : kTypes) {
    for (const bool interleaved : {true, false}) {
      Rotation rope(*stream_, 16, interleaved);
      auto positions = integers(6, 50, 8), where = slots(6, 20);
      Twin p = twin(*stream_, positions), s = twin(*stream_, where);
      TwinRows latent(*stream_, DType::kF32, 6, lora + 16, 1, 1.0f, 9), weight(*stream_, DType::kF32, 1, lora, 2), cache(*stream_, dtype, 20, lora + 16, 3);
      kernels().mla_store[0].run({constant(latent.device_f32()), weight.device_f32().data, 1e-6f, rope.device(), p.device<std::int32_t>(), s.device<std::int32_t>(), cache.device()}, *stream_);
      reference::kMlaStore.run({constant(latent.host_f32()), weight.host_f32().data, 1e-6f, rope.host(), positions.data(), where.data(), cache.host()}, host_);
      expect_close(cache.got(), cache.wanted(), tolerance_of(dtype), "mla_store");
      const std::int64_t dim = nope + 16;
      TwinRows q(*stream_, DType::kF32, 6, heads * dim, 4), out(*stream_, dtype, 6, heads * dim, 5);
      const auto rotated = [&](const Activations& a) { return a.columns(nope, heads * dim - nope); };
      kernels().mla_query[0].run({constant(q.device_f32()), heads, nope, rope.device(), p.device<std::int32_t>(), out.device(), dim, rotated(out.device()), dim}, *stream_);
      reference::kMlaQuery.run({constant(q.host_f32()), heads, nope, rope.host(), positions.data(), out.host(), dim, rotated(out.host()), dim}, host_);
      expect_close(out.got(), out.wanted(), tolerance_of(dtype), "mla_query");
    }
  }
}

TEST_F(RowsTest, MlaGatherCopiesRowsAndSpreadsTheirRotatedPart) {
  const int lora = 40, rope = 16, nope = 24, heads = 3;
  for (const DType dtype : kTypes) {
    auto rows = integers(11, 20, 5);
    Twin index = twin(*stream_, rows);
    TwinRows cache(*stream_, dtype, 20, lora + rope, 1), latent(*stream_, dtype, 11, lora + rope, 2), keys(*stream_, dtype, 11, heads * (nope + rope), 3);
    const auto part = [&](const Activations& a) { return a.columns(nope, heads * (nope + rope) - nope); };
    kernels().mla_gather[0].run({cache.device(), index.device<std::int32_t>(), latent.device(), part(keys.device()), heads, nope + rope, rope}, *stream_);
    reference::kMlaGather.run({cache.host(), rows.data(), latent.host(), part(keys.host()), heads, nope + rope, rope}, host_);
    EXPECT_EQ(latent.got(), latent.wanted());
    EXPECT_EQ(keys.got(), keys.wanted());
  }
}

TEST_F(RowsTest, LatentsReachAnFp8CacheAndComeBack) {
  const int lora = 296, rotated = 16, nope = 24, heads = 3;
  Rotation rope(*stream_, rotated, true);
  auto positions = integers(6, 50, 8), where = slots(6, 20), rows = integers(11, 20, 5);
  Twin p = twin(*stream_, positions), s = twin(*stream_, where), index = twin(*stream_, rows);
  TwinRows latent(*stream_, DType::kF32, 6, lora + rotated, 1, 900.0f, 9), weight(*stream_, DType::kF32, 1, lora, 2);
  Fp8Cache cache(*stream_, Fp8Row::latent(lora, rotated), 20, 3);
  const auto part = [&](const Activations& a) { return a.columns(nope, heads * (nope + rotated) - nope); };
  for (const DType dtype : kTypes) {
    TwinRows back(*stream_, dtype, 11, lora + rotated, 2), keys(*stream_, dtype, 11, heads * (nope + rotated), 3);
    kernels().mla_gather[0].run({cache.device(), index.device<std::int32_t>(), back.device(), part(keys.device()), heads, nope + rotated, rotated}, *stream_);
    reference::kMlaGather.run({cache.host(), rows.data(), back.host(), part(keys.host()), heads, nope + rotated, rotated}, host_);
    EXPECT_EQ(back.got(), back.wanted());
    EXPECT_EQ(keys.got(), keys.wanted());
  }
  kernels().mla_store[0].run({constant(latent.device_f32()), weight.device_f32().data, 1e-6f, rope.device(), p.device<std::int32_t>(), s.device<std::int32_t>(), cache.device()}, *stream_);
  reference::kMlaStore.run({constant(latent.host_f32()), weight.host_f32().data, 1e-6f, rope.host(), positions.data(), where.data(), cache.host()}, host_);
  expect_close(cache.got(), cache.wanted(), kFp8Tolerance, "mla_store into an FP8 cache");
}

TEST_F(RowsTest, HeadsReachAnFp8Cache) {
  const int heads = 5, kv = 2, dim = 24;
  Rotation rope(*stream_, 16, false);
  auto positions = integers(7, 50, 8), where = slots(7, 30);
  Twin p = twin(*stream_, positions), s = twin(*stream_, where);
  TwinRows qkv(*stream_, DType::kF32, 7, (heads + 2 * kv) * dim, 1, 50.0f), q(*stream_, DType::kBF16, 7, heads * dim, 3);
  Fp8Cache cache(*stream_, Fp8Row::keys_and_values(kv, dim), 30, 4);
  kernels().gqa_prepare[0].run({constant(qkv.device_f32()), heads, kv, dim, nullptr, nullptr, 1e-6f, rope.device(), p.device<std::int32_t>(), s.device<std::int32_t>(), q.device(), cache.device()}, *stream_);
  reference::kGqaPrepare.run({constant(qkv.host_f32()), heads, kv, dim, nullptr, nullptr, 1e-6f, rope.host(), positions.data(), where.data(), q.host(), cache.host()}, host_);
  expect_close(q.got(), q.wanted(), tolerance_of(DType::kBF16), "gqa_prepare q");
  expect_close(cache.got(), cache.wanted(), kFp8Tolerance, "gqa_prepare into an FP8 cache");
}

TEST_F(RowsTest, GqaPrepareAgrees) {
  const int heads = 5, kv = 2, dim = 24;
  for (const DType dtype : kTypes) {
    for (const bool normed : {true, false}) {
      Rotation rope(*stream_, 16, false);
      auto positions = integers(7, 50, 8), where = slots(7, 30);
      Twin p = twin(*stream_, positions), s = twin(*stream_, where);
      TwinRows qkv(*stream_, DType::kF32, 7, (heads + 2 * kv) * dim, 1), norms(*stream_, DType::kF32, 2, dim, 2), q(*stream_, dtype, 7, heads * dim, 3),
          cache(*stream_, dtype, 30, 2 * kv * dim, 4);
      const auto args = [&](auto qkv_view, Matrix<float> w, RopeTable r, const std::int32_t* pos, const std::int32_t* slot, Activations qs, Activations c) {
        return GqaPrepare::Args{qkv_view, heads, kv, dim, normed ? w.row(0) : nullptr, normed ? w.row(1) : nullptr, 1e-6f, r, pos, slot, qs, c};
      };
      kernels().gqa_prepare[0].run(args(constant(qkv.device_f32()), norms.device_f32(), rope.device(), p.device<std::int32_t>(), s.device<std::int32_t>(), q.device(), cache.device()), *stream_);
      reference::kGqaPrepare.run(args(constant(qkv.host_f32()), norms.host_f32(), rope.host(), positions.data(), where.data(), q.host(), cache.host()), host_);
      expect_close(q.got(), q.wanted(), tolerance_of(dtype), "gqa_prepare q");
      expect_close(cache.got(), cache.wanted(), tolerance_of(dtype), "gqa_prepare cache");
    }
  }
}

TEST_F(RowsTest, RouteChoosesTheSameExpertsWithTies) {
  const Route::Problem problems[] = {
      {.experts = 16, .top_k = 4},
      {.experts = 160, .top_k = 6, .groups = 8, .topk_groups = 3, .scale = 16},
      {.experts = 256, .top_k = 8, .groups = 8, .topk_groups = 4, .scoring = Scoring::kSigmoid, .group_score = GroupScore::kSumOfTopTwo, .normalise = true, .scale = 2.5f},
      {.experts = 384, .top_k = 8, .scoring = Scoring::kSigmoid, .normalise = true},
      {.experts = 5, .top_k = 5}};
  for (const auto& p : problems) {
    TwinRows logits(*stream_, DType::kF32, 13, p.experts, 6, 3.0f), bias(*stream_, DType::kF32, 1, p.experts, 7, 0.1f);
    Twin ids = twin(*stream_, std::vector<std::int32_t>(static_cast<std::size_t>(13 * p.top_k)));
    TwinRows weights(*stream_, DType::kF32, 13, p.top_k, 8);
    for (const bool with_bias : {false, true}) {
      kernels().route[0].run({&p, constant(logits.device_f32()), with_bias ? bias.device_f32().data : nullptr, ids.device<std::int32_t>(), weights.device_f32().data}, *stream_);
      reference::kRoute.run({&p, constant(logits.host_f32()), with_bias ? bias.host_f32().data : nullptr, ids.host<std::int32_t>(), weights.host_f32().data}, host_);
      const auto got = ids.result();
      EXPECT_EQ(std::memcmp(got.data(), ids.host<std::byte>(), got.size()), 0) << p.experts << " experts";
      expect_close(weights.got(), weights.wanted(), 1e-5, "route");
    }
  }
  const Route::Problem ties{.experts = 70, .top_k = 9};
  Twin equal = twin(*stream_, std::vector<float>(70, 0.5f)), ids = twin(*stream_, std::vector<std::int32_t>(9)), weights = twin(*stream_, std::vector<float>(9));
  kernels().route[0].run({&ties, {equal.device<float>(), 1, 70}, nullptr, ids.device<std::int32_t>(), weights.device<float>()}, *stream_);
  const auto got = ids.result();
  for (int j = 0; j < 9; ++j) EXPECT_EQ(reinterpret_cast<const std::int32_t*>(got.data())[j], j);
}

TEST_F(RowsTest, TheSharedExpertsGateWeighsItsSlots) {
  const Route::Problem p{.experts = 60, .top_k = 4, .shared_gate = true};
  TwinRows logits(*stream_, DType::kF32, 13, p.logits(), 6, 3.0f), weights(*stream_, DType::kF32, 13, 4, 8), shared(*stream_, DType::kF32, 1, 13, 9);
  Twin ids = twin(*stream_, std::vector<std::int32_t>(52)), words = twin(*stream_, std::vector<std::int32_t>(200));
  TwinRows slot_weights(*stream_, DType::kF32, 13, 5, 10);
  const auto route = [&](bool device) {
    return Route::Args{&p, constant(device ? logits.device_f32() : logits.host_f32()), nullptr, device ? ids.device<std::int32_t>() : ids.host<std::int32_t>(),
                       device ? weights.device_f32().data : weights.host_f32().data, device ? shared.device_f32().data : shared.host_f32().data};
  };
  const auto arrange = [&](bool device) {
    const Route::Args r = route(device);
    std::int32_t* const at = device ? words.device<std::int32_t>() : words.host<std::int32_t>();
    return Arrange::Args{13, p.experts, 4, true, r.ids, r.weights, at, at + 62, at + 127, device ? slot_weights.device_f32().data : slot_weights.host_f32().data, r.shared_weights};
  };
  kernels().route[0].run(route(true), *stream_);
  kernels().arrange[0].run(arrange(true), *stream_);
  reference::kRoute.run(route(false), host_);
  reference::kArrange.run(arrange(false), host_);
  expect_close(shared.got(), shared.wanted(), 1e-5, "shared weights");
  expect_close(slot_weights.got(), slot_weights.wanted(), 1e-5, "slot weights");
}

TEST_F(RowsTest, ArrangeIsTheReferencesStableSort) {
  for (const auto& [tokens, experts, top_k] : {std::tuple{1, 4, 2}, std::tuple{0, 3, 1}, std::tuple{37, 9, 3}, std::tuple{1000, 128, 8}}) {
    for (const bool shared : {false, true}) {
      std::vector<std::int32_t> ids;
      std::mt19937 random(3);
      for (int t = 0; t < tokens; ++t) {
        std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
        for (int e = 0; e < experts; ++e) all[static_cast<std::size_t>(e)] = e;
        std::shuffle(all.begin(), all.end(), random);
        ids.insert(ids.end(), all.begin(), all.begin() + top_k);
      }
      const auto weights = reference::random_values(ids.size(), 4);
      const std::size_t rows = static_cast<std::size_t>(tokens * (top_k + (shared ? 1 : 0)));
      Twin i = twin(*stream_, ids), w = twin(*stream_, weights);
      std::vector<Twin> out;
      for (const std::size_t count : {static_cast<std::size_t>(experts + 2), rows, rows, rows}) out.push_back(twin(*stream_, std::vector<std::int32_t>(count)));
      const auto word = [&](std::size_t n, bool device) { return device ? out[n].device<std::int32_t>() : out[n].host<std::int32_t>(); };
      const auto args = [&](bool device) {
        return Arrange::Args{tokens, experts, top_k, shared, device ? i.device<std::int32_t>() : i.host<std::int32_t>(), device ? w.device<float>() : w.host<float>(),
                             word(0, device), word(1, device), word(2, device), reinterpret_cast<float*>(word(3, device))};
      };
      kernels().arrange[0].run(args(true), *stream_);
      reference::kArrange.run(args(false), host_);
      for (std::size_t n = 0; n < out.size(); ++n) {
        const auto got = out[n].result();
        EXPECT_EQ(std::memcmp(got.data(), out[n].host<std::byte>(), got.size()), 0) << tokens << " tokens, output " << n;
      }
    }
  }
}

TEST_F(RowsTest, CombineAgreesInBothForms) {
  for (const std::int64_t cols : {1, 1000, 2600}) {
    TwinRows rows(*stream_, DType::kF32, 30, cols, 1), out(*stream_, DType::kF32, 9, cols, 2, 1.0f, 4);
    auto slots = integers(27, 30, 3);
    auto weights = reference::random_values(27, 4);
    const std::vector<std::int32_t> starts{0, 2, 2, 9}, to{7, 0, 4};
    Twin s = twin(*stream_, slots), w = twin(*stream_, weights), b = twin(*stream_, starts), t = twin(*stream_, to);
    kernels().combine[0].run({constant(rows.device_f32()), s.device<std::int32_t>(), w.device<float>(), 3, out.device_f32()}, *stream_);
    reference::kCombine.run({constant(rows.host_f32()), slots.data(), weights.data(), 3, out.host_f32()}, host_);
    kernels().combine[0].run({constant(rows.device_f32()), s.device<std::int32_t>(), w.device<float>(), 3, out.device_f32(), b.device<std::int32_t>(), t.device<std::int32_t>(), 3, false}, *stream_);
    reference::kCombine.run({constant(rows.host_f32()), slots.data(), weights.data(), 3, out.host_f32(), starts.data(), to.data(), 3, false}, host_);
    expect_close(out.got(), out.wanted(), 1e-5, "combine");
  }
}

TEST_F(RowsTest, CombineTakesBfloat16) {
  const std::vector<std::int32_t> slots{4, 0, 2, 2};
  Twin s = twin(*stream_, slots), w = twin(*stream_, reference::random_values(4, 5));
  for (const bool accumulate : {false, true}) {
    TwinRows rows(*stream_, DType::kBF16, 5, 37, 1), out(*stream_, DType::kBF16, 4, 37, 2);
    kernels().combine[0].run({.rows = rows.device(), .slots = s.device<std::int32_t>(), .weights = w.device<float>(), .per_token = 1,
                              .out = out.device(), .accumulate = accumulate}, *stream_);
    reference::kCombine.run({.rows = rows.host(), .slots = slots.data(), .weights = w.host<float>(), .per_token = 1,
                             .out = out.host(), .accumulate = accumulate}, host_);
    expect_close(out.got(), out.wanted(), 1e-2, "combine of bfloat16");
  }
}

}  // namespace
}  // namespace braid::cuda
