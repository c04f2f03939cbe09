// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/exchange/exchange.h"

#include <algorithm>

#include "backend/cuda/exchange/beside.h"
#include "backend/cuda/exchange/kernels.h"
#include "backend/cuda/exchange/peers.h"
#include "backend/cuda/stream.h"
#include "base/check.h"

namespace braid::cuda {
namespace {

using Options = ops::Exchange::Options;
using Output = ops::Exchange::Output;

Status check_options(const Options& o) {
  const auto refuse = [](const std::string& what) { return invalid_argument("expert parallelism on GPUs: " + what); };
  if (o.ranks < 1 || o.ranks > ops::Exchange::kMostRanks) return refuse(std::to_string(o.ranks) + " ranks; at most " + std::to_string(ops::Exchange::kMostRanks) + " on one host");
  if (o.top_k < 1 || o.top_k > ops::Exchange::kMostTopK) return refuse(std::to_string(o.top_k) + " experts a token; at most " + std::to_string(ops::Exchange::kMostTopK));
  if (o.slots < 1 || o.slots > ops::Exchange::kMostSlots) return refuse(std::to_string(o.slots) + " experts a rank; at most " + std::to_string(ops::Exchange::kMostSlots));
  if (chunk_tokens(o.tokens) * o.top_k > kStagedChoices) {
    return refuse(std::to_string(o.tokens) + " tokens in one dispatch; lower --moe-buffer-tokens to " + std::to_string(kChunks * (kStagedChoices / o.top_k)));
  }
  CHECK(!o.fp8 || o.output != Output::kInPlace, "rows in place are not decoded");
  CHECK(o.fp8 || o.output != Output::kGroupedFp8, "rows are encoded on their way only");
  CHECK(!o.row_per_choice || o.returns == DType::kF32);
  return {};
}

class CudaExchange final : public ops::Exchange {
 public:
  CudaExchange(const Options& options, Stream& stream, PeerMemory window)
      : options_(options), stream_(stream), window_(std::move(window)), at_(options),
        own_(stream.allocate(static_cast<std::size_t>(at_.own_bytes))), beside_(stream) {
    staged_rows_ = staged_rows(options, at_, stream.gpu().capability);
    dispatch_blocks_ = blocks(dispatch_blocks_each(options.fp8, staged_rows_ * at_.record_bytes));
    return_blocks_ = blocks(return_blocks_each(options.returns));
  }

  std::string descriptor() const override { return window_.descriptor(); }

  Status connect(std::span<const std::string> descriptors) override {
    CHECK(static_cast<int>(descriptors.size()) == options_.ranks);
    if (dispatch_blocks_ < 1 || return_blocks_ < 1) return internal_error("the exchange's kernels do not fit GPU " + std::to_string(stream_.gpu().device));
    RETURN_IF_ERROR(window_.connect(descriptors));
    shared_ = make_shared();
    stream_.give_up_when(options_.given_up);
    return {};
  }

  std::size_t bytes() const override { return static_cast<std::size_t>(at_.window_bytes + at_.own_bytes); }

  Activations staging() const override {
    if (options_.output != Output::kInPlace) return {};
    return rows(window_.own() + at_.rows + (options_.ranks - 1) * options_.tokens * at_.record_bytes, options_.staging_tokens);
  }

  void send(const Tokens& tokens) override {
    take(tokens);
    dispatch(true, false);
  }
  Received receive() override {
    dispatch(false, true);
    return received();
  }
  Received send_and_receive(const Tokens& tokens) override {
    take(tokens);
    dispatch(true, true);
    return received();
  }
  void send_back(const Results& results) override {
    results_ = results.rows;
    give_back(true, false, {}, false);
  }
  void collect(const Activations& out, bool replace) override { give_back(false, true, out, replace); }
  void send_back_and_collect(const Results& results, const Activations& out, bool replace) override {
    results_ = results.rows;
    give_back(true, true, out, replace);
  }

 private:
  int blocks(int each) const {
    const int most = each * stream_.gpu().processors;
    return options_.blocks > 0 ? std::min(options_.blocks, most) : most;
  }

  ExchangeShared make_shared() const {
    ExchangeShared s{};
    s.ranks = options_.ranks;
    s.rank = options_.rank;
    s.top_k = options_.top_k;
    s.hidden = options_.hidden;
    s.tokens = options_.tokens;
    s.pitch = options_.pitch;
    s.fp8 = options_.fp8;
    s.everywhere = options_.everywhere;
    s.row_per_choice = options_.row_per_choice;
    s.in_place = options_.output == Output::kInPlace;
    s.grouped_fp8 = options_.output == Output::kGroupedFp8;
    s.returns = options_.returns;
    s.at = at_;
    std::copy(window_.memory().begin(), window_.memory().end(), s.window);
    s.own = own_.data();
    s.fault = stream_.fault();
    s.timeout_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(options_.timeout).count());
    s.staged_rows = staged_rows_;
    return s;
  }

