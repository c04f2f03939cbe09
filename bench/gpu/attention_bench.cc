// SPDX-License-Identifier: Apache-2.0
// Time of decode attention over a paged cache on this GPU, BF16 and FP8, with every kernel that takes the shape:
//
//   cuda_attention_bench [BLOCK_SIZE]     64
//
// `us` is the median of 15 runs between two events, launches included, each after a write of 512 MB. TFLOPS and TB/s are those of
// the operation: 2 * batch * heads * context * (qk + v), and the bytes of cache, queries and output. `floor us` is what the larger
// of both takes at 3.0 TB/s and 800 TFLOPS. Pages lie in random order.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>

#include "backend/cuda/backend.h"
#include "backend/cuda/stream.h"
#include "tensor/staging.h"

namespace braid::cuda {
namespace {

using ops::AttentionDecode;
using ops::AttentionShape;

constexpr int kRuns = 15;
constexpr std::size_t kFlush = std::size_t{512} << 20;
constexpr AttentionShape k128Heads{128, 1, 576, 512, 0.07f}, k64Heads{64, 1, 576, 512, 0.07f}, k16Heads{16, 1, 576, 512, 0.07f};
constexpr AttentionShape kQwen{32, 4, 128, 128, 0.09f}, kEightEach{64, 8, 128, 128, 0.09f};

[[noreturn]] void give_up(const std::string& why) {
  std::printf("%s\n", why.c_str());
  std::exit(1);
}

// Random bfloat16 in [-1, 1), the same million again and again.
Buffer random_rows(Stream& stream, std::int64_t elements) {
  constexpr std::int64_t kPattern = std::int64_t{1} << 20;
  std::mt19937 random(1);
  std::vector<std::uint16_t> pattern(static_cast<std::size_t>(kPattern));
  for (auto& x : pattern) x = f32_to_bf16(static_cast<float>(random() % 2000) / 1000.0f - 1.0f);
  Buffer memory = stream.allocate(static_cast<std::size_t>(elements) * 2);
  if (!memory.data()) give_up("not enough memory on the GPU");
  for (std::int64_t at = 0; at < elements; at += kPattern) {
    stream.copy(memory.data() + at * 2, pattern.data(), static_cast<std::size_t>(std::min(kPattern, elements - at)) * 2);
  }
  return memory;
}

// Rows of an FP8 cache of random elements in [-1, 1), the same thousand again and again.
Buffer random_fp8_rows(Stream& stream, const ops::Fp8Row& shape, std::int64_t rows) {
  constexpr std::int64_t kPattern = 1024;
  std::mt19937 random(1);
  std::vector<std::byte> pattern(static_cast<std::size_t>(kPattern * shape.bytes()));
  std::vector<float> row(static_cast<std::size_t>(shape.elements + shape.plain));
  for (std::int64_t i = 0; i < kPattern; ++i) {
    for (float& x : row) x = static_cast<float>(random() % 2000) / 1000.0f - 1.0f;
    shape.put(pattern.data() + i * shape.bytes(), row.data());
  }
  Buffer memory = stream.allocate(static_cast<std::size_t>(rows * shape.bytes()));
  if (!memory.data()) give_up("not enough memory on the GPU");
  for (std::int64_t at = 0; at < rows; at += kPattern) {
    stream.copy(memory.data() + at * shape.bytes(), pattern.data(), static_cast<std::size_t>(std::min(kPattern, rows - at) * shape.bytes()));
  }
  return memory;
}

struct Case {
  const char* name;
  AttentionShape shape;
  int batch, context;
};

class Bench {
 public:
  Bench(Stream& stream, const Case& c, DType cached, int block_size, std::byte* flush)
      : stream_(stream), case_(c), cached_(cached), block_size_(block_size), flush_(flush) {
    const auto& s = c.shape;
    latent_ = s.kv_heads == 1;
    columns_ = latent_ ? s.qk_dim : s.kv_heads * (s.qk_dim + s.v_dim);
    fp8_ = latent_ ? ops::Fp8Row::latent(s.v_dim, s.qk_dim - s.v_dim) : ops::Fp8Row::keys_and_values(s.kv_heads, s.v_dim);
    const int blocks = (c.context + block_size - 1) / block_size;
    const std::int64_t rows = std::int64_t{c.batch} * blocks * block_size;
    cache_ = cached == DType::kBF16 ? random_rows(stream, rows * columns_) : random_fp8_rows(stream, fp8_, rows);
    q_ = random_rows(stream, std::int64_t{c.batch} * s.heads * s.qk_dim);
    out_ = stream.allocate(static_cast<std::size_t>(c.batch) * static_cast<std::size_t>(s.heads * s.v_dim) * 2);
    scratch_ = stream.allocate(AttentionDecode::scratch_bytes(s, c.batch, c.context));
    std::vector<std::int32_t> table(static_cast<std::size_t>(c.batch) * static_cast<std::size_t>(blocks));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(2));
    table_ = upload(stream, table);
    for (int i = 0; i < c.batch; ++i) rows_.push_back({table_.as<std::int32_t>() + i * blocks, c.context});
    device_rows_ = upload(stream, rows_);
    if (!stream.wait().ok()) give_up("the GPU has not taken the data");
  }

