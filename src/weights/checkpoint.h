// SPDX-License-Identifier: Apache-2.0
// A Hugging Face model folder: config.json and tensors by name, from safetensors files (one,
// sharded with an index, or sharded without), or random ones made from the config alone.
// Thread rules: one thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace braid::weights {

// A matrix as stored. `scales` has data == nullptr unless values are kF8E4M3 with block scales
// [ceil(rows / block), ceil(cols / block)] or kF4E2M1 with kE8M0 scales [rows, cols / block]. Views stay valid while `owner` lives; when it goes,
// the memory behind them is given back.
struct Stored {
  TensorView values;
  TensorView scales;
  int block = 128;       // columns of a block of one scale
  int block_rows = 128;  // and rows
  std::shared_ptr<const void> owner;
};

// kLook: only that a tensor is there, its shape and element type; views have no data.
enum class Access { kRead, kLook };

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  const std::string& path() const { return path_; }
  const std::string& config_json() const { return config_json_; }

  // Errors name file, tensor, expected and found shape or element type. A matrix may be kF32,
  // kBF16, kF16 or kF8E4M3, a vector the first three.
  // FP8 comes with `name`_scale_inv for blocks of 128 x 128, or `name`_scale for those, each row or the whole.
  // INT4 (`name`_packed, eight codes to an int32, and `name`_scale for each row and 32 columns, without zero
  // points) becomes kF8E4M3, which has all 16 numbers.
  virtual Result<Stored> matrix(const std::string& name, std::int64_t rows, std::int64_t cols, Access access = Access::kRead) const = 0;
  // Matrix `index` of a tensor [count, rows, cols], which is kF32, kBF16, kF16 or, as two tensors
  // `name`_blocks [count, rows, cols / 32, 16] and `name`_scales [count, rows, cols / 32], MXFP4.
  // FP8 comes with `name`_scale [count, 1, cols].
  virtual Result<Stored> stacked(const std::string& name, std::int64_t index, std::int64_t count, std::int64_t rows,
                                 std::int64_t cols, Access access = Access::kRead) const = 0;
  virtual Result<std::vector<float>> vector(const std::string& name, std::int64_t size) const = 0;
  virtual bool has(const std::string& name) const = 0;
  // An error naming a tensor that nobody asked for, but for those `expected_extra` accepts.
  virtual Status check_surplus(const std::function<bool(const std::string&)>& expected_extra) const = 0;
  // Bytes of all tensors; 0 when not known (dummy weights).
  virtual std::size_t total_bytes() const = 0;
  // Of those given out to be read so far.
  virtual std::size_t bytes_read() const = 0;

 protected:
  std::string path_;
  std::string config_json_;
};

// Errors: no such folder, no config.json, no or broken safetensors files.
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& folder);

// Random weights of the shapes asked for (--load-format dummy): the same values for the same name.
// With "quantization_config" in config.json, projections are FP8 with block scales (fp8) or stacks of
// them MXFP4 (mxfp4).
Result<std::unique_ptr<Checkpoint>> dummy_checkpoint(const std::string& folder);

}  // namespace braid::weights
