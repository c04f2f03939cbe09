// SPDX-License-Identifier: Apache-2.0
// On a GPU: every kernel of linear and grouped_mlp against the slow reference.
#include "backend/cuda/testing/gpu.h"

namespace braid::cuda {
namespace {

using ops::GroupedMlp;
using ops::Linear;
using ops::Weight;
using ops::WeightFormat;

// A matrix as a checkpoint stores it.
struct Stored {
  Stored(WeightFormat format, std::int64_t rows, std::int64_t cols, unsigned seed) {
    const auto random = ops::reference::random_values(static_cast<std::size_t>(rows * cols), seed, 0.1f);
    const DType dtype = format == WeightFormat::kF8 ? DType::kF8E4M3 : format == WeightFormat::kF32 ? DType::kF32 : DType::kBF16;
    if (format == WeightFormat::kF4) {
      store_mxfp4(rows, cols, seed);
      return;
    }
    values.resize(random.size() * size_of(dtype));
    for (std::size_t i = 0; i < random.size(); ++i) {
      if (dtype == DType::kF32) reinterpret_cast<float*>(values.data())[i] = random[i];
      else if (dtype == DType::kBF16) reinterpret_cast<std::uint16_t*>(values.data())[i] = f32_to_bf16(random[i]);
      else values[i] = static_cast<std::byte>(f32_to_f8e4m3(random[i] * 2000));
    }
    const std::int64_t down = (rows + 127) / 128, across = (cols + 127) / 128;
    scales = ops::reference::random_values(static_cast<std::size_t>(down * across), seed + 7);
    for (float& s : scales) s = 0.0005f + 0.0002f * s;
    weight = dtype == DType::kF8E4M3 ? Weight({values.data(), dtype, {rows, cols}}, {scales.data(), DType::kF32, {down, across}})
                                     : Weight({values.data(), dtype, {rows, cols}});
  }
  void store_mxfp4(std::int64_t rows, std::int64_t cols, unsigned seed) {
    std::mt19937 random(seed);
    const std::int64_t across = (cols + 31) / 32;
    values.resize(static_cast<std::size_t>(rows * cols + 1) / 2);
    powers.resize(static_cast<std::size_t>(rows * across));
    for (std::byte& two : values) two = static_cast<std::byte>(random());
    for (std::byte& power : powers) power = static_cast<std::byte>(121 + random() % 4);  // 1/64 to 1/8
    weight = Weight({values.data(), DType::kF4E2M1, {rows, cols}}, {powers.data(), DType::kE8M0, {rows, across}}, 32);
  }

