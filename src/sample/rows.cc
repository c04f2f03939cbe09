// SPDX-License-Identifier: Apache-2.0
#include "sample/rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <limits>

namespace braid::sample {
namespace {

constexpr std::size_t kLanes = 16;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

inline float exp_of(float z) {
  // 2^n * e^r with |r| <= ln(2)/2; the polynomial is e^r's Taylor series to r^6.
  const float y = z > -87.0f ? z : -87.0f;
  const float shifted = y * 1.44269504f + 12582912.0f;  // rounds to an integer in the low bits
  const float n = shifted - 12582912.0f;
  const float r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const std::uint32_t power = (std::bit_cast<std::uint32_t>(shifted) + 127u) << 23;
  const float value = p * std::bit_cast<float>(power);
  return z > -87.0f ? value : 0.0f;
}

}  // namespace

float max_of(std::span<const float> row) {
  std::array<float, kLanes> best;
  best.fill(kLowest);
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = row[i + lane];
      best[lane] = value > best[lane] ? value : best[lane];
    }
  }
  for (; i < row.size(); ++i) best[0] = row[i] > best[0] ? row[i] : best[0];
  return *std::max_element(best.begin(), best.end());
}

std::int32_t argmax(std::span<const float> row) {
  const float best = max_of(row);
  if (best == kLowest) return -1;
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    int found = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) found |= row[i + lane] == best;
    if (found != 0) break;
  }
  while (row[i] != best) ++i;
  return static_cast<std::int32_t>(i);
}

void exp_row(std::span<const float> row, float max, float scale, std::span<float> out) {
  const float* in = row.data();
  float* to = out.data();
  const std::size_t n = row.size();
  for (std::size_t i = 0; i < n; ++i) to[i] = exp_of((in[i] - max) * scale);
}

double sum_chunks(std::span<const float> row, std::vector<double>& chunks) {
  chunks.clear();
  double total = 0;
  for (std::size_t first = 0; first < row.size(); first += kSumChunk) {
    const std::size_t last = std::min(row.size(), first + kSumChunk);
    std::array<float, kLanes> lanes{};
    std::size_t i = first;
    for (; i + kLanes <= last; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += row[i + lane];
    }
    double sum = 0;
    for (; i < last; ++i) sum += row[i];
    for (const float lane : lanes) sum += lane;
    chunks.push_back(sum);
    total += sum;
  }
  return total;
}

std::int64_t count_at_least(std::span<const float> row, float value) {
  std::int32_t count = 0;
  for (const float x : row) count += x >= value;
  return count;
}

void top_values(std::span<const float> row,
                std::size_t count,
                std::vector<Candidate>& out,
                std::vector<float>& scratch) {
  out.clear();
  if (count == 0) return;
  // The count-th largest maximum over groups of kLanes bounds the count-th largest value from below.
  scratch.clear();
  for (std::size_t i = 0; i < row.size(); i += kLanes) {
    scratch.push_back(max_of(row.subspan(i, std::min(kLanes, row.size() - i))));
  }
  float bound = kLowest;
  const std::size_t groups = scratch.size();
  if (count <= groups) {
    scratch.resize(2 * groups);
    const auto copy = scratch.begin() + static_cast<std::ptrdiff_t>(groups);
    std::copy(scratch.begin(), copy, copy);
    const auto nth = copy + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(copy, nth, scratch.end(), std::greater<>());
    bound = *nth;
  }
  for (std::size_t group = 0; group < groups; ++group) {
    if (!(scratch[group] >= bound)) continue;
    const std::size_t last = std::min(row.size(), (group + 1) * kLanes);
    for (std::size_t i = group * kLanes; i < last; ++i) {
      if (row[i] >= bound && row[i] > kLowest) out.push_back({static_cast<std::int32_t>(i), row[i]});
    }
  }
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.value != b.value ? a.value > b.value : a.token < b.token;
  };
  if (count < out.size()) {
    const auto nth = out.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(out.begin(), nth, out.end(), before);
    const float last = nth->value;
    std::erase_if(out, [last](const Candidate& c) { return c.value < last; });
  }
  std::sort(out.begin(), out.end(), before);
}

}  // namespace braid::sample
