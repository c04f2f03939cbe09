// SPDX-License-Identifier: Apache-2.0
// Time and correctness of the GEMM kernels on this card.
//
//   gemm_bench           the table: each shape with the tiling that choose_tiling takes
//   gemm_bench --sweep   each shape with every tiling
//   gemm_bench --launch  each shape launched three times untimed, for a profiler
//   gemm_bench --check   small odd shapes (ragged, empty, tails of n and k), every tiling
//
// Each result is compared with the slow reference (up to 96 rows spread over all groups), outputs
// poisoned before. Time: median of kernel runs between two events, launch included. `us`: after 512
// MB were read to flush the cache; `us dirty`: after they were written, when the kernel also pays
// for bringing the written lines to memory. TFLOPS count valid rows, TB/s valid rows and all
// weights, both with `us`. `theirs`: DeepGEMM 2.5.0 on an H100 80GB HBM3, kernel time from CUPTI,
// cache flushed by writing; the ratios are theirs / us and theirs / us dirty.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "gpu/gemm_data.cuh"

namespace braid::cuda::bench {
namespace {

enum class Form { kDense, kRagged, kPadded };

struct Case {
  Form form;
  Precision precision;
  std::vector<int> rows;  // of each group
  int n;
  int k;
  double theirs = 0;  // us
};

// A case's operands on the device.
class Operands {
 public:
  explicit Operands(const Case& c)
      : c_(c),
        groups_(static_cast<int>(c.rows.size())),
        pitch_((std::max(128, *std::max_element(c.rows.begin(), c.rows.end())) + 127) / 128 * 128),
        first_(first_rows()),
        shape_{c.precision, groups_, c.n, c.k},
        activations_(rows() * c.k * element_bytes(c.precision)),
        source_(static_cast<std::size_t>(groups_) * c.n * c.k * element_bytes(c.precision)),
        scales_(scale_stride(rows()) * shape_.k_blocks()),
        source_scales_(static_cast<std::size_t>(groups_) * shape_.n_blocks() * shape_.k_blocks()),
        weights_(shape_.weight_bytes()),
        weight_scales_(shape_.scale_bytes() / sizeof(float)),
        out_(rows() * c.n),
        offsets_(first_),
        counts_(c.rows) {
    fill_values<<<2048, 256>>>(activations_.data(), rows() * c.k, c.precision, 1);
    fill_values<<<2048, 256>>>(source_.data(), static_cast<std::size_t>(groups_) * c.n * c.k,
                               c.precision, 2);
    fill_scales<<<1024, 256>>>(scales_.data(), scales_.size(), 3);
    fill_scales<<<1024, 256>>>(source_scales_.data(), source_scales_.size(), 4);
    ok_or_exit(pack_weights(source(), shape_, weights_.data(), weight_scales_.data(), nullptr));
    const PackedShape one{c.precision, 1, c.n, c.k};
    for (int group = 0; group < groups_; ++group) {
      each_.push_back({weights_.data() + group * one.weight_bytes(),
                       weight_scales_.data() + group * (one.scale_bytes() / sizeof(float)), c.n, c.k});
    }
    CUDA_OR_EXIT(cudaDeviceSynchronize());
  }

  std::size_t rows() const { return static_cast<std::size_t>(first_.back()); }
  int valid_rows() const {
    int sum = 0;
    for (const int rows : c_.rows) {
      sum += rows;
    }
    return sum;
  }
  PackSource source() const { return {source_.data(), source_scales_.data()}; }
  GemmProblem problem() const {
    return {c_.precision, groups_, (valid_rows() + groups_ - 1) / groups_, c_.n, c_.k};
  }
  GemmOperands operands() const {
    const auto count = static_cast<std::int64_t>(rows());
    GemmOperands o{.activations = activations_.data(), .stride = c_.k, .scales = scales_.data(), .weights = each_,
                   .out = {out_.data(), DType::kBF16, count, c_.n, c_.n}, .rows = count};
    o.offsets = c_.form == Form::kRagged ? offsets_.data() : nullptr;
    o.counts = c_.form == Form::kPadded ? counts_.data() : nullptr;
    o.pitch = pitch_;
    return o;
  }
  void poison() { CUDA_OR_EXIT(cudaMemset(out_.data(), 0xFF, out_.size() * 2)); }

  // Up to `most` valid rows with their groups: first, last and some between of each group.
  void sample(int most, std::vector<std::int32_t>& rows, std::vector<std::int32_t>& groups) const {
    const int each = std::max(2, most / groups_);
    for (int group = 0; group < groups_ && static_cast<int>(rows.size()) < most; ++group) {
      const int count = c_.rows[group];
      const int taken = std::min(count, each);
      for (int i = 0; i < taken; ++i) {
        const int row = taken == count ? i : i + 1 == taken ? count - 1 : i * 37 % count;
        rows.push_back(first_[group] + row);
        groups.push_back(group);
      }
    }
  }

