// SPDX-License-Identifier: Apache-2.0
// Time of dispatch and return between GPUs of this host, a process for each:
//
//   exchange_bench [RANKS]     2
//
// Per row: `us` the median over journeys of the slowest rank's kernel between two events, launch included, after
// the caches were flushed by a write of 512 MB and the ranks had met on their GPUs; `p90` likewise. `wire` are the
// bytes that leave a rank, `wire GB/s` those over the time; `counted GB/s` is the definition of DeepEP's tests: bytes of
// all rows that a rank receives, those from itself too, although they never cross the link. `chained us` is the
// time of a pair of dispatch and return, many in one graph, without flushes. The first row is what two events take
// around a launch that does nothing. Routing is uniform at random.
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

#include "backend/cuda/backend.h"
#include "backend/cuda/stream.h"
#include "tensor/staging.h"

namespace braid::cuda {
namespace {

using ops::Exchange;
using Output = Exchange::Output;

constexpr int kJourneys = 30, kChained = 20;
constexpr std::size_t kFlush = std::size_t{512} << 20;

// What the processes share.
struct Shared {
  pthread_barrier_t barrier;
  char text[Exchange::kMostRanks][1024];
  double number[Exchange::kMostRanks][4 * kJourneys];
};

struct Group {
  Shared* shared;
  int rank, size;

  void meet() const { pthread_barrier_wait(&shared->barrier); }
  std::vector<std::string> all_gather(const std::string& mine) const {
    std::snprintf(shared->text[rank], sizeof shared->text[rank], "%s", mine.c_str());
    meet();
    std::vector<std::string> all(shared->text, shared->text + size);
    meet();
    return all;
  }
  // The largest of every rank's numbers, one by one.
  std::vector<double> slowest(const std::vector<double>& mine) const {
    std::copy(mine.begin(), mine.end(), shared->number[rank]);
    meet();
    std::vector<double> all = mine;
    for (int r = 0; r < size; ++r) {
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = std::max(all[i], shared->number[r][i]);
    }
    meet();
    return all;
  }
};

[[noreturn]] void give_up(const std::string& why) {
  std::printf("%s\n", why.c_str());
  std::fflush(stdout);
  std::_Exit(1);
}
template <class T>
T must(Result<T> result) {
  if (!result.ok()) give_up(result.error().message);
  return std::move(result).value();
}
void must(const Status& status) {
  if (!status.ok()) give_up(status.error().message);
}

struct Shape {
  const char* name;
  std::int64_t tokens;
  int top_k, experts;
  Output output;
  bool fp8;
  std::int64_t pitch = 0;
};

// One rank's side of a shape.
class Side {
 public:
  Side(const Shape& shape, const Group& group, braid::Stream& stream) : shape_(shape), group_(group), stream_(stream) {
    options_.ranks = group.size;
    options_.rank = group.rank;
    options_.top_k = shape.top_k;
    options_.slots = (shape.experts + group.size - 1) / group.size;
    options_.hidden = kHidden;
    options_.tokens = options_.staging_tokens = shape.tokens;
    options_.fp8 = shape.fp8;
    options_.output = shape.output;
    options_.returns = DType::kBF16;
    options_.pitch = shape.pitch;
    options_.timeout = std::chrono::seconds(5);
    exchange_ = must(kernels().exchange(options_, stream));
    must(exchange_->connect(group.all_gather(exchange_->descriptor())));
    fill();
  }

  void dispatch() { received_ = exchange_->send_and_receive(tokens_); }
  void give_back() { exchange_->send_back_and_collect({results_}, out_, true); }
  double wire_dispatch() const { return static_cast<double>(sent_) * record_bytes() + static_cast<double>(shape_.tokens * shape_.top_k * 8 * (group_.size - 1)); }
  double wire_return() const { return static_cast<double>(sent_) * kHidden * 2; }
  double counted_dispatch() const { return static_cast<double>(rows_) * record_bytes(); }
  double counted_return() const { return static_cast<double>(rows_) * kHidden * 2; }

 private:
  static constexpr std::int64_t kHidden = 7168;

  double record_bytes() const { return shape_.fp8 ? kHidden + kHidden / 128 * 4 : kHidden * 2; }