  std::vector<std::byte> values, powers;
  std::vector<float> scales;
  Weight weight;
};

struct Form {
  WeightFormat format;
  bool f8_activations = false;
};
constexpr Form kForms[] = {{WeightFormat::kF32}, {WeightFormat::kBF16}, {WeightFormat::kF8}, {WeightFormat::kF8, true}, {WeightFormat::kF4}};

// Rounding inputs to e4m3 moves a sum by a few per cent of its usual size.
double tolerance_of(DType x, const Form& form) { return form.f8_activations ? 6e-2 : cuda::tolerance_of(x); }

std::string name_of(const Form& form) { return std::string(ops::name_of(form.format)) + (form.f8_activations ? " by FP8 " : " "); }

DType input_of(WeightFormat format) { return format == WeightFormat::kF32 ? DType::kF32 : DType::kBF16; }

class MatmulTest : public Gpu {};

TEST_F(MatmulTest, LinearAgreesOnRaggedAndOddShapes) {
  const std::pair<std::int64_t, std::int64_t> shapes[] = {{1, 8}, {7, 24}, {64, 64}, {97, 136}, {130, 520}, {333, 1160}, {40, 30}};
  unsigned seed = 1;
  for (const Form& form : kForms) {
    const WeightFormat format = form.format;
    for (const auto& [n, k] : shapes) {
      const Stored stored(format, n, k, ++seed);
      const Linear::Problem problem{input_of(format), format, n, k, 1, form.f8_activations};
      const auto reference = ops::reference::kLinear.prepare({&stored.weight, 1}, problem, host_);
      for (const std::int64_t m : {1, 5, 16, 33, 64, 131}) {
        for (const bool accumulate : {false, true}) {
          TwinRows x(*stream_, problem.x, m, k, ++seed, 1.0f, 8);
          for (const auto* kernel : runnable(kernels().linear, problem, *stream_)) {
            TwinRows y(*stream_, accumulate ? DType::kF32 : problem.x, m, n, 77, 1.0f, 3);
            const auto packed = kernel->prepare({&stored.weight, 1}, problem, *stream_);
            kernel->run({&packed, x.device(), y.device(), 0, 0, accumulate}, *stream_);
            ops::reference::kLinear.run({&reference, x.host(), y.host(), 0, 0, accumulate}, host_);
            expect_close(y.got(), y.wanted(), tolerance_of(problem.x, form), std::string(kernel->name) + " " + name_of(form) + " " +
                         std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k));
          }
        }
      }
    }
  }
}

TEST_F(MatmulTest, LinearTakesBatchesOfWindowsAlsoTransposed) {
  for (const Form& form : kForms) {
    const WeightFormat format = form.format;
    const Stored stored(format, 4 * 72, 128, 5);
    std::vector<Weight> plain, turned;
    for (int h = 0; h < 4; ++h) {
      plain.push_back(stored.weight.window(h * 72 + 32, 40, 0, 128));
      turned.push_back(stored.weight.window(h * 72, 32, 0, 128).transpose());
    }
    for (const auto& windows : {plain, turned}) {
      const std::int64_t n = windows[0].rows, k = windows[0].cols, m = 21;
      const Linear::Problem problem{input_of(format), format, n, k, 4, form.f8_activations};
      const auto reference = ops::reference::kLinear.prepare(windows, problem, host_);
      for (const auto* kernel : runnable(kernels().linear, problem, *stream_)) {
        TwinRows x(*stream_, problem.x, m, 4 * k, 3), y(*stream_, problem.x, m, 4 * n, 4);
        const auto packed = kernel->prepare(windows, problem, *stream_);
        const auto cut = [](const Activations& a, std::int64_t cols) { return a.columns(0, cols); };
        kernel->run({&packed, cut(x.device(), k), cut(y.device(), n), k, n}, *stream_);
        ops::reference::kLinear.run({&reference, cut(x.host(), k), cut(y.host(), n), k, n}, host_);
        expect_close(y.got(), y.wanted(), tolerance_of(problem.x, form), std::string(kernel->name) + " " + name_of(form));
      }
    }
  }
}

TEST_F(MatmulTest, LinearAddsABias) {
  for (const Form& form : kForms) {
    const WeightFormat format = form.format;
    const Stored stored(format, 97, 136, 5);
    const Linear::Problem problem{input_of(format), format, 97, 136, 1, form.f8_activations, true};
    const auto reference = ops::reference::kLinear.prepare({&stored.weight, 1}, problem, host_);
    TwinRows bias(*stream_, DType::kF32, 1, 97, 6), x(*stream_, problem.x, 9, 136, 3);
    for (const auto* kernel : runnable(kernels().linear, problem, *stream_)) {
      TwinRows y(*stream_, DType::kF32, 9, 97, 4, 1.0f, 3);
      const auto packed = kernel->prepare({&stored.weight, 1}, problem, *stream_);
      kernel->run({&packed, x.device(), y.device(), 0, 0, true, bias.device_f32().data}, *stream_);
      ops::reference::kLinear.run({&reference, x.host(), y.host(), 0, 0, true, bias.host_f32().data}, host_);
      expect_close(y.got(), y.wanted(), tolerance_of(problem.x, form), std::string(kernel->name) + " " + name_of(form));
    }
  }
}

// The longest rows are those that few_rows.cu takes at most.
TEST_F(MatmulTest, ARowOfLinearIsTheSameAmongAnyNumberOfOthers) {
  for (const Form& form : kForms) {
    const WeightFormat format = form.format;
    for (const std::int64_t k : {1160, 7168, 8192}) {
      const std::int64_t n = 200;
      const Stored stored(format, n, k, 9);
      const Linear::Problem problem{input_of(format), format, n, k, 1, form.f8_activations};
      for (const auto* kernel : runnable(kernels().linear, problem, *stream_)) {
        const auto packed = kernel->prepare({&stored.weight, 1}, problem, *stream_);
        TwinRows x(*stream_, problem.x, 200, k, 10), whole(*stream_, DType::kF32, 200, n, 11), parts(*stream_, DType::kF32, 200, n, 12);
        kernel->run({&packed, x.device(), whole.device()}, *stream_);
        for (std::int64_t first = 0, count = 1; first < 200; first += count, count = std::min<std::int64_t>(count * 2, 200 - first)) {
          kernel->run({&packed, x.device().slice_rows(first, count), parts.device().slice_rows(first, count)}, *stream_);
        }
        EXPECT_EQ(parts.got(), whole.got()) << kernel->name << " " << name_of(form) << " " << k;
      }
    }
  }
}

struct Experts {
  Experts(WeightFormat format, std::int64_t hidden, const std::vector<std::int64_t>& inters, unsigned seed) {
    for (const std::int64_t inter : inters) {
      parts.emplace_back(format, inter, hidden, ++seed);
      parts.emplace_back(format, inter, hidden, ++seed);
      parts.emplace_back(format, hidden, inter, ++seed);
    }
  }
  std::vector<ops::PackedMlp> pack(const ops::Kernel<GroupedMlp>& kernel, const GroupedMlp::Problem& problem, Stream& stream) const {
    std::vector<ops::PackedMlp> packed;
    for (std::size_t e = 0; e < parts.size(); e += 3) {
      packed.push_back(kernel.prepare(parts[e].weight, parts[e + 1].weight, parts[e + 2].weight, problem, stream));
      const auto biases = static_cast<std::size_t>(2 * packed.back().inter + packed.back().hidden);
      if (problem.bias) packed.back().bias = upload(stream, ops::reference::random_values(biases, 7 + static_cast<unsigned>(e)));
    }
    return packed;
  }
  std::vector<Stored> parts;
};

std::vector<const ops::PackedMlp*> addresses(const std::vector<ops::PackedMlp>& packed) {
  std::vector<const ops::PackedMlp*> all;
  for (const auto& mlp : packed) all.push_back(&mlp);
  return all;
}

// As gpt-oss has it.
void use_biases(GroupedMlp::Problem& problem) {
  problem.glu = {1.702f, 0.75f, 1};
  problem.bias = true;
}

TEST_F(MatmulTest, GroupedMlpAgreesOnRaggedEmptyAndSkewedGroups) {
  const std::vector<std::vector<std::int32_t>> spreads = {{1, 0, 0, 0, 0}, {0, 3, 0, 1, 8}, {70, 0, 5, 1, 200}, {0, 0, 0, 0, 300}};
  unsigned seed = 100;
  std::vector<std::pair<Form, bool>> forms;
  for (const Form& form : kForms) forms.insert(forms.end(), {{form, false}, {form, true}});
  for (const auto& [form, biased] : forms) {
    const WeightFormat format = form.format;
    for (const auto& [hidden, inter] : {std::pair{96, 28}, std::pair{256, 136}, std::pair{33, 17}}) {
      const Experts experts(format, hidden, {inter, inter, inter, inter, 2 * inter}, ++seed);
      GroupedMlp::Problem problem{input_of(format), format, hidden, 2 * inter, form.f8_activations};
      if (biased) use_biases(problem);
      const auto reference = experts.pack(ops::reference::kGroupedMlp, problem, host_);
      for (const auto* kernel : runnable(kernels().grouped_mlp, problem, *stream_)) {
        const auto packed = experts.pack(*kernel, problem, *stream_);
        for (const auto& spread : spreads) {
          std::vector<std::int32_t> offsets{0}, tokens;
          for (const std::int32_t rows : spread) offsets.push_back(offsets.back() + rows);
          for (std::int32_t r = 0; r < offsets.back(); ++r) tokens.push_back(r * 7 % 23);
          Twin starts = twin(*stream_, offsets), index = twin(*stream_, tokens);
          TwinRows x(*stream_, problem.x, 23, hidden, ++seed), out(*stream_, DType::kF32, offsets.back(), hidden, 8);
          const Buffer scratch = stream_->allocate(GroupedMlp::scratch_bytes(out.rows, problem.inter));
          const auto here = addresses(packed), there = addresses(reference);
          kernel->run({x.device(), here, starts.device<std::int32_t>(), index.device<std::int32_t>(), out.device_f32(), scratch.data()}, *stream_);
          ops::reference::kGroupedMlp.run({x.host(), there, offsets.data(), tokens.data(), out.host_f32(), nullptr}, host_);
          expect_close(out.got(), out.wanted(), tolerance_of(problem.x, form) * 2, std::string(kernel->name) + " " + name_of(form) + " " +
                       std::to_string(hidden) + " x " + std::to_string(inter) + ", " + std::to_string(out.rows) + " rows");
        }
      }
    }
  }
}

}  // namespace
}  // namespace braid::cuda
