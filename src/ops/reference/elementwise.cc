// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/reference.h"
#include "ops/reference/element.h"

namespace braid::ops::reference {
namespace {

void embed(const Embed::Args& a, Stream&) {
  for (std::size_t t = 0; t < a.ids.size(); ++t) {
    for (std::int64_t c = 0; c < a.out.cols; ++c) {
      a.out.row(static_cast<std::int64_t>(t))[c] =
          load(a.table, a.dtype, a.ids[t] * a.out.cols + c);
    }
  }
}

void rms_norm(const RmsNorm::Args& a, Stream&) {
  for (std::int64_t t = 0; t < a.x.rows; ++t) {
    const float* x = a.x.row(t);
    float sum = 0;
    for (std::int64_t c = 0; c < a.x.cols; ++c) sum += x[c] * x[c];
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(a.x.cols) + a.eps);
    for (std::int64_t c = 0; c < a.x.cols; ++c) {
      const float y = x[c] * factor * a.weight[c];
      store(a.out.row(t), a.out.dtype, c, y);
      if (a.out2.data) a.out2.row(t)[c] = y;
    }
  }
}

}  // namespace

extern const Kernel<Embed> kEmbed{"reference", 0, always<Embed::Problem>, embed, nullptr};
extern const Kernel<RmsNorm> kRmsNorm{"reference", 0, always<RmsNorm::Problem>, rms_norm, nullptr};

}  // namespace braid::ops::reference