  void fill() {
    std::mt19937 random(static_cast<unsigned>(group_.rank) + 1);
    std::vector<std::uint16_t> x(static_cast<std::size_t>(shape_.tokens * kHidden));
    for (auto& v : x) v = f32_to_bf16(static_cast<float>(random() % 2001) / 1000.0f - 1.0f);
    std::vector<std::int32_t> ids, all(static_cast<std::size_t>(shape_.experts)), first(all.size() + 1);
    std::iota(all.begin(), all.end(), 0);
    std::iota(first.begin(), first.end(), 0);
    const std::vector<std::int32_t> replicas = all;
    for (std::int64_t t = 0; t < shape_.tokens; ++t) {
      for (int j = 0; j < shape_.top_k; ++j) std::swap(all[static_cast<std::size_t>(j)], all[static_cast<std::size_t>(j) + random() % (all.size() - static_cast<std::size_t>(j))]);
      ids.insert(ids.end(), all.begin(), all.begin() + shape_.top_k);
      std::uint32_t to = 0;
      for (int j = 0; j < shape_.top_k; ++j) to |= 1u << all[static_cast<std::size_t>(j)] / options_.slots;
      rows_ += __builtin_popcount(to);
      sent_ += __builtin_popcount(to & ~(1u << group_.rank));
    }
    ids_ = upload(stream_, ids);
    weights_ = upload(stream_, std::vector<float>(ids.size(), 0.125f));
    first_ = upload(stream_, first);
    replicas_ = upload(stream_, replicas);
    const Activations staging = exchange_->staging();
    if (!staging.data) x_ = stream_.allocate(x.size() * 2);
    const Activations rows = staging.data ? staging : Activations{x_.data(), DType::kBF16, shape_.tokens, kHidden, kHidden};
    stream_.copy(rows.data, x.data(), x.size() * 2);
    tokens_ = {rows, ids_.as<std::int32_t>(), weights_.as<float>(), {options_.slots, first_.as<std::int32_t>(), replicas_.as<std::int32_t>()}, 0, 0};
    const std::int64_t pairs = std::max(shape_.pitch * options_.slots, group_.size * shape_.tokens * std::min(shape_.top_k, options_.slots));
    results_memory_ = stream_.allocate(static_cast<std::size_t>(pairs * kHidden) * 2);
    results_ = {results_memory_.data(), DType::kBF16, pairs, kHidden, kHidden};
    out_memory_ = stream_.allocate(static_cast<std::size_t>(shape_.tokens * kHidden) * 2);
    out_ = {out_memory_.data(), DType::kBF16, shape_.tokens, kHidden, kHidden};
    must(stream_.wait());
  }

  const Shape& shape_;
  const Group& group_;
  braid::Stream& stream_;
  Exchange::Options options_;
  std::unique_ptr<Exchange> exchange_;
  Exchange::Tokens tokens_;
  Exchange::Received received_;
  Activations results_, out_;
  Buffer ids_, weights_, first_, replicas_, x_, results_memory_, out_memory_;
  std::int64_t rows_ = 0, sent_ = 0;
};

// Journeys of one token, at whose end every rank has heard of all others on its GPU.
const Shape kMeeting{"meeting", 1, 1, 64, Output::kInPlace, false};

double median(std::vector<double> values, double at = 0.5) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(at * static_cast<double>(values.size() - 1))];
}

class Clock {
 public:
  explicit Clock(Stream& stream) : stream_(stream) {
    cudaEventCreate(&begin_);
    cudaEventCreate(&end_);
  }
  ~Clock() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  template <class Work>
  double us(Work work) {
    cudaEventRecord(begin_, stream_.queue());
    work();
    cudaEventRecord(end_, stream_.queue());
    must(stream_.wait());
    float ms = 0;
    cudaEventElapsedTime(&ms, begin_, end_);
    return ms * 1000.0;
  }

