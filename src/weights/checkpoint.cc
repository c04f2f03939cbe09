// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "weights/files.h"
#include "weights/safetensors.h"

namespace braid::weights {
namespace {

struct Located {
  Entry entry;
  std::shared_ptr<MappedFile> file;
  std::string path;
};

// Tensors on loan: views into the files, or into copies where the file does not align elements.
struct Loan {
  std::vector<const Located*> parts;
  std::vector<Buffer> copies;

  ~Loan() {
    for (const Located* part : parts) part->file->forget(part->entry.begin, part->entry.end);
  }
  TensorView view(const Located& part) {
    const Entry& e = part.entry;
    const char* data = part.file->bytes().data() + e.begin;
    parts.push_back(&part);
    if (reinterpret_cast<std::uintptr_t>(data) % size_of(e.dtype) == 0) return {data, e.dtype, e.shape};
    copies.emplace_back(e.end - e.begin);
    std::memcpy(copies.back().data(), data, e.end - e.begin);
    return {copies.back().data(), e.dtype, e.shape};
  }
};

constexpr DType kMatrixTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3};
constexpr DType kVectorTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

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

  Result<Stored> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) const override {
    ASSIGN_OR_RETURN(const Located* found, find(name, {rows, cols}, kMatrixTypes));
    auto loan = std::make_shared<Loan>();
    Stored stored;
    stored.values = loan->view(*found);
    if (found->entry.dtype == DType::kF8E4M3) {
      const Shape blocks{(rows + stored.block - 1) / stored.block, (cols + stored.block - 1) / stored.block};
      ASSIGN_OR_RETURN(const Located* scales, find(name + "_scale_inv", blocks, kVectorTypes));
      stored.scales = loan->view(*scales);
    }
    stored.owner = std::move(loan);
    return stored;
  }

  Result<std::vector<float>> vector(const std::string& name, std::int64_t size) const override {
    ASSIGN_OR_RETURN(const Located* found, find(name, {size}, kVectorTypes));
    Loan loan;
    const TensorView view = loan.view(*found);
    std::vector<float> values(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) values[static_cast<std::size_t>(i)] = view.at(i);
    return values;
  }

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  std::size_t total_bytes() const override { return total_; }

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
