// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>

#include "base/check.h"
#include "weights/files.h"
#include "weights/safetensors.h"

namespace braid::weights {
namespace {

struct Located {
  Entry entry;
  std::shared_ptr<MappedFile> file;
  std::string path;
};

// Tensors on loan: views into the files, or into copies where the file does not align elements. Just
// looked at, views have no data.
struct Loan {
  struct Range {
    const Located* tensor;
    std::size_t begin, end;  // in the file
  };
  const Access access;
  std::vector<Range> ranges;
  std::vector<Buffer> copies;

  explicit Loan(Access a) : access(a) {}
  ~Loan() {
    for (const auto& [tensor, begin, end] : ranges) tensor->file->forget(begin, end);
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Range& range : ranges) sum += range.end - range.begin;
    return sum;
  }
  TensorView view(const Located& tensor) { return view(tensor, 0, {nullptr, tensor.entry.dtype, tensor.entry.shape}); }
  // The index-th of the views like `part`, whose data does not matter, that the tensor's bytes make one after another.
  TensorView view(const Located& tensor, std::int64_t index, TensorView part) {
    if (access == Access::kLook) return part;
    const std::size_t bytes = part.bytes(), begin = tensor.entry.begin + static_cast<std::size_t>(index) * bytes;
    const char* data = tensor.file->bytes().data() + begin;
    ranges.push_back({&tensor, begin, begin + bytes});
    part.data = data;
    if (reinterpret_cast<std::uintptr_t>(data) % std::max<std::size_t>(1, size_of(part.dtype)) == 0) return part;
    copies.emplace_back(bytes);
    std::memcpy(copies.back().data(), data, bytes);
    part.data = copies.back().data();
    return part;
  }
};

// Codes of four bits, the first lowest, that stand for -8 to 7, as e4m3.
void widen_int4(const std::uint8_t* codes, std::int64_t count, std::uint8_t* out) {
  std::array<std::uint8_t, 16> table;
  for (int code = 0; code < 16; ++code) table[static_cast<std::size_t>(code)] = f32_to_f8e4m3(static_cast<float>(code - 8));
  for (std::int64_t i = 0; i < count; ++i) out[i] = table[codes[i / 2] >> (i % 2 * 4) & 15];
}

constexpr int kWhole = 1 << 30;  // more rows or columns than a matrix has
constexpr std::int64_t kInt4Group = 32;

constexpr DType kMatrixTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3};
constexpr DType kVectorTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
constexpr DType kByteTypes[] = {DType::kU8};
constexpr DType kWordTypes[] = {DType::kI32};

class FileCheckpoint final : public Checkpoint {
 public:
  FileCheckpoint(std::string path, std::string config) {
    path_ = std::move(path);
    config_json_ = std::move(config);
  }

  Status add(const std::string& path) {
    ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
    ASSIGN_OR_RETURN(auto entries, parse_safetensors(file->bytes(), path));
    for (auto& entry : entries) {
      total_ += entry.end - entry.begin;
      const std::string name = entry.name;
      if (!tensors_.emplace(name, Located{std::move(entry), file, path}).second) {
        return invalid_argument(path + ": tensor " + name + " is in " + tensors_.at(name).path + " too");
      }
    }
    return {};
  }

  Result<Stored> matrix(const std::string& name, std::int64_t rows, std::int64_t cols, Access access) const override {
    if (!has(name) && has(name + "_packed")) return int4(name, rows, cols, access);
    ASSIGN_OR_RETURN(const Located* found, find(name, {rows, cols}, kMatrixTypes));
    auto loan = std::make_shared<Loan>(access);
    Stored stored;
    stored.values = loan->view(*found);
    if (found->entry.dtype == DType::kF8E4M3) RETURN_IF_ERROR(add_scales(name, *loan, stored));
    return lend(std::move(loan), std::move(stored));
  }

  Result<Stored> stacked(const std::string& name, std::int64_t index, std::int64_t count, std::int64_t rows,
                         std::int64_t cols, Access access) const override {
    if (has(name + "_blocks")) return stacked_mxfp4(name, index, count, rows, cols, access);
    ASSIGN_OR_RETURN(const Located* found, find(name, {count, rows, cols}, kMatrixTypes));
    auto loan = std::make_shared<Loan>(access);
    Stored stored;
    stored.values = loan->view(*found, index, {nullptr, found->entry.dtype, {rows, cols}});
    if (found->entry.dtype == DType::kF8E4M3) {
      ASSIGN_OR_RETURN(const Located* scales, find(name + "_scale", {count, 1, cols}, kVectorTypes));
      stored.scales = loan->view(*scales, index, {nullptr, scales->entry.dtype, {1, cols}});
      stored.block = 1;
      stored.block_rows = kWhole;
    }
    return lend(std::move(loan), std::move(stored));
  }

  Result<std::vector<float>> vector(const std::string& name, std::int64_t size) const override {
    ASSIGN_OR_RETURN(const Located* found, find(name, {size}, kVectorTypes));
    Loan loan(Access::kRead);
    const TensorView view = loan.view(*found);
    read_ += loan.bytes();
    std::vector<float> values(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) values[static_cast<std::size_t>(i)] = view.at(i);
    return values;
  }

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  std::size_t total_bytes() const override { return total_; }
  std::size_t bytes_read() const override { return read_; }