  double error(const Array<std::int32_t>& rows, const Array<float>& reference) const {
    Array<double> sums(std::vector<double>{0, 0});
    compare<<<256, 256>>>(reinterpret_cast<const __nv_bfloat16*>(out_.data()), reference.data(),
                          rows.data(), static_cast<int>(rows.size()), c_.n, sums.data());
    double host[2];
    CUDA_OR_EXIT(cudaMemcpy(host, sums.data(), sizeof host, cudaMemcpyDeviceToHost));
    return host[1] == 0 ? host[0] : std::sqrt(host[0] / host[1]);
  }

  unsigned long long hash() const {
    Array<unsigned long long> hash(std::vector<unsigned long long>{0});
    hash_output<<<1024, 256>>>(out_.data(), out_.size(), hash.data());
    unsigned long long host;
    CUDA_OR_EXIT(cudaMemcpy(&host, hash.data(), sizeof host, cudaMemcpyDeviceToHost));
    return host;
  }

  bool padding_untouched() const {
    std::vector<std::uint8_t> inside(rows(), 0);
    for (int group = 0; group < groups_; ++group) {
      std::fill_n(inside.begin() + first_[group], c_.rows[group], 1);
    }
    Array<std::uint8_t> device_inside(inside);
    Array<unsigned long long> touched(std::vector<unsigned long long>{0});
    count_touched<<<1024, 256>>>(out_.data(), device_inside.data(), static_cast<int>(rows()), c_.n,
                                 touched.data());
    unsigned long long host;
    CUDA_OR_EXIT(cudaMemcpy(&host, touched.data(), sizeof host, cudaMemcpyDeviceToHost));
    return host == 0;
  }

 private:
  std::vector<std::int32_t> first_rows() const {
    std::vector<std::int32_t> first = {0};
    for (const int rows : c_.rows) {
      first.push_back(first.back() + (c_.form == Form::kPadded ? pitch_ : rows));
    }
    return first;
  }

  const Case& c_;
  const int groups_;
  const int pitch_;
  const std::vector<std::int32_t> first_;
  const PackedShape shape_;
  Array<std::uint8_t> activations_;
  Array<std::uint8_t> source_;
  Array<float> scales_;
  Array<float> source_scales_;
  Array<std::uint8_t> weights_;
  Array<float> weight_scales_;
  std::vector<GemmWeight> each_;
  Array<std::uint16_t> out_;
  Array<std::int32_t> offsets_;
  Array<std::int32_t> counts_;
};

struct Outcome {
  double us = 0;
  double us_dirty = 0;
  double error = 0;
  unsigned long long hash = 0;
  bool untouched = true;
};

class Timer {
 public:
  Timer() : flush_(512u << 20) {
    CUDA_OR_EXIT(cudaEventCreate(&begin_));
    CUDA_OR_EXIT(cudaEventCreate(&end_));
    CUDA_OR_EXIT(cudaMemset(flush_.data(), 1, flush_.size()));
  }

  enum class Flush { kRead, kWritten };

