// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/gemm/pack.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "base/check.h"

namespace braid::cpu {
namespace {

using ops::PackedWeight;
using ops::Weight;
using ops::WeightFormat;

// Lies at the start of PackedWeight::scales, before the factors.
struct Info {
  std::int64_t panels;
  std::int64_t panel_bytes;
  std::int64_t first_block;
  std::int64_t block;
  std::int64_t blocks;
  std::int64_t has_factors;
  std::int64_t uniform;
  std::int64_t irregular_words;  // of a panel; they lie behind all panels
};
static_assert(sizeof(Info) == 64);

constexpr std::int64_t kBlock = 128;
constexpr std::int64_t kSmallestBlock = 16;  // more factors than that would cost more than bfloat16

Info& info_of(const PackedWeight& w) { return *w.scales.as<Info>(); }
float* factors_of(const PackedWeight& w) { return w.scales.as<float>() + sizeof(Info) / 4; }
std::uint64_t* irregular_of(const PackedWeight& w) {
  const Info& info = info_of(w);
  return reinterpret_cast<std::uint64_t*>(w.data.data() + info.panels * w.batch * info.panel_bytes);
}
std::uint8_t* exponents_of(const PackedWeight& w) { return w.scales.as<std::uint8_t>() + sizeof(Info); }

std::int64_t blocks_in(std::int64_t k, std::int64_t first, std::int64_t block) {
  return k <= first ? 1 : 1 + (k - first + block - 1) / block;
}

// Inputs of a block of one scale.
std::int64_t block_of(const Weight& w) { return w.transposed ? w.block_rows : w.block; }

// Where the first scale block of a window ends, in inputs.
std::int64_t first_block_of(const Weight& w) {
  if (!w.scaled()) return w.cols;
  const std::int64_t offset = w.transposed ? w.row_offset : w.col_offset;
  return std::min(w.cols, block_of(w) - offset % block_of(w));
}

bool usual_scales(const Weight& w) {
  for (std::int64_t i = 0; w.scaled() && i < w.scales.elements(); ++i) {
    const float s = std::fabs(w.scales.at(i));
    if (!(s == 0 || (s > 0x1p-50f && s < 0x1p50f))) return false;
  }
  return true;
}

bool has_nan(const Weight& w, Stream& stream) {
  const auto* codes = static_cast<const std::uint8_t*>(w.values.data) + w.stored(0, 0);
  const std::int64_t rows = w.transposed ? w.cols : w.rows;
  const std::int64_t length = w.transposed ? w.rows : w.cols;
  std::atomic<bool> found{false};
  stream.split(rows, static_cast<double>(length) / 8, [&](std::int64_t begin, std::int64_t end, int) {
    unsigned any = 0;
    for (std::int64_t r = begin; r < end; ++r) {
      const std::uint8_t* row = codes + r * w.values.cols();
      for (std::int64_t i = 0; i < length; ++i) any |= (row[i] & 0x7f) == 0x7f;
    }
    if (any != 0) found.store(true, std::memory_order_relaxed);
  });
  return found.load(std::memory_order_relaxed);
}

bool fits_f8(std::span<const Weight> parts, Layout layout, Stream& stream) {
  const std::int64_t first = first_block_of(parts[0]);
  for (const Weight& w : parts) {
    if (w.values.dtype != DType::kF8E4M3 || first_block_of(w) != first) return false;
    if (w.scaled() != parts[0].scaled() || block_of(w) != block_of(parts[0]) || !usual_scales(w)) return false;
    if (layout == Layout::kRows && has_nan(w, stream)) return false;
  }
  if (parts[0].scaled() && block_of(parts[0]) < kSmallestBlock) return false;
  const bool odd = first % 2 != 0 || (parts[0].scaled() && block_of(parts[0]) % 2 != 0);
  return layout == Layout::kRows || first == parts[0].cols || !odd;
}

constexpr std::int64_t kF4Block = 32;

std::uint8_t f4_code(const Weight& w, std::int64_t n, std::int64_t k) {
  const std::int64_t i = w.stored(n, k);
  return static_cast<const std::uint8_t*>(w.values.data)[i / 2] >> (i % 2 * 4) & 15;
}

std::uint8_t f4_exponent(const Weight& w, std::int64_t n, std::int64_t k) {
  const std::int64_t block = (w.row_offset + n) * w.scales.cols() + (w.col_offset + k) / w.block;
  return static_cast<const std::uint8_t*>(w.scales.data)[block];
}

// That of any other only blocks of zeros may have.
bool usual_exponent(std::uint8_t e) { return e > 77 && e < 177; }

bool fits_f4(const Weight& w) {
  if (w.values.dtype != DType::kF4E2M1 || !w.scaled() || w.scales.dtype != DType::kE8M0 || w.transposed) return false;
  if (w.block != kF4Block || w.block_rows != 1 || w.col_offset % kF4Block != 0 || w.cols % kF4Block != 0) return false;
  for (std::int64_t n = 0; n < w.rows; ++n) {
    for (std::int64_t k = 0; k < w.cols; k += kF4Block) {
      if (usual_exponent(f4_exponent(w, n, k))) continue;
      for (std::int64_t i = k; i < k + kF4Block; ++i) {
        if (f4_code(w, n, i) % 8 != 0) return false;
      }
    }
  }
  return true;
}

template <class T>
T element_of(const Weight& w, std::int64_t n, std::int64_t k) {
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    return static_cast<const std::uint8_t*>(w.values.data)[w.stored(n, k)];
  } else if constexpr (std::is_same_v<T, std::uint16_t>) {
    return f32_to_bf16(w.at(n, k));
  } else {
    return w.at(n, k);
  }
}

template <class T>
constexpr DType kStored = sizeof(T) == 1   ? DType::kF8E4M3
                          : sizeof(T) == 2 ? DType::kBF16
                                           : DType::kF32;

// A float32 row of e4m3 with scales, fast.
void dequantise_row(const Weight& w, std::int64_t n, float* out) {
  static const auto table = [] {
    std::array<float, 256> t{};
    for (int i = 0; i < 256; ++i) t[static_cast<std::size_t>(i)] = f8e4m3_to_f32(static_cast<std::uint8_t>(i));
    return t;
  }();
  const auto* codes = static_cast<const std::uint8_t*>(w.values.data) + w.stored(n, 0);
  std::int64_t end = first_block_of(w);
  for (std::int64_t k = 0; k < w.cols; end = std::min(w.cols, end + block_of(w))) {
    const float scale = w.scale(n, k);
    for (; k < end; ++k) out[k] = table[codes[k]] * scale;
  }
}

// Row n of w as T: where it lies if it is stored so, else written to `space`.
template <class T>
const T* row_of(const Weight& w, std::int64_t n, T* space) {
  const bool same = w.values.dtype == kStored<T> && (sizeof(T) == 1 || !w.scaled());
  if (same && !w.transposed) return static_cast<const T*>(w.values.data) + w.stored(n, 0);
  if (same) {
    const T* base = static_cast<const T*>(w.values.data);
    for (std::int64_t k = 0; k < w.cols; ++k) space[k] = base[w.stored(n, k)];
  } else {
    for (std::int64_t k = 0; k < w.cols; ++k) space[k] = element_of<T>(w, n, k);
  }
  return space;
}

template <class T>
void interleave(const std::array<const T*, kPanel>& rows, std::int64_t k, Layout layout, T* out) {
  const std::int64_t group = layout == Layout::kRows ? 1 : layout == Layout::kPairs ? 2 : 4;
  constexpr std::int64_t kChunk = 64;  // inputs of all rows that stay in the first cache
  for (std::int64_t k0 = 0; k0 < k; k0 += kChunk) {
    const std::int64_t end = std::min(k, k0 + kChunk);
    for (std::int64_t o = 0; o < kPanel; ++o) {
      const T* row = rows[static_cast<std::size_t>(o)];
      if (!row) continue;
      const bool permuted = layout == Layout::kPairs && sizeof(T) == 1;
      T* to = out + (permuted ? 16 * (o % 16 / 4) + 8 * (o / 16) + 2 * (o % 4) : o * group);
      std::int64_t i = k0;
      if (group == 4) {
        for (; i + 4 <= end; i += 4) std::memcpy(to + i * kPanel, row + i, 4 * sizeof(T));
      } else if (group == 2) {
        for (; i + 2 <= end; i += 2) std::memcpy(to + i * kPanel, row + i, 2 * sizeof(T));
      }
      for (; i < end; ++i) to[i / group * group * kPanel + i % group] = row[i];
    }
  }
}

OutputSource source_of(const PackShape& shape, std::span<const Weight> parts, std::int64_t batch,
                       std::int64_t panel, std::int64_t lane) {
  if (shape.lanes > 0) {
    const std::int64_t group = lane / shape.lanes;
    const std::int64_t i = panel * kPanel / 2 + group / 2 * shape.lanes + lane % shape.lanes;
    return i < shape.n / 2 ? OutputSource{static_cast<int>(group % 2), i} : OutputSource{};
  }
  std::int64_t n = panel * kPanel + lane;
  if (n >= shape.n) return {};
  const std::size_t each = parts.size() / static_cast<std::size_t>(shape.batch);
  for (std::size_t p = 0; p < each; ++p) {
    const std::size_t part = static_cast<std::size_t>(batch) * each + p;
    if (n < parts[part].rows) return {static_cast<int>(part), n};
    n -= parts[part].rows;
  }
  return {};
}

// e4m3 codes of a panel of pairs: their bits in the order of micro.h, and which pairs are irregular.
void order_bits(const std::array<const std::uint8_t*, kPanel>& rows, std::int64_t k, std::uint8_t* panel, std::int64_t bytes,
                std::uint64_t* irregular) {
  for (const auto* row : rows) {
    for (std::int64_t i = 0; row && i < k; ++i) {
      const int size = row[i] & 0x7f;
      if (size < 4 || size == 0x7f) irregular[i / 128] |= std::uint64_t{1} << (i / 2 % 64);
    }
  }
  for (std::int64_t i = 0; i < bytes; ++i) {
    const int code = panel[i] & 0x7f;
    const int size = code >= 8 ? code : code < 4 ? 2 * code + 1 : 2 * code - 8;
    panel[i] = static_cast<std::uint8_t>((panel[i] & 0x80) | (size & 15) << 3 | size >> 4);
  }
}

// The factors of one lane whose codes are taken `excess` times, and zeros for the codes of blocks whose
// scale is zero.
void scale_lane(const Weight& w, std::int64_t row, const Info& info, float excess, float* factors,
                const std::uint8_t*& codes, std::uint8_t* space) {
  float previous = 1;
  std::int64_t k = 0;
  for (std::int64_t b = 0; b < info.blocks; ++b) {
    const std::int64_t end =
        b + 1 == info.blocks ? w.cols : info.first_block + b * info.block;
    float scale = w.scale(row, k);
    if (scale == 0) {
      if (codes != space) std::memcpy(space, codes, static_cast<std::size_t>(w.cols));
      codes = space;
      std::memset(space + k, 0, static_cast<std::size_t>(end - k));
      scale = previous;
    }
    if (b > 0) factors[(b - 1) * kPanel] = previous / scale;
    factors[b * kPanel] = scale;
    previous = scale;
    k = end;
  }
  factors[(info.blocks - 1) * kPanel] /= excess;
}

// Offset by 128 so that the unsigned factor of VPDPBUSD is the weight.
// Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
std::int8_t to_int8(float v) {
  return static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(v + 12582912.0f) ^ 0x80);
}

