// SPDX-License-Identifier: Apache-2.0
// Tables of the rotary embedding. Frequencies are theta^(-2i/dim), or stretched towards that divided by
// the factor:
//   yarn (Peng et al. 2023, as DeepSeek publishes it): blended by a linear ramp between the dimensions
//     found from beta_fast and beta_slow; cos and sin times attention_factor, or m(mscale) / m(mscale_all_dim) with
//     m(s) = 0.1 s ln(factor) + 1
//   linear: all of them
//   llama3: blended between the wavelengths original / high_freq_factor and original / low_freq_factor
#pragma once

#include "model/config.h"
#include "ops/elementwise.h"

namespace braid::model {

class Rope {
 public:
  // Positions [0, positions), in memory of the stream.
  Rope(const Config& config, std::int64_t positions, Stream& stream);

  ops::RopeTable table() const { return {cos_.as<float>(), sin_.as<float>(), dim_, interleaved_}; }
  // [positions] what Config::temperature makes of queries; null: nothing.
  const float* q_scales() const { return q_scales_.as<float>(); }
  // m(mscale_all_dim)^2: what the softmax scale is multiplied by.
  static float softmax_factor(const RopeScaling& scaling);

 private:
  Buffer cos_;  // [positions, dim / 2]
  Buffer sin_;
  Buffer q_scales_;
  int dim_;
  bool interleaved_;
};

}  // namespace braid::model
