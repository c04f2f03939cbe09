// SPDX-License-Identifier: Apache-2.0
#include "moe/prepare_ranks.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "moe/all2all/fp8_rows.h"

namespace braid::moe {
namespace {

constexpr int kRowBits = 20;
constexpr std::int64_t kBlockBytes = 256 << 10;

constexpr std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

Outgoing::Options outgoing_of(const RanksOptions& o, int rank) {
  return {.ranks = o.ranks, .rank = rank, .top_k = o.top_k, .everywhere = o.everywhere, .row_per_choice = o.deterministic,
          .by_destination = o.packed};
}

// Adds the time of its life.
class Timed {
 public:
  explicit Timed(double& seconds) : seconds_(seconds) {}
  ~Timed() { seconds_ += to_seconds(std::chrono::steady_clock::now() - begin_); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  double& seconds_;
  const TimePoint begin_ = std::chrono::steady_clock::now();
};

}  // namespace

RanksLayout::RanksLayout(const RanksOptions& o) {
  peer_rows = (o.ranks - 1) * o.buffer_tokens;
  returns_per_token = Outgoing(outgoing_of(o, 0)).returns_per_token();
  row_bytes = round_up(as_size(o.hidden) * size_of(o.x), 64);
  record_bytes = o.fp8 ? round_up(fp8_row_bytes(o.hidden), 64) : row_bytes;
  ticket_bytes = Ticket::bytes(o.top_k);
  slab_rows = o.padded ? static_cast<std::int32_t>(o.ranks * o.buffer_tokens) : 0;
  rows = 0;
  own = rows + as_size(peer_rows) * record_bytes;
  tickets = round_up(own + (o.fp8 ? 0 : as_size(o.staging_tokens) * row_bytes), 64);
  counts = round_up(tickets + as_size(peer_rows) * ticket_bytes, 64);
  returns = round_up(counts + as_size(o.ranks) * as_size(o.ranks) * sizeof(std::int32_t), 4096);
  total = returns + as_size(o.buffer_tokens * returns_per_token * o.hidden) * size_of(o.returns);
  decoded = o.fp8 ? as_size(peer_rows + o.buffer_tokens) * row_bytes : 0;
  slabs = as_size(std::int64_t{slab_rows} * o.local_slots) * row_bytes;
}

PrepareRanks::PrepareRanks(std::string_view name, const RanksOptions& options, std::unique_ptr<fabric::Window> window,
                           const ops::Kernel<ops::Combine>* combine, Stream& stream)
    : name_(name),
      options_(options),
      window_(std::move(window)),
      layout_(options),
      combine_(combine),
      stream_(stream),
      outgoing_(outgoing_of(options, window_->rank())),
      incoming_(window_->rank(), options.ranks, options.deterministic),
      first_place_(as_size(options.ranks)),
      first_arrival_(as_size(options.ranks)),
      record_(layout_.record_bytes),
      decoded_(layout_.decoded),
      slabs_(layout_.slabs) {
  CHECK(window_->size() == options.ranks && 3 * options.ranks <= fabric::kSignalWords);
  CHECK(options.top_k <= kMaxTopK && options.buffer_tokens < 1 << kRowBits && window_->local().size() >= layout_.total);
  CHECK(options.staging_tokens >= options.buffer_tokens);
  traffic_.wait_seconds.resize(as_size(window_->number_of(options.ranks - 1) + 1));
  for (int r = 0; r < options.ranks; ++r) {
    direct_ = direct_ && window_->direct(r) != nullptr;
    first_place_[as_size(r)] = static_cast<std::int32_t>((rank() < r ? rank() : rank() - 1) * options.buffer_tokens);
    first_arrival_[as_size(r)] = static_cast<std::int32_t>((r < rank() ? r : r - 1) * options.buffer_tokens);
  }
  const auto records = as_size(options.buffer_tokens) * (layout_.record_bytes + layout_.ticket_bytes);
  const auto most = options.buffer_tokens * (options.deterministic ? options.top_k : 1);
  if (!direct_) staging_ = Buffer(std::max(records, as_size(most * options.hidden) * size_of(options.returns)));
}

Activations PrepareRanks::rows_at(std::byte* data, std::int64_t rows) const {
  return {data, options_.x, rows, options_.hidden, static_cast<std::int64_t>(layout_.row_bytes / size_of(options_.x))};
}

Activations PrepareRanks::staging() const {
  return options_.fp8 ? Activations{} : rows_at(local(layout_.own), options_.staging_tokens);
}

Status PrepareRanks::send(const Activations& x, const Routing& routing, int layer) {
  CHECK(routing.tokens <= options_.buffer_tokens && routing.top_k == options_.top_k);
  const Timed timed(traffic_.dispatch_seconds);
  ++epoch_;
  ++traffic_.dispatches;
  traffic_.tokens += static_cast<std::uint64_t>(routing.tokens);
  layer_ = layer;
  routing_ = routing;
  x_ = x;
  outgoing_.plan(routing);
  take_own(x);
  return options_.packed ? post_counts() : put_copies();
}

// The own tokens, where the experts of this rank find them.
void PrepareRanks::take_own(const Activations& x) {
  own_copies_.clear();
  for (const auto& copy : outgoing_.copies()) {
    if (copy.to == rank()) own_copies_.push_back(&copy);
  }
  incoming_.copies(rank()) = static_cast<std::int32_t>(own_copies_.size());
  own_first_ = 0;
  if (options_.fp8) {
    for (const auto* copy : own_copies_) {
      const auto record = record_of(copy->token, record_.data());
      decode_fp8(record.data(), options_.hidden, options_.x, decoded_.data() + as_size(layout_.peer_rows + copy->token) * layout_.row_bytes);
    }
    return;
  }
  const std::byte* const begin = local(layout_.own);
  const auto* const data = static_cast<const std::byte*>(x.data);
  if (data >= begin && data < local(layout_.tickets)) {
    own_first_ = static_cast<std::int64_t>(static_cast<std::size_t>(data - begin) / layout_.row_bytes);
    return;
  }
  const Activations own = rows_at(local(layout_.own), options_.staging_tokens);
  for (const auto* copy : own_copies_) {
    std::memcpy(own.row(copy->token), x.row(copy->token), as_size(options_.hidden) * size_of(options_.x));
  }
}

// The bytes of a token that travel; `space` is used when they differ from its row.
std::span<const std::byte> PrepareRanks::record_of(std::int64_t token, std::byte* space) const {
  if (!options_.fp8) return {x_.row(token), as_size(options_.hidden) * size_of(options_.x)};
  encode_fp8(x_.row(token), options_.x, options_.hidden, space);
  return {space, fp8_row_bytes(options_.hidden)};
}

Status PrepareRanks::put_copies() {
  std::span<const std::byte> record;
  std::int32_t encoded = -1;
  for (const auto& copy : outgoing_.copies()) {
    if (copy.to == rank()) continue;
    if (copy.token != encoded) record = record_of(encoded = copy.token, record_.data());
    const auto at = as_size(first_place_[as_size(copy.to)] + copy.place);
    const std::span ticket(reinterpret_cast<const std::byte*>(&copy.ticket), copy.ticket.bytes());
    traffic_.dispatched_bytes += record.size() + ticket.size();
    RETURN_IF_ERROR(window_->put(copy.to, layout_.rows + at * layout_.record_bytes, record));
    RETURN_IF_ERROR(window_->put(copy.to, layout_.tickets + at * layout_.ticket_bytes, ticket));
  }
  for (int r = 0; r < options_.ranks; ++r) RETURN_IF_ERROR(signal_rows(r));
  return Status::success();
}

Status PrepareRanks::signal_rows(int to) {
  if (to == rank()) return Status::success();
  return window_->signal(to, rank(), epoch_ << kRowBits | static_cast<std::uint64_t>(outgoing_.counts()[as_size(to)]));
}

Status PrepareRanks::post_counts() {
  const auto counts = std::as_bytes(outgoing_.counts());
  for (int r = 0; r < options_.ranks; ++r) {
    RETURN_IF_ERROR(window_->put(r, layout_.counts + as_size(rank()) * counts.size(), counts));
    if (r == rank()) continue;
    traffic_.dispatched_bytes += counts.size();
    RETURN_IF_ERROR(window_->signal(r, 2 * options_.ranks + rank(), epoch_ << kRowBits));
  }
  return Status::success();
}

std::int32_t PrepareRanks::counted(int from, int to) const {
  return reinterpret_cast<const std::int32_t*>(local(layout_.counts))[from * options_.ranks + to];
}

// Where the copies of every pair of ranks begin: behind those of the ranks before.
Status PrepareRanks::await_counts() {
  for (int s = 0; s < options_.ranks; ++s) RETURN_IF_ERROR(await(s, 2 * options_.ranks + s, "counts"));
  std::int32_t arrivals = 0;
  for (int r = 0; r < options_.ranks; ++r) {
    std::int32_t& place = first_place_[as_size(r)] = 0;
    for (int s = 0; s < rank(); ++s) place += s == r ? 0 : counted(s, r);
    first_arrival_[as_size(r)] = arrivals;
    arrivals += r == rank() ? 0 : counted(r, rank());
  }
  if (arrivals <= layout_.peer_rows) return Status::success();
  return internal_error("rank " + std::to_string(rank()) + " is to get " + std::to_string(arrivals) + " rows in layer " +
                        std::to_string(layer_) + ", its buffer has " + std::to_string(layout_.peer_rows));
}

// All copies for a rank that no store reaches, as one message of rows and one of tickets.
Status PrepareRanks::put_packed(int to) {
  const auto count = as_size(outgoing_.counts()[as_size(to)]), place = as_size(first_place_[as_size(to)]);
  std::byte* const tickets = staging_.data() + count * layout_.record_bytes;
  for (const auto& copy : outgoing_.copies()) {
    if (copy.to != to) continue;
    std::byte* const space = staging_.data() + as_size(copy.place) * layout_.record_bytes;
    const auto record = record_of(copy.token, space);
    if (record.data() != space) std::memcpy(space, record.data(), record.size());
    std::memcpy(tickets + as_size(copy.place) * layout_.ticket_bytes, &copy.ticket, copy.ticket.bytes());
  }
  const std::size_t row_bytes = count * layout_.record_bytes, ticket_bytes = count * layout_.ticket_bytes;
  traffic_.dispatched_bytes += row_bytes + ticket_bytes;
  RETURN_IF_ERROR(window_->put(to, layout_.rows + place * layout_.record_bytes, {staging_.data(), row_bytes}));
  RETURN_IF_ERROR(window_->put(to, layout_.tickets + place * layout_.ticket_bytes, {tickets, ticket_bytes}));
  return signal_rows(to);
}

Status PrepareRanks::await(int peer, int word, const char* phase) {
  const std::uint64_t value = epoch_ << kRowBits;
  if (peer == rank() || window_->seen(word) >= value) return Status::success();
  const Timed timed(traffic_.wait_seconds[as_size(window_->number_of(peer))]);
  return window_->wait(peer, word, value, {phase, layer_});
}

Result<Dispatched> PrepareRanks::receive() {
  const Timed timed(traffic_.dispatch_seconds);
  if (options_.packed) {
    RETURN_IF_ERROR(await_counts());
    if (direct_) RETURN_IF_ERROR(put_copies());
    for (int step = 1; !direct_ && step < options_.ranks; ++step) RETURN_IF_ERROR(put_packed((rank() + step) % options_.ranks));
  }
  for (int s = 0; s < options_.ranks; ++s) {
    if (s == rank()) continue;
    RETURN_IF_ERROR(await(s, s, "dispatch"));
    incoming_.copies(s) = static_cast<std::int32_t>(window_->seen(s) & ((1u << kRowBits) - 1));
  }
  RETURN_IF_ERROR(incoming_.sort([this](int s, std::int32_t i) { return arrived(s, i); }, routing_.placement->slots_per_rank(),
                                 options_.top_k, layout_.slab_rows, layer_));
  traffic_.pairs += incoming_.row_token().size();
  const Activations x = rows_for_experts();
  if (!options_.padded) return Dispatched{Format::kRagged, x, incoming_.offsets(), incoming_.row_token()};
  return Dispatched{Format::kPadded, fill_slabs(x), incoming_.offsets(), {}, layout_.slab_rows};
}

Incoming::Arrived PrepareRanks::arrived(int source, std::int32_t copy) const {
  if (source == rank()) {
    const Outgoing::Copy& own = *own_copies_[as_size(copy)];
    return {static_cast<std::int32_t>(layout_.peer_rows + own_first_ + own.token), &own.ticket};
  }
  const std::int32_t at = first_arrival_[as_size(source)] + copy;
  return {at, reinterpret_cast<const Ticket*>(local(layout_.tickets + as_size(at) * layout_.ticket_bytes))};
}

Activations PrepareRanks::rows_for_experts() {
  if (!options_.fp8) return rows_at(local(layout_.rows), layout_.peer_rows + options_.staging_tokens);
  for (int s = 0; s < options_.ranks; ++s) {
    for (std::int32_t i = 0; s != rank() && i < incoming_.source(s).copies; ++i) {
      const auto at = as_size(first_arrival_[as_size(s)] + i);
      decode_fp8(local(layout_.rows + at * layout_.record_bytes), options_.hidden, options_.x, decoded_.data() + at * layout_.row_bytes);
    }
  }
  return rows_at(decoded_.data(), layout_.peer_rows + options_.buffer_tokens);
}

Activations PrepareRanks::fill_slabs(const Activations& x) {
  const auto slots = incoming_.offsets().size() - 1;
  const std::size_t bytes = slots * as_size(layout_.slab_rows) * layout_.row_bytes;
  if (slabs_.size() < bytes) slabs_ = Buffer(bytes);  // a regrouped placement may have more slots
  const Activations out = rows_at(slabs_.data(), static_cast<std::int64_t>(slots) * layout_.slab_rows);
  for (std::size_t slot = 0; slot < slots; ++slot) {
    std::int64_t to = static_cast<std::int64_t>(slot) * layout_.slab_rows;
    for (std::int32_t pair = incoming_.offsets()[slot]; pair < incoming_.offsets()[slot + 1]; ++pair, ++to) {
      std::memcpy(out.row(to), x.row(incoming_.row_token()[as_size(pair)]), as_size(options_.hidden) * size_of(options_.x));
    }
  }
  traffic_.padding_rows += slots * as_size(layout_.slab_rows) - incoming_.row_token().size();
  return out;
}

Status PrepareRanks::send_back(Matrix<const float> results) {
  const Timed timed(traffic_.combine_seconds);
  results_ = results;
  for (int step = 1; step <= options_.ranks; ++step) {
    const int to = (rank() + step) % options_.ranks;
    if (to == rank() && !options_.deterministic) continue;  // collect() adds these
    RETURN_IF_ERROR(return_rows(to));
    if (to != rank()) RETURN_IF_ERROR(window_->signal(to, options_.ranks + rank(), epoch_ << kRowBits));
  }
  return Status::success();
}

Status PrepareRanks::return_rows(int to) {
  const Incoming::Source& s = incoming_.source(to);
  const auto count = static_cast<std::int64_t>(s.homes.size());
  std::byte* const direct = window_->direct(to);
  std::byte* const out = direct ? direct + layout_.returns : staging_.data();
  const std::int64_t rows = direct ? options_.buffer_tokens * layout_.returns_per_token : count;
  combine_->run({.rows = results_,
                 .slots = s.results.data(),
                 .weights = s.weights.data(),
                 .per_token = options_.top_k,
                 .out = Activations{out, options_.returns, rows, options_.hidden, options_.hidden},
                 .starts = s.starts.data(),
                 .out_rows = direct ? s.homes.data() : nullptr,
                 .count = count,
                 .accumulate = false}, stream_);
  if (to != rank()) traffic_.returned_bytes += as_size(count * options_.hidden) * size_of(options_.returns);
  return direct ? Status::success() : put_returns(to, s.homes);
}

// Rows with consecutive homes go as one message.
Status PrepareRanks::put_returns(int to, std::span<const std::int32_t> homes) {
  const std::size_t bytes = as_size(options_.hidden) * size_of(options_.returns);
  for (std::size_t begin = 0, end = 0; begin < homes.size(); begin = end) {
    while (end < homes.size() && homes[end] - homes[begin] == static_cast<std::int32_t>(end - begin)) ++end;
    RETURN_IF_ERROR(window_->put(to, layout_.returns + as_size(homes[begin]) * bytes, {staging_.data() + begin * bytes, (end - begin) * bytes}));
  }
  return Status::success();
}

Status PrepareRanks::collect(Matrix<float> hidden) {
  const Timed timed(traffic_.combine_seconds);
  for (int s = 0; s < options_.ranks; ++s) RETURN_IF_ERROR(await(s, options_.ranks + s, "combine"));
  ones_.resize(outgoing_.home_rows().size(), 1.0f);
  // Few rows at a time, so that what the own experts add is still in the cache when the others' follows.
  const std::int64_t rows = std::max<std::int64_t>(1, kBlockBytes * stream_.workers() / (options_.hidden * 4));
  std::int64_t own = 0;
  for (std::int64_t t = 0; t < routing_.tokens; t += rows) {
    const std::int64_t end = std::min(t + rows, routing_.tokens);
    if (!options_.deterministic) own = add_own(own, end, hidden);
    add_returns(t, end, hidden);
  }
  return Status::success();
}

// Adds the results of the own experts to the tokens before `end`, from the nth on; how many are done.
std::int64_t PrepareRanks::add_own(std::int64_t nth, std::int64_t end, Matrix<float> hidden) {
  const Incoming::Source& own = incoming_.source(rank());
  const auto begin = own.homes.begin() + nth;
  const auto last = std::lower_bound(begin, own.homes.end(), end);
  combine_->run({.rows = results_,
                 .slots = own.results.data(),
                 .weights = own.weights.data(),
                 .per_token = options_.top_k,
                 .out = hidden,
                 .starts = own.starts.data() + nth,
                 .out_rows = own.homes.data() + nth,
                 .count = last - begin}, stream_);
  return last - own.homes.begin();
}

void PrepareRanks::add_returns(std::int64_t begin, std::int64_t end, Matrix<float> hidden) {
  const std::int64_t rows = options_.buffer_tokens * layout_.returns_per_token;
  combine_->run({.rows = Activations{local(layout_.returns), options_.returns, rows, options_.hidden, options_.hidden},
                 .slots = outgoing_.home_rows().data(),
                 .weights = options_.deterministic ? routing_.weights : ones_.data(),
                 .per_token = static_cast<int>(layout_.returns_per_token),
                 .out = Matrix<float>(hidden.row(begin), end - begin, hidden.cols, hidden.stride),
                 .starts = outgoing_.home_starts().data() + begin,
                 .count = end - begin}, stream_);
}

}  // namespace braid::moe
