// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/exchange/layout.h"

#include <algorithm>

namespace braid::cuda {
namespace {

constexpr std::int64_t kLine = 256;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

// Gives out parts behind each other.
class Parts {
 public:
  std::int64_t take(std::int64_t bytes) {
    const std::int64_t at = end_;
    end_ += round_up(bytes, kLine);
    return at;
  }
  std::int64_t end() const { return end_; }

 private:
  std::int64_t end_ = 0;
};

}  // namespace

ExchangeLayout::ExchangeLayout(const ops::Exchange::Options& o) {
  const std::int64_t ranks = o.ranks, scales = (o.hidden + 127) / 128;
  const std::int64_t wide_row = round_up(o.hidden * 2, 16), codes = round_up(o.hidden, 128);
  const bool in_place = o.output == ops::Exchange::Output::kInPlace;
  tickets = round_up(o.tokens * o.top_k, 4);
  codes_bytes = codes;
  record_bytes = o.fp8 ? round_up(codes + scales * 4, 16) : wide_row;
  return_bytes = round_up(o.hidden * static_cast<std::int64_t>(size_of(o.returns)), 16);

  Parts window;
  ticket_flags = window.take(ranks * kPieces * 8);
  row_flags = window.take(ranks * kChunks * 4);
  return_flags = window.take(ranks * kChunks * 4);
  told_each = std::min(tickets, kFewChoices);
  told = window.take(ranks * told_each * 16);
  slots = window.take(ranks * tickets * 4);
  weights = window.take(ranks * tickets * 4);
  rows = window.take(((ranks - 1) * o.tokens + (in_place ? o.staging_tokens : 0)) * record_bytes);
  returns = window.take(o.tokens * (o.row_per_choice ? o.top_k : ranks - 1) * return_bytes);
  window_bytes = window.end();

  Parts own;
  const std::int64_t pairs = ranks * o.tokens * std::min(o.top_k, o.slots);
  grouped_rows = in_place ? 0 : std::max(pairs, o.pitch * o.slots);
  grouped_bytes = o.output == ops::Exchange::Output::kGroupedFp8 ? round_up(o.hidden, 16) : wide_row;
  scale_stride = round_up(grouped_rows, 4);
  state = own.take(sizeof(ExchangeState));
  offsets = own.take((o.slots + 1) * 4);
  counts = own.take(o.slots * 4);
  position = own.take(ranks * tickets * 4);
  row_token = own.take(ranks * o.tokens * o.top_k * 4);
  grouped = own.take(grouped_rows * grouped_bytes);
  grouped_scales = own.take(o.output == ops::Exchange::Output::kGroupedFp8 ? scale_stride * scales * 4 : 0);
  own_bytes = own.end();
}

}  // namespace braid::cuda