  Activations rows(std::byte* data, std::int64_t count) const {
    return {data, DType::kBF16, count, options_.hidden, at_.record_bytes / 2};
  }

  void take(const Tokens& t) {
    CHECK(t.x.rows <= options_.tokens && t.x.dtype == DType::kBF16 && t.x.cols == options_.hidden && t.slots.each <= options_.slots);
    shared_.slots_each = t.slots.each;
    beside_now_ = t.beside;
    call_ = {t.x, t.x.rows, t.ids, t.weights, t.slots, t.first_row, -1, t.layer, t.slot_rows, false, false};
    const Activations own = staging();
    const auto* data = static_cast<const std::byte*>(t.x.data);
    if (own.data && data >= own.row(0) && data < own.row(own.rows) && t.x.stride == own.stride) call_.staged = (data - own.row(0)) / at_.record_bytes;
  }

  void dispatch(bool send, bool receive) {
    if (stream_.failed()) return;
    call_.send = send;
    call_.receive = receive;
    const bool sorts_only = !send && options_.output == Output::kInPlace;
    launch_beside(send && !receive, dispatch_blocks_, [&](int blocks, cudaStream_t queue) { launch_dispatch(shared_, call_, sorts_only ? 1 : blocks, queue); });
    stream_.check(cudaGetLastError(), "dispatch");
  }

  void give_back(bool send, bool collect, const Activations& out, bool replace) {
    if (stream_.failed()) return;
    launch_beside(send && !collect, return_blocks_, [&](int blocks, cudaStream_t queue) {
      launch_return(shared_, {results_, out, call_.count, call_.layer, send, collect, replace}, blocks, queue);
    });
    stream_.check(cudaGetLastError(), "return of results");
  }

  template <class Launch>
  void launch_beside(bool leaves, int blocks, Launch launch) {
    if (!leaves || !beside_now_) {
      beside_.join();
      return launch(blocks, stream_.queue());
    }
    launch(std::min(blocks, kExchangeBlocksEach * kLentProcessors), beside_.begin());
    beside_.end();
  }

  template <class T>
  T* own(std::int64_t offset) const {
    return reinterpret_cast<T*>(own_.data() + offset);
  }

  Received received() const {
    Received r;
    r.offsets = own<std::int32_t>(at_.offsets);
    r.counts = own<std::int32_t>(at_.counts);
    if (options_.output == Output::kInPlace) {
      r.x = rows(window_.own() + at_.rows, (options_.ranks - 1) * options_.tokens + options_.staging_tokens);
      r.row_token = own<std::int32_t>(at_.row_token);
      return r;
    }
    const bool fp8 = options_.output == Output::kGroupedFp8;
    r.x = {own<std::byte>(at_.grouped), fp8 ? DType::kF8E4M3 : DType::kBF16, at_.grouped_rows, options_.hidden, fp8 ? at_.grouped_bytes : at_.grouped_bytes / 2};
    if (fp8) r.scales = own<float>(at_.grouped_scales);
    r.scale_stride = at_.scale_stride;
    return r;
  }

  const Options options_;
  Stream& stream_;
  PeerMemory window_;
  const ExchangeLayout at_;
  const Buffer own_;
  int staged_rows_ = 0, dispatch_blocks_ = 0, return_blocks_ = 0;
  ExchangeShared shared_{};
  Beside beside_;
  bool beside_now_ = false;
  DispatchCall call_{};
  Activations results_;
};

}  // namespace

Result<std::unique_ptr<ops::Exchange>> make_exchange(const ops::Exchange::Options& options, braid::Stream& s) {
  RETURN_IF_ERROR(check_options(options));
  Stream& stream = cuda::stream(s);
  ASSIGN_OR_RETURN(PeerMemory window, PeerMemory::create(stream.gpu(), static_cast<std::size_t>(ExchangeLayout(options).window_bytes)));
  auto exchange = std::make_unique<CudaExchange>(options, stream, std::move(window));
  RETURN_IF_ERROR(stream.wait());
  return std::unique_ptr<ops::Exchange>(std::move(exchange));
}

}  // namespace braid::cuda
