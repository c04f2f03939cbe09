// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "tensor/staging.h"

namespace braid::model {
namespace {

double magnitude(double factor, double mscale) {
  return factor <= 1 || mscale == 0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double amplitude(const RopeScaling& s) {
  if (!s.yarn()) return 1;
  return s.attention_factor > 0 ? s.attention_factor : magnitude(s.factor, s.mscale) / magnitude(s.factor, s.mscale_all_dim);
}

// The dimension that turns `rotations` times over the original context.
double correction_dim(const Config& c, int dim, double rotations) {
  const double positions = static_cast<double>(c.rope_scaling.original_positions);
  return dim * std::log(positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.rope_theta));
}

// The share of the stretched frequency at one whose plain value is `plain`.
double llama3_share(const RopeScaling& s, double plain) {
  const double turns = static_cast<double>(s.original_positions) * plain / (2 * std::numbers::pi);  // over the original context
  if (turns > s.high_freq_factor) return 0;
  if (turns < s.low_freq_factor) return 1;
  const double band = s.high_freq_factor - s.low_freq_factor;
  return band > 0 ? (s.high_freq_factor - turns) / band : 0;
}

std::vector<float> frequencies(const Config& c, int dim) {
  std::vector<float> result;
  const auto& s = c.rope_scaling;
  double low = 0, high = 0;
  if (s.yarn()) {
    low = correction_dim(c, dim, s.beta_fast);
    high = correction_dim(c, dim, s.beta_slow);
    low = std::max(s.truncate ? std::floor(low) : low, 0.0);
    high = std::min(s.truncate ? std::ceil(high) : high, dim - 1.0);
    if (low == high) high += 0.001;
  }
  for (int i = 0; i < dim / 2; ++i) {
    const double plain = std::pow(c.rope_theta, -2.0 * i / dim);
    double ramp = 0;
    if (s.yarn()) ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
    if (s.kind == RopeScaling::Kind::kLinear) ramp = 1;
    if (s.kind == RopeScaling::Kind::kLlama3) ramp = llama3_share(s, plain);
    result.push_back(static_cast<float>(plain * (1 - ramp) + plain / s.factor * ramp));
  }
  return result;
}

std::vector<float> query_scales(const Temperature& t, std::int64_t positions) {
  std::vector<float> scales;
  for (std::int64_t p = 0; p < positions; ++p) {
    scales.push_back(static_cast<float>(1 + t.scale * std::log(1 + std::floor(static_cast<double>(p + 1) / t.floor))));
  }
  return scales;
}

}  // namespace

Rope::Rope(const Config& config, std::int64_t positions, Stream& stream)
    : dim_(config.rope_dim), interleaved_(config.interleaved_rope) {
  const auto& s = config.rope_scaling;
  const double m = amplitude(s);
  const auto inverse = frequencies(config, dim_);
  std::vector<float> cosines, sines;
  cosines.reserve(static_cast<std::size_t>(positions) * inverse.size());
  sines.reserve(cosines.capacity());
  for (std::int64_t p = 0; p < positions; ++p) {
    for (const float f : inverse) {
      const double angle = static_cast<double>(static_cast<float>(p) * f);
      cosines.push_back(static_cast<float>(std::cos(angle) * m));
      sines.push_back(static_cast<float>(std::sin(angle) * m));
    }
  }
  if (config.temperature.scale > 0) q_scales_ = upload(stream, query_scales(config.temperature, positions));
  cos_ = upload(stream, cosines);
  sin_ = upload(stream, sines);
}

float Rope::softmax_factor(const RopeScaling& s) {
  const double m = s.yarn() ? magnitude(s.factor, s.mscale_all_dim) : 1.0;
  return static_cast<float>(m * m);
}

}  // namespace braid::model
