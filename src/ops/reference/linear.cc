// SPDX-License-Identifier: Apache-2.0
#include "ops/reference.h"
#include "ops/reference/element.h"
#include "ops/reference/packed.h"

namespace braid::ops::reference {
namespace {

PackedWeight prepare(std::span<const Weight> parts, const Linear::Problem& p, Stream&) {
  return pack(parts, p.format, p.n, p.k, p.batch);
}

void linear(const Linear::Args& a, Stream&) {
  const PackedWeight& w = *a.weight;
  for (std::int64_t b = 0; b < w.batch; ++b) {
    for (std::int64_t m = 0; m < a.x.rows; ++m) {
      std::vector<float> x(static_cast<std::size_t>(w.k));
      for (std::int64_t k = 0; k < w.k; ++k) {
        x[k] = load(a.x.row(m), a.x.dtype, b * a.x_batch_stride + k);
      }
      if (w.format == WeightFormat::kI8) through_int8(x);
      for (std::int64_t n = 0; n < w.n; ++n) {
        const std::int64_t at = b * a.y_batch_stride + n;
        float sum = 0;
        for (std::int64_t k = 0; k < w.k; ++k) sum += x[k] * element(w, b, n, k);
        if (a.bias) sum += a.bias[b * w.n + n];
        if (a.accumulate) sum += load(a.y.row(m), a.y.dtype, at);
        store(a.y.row(m), a.y.dtype, at, sum);
      }
    }
  }
}

}  // namespace

extern const Kernel<Linear> kLinear{"reference", 0, always<Linear::Problem>, linear, prepare};

}  // namespace braid::ops::reference