  double median_us(const GemmPlan& plan, const GemmOperands& operands, int runs, Flush flush) {
    std::vector<float> times;
    for (int run = 0; run < runs; ++run) {
      if (flush == Flush::kWritten) {
        CUDA_OR_EXIT(cudaMemsetAsync(flush_.data(), run, flush_.size()));
      } else {
        read_all<<<1056, 512>>>(reinterpret_cast<const uint4*>(flush_.data()), flush_.size() / 16,
                                reinterpret_cast<unsigned*>(flush_.data()));
      }
      CUDA_OR_EXIT(cudaEventRecord(begin_));
      ok_or_exit(run_gemm(plan, operands, nullptr));
      CUDA_OR_EXIT(cudaEventRecord(end_));
      CUDA_OR_EXIT(cudaEventSynchronize(end_));
      float ms = 0;
      CUDA_OR_EXIT(cudaEventElapsedTime(&ms, begin_, end_));
      times.push_back(ms * 1000);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  Array<std::uint8_t> flush_;
  cudaEvent_t begin_;
  cudaEvent_t end_;
};

std::string name_of(const Case& c) {
  const char* form[] = {"dense", "ragged", "padded"};
  std::string rows = c.rows.size() == 1 ? std::to_string(c.rows[0])
                                        : std::to_string(c.rows.size()) + " x " +
                                              std::to_string(c.rows[0]);
  return std::string(c.precision == Precision::kFp8 ? "fp8 " : "bf16 ") +
         form[static_cast<int>(c.form)] + " " + rows + " N" + std::to_string(c.n) + " K" +
         std::to_string(c.k);
}

std::string name_of(const Tiling& t) {
  constexpr const char* kOverlap[] = {", in turn", ", in parts"};
  return std::to_string(t.rows) + "x" + std::to_string(t.columns) + ", math " +
         std::to_string(t.math_m) + "x" + std::to_string(t.math_n) + ", cluster " +
         std::to_string(t.cluster_m) + "x" + std::to_string(t.cluster_n) + ", " +
         std::to_string(t.stages) + " stages, box " + std::to_string(t.box_rows) +
         kOverlap[static_cast<int>(t.overlap)];
}

class Bench {
 public:
  // Runs the case with each of `chosen`; returns false if a result is wrong.
  bool run(const Case& c, const std::vector<int>& chosen, int runs) {
    Operands operands(c);
    std::vector<std::int32_t> rows;
    std::vector<std::int32_t> groups;
    operands.sample(runs == 0 ? 4096 : 96, rows, groups);
    Array<std::int32_t> device_rows(rows);
    Array<std::int32_t> device_groups(groups);
    Array<float> reference(rows.size() * c.n);
    ok_or_exit(reference_gemm(operands.problem(), operands.operands(),
                              {operands.source(), device_rows.data(), device_groups.data(),
                               static_cast<int>(rows.size()), reference.data()},
                              nullptr));
    bool right = true;
    unsigned long long first_hash = 0;
    for (const int tiling : chosen) {
      const GemmPlan plan = value_or_exit(plan_gemm(operands.problem(), tiling));
      operands.poison();
      ok_or_exit(run_gemm(plan, operands.operands(), nullptr));
      if (const cudaError_t error = cudaDeviceSynchronize(); error != cudaSuccess) {
        std::printf("%s %s: %s\n", name_of(c).c_str(), name_of(plan.tiling).c_str(),
                    cudaGetErrorString(error));
        std::exit(1);
      }
      Outcome outcome;
      outcome.error = operands.error(device_rows, reference);
      outcome.hash = operands.hash();
      outcome.untouched = operands.padding_untouched();
      first_hash = first_hash == 0 ? outcome.hash : first_hash;
      if (runs > 0) {
        outcome.us = timer_.median_us(plan, operands.operands(), runs, Timer::Flush::kRead);
        outcome.us_dirty =
            timer_.median_us(plan, operands.operands(), runs, Timer::Flush::kWritten);
      }
      const bool good = outcome.error < 4e-3 && outcome.untouched && outcome.hash == first_hash;
      right = right && good;
      print(c, operands, plan, outcome, good, outcome.hash == first_hash);
    }
    return right;
  }

 private:
  void print(const Case& c, const Operands& operands, const GemmPlan& plan, const Outcome& outcome,
             bool good, bool same) {
    const double rows = operands.valid_rows();
    const double flops = 2.0 * rows * c.n * c.k;
    const double bytes = rows * (static_cast<double>(c.k) * element_bytes(c.precision) + 2.0 * c.n) +
                         static_cast<double>(c.rows.size()) * c.n * c.k * element_bytes(c.precision);
    const auto ratio = [&](double us) {
      char text[16] = "-";
      if (c.theirs > 0 && us > 0) {
        std::snprintf(text, sizeof text, "%.3f", c.theirs / us);
      }
      return std::string(text);
    };
    std::printf("| %-33s | %7.1f | %7.1f | %5.0f | %4.2f | %6.1f | %5s | %5s | %.1e %s%s%s | %s |\n",
                name_of(c).c_str(), outcome.us, outcome.us_dirty, flops / outcome.us * 1e-6,
                bytes / outcome.us * 1e-6, c.theirs, ratio(outcome.us).c_str(),
                ratio(outcome.us_dirty).c_str(), outcome.error, good ? "ok" : "WRONG",
                outcome.untouched ? "" : " PADDING", same ? "" : " DIFFERS",
                name_of(plan.tiling).c_str());
    std::fflush(stdout);
  }

  Timer timer_;
};

std::vector<int> times(int groups, int rows) { return std::vector<int>(groups, rows); }

std::vector<Case> table() {
  constexpr Precision kFp8 = Precision::kFp8;
  constexpr Precision kBf16 = Precision::kBf16;
  std::vector<Case> cases = {
      {Form::kRagged, kFp8, times(4, 8192), 4096, 7168, 1333},
      {Form::kRagged, kFp8, times(4, 8192), 7168, 2048, 708},
      {Form::kRagged, kFp8, times(8, 4096), 4096, 7168, 1337},
      {Form::kRagged, kFp8, times(8, 4096), 7168, 2048, 707},
      {Form::kPadded, kFp8, times(32, 64), 4096, 7168, 337.5},
      {Form::kPadded, kFp8, times(32, 64), 7168, 2048, 185.1},
      {Form::kPadded, kFp8, times(32, 128), 4096, 7168, 354.8},
      {Form::kPadded, kFp8, times(32, 128), 7168, 2048, 194.1},
      {Form::kPadded, kFp8, times(4, 256), 4096, 7168, 66.6},
      {Form::kPadded, kFp8, times(4, 256), 7168, 2048, 40.4},
      {Form::kPadded, kFp8, times(2, 512), 4096, 7168, 53.0},
      {Form::kPadded, kFp8, times(2, 512), 7168, 2048, 35.3},
      {Form::kPadded, kFp8, times(1, 1024), 4096, 7168, 48.1},
      {Form::kPadded, kFp8, times(1, 1024), 7168, 2048, 32.1},
      {Form::kPadded, kFp8, times(32, 16), 4096, 7168, 336.9},
      {Form::kPadded, kFp8, times(32, 16), 7168, 2048, 184.1},
      {Form::kPadded, kFp8, times(128, 16), 4096, 7168, 1368},
      {Form::kPadded, kFp8, times(128, 16), 7168, 2048, 693},
      {Form::kPadded, kFp8, times(128, 8), 4096, 7168, 1365},
      {Form::kPadded, kFp8, times(128, 8), 7168, 2048, 694},
      {Form::kDense, kFp8, {4096}, 7168, 2048, 92.4},
      {Form::kDense, kFp8, {4096}, 4096, 7168, 165.3},
      {Form::kDense, kFp8, {4096}, 2112, 7168, 96.1},
      {Form::kDense, kFp8, {4096}, 24576, 1536, 236.1},
      {Form::kDense, kFp8, {4096}, 7168, 16384, 642.5},
      {Form::kDense, kFp8, {128}, 7168, 2048, 11.0},
      {Form::kDense, kFp8, {128}, 4096, 7168, 17.7},
      {Form::kDense, kFp8, {64}, 7168, 16384, 53.0},
      {Form::kDense, kBf16, {8192}, 8192, 8192},
      {Form::kRagged, kBf16, times(8, 4096), 4096, 7168},
      {Form::kPadded, kBf16, times(32, 64), 4096, 7168},
      {Form::kPadded, kBf16, times(128, 16), 1536, 2048},
  };
  return cases;
}

std::vector<Case> odd() {
  const std::vector<int> ragged = {0, 1, 127, 128, 129, 300, 0, 64, 17, 257, 5, 15, 16, 33, 0};
  std::vector<Case> cases;
  for (const Precision precision : {Precision::kFp8, Precision::kBf16}) {
    for (const Form form : {Form::kRagged, Form::kPadded}) {
      cases.push_back({form, precision, ragged, 264, 400});
      cases.push_back({form, precision, ragged, 1024, 1152});
      cases.push_back({form, precision, {0, 0, 0}, 128, 128});
    }
    for (const int rows : {1, 7, 64, 65, 200, 1000}) {
      cases.push_back({Form::kDense, precision, {rows}, 8, 16});
      cases.push_back({Form::kDense, precision, {rows}, 520, 2064});
    }
  }
  return cases;
}

// Timed runs of each shape; 0 compares all rows with the reference instead.
int runs_of(const std::string& mode) {
  return mode == "--check" ? 0 : mode == "--launch" ? 1 : mode == "--sweep" ? 9 : 25;
}

int main_of(int count, char** arguments) {
  const std::string mode = count > 1 ? arguments[1] : "";
  const int only = count > 2 ? std::atoi(arguments[2]) : -1;
  const int only_tiling = count > 3 ? std::atoi(arguments[3]) : -1;
  cudaDeviceProp card;
  CUDA_OR_EXIT(cudaGetDeviceProperties(&card, 0));
  std::printf("%s, %d multiprocessors\n\n", card.name, card.multiProcessorCount);
  std::printf("| case | us | us dirty | TFLOPS | TB/s | theirs us | ratio | ratio dirty | error | tiling |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|---|\n");
  Bench bench;
  bool right = true;
  int index = 0;
  for (const Case& c : mode == "--check" ? odd() : table()) {
    if (only >= 0 && index++ != only) {
      continue;
    }
    std::vector<int> chosen = {-1};
    if (mode == "--check" || mode == "--sweep") {
      chosen.clear();
      for (int i = 0; i < static_cast<int>(tilings(c.precision).size()); ++i) {
        if (only_tiling < 0 || i == only_tiling) {
          chosen.push_back(i);
        }
      }
    }
    right = bench.run(c, chosen, runs_of(mode)) && right;
  }
  std::printf("\n%s\n", right ? "all results right" : "SOME RESULTS ARE WRONG");
  return right ? 0 : 1;
}

}  // namespace
}  // namespace braid::cuda::bench

int main(int count, char** arguments) { return braid::cuda::bench::main_of(count, arguments); }