float largest_magnitude(const float* v, std::int64_t count) {
  float lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (std::int64_t l = 0; l < 8; ++l) {
      const float size = std::fabs(v[i + l]);
      lanes[l] = size > lanes[l] ? size : lanes[l];
    }
  }
  for (; i < count; ++i) lanes[0] = std::max(lanes[0], std::fabs(v[i]));
  return *std::max_element(lanes, lanes + 8);
}

void quantise_lane(const Weight& w, std::int64_t row, const Info& info, float* factors,
                   std::int8_t* out) {
  std::vector<float> values(static_cast<std::size_t>(w.cols));
  if (w.values.dtype == DType::kF8E4M3 && !w.transposed) {
    dequantise_row(w, row, values.data());
  } else {
    for (std::int64_t k = 0; k < w.cols; ++k) values[static_cast<std::size_t>(k)] = w.at(row, k);
  }
  for (std::int64_t b = 0; b < info.blocks; ++b) {
    const std::int64_t begin = b * info.block;
    const std::int64_t end = std::min(w.cols, begin + info.block);
    const float largest = largest_magnitude(values.data() + begin, end - begin);
    factors[b * kPanel] = largest / 127;
    const float inverse = largest > 0 ? 127 / largest : 0;
    for (auto k = begin; k < end; ++k) out[k] = to_int8(values[static_cast<std::size_t>(k)] * inverse);
  }
}