  void run(const ops::Kernel<AttentionDecode>& kernel) {
    const auto& s = case_.shape;
    const Activations q{q_.data(), DType::kBF16, case_.batch, s.heads * s.qk_dim, s.heads * s.qk_dim};
    const Activations out{out_.data(), DType::kBF16, case_.batch, s.heads * s.v_dim, s.heads * s.v_dim};
    const AttentionDecode::Args args{s, q, rows_of(0, s.qk_dim), rows_of(latent_ ? 0 : s.kv_heads * s.qk_dim, s.v_dim), block_size_,
                                     {rows_.data(), device_rows_.as<AttentionDecode::Row>(), rows_.size()}, out, scratch_.data()};
    std::vector<double> us;
    for (int i = 0; i < kRuns + 3; ++i) us.push_back(time_us([&] { kernel.run(args, stream_); }));
    std::sort(us.begin() + 3, us.end());
    report(kernel.name, us[3 + kRuns / 2]);
  }

 private:
  ops::Rows rows_of(std::int64_t first, std::int64_t each) const {
    if (cached_ == DType::kF8E4M3) return {cache_.data(), cached_, fp8_.bytes(), each, fp8_, first};
    return {cache_.data() + first * 2, cached_, columns_, each};
  }
  double row_bytes() const { return static_cast<double>(cached_ == DType::kF8E4M3 ? fp8_.bytes() : columns_ * 2); }

  template <class Work>
  double time_us(const Work& work) {
    cudaEvent_t begin = nullptr, end = nullptr;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    cudaMemsetAsync(flush_, 1, kFlush, stream_.queue());
    cudaEventRecord(begin, stream_.queue());
    work();
    cudaEventRecord(end, stream_.queue());
    const Status status = stream_.wait();
    if (!status.ok()) give_up(status.error().message);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return ms * 1000.0;
  }

  void report(const char* kernel, double us) const {
    const auto& s = case_.shape;
    const double pairs = static_cast<double>(case_.batch) * case_.context;
    const double flops = 2.0 * pairs * s.heads * (s.qk_dim + s.v_dim);
    const double bytes = pairs * row_bytes() + 2.0 * case_.batch * s.heads * (s.qk_dim + s.v_dim);
    std::printf("| %s | %s | %d | %d | %s | %.1f | %.0f | %.2f | %.0f |\n", case_.name, cached_ == DType::kBF16 ? "BF16" : "FP8", case_.batch,
                case_.context, kernel, us, flops / us / 1e6, bytes / us / 1e6, std::max(flops / 800e6, bytes / 3.0e6));
    std::fflush(stdout);
  }

  Stream& stream_;
  const Case& case_;
  const DType cached_;
  const int block_size_;
  std::byte* const flush_;
  bool latent_ = false;
  std::int64_t columns_ = 0;
  ops::Fp8Row fp8_;
  Buffer cache_, q_, out_, scratch_, table_, device_rows_;
  std::vector<AttentionDecode::Row> rows_;
};

int measure(int block_size) {
  auto opened = make_stream();
  if (!opened.ok()) give_up(opened.error().message);
  Stream& stream = cuda::stream(**opened);
  const Case cases[] = {
      {"latent, 128 heads", k128Heads, 128, 4096}, {"latent, 128 heads", k128Heads, 128, 8192}, {"latent, 128 heads", k128Heads, 32, 4096},
      {"latent, 128 heads", k128Heads, 1, 4096},   {"latent, 64 heads", k64Heads, 128, 4096},   {"latent, 16 heads", k16Heads, 128, 4096},
      {"latent, 16 heads", k16Heads, 128, 8192},   {"latent, 16 heads", k16Heads, 256, 512},    {"latent, 16 heads", k16Heads, 32, 512},
      {"latent, 16 heads", k16Heads, 1, 512},      {"latent, 16 heads", k16Heads, 1, 4096},     {"32 heads over 4 of 128", kQwen, 256, 512},
      {"32 heads over 4 of 128", kQwen, 128, 4096}, {"32 heads over 4 of 128", kQwen, 32, 4096}, {"32 heads over 4 of 128", kQwen, 1, 512},
      {"64 heads over 8 of 128", kEightEach, 64, 4096},
  };
  std::printf("%s, pages of %d\n\n| case | cache | batch | context | kernel | us | TFLOPS | TB/s | floor us |\n|---|---|---|---|---|---|---|---|---|\n",
              stream.gpu().name.c_str(), block_size);
  const Buffer flush = stream.allocate(kFlush);
  for (const Case& c : cases) {
    for (const DType cached : {DType::kBF16, DType::kF8E4M3}) {
      Bench bench(stream, c, cached, block_size, flush.data());
      for (const auto& kernel : kernels().attention_decode) {
        if (kernel.rank >= 10 && kernel.supports({DType::kBF16, cached, c.shape}, stream.capabilities()).empty()) bench.run(kernel);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace braid::cuda

int main(int argc, char** argv) {
  const int block_size = argc > 1 ? std::atoi(argv[1]) : 64;
  return block_size > 0 ? braid::cuda::measure(block_size) : 2;
}
