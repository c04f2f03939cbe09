// SPDX-License-Identifier: Apache-2.0
#include "moe/prepare_ranks.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace braid::moe {
namespace {

constexpr int kRowBits = 20;

constexpr std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::span<const std::byte> bytes_at(const void* data, std::size_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}

}  // namespace

RanksLayout::RanksLayout(const RanksOptions& o) {
  const auto slots = static_cast<std::size_t>(o.ranks) * static_cast<std::size_t>(o.buffer_tokens);
  returns_per_token = o.deterministic ? o.top_k : o.everywhere ? o.ranks : std::min(o.top_k, o.ranks);
  row_bytes = round_up(static_cast<std::size_t>(o.hidden) * size_of(o.x), 64);
  rows = 0;
  tickets = round_up(rows + slots * row_bytes, 4096);
  returns = round_up(tickets + slots * sizeof(Ticket), 4096);
  total = returns + static_cast<std::size_t>(o.buffer_tokens * returns_per_token * o.hidden) * sizeof(float);
}

PrepareRanks::PrepareRanks(const RanksOptions& options, std::unique_ptr<fabric::Window> window,
                           const ops::Kernel<ops::Combine>* combine, Stream& stream)
    : options_(options),
      layout_(options),
      window_(std::move(window)),
      combine_(combine),
      stream_(stream),
      sent_(static_cast<std::size_t>(options.ranks)),
      arrived_(static_cast<std::size_t>(options.ranks)) {
  CHECK(window_->size() == options.ranks && 2 * options.ranks <= fabric::kSignalWords);
  CHECK(options.top_k <= kMaxTopK && options.buffer_tokens < 1 << kRowBits && window_->local().size() >= layout_.total);
  bool all_direct = true;
  for (int r = 0; r < options.ranks; ++r) all_direct = all_direct && window_->direct(r) != nullptr;
  const auto most = options.buffer_tokens * (options.deterministic ? options.top_k : 1);
  if (!all_direct) staging_ = Buffer(static_cast<std::size_t>(most * options.hidden) * sizeof(float));
}

Status PrepareRanks::send(const Activations& x, const Routing& routing, int layer) {
  CHECK(routing.tokens <= options_.buffer_tokens && routing.top_k == options_.top_k);
  ++epoch_;
  layer_ = layer;
  routing_ = routing;
  local_slots_ = routing.placement->slots_per_rank();
  std::fill(sent_.begin(), sent_.end(), 0);
  home_starts_.assign(1, 0);
  home_rows_.clear();
  for (std::int64_t t = 0; t < routing.tokens; ++t) {
    write_tickets(t);
    for (std::size_t i = 0; i < to_.size(); ++i) RETURN_IF_ERROR(put_row(to_[i], x.row(t), tickets_[i]));
    home_starts_.push_back(static_cast<std::int32_t>(home_rows_.size()));
  }
  for (int r = 0; r < options_.ranks; ++r) {
    const auto rows = static_cast<std::uint64_t>(sent_[static_cast<std::size_t>(r)]);
    if (r != window_->rank()) RETURN_IF_ERROR(window_->signal(r, window_->rank(), epoch_ << kRowBits | rows));
  }
  return Status::success();
}

// One ticket for each rank that gets a copy of the token, and the rows that will come back.
void PrepareRanks::write_tickets(std::int64_t token) {
  std::array<std::pair<int, int>, kMaxTopK> routes;  // rank, choice
  std::array<std::int32_t, kMaxTopK> slots;
  const std::int64_t first = token * options_.top_k;
  for (int j = 0; j < options_.top_k; ++j) {
    const auto at = static_cast<std::size_t>(j);
    slots[at] = routing_.placement->slot_for(routing_.ids[first + j], window_->rank() + token);
    routes[at] = {routing_.placement->rank_of(slots[at]), j};
  }
  std::sort(routes.begin(), routes.begin() + options_.top_k);
  to_.clear();
  tickets_.clear();
  const auto add = [&](int rank) {
    const auto home = token * layout_.returns_per_token + (options_.deterministic ? 0 : static_cast<std::int64_t>(to_.size()));
    to_.push_back(rank);
    tickets_.push_back({static_cast<std::int32_t>(home), 0, {}});
    if (!options_.deterministic) home_rows_.push_back(static_cast<std::int32_t>(home));
  };
  for (int r = 0; options_.everywhere && r < options_.ranks; ++r) add(r);
  for (int i = 0; i < options_.top_k; ++i) {
    const auto [rank, j] = routes[static_cast<std::size_t>(i)];
    if (!options_.everywhere && (to_.empty() || to_.back() != rank)) add(rank);
    Ticket& ticket = tickets_[options_.everywhere ? static_cast<std::size_t>(rank) : tickets_.size() - 1];
    const std::int32_t slot = slots[static_cast<std::size_t>(j)] - rank * local_slots_;
    ticket.choice[ticket.choices++] = {static_cast<std::int16_t>(slot), static_cast<std::int16_t>(j), routing_.weights[first + j]};
  }
  for (int j = 0; options_.deterministic && j < options_.top_k; ++j) home_rows_.push_back(static_cast<std::int32_t>(first + j));
}