// Into a panel of e2m1 codes: those of lane `o`.
void pack_f4_codes(const Weight& w, std::int64_t row, Layout layout, std::int64_t o, std::uint8_t* to) {
  const auto* from = static_cast<const std::uint8_t*>(w.values.data) + w.stored(row, 0) / 2;
  if (layout == Layout::kPairs) {
    to += 16 * (o % 16 / 4) + 8 * (o / 16) + 2 * (o % 4);
    for (std::int64_t k = 0; k < w.cols; k += 4, from += 2, to += 64) {
      to[0] = static_cast<std::uint8_t>((from[0] & 15) | from[1] << 4);
      to[1] = static_cast<std::uint8_t>(from[0] >> 4 | (from[1] & 0xf0));
    }
    return;
  }
  to += o % 16;
  const int half = o < 16 ? 0 : 4;
  for (std::int64_t k = 0; k < w.cols; k += 2, ++from, to += 32) {
    to[0] = static_cast<std::uint8_t>(to[0] | (from[0] & 15) << half);
    to[16] = static_cast<std::uint8_t>(to[16] | from[0] >> 4 << half);
  }
}

// And its exponents; blocks of zeros take the one before them.
void pack_f4_exponents(const Weight& w, std::int64_t row, std::uint8_t* to) {
  std::uint8_t exponent = 127;
  for (std::int64_t k = 0; k < w.cols; k += kF4Block, to += kPanel) {
    const std::uint8_t stored = f4_exponent(w, row, k);
    *to = exponent = usual_exponent(stored) ? stored : exponent;
  }
}

