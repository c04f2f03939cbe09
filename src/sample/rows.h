// SPDX-License-Identifier: Apache-2.0
// Loops over one row of logits, written so that the compiler vectorises them and the result is the
// same whatever the vector width. NaN counts as impossible.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace braid::sample {

// The largest value; -infinity when there is none.
float max_of(std::span<const float> row);
// The first index of the largest value; -1 when no value is above -infinity.
std::int32_t argmax(std::span<const float> row);
// out[i] = exp((row[i] - max) * scale) for values <= 0 of the exponent, 0 below exp(-87).
void exp_row(std::span<const float> row, float max, float scale, std::span<float> out);
// Sum, in chunks of kSumChunk whose sums go to `chunks` (resized).
inline constexpr std::size_t kSumChunk = 64;
double sum_chunks(std::span<const float> row, std::vector<double>& chunks);
std::int64_t count_at_least(std::span<const float> row, float value);

// Values below `bound` become 0.
void zero_below(std::span<float> row, float bound);

struct Candidate {
  std::int32_t token = 0;
  float value = 0;
};
// By descending value, then ascending token.
inline bool likelier(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}
// All values from some bound on, among them at least the `count` largest of those above `floor` (or
// all of them), in order of tokens. `count` > 0. `scratch` is memory to reuse.
void gather_top(std::span<const float> row,
                std::size_t count,
                float floor,
                std::vector<Candidate>& out,
                std::vector<float>& scratch);
// The `count` largest values above -infinity and all that equal the last of them, the likeliest
// first.
void top_values(std::span<const float> row,
                std::size_t count,
                std::vector<Candidate>& out,
                std::vector<float>& scratch);

}  // namespace braid::sample