Status PrepareRanks::put_row(int to, const std::byte* row, const Ticket& ticket) {
  const auto slot = static_cast<std::size_t>(slot_of(window_->rank(), sent_[static_cast<std::size_t>(to)]++));
  const auto row_bytes = static_cast<std::size_t>(options_.hidden) * size_of(options_.x);
  if (to != window_->rank()) traffic_.dispatched_bytes += row_bytes + ticket.bytes();
  RETURN_IF_ERROR(window_->put(to, layout_.rows + slot * layout_.row_bytes, {row, row_bytes}));
  return window_->put(to, layout_.tickets + slot * sizeof(Ticket), bytes_at(&ticket, ticket.bytes()));
}

Result<Dispatched> PrepareRanks::receive() {
  for (int s = 0; s < options_.ranks; ++s) {
    Arrived& from = arrived_[static_cast<std::size_t>(s)];
    from.rows = sent_[static_cast<std::size_t>(s)];
    if (s == window_->rank()) continue;
    RETURN_IF_ERROR(window_->wait(s, s, epoch_ << kRowBits, {"dispatch", layer_}));
    from.rows = static_cast<std::int32_t>(window_->seen(s) & ((1u << kRowBits) - 1));
  }
  RETURN_IF_ERROR(read_tickets());
  const auto stride = static_cast<std::int64_t>(layout_.row_bytes / size_of(options_.x));
  const Activations x{window_->local().data() + layout_.rows, options_.x, options_.ranks * options_.buffer_tokens,
                      options_.hidden, stride};
  return Dispatched{x, offsets_, row_token_};
}

const Ticket& PrepareRanks::ticket(int source, std::int64_t row) const {
  const auto slot = static_cast<std::size_t>(slot_of(source, row));
  return *reinterpret_cast<const Ticket*>(window_->local().data() + layout_.tickets + slot * sizeof(Ticket));
}

Status PrepareRanks::check(int source, const Ticket& t) const {
  bool good = t.choices >= 0 && t.choices <= options_.top_k && t.first_return >= 0;
  for (int i = 0; good && i < t.choices; ++i) good = t.choice[i].slot >= 0 && t.choice[i].slot < local_slots_;
  if (good) return Status::success();
  return internal_error("rank " + std::to_string(source) + " sent rank " + std::to_string(window_->rank()) +
                        " a token for experts that it does not hold, in layer " + std::to_string(layer_) +
                        "; their placements differ");
}

// Counting sort of all arrived (row, slot) pairs by slot; rows keep the order of ranks and tokens.
Status PrepareRanks::read_tickets() {
  offsets_.assign(static_cast<std::size_t>(local_slots_) + 1, 0);
  for (int s = 0; s < options_.ranks; ++s) {
    for (std::int32_t i = 0; i < arrived_[static_cast<std::size_t>(s)].rows; ++i) {
      const Ticket& t = ticket(s, i);
      RETURN_IF_ERROR(check(s, t));
      for (int c = 0; c < t.choices; ++c) ++offsets_[static_cast<std::size_t>(t.choice[c].slot) + 1];
    }
  }
  for (std::size_t s = 1; s < offsets_.size(); ++s) offsets_[s] += offsets_[s - 1];
  cursor_.assign(offsets_.begin(), offsets_.end() - 1);
  row_token_.resize(static_cast<std::size_t>(offsets_.back()));
  for (int s = 0; s < options_.ranks; ++s) {
    Arrived& from = arrived_[static_cast<std::size_t>(s)];
    from.homes.clear();
    from.starts.assign(1, 0);
    from.results.clear();
    from.weights.clear();
    for (std::int32_t i = 0; i < from.rows; ++i) place(from, static_cast<std::int32_t>(slot_of(s, i)), ticket(s, i));
  }
  return Status::success();
}