void pack_f4_panels(std::span<const Weight> parts, const PackShape& shape, PackedWeight& w, Stream& stream) {
  const Info& info = info_of(w);
  stream.split(info.panels * shape.batch, static_cast<double>(info.panel_bytes), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      auto* panel = reinterpret_cast<std::uint8_t*>(w.data.data() + i * info.panel_bytes);
      for (std::int64_t lane = 0; lane < kPanel; ++lane) {
        const auto source = source_of(shape, parts, i / info.panels, i % info.panels, lane);
        if (source.part < 0) continue;
        const Weight& part = parts[static_cast<std::size_t>(source.part)];
        pack_f4_codes(part, source.row, shape.layout, lane, panel);
        pack_f4_exponents(part, source.row, exponents_of(w) + i * info.blocks * kPanel + lane);
      }
    }
  });
}

template <class T>
void pack_panels(std::span<const Weight> parts, const PackShape& shape, PackedWeight& w,
                 Stream& stream) {
  const Info& info = info_of(w);
  const double ns = static_cast<double>(info.panel_bytes);
  const bool pairs = shape.layout == Layout::kPairs;
  stream.split(info.panels * shape.batch, ns, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<T> space(static_cast<std::size_t>(kPanel * shape.k));
    for (std::int64_t i = begin; i < end; ++i) {
      std::array<const T*, kPanel> rows{};
      for (std::int64_t lane = 0; lane < kPanel; ++lane) {
        const auto source = source_of(shape, parts, i / info.panels, i % info.panels, lane);
        if (source.part < 0) continue;
        const Weight& part = parts[static_cast<std::size_t>(source.part)];
        T* own = space.data() + lane * shape.k;
        float* factors = factors_of(w) + i * info.blocks * kPanel + lane;
        const T*& row = rows[static_cast<std::size_t>(lane)];
        if constexpr (std::is_same_v<T, std::int8_t>) {
          quantise_lane(part, source.row, info, factors, own);
          row = own;
        } else {
          row = row_of<T>(part, source.row, own);
        }
        if constexpr (std::is_same_v<T, std::uint8_t>) {
          if (info.has_factors) scale_lane(part, source.row, info, pairs ? 256 : 1, factors, row, own);
        }
      }
      auto* panel = reinterpret_cast<T*>(w.data.data() + i * info.panel_bytes);
      interleave<T>(rows, shape.k, shape.layout, panel);
      if constexpr (std::is_same_v<T, std::uint8_t>) {
        if (pairs) order_bits(rows, shape.k, panel, info.panel_bytes, irregular_of(w) + i * info.irregular_words);
      }
    }
  });
}

// Padding lanes (factor 0) take any value.
bool uniform_halves(const float* factors, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows * 2; ++i) {
    const float* half = factors + i * kPanel / 2;
    for (std::int64_t l = 1; l < kPanel / 2; ++l) {
      if (half[l] != half[0] && half[l] != 0) return false;
    }
  }
  return true;
}

// One factor for 16 lanes where all agree: scales are then read 16 times less often.
void compact_factors(PackedWeight& w, std::int64_t rows) {
  const float* factors = factors_of(w);
  if (!uniform_halves(factors, rows)) return;
  Buffer small(sizeof(Info) + static_cast<std::size_t>(rows * 2) * sizeof(float));
  Info info = info_of(w);
  info.uniform = 1;
  for (std::int64_t i = 0; i < rows * 2; ++i) {
    small.as<float>()[sizeof(Info) / 4 + static_cast<std::size_t>(i)] = factors[i * kPanel / 2];
  }
  std::memcpy(small.data(), &info, sizeof(info));
  w.scales = std::move(small);
}