  Status check_surplus(const std::function<bool(const std::string&)>& expected_extra) const override {
    const Located* first = nullptr;
    int others = -1;
    for (const auto& [name, located] : tensors_) {
      if (used_.contains(name) || expected_extra(name)) continue;
      if (!first) first = &located;
      ++others;
    }
    if (!first) return {};
    return invalid_argument(first->path + ": tensor " + first->entry.name + " of shape " + to_string(first->entry.shape) +
                            (others ? " and " + std::to_string(others) + " more are" : " is") +
                            " not expected by config.json");
  }

 private:
  Stored lend(std::shared_ptr<Loan> loan, Stored stored) const {
    read_ += loan->bytes();
    stored.owner = std::move(loan);
    return stored;
  }

  // Of FP8 values.
  Status add_scales(const std::string& name, Loan& loan, Stored& stored) const {
    const std::int64_t rows = stored.values.rows(), cols = stored.values.cols();
    const Shape blocks{(rows + stored.block - 1) / stored.block, (cols + stored.block - 1) / stored.block};
    const auto plain = tensors_.find(name + "_scale");
    if (plain == tensors_.end()) {
      ASSIGN_OR_RETURN(const Located* scales, find(name + "_scale_inv", blocks, kVectorTypes));
      stored.scales = loan.view(*scales);
      return {};
    }
    const Shape& shape = plain->second.entry.shape;
    const bool one = TensorView{nullptr, DType::kF32, shape}.elements() == 1, each = shape == Shape{rows} || shape == Shape{rows, 1};
    ASSIGN_OR_RETURN(const Located* scales, find(name + "_scale", one || each ? shape : blocks, kVectorTypes));
    stored.scales = loan.view(*scales);
    if (!one && !each) return {};
    stored.scales.shape = {one ? 1 : rows, 1};
    stored.block = kWhole;
    stored.block_rows = one ? kWhole : 1;
    return {};
  }

  Result<Stored> int4(const std::string& name, std::int64_t rows, std::int64_t cols, Access access) const {
    if (cols % kInt4Group != 0) return invalid_argument(path_ + ": tensor " + name + "_packed: expected a multiple of 32 columns, found " + std::to_string(cols));
    ASSIGN_OR_RETURN(const Located* codes, find(name + "_packed", {rows, cols / 8}, kWordTypes));
    ASSIGN_OR_RETURN(const Located* scales, find(name + "_scale", {rows, cols / kInt4Group}, kVectorTypes));
    used_.insert(name + "_shape");
    auto loan = std::make_shared<Loan>(access);
    Stored stored;
    stored.values = {nullptr, DType::kF8E4M3, {rows, cols}};
    stored.scales = loan->view(*scales);
    stored.block = kInt4Group;
    stored.block_rows = 1;
    const TensorView packed = loan->view(*codes);
    if (packed.data) {
      loan->copies.emplace_back(static_cast<std::size_t>(rows * cols));
      widen_int4(static_cast<const std::uint8_t*>(packed.data), rows * cols, loan->copies.back().as<std::uint8_t>());
      stored.values.data = loan->copies.back().data();
    }
    return lend(std::move(loan), std::move(stored));
  }

  Result<Stored> stacked_mxfp4(const std::string& name, std::int64_t index, std::int64_t count, std::int64_t rows,
                               std::int64_t cols, Access access) const {
    constexpr std::int64_t kBlock = 32;
    CHECK(cols % kBlock == 0, "MXFP4 with rows that are no multiple of 32");
    ASSIGN_OR_RETURN(const Located* blocks, find(name + "_blocks", {count, rows, cols / kBlock, kBlock / 2}, kByteTypes));
    ASSIGN_OR_RETURN(const Located* scales, find(name + "_scales", {count, rows, cols / kBlock}, kByteTypes));
    auto loan = std::make_shared<Loan>(access);
    Stored stored;
    stored.values = loan->view(*blocks, index, {nullptr, DType::kF4E2M1, {rows, cols}});
    stored.scales = loan->view(*scales, index, {nullptr, DType::kE8M0, {rows, cols / kBlock}});
    stored.block = kBlock;
    stored.block_rows = 1;
    return lend(std::move(loan), std::move(stored));
  }

  Result<const Located*> find(const std::string& name, const Shape& shape, std::span<const DType> types) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      return Error{ErrorCode::kNotFound, path_ + ": tensor " + name + " is missing (expected shape " + to_string(shape) + ")", {}};
    }
    if (found->second.entry.shape != shape) {
      return invalid_argument(found->second.path + ": tensor " + name + ": expected shape " + to_string(shape) +
                              ", found " + to_string(found->second.entry.shape));
    }
    const DType dtype = found->second.entry.dtype;
    if (std::find(types.begin(), types.end(), dtype) == types.end()) {
      std::string wanted;
      for (const DType type : types) wanted += (wanted.empty() ? "" : ", ") + std::string(name_of(type));
      return invalid_argument(found->second.path + ": tensor " + name + ": expected one of " + wanted + ", found " +
                              std::string(name_of(dtype)));
    }
    used_.insert(name);
    return &found->second;
  }

  std::map<std::string, Located> tensors_;
  mutable std::set<std::string> used_;
  std::size_t total_ = 0;
  mutable std::size_t read_ = 0;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& folder) {
  ASSIGN_OR_RETURN(std::string config, read_config(folder));
  ASSIGN_OR_RETURN(const auto files, weight_files(folder));
  auto checkpoint = std::make_unique<FileCheckpoint>(folder, std::move(config));
  for (const auto& file : files) RETURN_IF_ERROR(checkpoint->add(file));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace braid::weights