void PrepareRanks::place(Arrived& from, std::int32_t x_row, const Ticket& t) {
  const auto end_row = [&](std::int32_t home) {
    from.homes.push_back(home);
    from.starts.push_back(static_cast<std::int32_t>(from.results.size()));
  };
  for (int c = 0; c < t.choices; ++c) {
    const std::int32_t row = cursor_[static_cast<std::size_t>(t.choice[c].slot)]++;
    row_token_[static_cast<std::size_t>(row)] = x_row;
    from.results.push_back(row);
    from.weights.push_back(options_.deterministic ? 1.0f : t.choice[c].weight);
    if (options_.deterministic) end_row(t.first_return + t.choice[c].index);
  }
  if (!options_.deterministic) end_row(t.first_return);
}

Status PrepareRanks::send_back(Matrix<const float> results) {
  for (int step = 1; step <= options_.ranks; ++step) {
    const int to = (window_->rank() + step) % options_.ranks;
    RETURN_IF_ERROR(return_rows(to, results));
    const auto rows = static_cast<std::uint64_t>(arrived_[static_cast<std::size_t>(to)].rows);
    if (to == window_->rank()) continue;
    RETURN_IF_ERROR(window_->signal(to, options_.ranks + window_->rank(), epoch_ << kRowBits | rows));
  }
  return Status::success();
}

Status PrepareRanks::return_rows(int to, const Matrix<const float>& results) {
  const Arrived& a = arrived_[static_cast<std::size_t>(to)];
  const auto count = static_cast<std::int64_t>(a.homes.size());
  std::byte* const direct = window_->direct(to);
  const std::int64_t rows = direct ? options_.buffer_tokens * layout_.returns_per_token : count;
  float* const out = direct ? reinterpret_cast<float*>(direct + layout_.returns) : staging_.as<float>();
  combine_->run({.rows = results,
                 .slots = a.results.data(),
                 .weights = a.weights.data(),
                 .per_token = options_.top_k,
                 .out = Matrix<float>(out, rows, options_.hidden),
                 .starts = a.starts.data(),
                 .out_rows = direct ? a.homes.data() : nullptr,
                 .count = count,
                 .accumulate = false}, stream_);
  const auto bytes = static_cast<std::size_t>(options_.hidden) * sizeof(float);
  if (to != window_->rank()) traffic_.returned_bytes += static_cast<std::size_t>(count) * bytes;
  for (std::int64_t i = 0; !direct && i < count; ++i) {
    const auto home = static_cast<std::size_t>(a.homes[static_cast<std::size_t>(i)]);
    RETURN_IF_ERROR(window_->put(to, layout_.returns + home * bytes, bytes_at(out + i * options_.hidden, bytes)));
  }
  return Status::success();
}

Status PrepareRanks::collect(Matrix<float> hidden) {
  for (int s = 0; s < options_.ranks; ++s) {
    if (s == window_->rank()) continue;
    RETURN_IF_ERROR(window_->wait(s, options_.ranks + s, epoch_ << kRowBits, {"combine", layer_}));
  }
  ones_.resize(home_rows_.size(), 1.0f);
  const auto* returns = reinterpret_cast<const float*>(window_->local().data() + layout_.returns);
  combine_->run({.rows = Matrix<const float>(returns, options_.buffer_tokens * layout_.returns_per_token, options_.hidden),
                 .slots = home_rows_.data(),
                 .weights = options_.deterministic ? routing_.weights : ones_.data(),
                 .per_token = static_cast<int>(layout_.returns_per_token),
                 .out = hidden,
                 .starts = home_starts_.data(),
                 .count = routing_.tokens}, stream_);
  return Status::success();
}

}  // namespace braid::moe