 private:
  Stream& stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

void row(const Shape& shape, const char* what, const std::vector<double>& us, double wire, double counted) {
  const double m = median(us);
  std::printf("| %s | %s | %.1f | %.1f | %.2f | %.0f | %.0f |\n", shape.name, what, m, median(us, 0.9), wire / 1e6, wire / m / 1e3, counted / m / 1e3);
}

void measure(const Shape& shape, const Group& group, Stream& stream) {
  Side side(shape, group, stream), meeting(kMeeting, group, stream);
  const Buffer flush = stream.allocate(kFlush);
  Clock clock(stream);
  const auto ready = [&] {
    cudaMemsetAsync(flush.data(), 1, kFlush, stream.queue());
    meeting.dispatch();
    meeting.give_back();
  };
  std::vector<double> dispatch, back;
  for (int i = 0; i < kJourneys + 3; ++i) {
    group.meet();
    ready();
    const double out = clock.us([&] { side.dispatch(); });
    group.meet();
    ready();
    const double home = clock.us([&] { side.give_back(); });
    if (i < 3) continue;
    dispatch.push_back(out);
    back.push_back(home);
  }
  dispatch = group.slowest(dispatch);
  back = group.slowest(back);
  const auto chain = [&] {
    for (int i = 0; i < kChained; ++i) {
      side.dispatch();
      side.give_back();
    }
    return Status{};
  };
  std::vector<double> chained;
  for (int i = 0; i < 8; ++i) {
    group.meet();
    const double us = clock.us([&] { must(stream.repeat(1 + static_cast<std::uint64_t>(shape.tokens), chain)); });
    if (i >= 3) chained.push_back(us / kChained);
  }
  chained = group.slowest(chained);
  const double wire[2] = {side.wire_dispatch(), side.wire_return()};
  if (group.rank == 0) {
    row(shape, "dispatch", dispatch, wire[0], side.counted_dispatch());
    row(shape, "return", back, wire[1], side.counted_return());
    std::printf("| %s | both, chained in a graph | %.1f | | %.2f | %.0f | |\n", shape.name, median(chained), (wire[0] + wire[1]) / 1e6,
                (wire[0] + wire[1]) / median(chained) / 1e3);
    std::fflush(stdout);
  }
  group.meet();
}

// What two events take around as little as can be launched.
double empty_us(Stream& stream) {
  const Buffer word = stream.allocate(4);
  Clock clock(stream);
  std::vector<double> us;
  for (int i = 0; i < kJourneys; ++i) us.push_back(clock.us([&] { cudaMemsetAsync(word.data(), 0, 4, stream.queue()); }));
  return median(us);
}

// What the link gives to a plain copy between the first two GPUs.
void measure_copy(const Group& group, Stream& stream) {
  constexpr std::size_t kBytes = std::size_t{256} << 20;
  int gpus = 0;
  cudaGetDeviceCount(&gpus);
  if (group.rank != 0 || gpus < 2) return;
  void* there = nullptr;
  cudaSetDevice(1);
  if (cudaMalloc(&there, kBytes) != cudaSuccess) give_up("no memory for the copy");
  cudaSetDevice(0);
  cudaDeviceEnablePeerAccess(1, 0);
  cudaGetLastError();
  const Buffer here = stream.allocate(kBytes);
  Clock clock(stream);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    best = std::max(best, kBytes / clock.us([&] { cudaMemcpyAsync(there, here.data(), kBytes, cudaMemcpyDefault, stream.queue()); }) / 1e3);
  }
  std::printf("copy of 256 MB to the other GPU: %.0f GB/s\n\n", best);
  cudaSetDevice(1);
  cudaFree(there);
  cudaSetDevice(0);
}

int run(const Group& group) {
  const auto stream = must(make_stream(group.rank));
  Stream& s = cuda::stream(*stream);
  measure_copy(group, s);
  const Shape shapes[] = {
      {"4096 tokens, fp8, grouped", 4096, 8, 256, Output::kGroupedFp8, true},
      {"4096 tokens, bf16, grouped", 4096, 8, 256, Output::kGrouped, false},
      {"4096 tokens, bf16, in place", 4096, 8, 256, Output::kInPlace, false},
      {"4096 tokens, bf16, a row for each rank", 4096, group.size, group.size, Output::kInPlace, false},
      {"128 tokens, fp8, grouped with gaps", 128, 8, 256, Output::kGroupedFp8, true, 128 * group.size},
      {"128 tokens, fp8, grouped", 128, 8, 256, Output::kGroupedFp8, true},
      {"128 tokens, bf16, in place", 128, 8, 256, Output::kInPlace, false},
      {"128 tokens, bf16, a row for each rank", 128, group.size, group.size, Output::kInPlace, false},
      {"1 token, bf16, in place", 1, 8, 256, Output::kInPlace, false},
  };
  if (group.rank == 0) {
    std::printf("%s, %d ranks, hidden 7168\n\n| case | what | us | p90 | wire MB | wire GB/s | counted GB/s |\n|---|---|---|---|---|---|---|\n", s.gpu().name.c_str(), group.size);
  }
  if (group.rank == 0) std::printf("| nothing | 4 bytes set | %.1f | | | | |\n", empty_us(s));
  for (const Shape& shape : shapes) measure(shape, group, s);
  return 0;
}

}  // namespace
}  // namespace braid::cuda

int main(int argc, char** argv) {
  using namespace braid::cuda;
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 2;
  if (ranks < 1 || ranks > braid::ops::Exchange::kMostRanks) return 2;
  auto* shared = static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&shared->barrier, &attributes, static_cast<unsigned>(ranks));
  // Before anything of CUDA is used, which does not survive a fork.
  std::vector<pid_t> children;
  for (int r = 1; r < ranks; ++r) {
    const pid_t child = fork();
    if (child == 0) return run({shared, r, ranks});
    children.push_back(child);
  }
  const int mine = run({shared, 0, ranks});
  int failed = mine;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    failed |= status;
  }
  return failed != 0;
}