std::int64_t element_bits(WeightFormat format) {
  return format == WeightFormat::kF32 ? 32 : format == WeightFormat::kBF16 ? 16 : format == WeightFormat::kF4 ? 4 : 8;
}

bool carries_scales(WeightFormat format, const Weight& part) {
  return format == WeightFormat::kI8 || ((format == WeightFormat::kF8 || format == WeightFormat::kF4) && part.scaled());
}

}  // namespace

PackedWeight pack(std::span<const Weight> parts, WeightFormat format, const PackShape& shape,
                  Stream& stream) {
  CHECK(!parts.empty() && parts.size() % static_cast<std::size_t>(shape.batch) == 0);
  for (const Weight& part : parts) CHECK(part.cols == shape.k);
  if (format == WeightFormat::kF8 && !fits_f8(parts, shape.layout, stream)) format = WeightFormat::kBF16;
  if (format == WeightFormat::kF4 && !std::all_of(parts.begin(), parts.end(), fits_f4)) format = WeightFormat::kBF16;
  PackedWeight w;
  w.format = format;
  w.n = shape.n;
  w.k = shape.k;
  w.batch = shape.batch;
  Info info{};
  const std::int64_t group = shape.layout == Layout::kRows ? 1 : shape.layout == Layout::kPairs ? 2 : 4;
  info.panels = (shape.n + kPanel - 1) / kPanel;
  info.panel_bytes = (shape.k + group - 1) / group * group * kPanel * element_bits(format) / 8;
  const bool stored_blocks = format == WeightFormat::kF8 || format == WeightFormat::kF4;
  info.block = stored_blocks ? block_of(parts[0]) : kBlock;
  info.first_block = stored_blocks ? first_block_of(parts[0]) : std::min(shape.k, kBlock);
  const bool f8_pairs = format == WeightFormat::kF8 && shape.layout == Layout::kPairs;
  info.has_factors = f8_pairs || carries_scales(format, parts[0]);
  info.irregular_words = f8_pairs ? (shape.k + 127) / 128 : 0;
  info.blocks = blocks_in(shape.k, info.first_block, info.block);
  const std::int64_t total = info.panels * shape.batch;
  const std::int64_t factors = info.has_factors ? total * info.blocks * kPanel : 0;
  w.scales = Buffer(sizeof(Info) + static_cast<std::size_t>(factors) * (format == WeightFormat::kF4 ? 1 : sizeof(float)));
  info_of(w) = info;
  w.data = Buffer(static_cast<std::size_t>(total * (info.panel_bytes + info.irregular_words * 8)));
  switch (format) {
    case WeightFormat::kF32: pack_panels<float>(parts, shape, w, stream); break;
    case WeightFormat::kBF16: pack_panels<std::uint16_t>(parts, shape, w, stream); break;
    case WeightFormat::kF8: pack_panels<std::uint8_t>(parts, shape, w, stream); break;
    case WeightFormat::kI8: pack_panels<std::int8_t>(parts, shape, w, stream); break;
    case WeightFormat::kF4: pack_f4_panels(parts, shape, w, stream); break;
  }
  if (f8_pairs) compact_factors(w, total * info.blocks);
  return w;
}

Panels panels_of(const PackedWeight& w, std::int64_t batch) {
  const Info& info = info_of(w);
  Panels p{};
  p.data = reinterpret_cast<const unsigned char*>(w.data.data()) + batch * info.panels * info.panel_bytes;
  const std::int64_t lanes = info.uniform ? 2 : kPanel;
  const std::int64_t first = batch * info.panels * info.blocks * lanes;
  if (w.format == WeightFormat::kF4) p.exponents = exponents_of(w) + first;
  else p.factors = info.has_factors ? factors_of(w) + first : nullptr;
  p.irregular = irregular_of(w) + batch * info.panels * info.irregular_words;
  p.irregular_words = info.irregular_words;
  p.uniform = info.uniform != 0;
  p.panel_bytes = info.panel_bytes;
  p.k = w.k;
  p.first_block = info.first_block;
  p.block = info.block;
  p.blocks = info.blocks;
  return p;
}

std::int64_t panel_count(const PackedWeight& w) { return info_of(w).panels; }

}  // namespace braid::cpu
