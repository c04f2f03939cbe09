// SPDX-License-Identifier: Apache-2.0
#include "sample/rows.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>

namespace braid::sample {
namespace {

// Four floats, which every target has registers for; comparisons give all ones or all zeros.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = std::int32_t __attribute__((vector_size(16)));

constexpr std::size_t kLanes = 4;
constexpr std::size_t kGroup = 16;  // values that are looked at together
constexpr float kLowest = -std::numeric_limits<float>::infinity();

inline Float4 load(const float* from) {
  Float4 v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline Float4 splat(float x) { return Float4{x, x, x, x}; }
inline Float4 larger(Float4 a, Float4 b) { return a > b ? a : b; }  // b if a is NaN
inline bool any(Int4 mask) { return (mask[0] | mask[1] | mask[2] | mask[3]) != 0; }

inline float largest_lane(Float4 v) { return std::max(std::max(v[0], v[1]), std::max(v[2], v[3])); }

inline Float4 exp_of(Float4 z) {
  // 2^n * e^r with |r| <= ln(2)/2; the polynomial is e^r's Taylor series to r^6.
  const Float4 y = larger(z, splat(-87.0f));
  const Float4 shifted = y * 1.44269504f + 12582912.0f;  // rounds to an integer in the low bits
  const Float4 n = shifted - 12582912.0f;
  const Float4 r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
  Float4 p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Int4 power = (std::bit_cast<Int4>(shifted) + 127) << 23;
  const Float4 value = p * std::bit_cast<Float4>(power);
  return z > -87.0f ? value : splat(0.0f);
}

}  // namespace

float max_of(std::span<const float> row) {
  const float* x = row.data();
  const std::size_t n = row.size();
  Float4 best[4] = {splat(kLowest), splat(kLowest), splat(kLowest), splat(kLowest)};
  std::size_t i = 0;
  for (; i + kGroup <= n; i += kGroup) {
    for (std::size_t v = 0; v < 4; ++v) best[v] = larger(load(x + i + v * kLanes), best[v]);
  }
  float result = largest_lane(larger(larger(best[0], best[1]), larger(best[2], best[3])));
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

std::int32_t argmax(std::span<const float> row) {
  const float best = max_of(row);
  if (best == kLowest) return -1;
  const float* x = row.data();
  const Float4 wanted = splat(best);
  std::size_t i = 0;
  for (; i + kGroup <= row.size(); i += kGroup) {
    const Int4 found = (load(x + i) == wanted) | (load(x + i + 4) == wanted) |
                       (load(x + i + 8) == wanted) | (load(x + i + 12) == wanted);
    if (any(found)) break;
  }
  while (x[i] != best) ++i;
  return static_cast<std::int32_t>(i);
}

void exp_row(std::span<const float> row, float max, float scale, std::span<float> out) {
  const float* x = row.data();
  const std::size_t n = row.size();
  const Float4 shift = splat(max);
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Float4 value = exp_of((load(x + i) - shift) * scale);
    std::memcpy(out.data() + i, &value, sizeof value);
  }
  for (; i < n; ++i) out[i] = exp_of(splat((x[i] - max) * scale))[0];
}

double sum_chunks(std::span<const float> row, std::vector<double>& chunks) {
  chunks.clear();
  double total = 0;
  for (std::size_t first = 0; first < row.size(); first += kSumChunk) {
    const std::size_t last = std::min(row.size(), first + kSumChunk);
    Float4 lanes = splat(0.0f);
    std::size_t i = first;
    for (; i + kLanes <= last; i += kLanes) lanes += load(row.data() + i);
    double sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    for (; i < last; ++i) sum += row[i];
    chunks.push_back(sum);
    total += sum;
  }
  return total;
}

void zero_below(std::span<float> row, float bound) {
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    const Float4 v = load(row.data() + i);
    const Float4 kept = v >= bound ? v : splat(0.0f);
    std::memcpy(row.data() + i, &kept, sizeof kept);
  }
  for (; i < row.size(); ++i) row[i] = row[i] >= bound ? row[i] : 0.0f;
}

std::int64_t count_at_least(std::span<const float> row, float value) {
  std::int32_t count = 0;
  for (const float x : row) count += x >= value;
  return count;
}

void gather_top(std::span<const float> row,
                std::size_t count,
                float floor,
                std::vector<Candidate>& out,
                std::vector<float>& scratch) {
  out.clear();
  const std::size_t groups = (row.size() + kGroup - 1) / kGroup;
  scratch.resize(2 * groups);
  for (std::size_t g = 0; g < groups; ++g) {
    scratch[g] = max_of(row.subspan(g * kGroup, std::min(kGroup, row.size() - g * kGroup)));
  }
  float bound = kLowest;
  if (count <= groups) {
    const auto copy = scratch.begin() + static_cast<std::ptrdiff_t>(groups);
    std::copy(scratch.begin(), copy, copy);
    const auto nth = copy + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(copy, nth, scratch.end(), std::greater<>());
    bound = *nth;
  }
  for (std::size_t g = 0; g < groups; ++g) {
    if (!(scratch[g] >= bound && scratch[g] > floor)) continue;
    const std::size_t last = std::min(row.size(), (g + 1) * kGroup);
    for (std::size_t i = g * kGroup; i < last; ++i) {
      if (row[i] >= bound && row[i] > floor) out.push_back({static_cast<std::int32_t>(i), row[i]});
    }
  }
}

void top_values(std::span<const float> row,
                std::size_t count,
                std::vector<Candidate>& out,
                std::vector<float>& scratch) {
  out.clear();
  if (count == 0) return;
  gather_top(row, count, kLowest, out, scratch);
  if (count < out.size()) {
    const auto nth = out.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(out.begin(), nth, out.end(), likelier);
    const float last = nth->value;
    std::erase_if(out, [last](const Candidate& c) { return c.value < last; });
  }
  std::sort(out.begin(), out.end(), likelier);
}

}  // namespace braid::sample
